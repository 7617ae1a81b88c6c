"""Bodies and answers of both interfaces, from streams that a test writes by hand."""

from __future__ import annotations

import asyncio
import gc
import json
import queue
import re
import threading
import types
from typing import Any, Callable, Iterator, List, Optional

import attrs
import pytest
from loopback import until
from sites import KEY, NEVER, SOON, TIMEOUT, Pair, ask, bare, begun, piece

import anyllm
from anyllm import asgi, errors, wsgi
from anyllm._serving import body as _body
from anyllm.reading import tee
from anyllm.testing import Reply, Stall, chat_events, fake, serve
from anyllm.types import ChatCompletionChunk, Reasoning, RetryNotice

KEEP_ALIVE = b": keep-alive\n\n"
RESTART = ChatCompletionChunk(retry=RetryNotice("restart"))


# -- the two interfaces ------------------------------------------------------------------------------------------------


class Waited:
    """An async iterator as an iterator: each item is waited for in a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, items: Any) -> None:
        self._loop, self._items = loop, items

    def __iter__(self) -> Waited:
        return self

    def __next__(self) -> Any:
        try:
            return self._loop.run_until_complete(self._items.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        self._loop.run_until_complete(self._items.aclose())


@attrs.frozen
class Interface:
    body: Callable[..., Any]
    answer: Callable[..., Any]

    def whole(self, *items: Any, error: Any = None, **options: Any) -> bytes:
        """The body of a stream of these items."""
        return b"".join(self.body(Pair(*items).end(error), **options))


@pytest.fixture(params=["wsgi", "asgi"])
def interface(request: pytest.FixtureRequest) -> Iterator[Interface]:
    if request.param == "wsgi":
        yield Interface(wsgi.body, wsgi.answer)
        return
    loop = asyncio.new_event_loop()

    def answer(*args: Any, **options: Any) -> Any:
        response = loop.run_until_complete(asgi.answer(*args, **options))
        return response._replace(body=Waited(loop, response.body))

    yield Interface(lambda *args, **options: Waited(loop, asgi.body(*args, **options)), answer)
    loop.close()


@pytest.mark.parametrize("format", ["sse", "ndjson", "json", "text", "openai", "anthropic", "ollama", "gemini"])
def test_the_bytes_of_both_are_the_same(format: str):
    with serve(Reply.sse(chat_events(["Hé\nllo", " you"]))) as upstream:
        plain = b"".join(wsgi.body(ask(upstream.url), format))
        loop = asyncio.new_event_loop()
        ours = b"".join(Waited(loop, asgi.body(ask(upstream.url), format)))
        loop.close()
    # Without times and ids of our own.
    of_this_answer = rb'"(id|created_at|message_id|responseId)":\s*"[^"]*"|"\w*duration":\d+'
    assert re.sub(of_this_answer, b"", ours) == re.sub(of_this_answer, b"", plain)


# -- the body ----------------------------------------------------------------------------------------------------------

ITEMS = (piece(role="assistant", content=""), piece("Hé\nllo"), piece(reasoning=Reasoning("hm")), piece(" you"))


@pytest.mark.parametrize(
    ("items", "format", "expected"),
    [
        (ITEMS, "sse", 'data: {"content": "Hé\\nllo"}\n\ndata: {"content": " you"}\n\nevent: done\ndata: {}\n\n'),
        (ITEMS, "ndjson", '{"content": "Hé\\nllo"}\n{"content": " you"}\n{"done": true}\n'),
        (ITEMS, "text", "Hé\nllo you"),
        ((), "text", ""),
        ([piece("\ud83d")], "sse", 'data: {"content": "\\ud83d"}\n\nevent: done\ndata: {}\n\n'),
        ([piece("\ud83d")], "text", "?"),
        ([piece("one t"), RESTART, piece("on"), piece("e two")], "text", "one two"),
        (
            [piece("one t"), RESTART, piece("on"), piece("e two")],
            "ndjson",
            '{"content": "one t"}\n{"content": "wo"}\n{"done": true}\n',
        ),
        ([piece("a"), ChatCompletionChunk(retry=RetryNotice("continue")), piece("b")], "text", "ab"),
    ],
)
def test_formats(interface: Interface, items: Any, format: str, expected: str):
    """Half an emoji is sent all the same; of a restarted answer nothing is repeated; a continued one goes on."""
    assert interface.whole(*items, format=format).decode() == expected


def test_a_restarted_answer_with_another_text_is_an_error(interface: Interface):
    output = interface.whole(piece("one t"), RESTART, piece("other"))
    assert b"event: error" in output
    assert b"other" not in output


@pytest.mark.parametrize(
    ("format", "type"),
    [("sse", "text/event-stream"), ("ndjson", "application/x-ndjson"), ("text", "text/plain; charset=utf-8")],
)
def test_headers(format: str, type: str):
    found = wsgi.headers(format)
    assert found["Content-Type"] == type
    assert found["X-Accel-Buffering"] == "no"
    assert found["Cache-Control"] == "no-cache, no-transform"
    assert not {"connection", "transfer-encoding", "keep-alive"} & {name.lower() for name in found}


def test_the_application_chooses_the_data_of_an_event(interface: Interface):
    def event(chunk: Any) -> Any:
        return {"thought": chunk.reasoning} if chunk.reasoning else None

    output = interface.whole(piece("no"), piece(reasoning=Reasoning("hm")), event=event, format="ndjson")
    assert output == b'{"thought": "hm"}\n{"done": true}\n'


def test_the_application_chooses_the_description_of_an_error(interface: Interface):
    error = errors.NetworkError("no route")
    output = interface.whole(error=error, describe=lambda error: {"message": str(error)}, format="ndjson")
    assert output == b'{"error": {"message": "no route"}}\n'


def test_a_silent_chat_is_waited_for_in_pieces_and_ends_with_the_body(interface: Interface):
    """It has no channel to wait on, so it is read ahead: by a thread that ends with it."""
    stream = anyllm.Client("m", provider=fake(["one", Stall()])).chat_stream("Hi")
    content = iter(interface.body(stream, keep_alive=SOON))
    written = next(piece for piece in content if b"one" in piece)
    assert written.startswith(b"data: ")
    assert next(content) == KEEP_ALIVE
    content.close()
    until(lambda: all(thread.name not in ("anyllm-call", "anyllm-read-ahead") for thread in threading.enumerate()))
    failing = anyllm.Client("m", provider=fake(["one", errors.ServerError("down")])).chat_stream("Hi")
    assert b"event: error" in b"".join(interface.body(failing))


def test_a_silent_model_is_waited_for_in_pieces(interface: Interface):
    pair = Pair()
    content = interface.body(pair, keep_alive=SOON)
    assert [next(content), next(content)] == [KEEP_ALIVE] * 2
    pair.sender.put(piece("one"))
    assert next(content) == b'data: {"content": "one"}\n\n'
    spaced = interface.body(pair, "ndjson", keep_alive=SOON)
    lines = [next(spaced)]
    pair.end()
    lines += spaced
    assert lines[0] == b" "
    assert json.loads(b"".join(lines)) == {"done": True}


def test_chunks_that_show_nothing_do_not_hide_that_the_client_has_left(monkeypatch: pytest.MonkeyPatch):
    """A model that thinks sends chunk after chunk; none of them is written."""
    clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(_body, "time", clock)

    def event(chunk: Any) -> Any:
        clock.now += 2
        return {"content": chunk.content} if chunk.content else None

    pair = Pair(*[piece(reasoning=Reasoning("hm"))] * 5, piece("one")).end()
    content = wsgi.body(pair, keep_alive=5, event=event)
    end = [b'data: {"content": "one"}\n\n', b"event: done\ndata: {}\n\n"]
    assert list(content) == [*[KEEP_ALIVE] * 3, *end]


def test_a_text_gets_no_keep_alives(spawn: Any):
    """Nothing can be sent that would not be part of it."""
    pair = Pair()
    task = spawn(list, wsgi.body(pair, "text", keep_alive=1e-9))
    until(lambda: pair.chunks._pipe.receivers)
    pair.end()
    assert task.join() == []


@pytest.mark.parametrize("read", [0, 1])
@pytest.mark.parametrize("leave", ["close", "let go"])
def test_a_client_that_leaves_cancels(interface: Interface, read: int, leave: str):
    pair = Pair(piece("one"))
    content = interface.body(pair)
    for _ in range(read):
        next(content)
    if leave == "close":
        content.close()
        content.close()
        assert list(content) == []
    else:
        del content
        gc.collect()
    assert pair.cancelled == ["the client has left"]


def test_an_exception_in_the_middle_cancels():
    """What a server kills a request with (gevent's GreenletExit, Ctrl-C) passes through."""

    def killed(chunk: Any) -> Any:
        raise KeyboardInterrupt

    pair = Pair(piece("one"))
    with pytest.raises(KeyboardInterrupt):
        next(wsgi.body(pair, event=killed))
    assert pair.cancelled


def test_a_bug_in_the_middle_cancels_and_is_not_shown(interface: Interface, caplog: pytest.LogCaptureFixture):
    def bug(chunk: Any) -> Any:
        raise ZeroDivisionError("secret")

    pair = Pair(piece("one"))
    output = b"".join(interface.body(pair, event=bug))
    assert pair.cancelled
    assert b"InternalError" in output
    assert b"secret" not in output
    assert "secret" in caplog.text


@pytest.mark.parametrize("kind", [StopIteration, queue.Empty])
def test_a_bug_that_looks_like_an_end_is_none(interface: Interface, kind: Any):
    def bug(chunk: Any) -> Any:
        raise kind

    assert b"event: error" in interface.whole(piece("one"), event=bug)


def test_closing_from_elsewhere_frees_the_body(spawn: Any):
    with serve(Reply.sse([Stall()])) as upstream:
        content = wsgi.body(ask(upstream.url), keep_alive=NEVER)
        task = spawn(list, content)
        upstream.wait_for_requests(1)
        content.close()  # type: ignore[attr-defined]
        assert task.join() == []
        assert upstream.wait_closed(TIMEOUT)


def test_a_stream_that_is_over_is_not_cancelled(interface: Interface):
    with serve(Reply.sse(chat_events("one"))) as upstream:
        stream = ask(upstream.url)
        content = interface.body(stream)
        list(content)
        content.close()
        assert stream.collect().content == "one"


class Items:
    """An iterator that can be ended, and says whether it was."""

    def __init__(self, *items: Any) -> None:
        self._items = iter(items)
        self.ended: List[str] = []

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> Any:
        return next(self._items)


class Closable(Items):
    def close(self) -> None:
        self.ended.append("close")


class Cancellable(Closable):
    def cancel(self) -> None:
        self.ended.append("cancel")


@pytest.mark.parametrize(("kind", "ended"), [(Items, []), (Closable, ["close"]), (Cancellable, ["cancel"])])
def test_any_iterable_of_text_or_chunks_is_a_stream(kind: Any, ended: List[str]):
    assert b"".join(wsgi.body(kind("one", piece(" two")), "text")) == b"one two"
    source = kind("one", piece(" two"))
    content = wsgi.body(source, "ndjson")
    assert next(content) == b'{"content": "one"}\n'
    content.close()  # type: ignore[attr-defined]
    assert source.ended == ended


def test_a_generator_is_closed():
    closed = threading.Event()

    def source() -> Iterator[str]:
        try:
            yield "one"
            yield "two"
        finally:
            closed.set()

    content = wsgi.body(source())
    next(content)
    content.close()  # type: ignore[attr-defined]
    assert closed.is_set()


def test_two_visitors_may_read_one_stream():
    with serve(Reply.sse(chat_events("one"))) as upstream:
        for reader in tee(ask(upstream.url), 2, policy="unbounded"):
            assert b"".join(wsgi.body(reader, "text")) == b"one"


def test_an_iterable_of_other_items_is_an_error():
    assert b"InternalError" in b"".join(wsgi.body([5]))


@pytest.mark.parametrize("make", [asgi.iterate, asgi.body])
@pytest.mark.parametrize("stream", [["one"], iter(["one"])])
def test_sources_that_cannot_be_waited_for_are_refused_in_a_loop(make: Any, stream: Any):
    with pytest.raises(TypeError, match="cannot be waited for"):
        make(stream)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_seconds_are_checked(interface: Interface, seconds: float):
    for call in (interface.body, interface.answer):
        with pytest.raises(ValueError, match="keep_alive must be positive"):
            call(Pair(), keep_alive=seconds)
    if seconds != 0:
        with pytest.raises(ValueError, match="first_content_timeout must not be negative"):
            interface.answer(Pair(), first_content_timeout=seconds)


def test_without_keep_alives_an_answer_waits_as_long_as_with_them(monkeypatch: pytest.MonkeyPatch):
    waits: List[Any] = []
    monkeypatch.setattr(_body.Body, "begin", lambda self, timeout: waits.append(timeout))
    for options in (
        {},
        {"keep_alive": None},
        {"keep_alive": 2},
        {"keep_alive": 2, "first_content_timeout": 30},
        {"first_content_timeout": None},
        {"patience": 7},  # the former name
    ):
        wsgi.answer([], **options)
    assert waits == [5, 5, 2, 30, None, 7]


# -- before the first byte ---------------------------------------------------------------------------------------------

STATUSES = [
    (errors.RateLimitError("x"), 429),
    (errors.OverloadedError("x", status_code=529), 503),
    (errors.ServerError("x", status_code=500), 502),
    (errors.AuthenticationError("x", status_code=401), 502),
    (errors.PermissionDeniedError("x", status_code=403), 502),
    (errors.InsufficientFundsError("x", status_code=402), 502),
    (errors.ContextLengthExceededError("x"), 413),
    (errors.ContentFilterError("x"), 422),
    (errors.CircuitOpenError("x"), 503),
    (errors.WaitTooLongError("x", seconds=60.0), 503),
    (errors.LimitTooSmallError("x", tokens=9, tokens_per_minute=8), 413),
    (errors.UnsupportedParameterError("x"), 400),
    (errors.InvalidRequestError("x", status_code=404), 400),
    (errors.ModelNotFoundError("x"), 404),
    (errors.UnsupportedProviderError("x"), 404),
    (errors.MissingAPIKeyError("x", env_var="X"), 500),
    (errors.LocalUnavailableError("x"), 503),
    (errors.NetworkError("x"), 502),
    (errors.IncompleteStreamError("x"), 502),
    (errors.ConnectionLostError("x"), 502),
    (errors.MalformedStreamError("x"), 502),
    (errors.StreamTimeoutError(clock="idle", seconds=1), 504),
    (errors.DeadlineExceeded(), 504),
    (errors.Cancelled(), 503),
    (ZeroDivisionError("x"), 500),
]


@pytest.mark.parametrize(("error", "status"), STATUSES, ids=[type(error).__name__ for error, _ in STATUSES])
def test_every_error_has_a_status_a_reason_and_a_sentence(error: Exception, status: int):
    heads: List[str] = []
    body = b"".join(wsgi.respond({}, lambda head, _: heads.append(head), Pair().end(error)))
    assert heads[0].startswith(f"{status} ")
    assert json.loads(body)["error"]["message"] == wsgi.describe(error)["message"] != ""


def every(kind: type) -> List[type]:
    return [kind, *(each for sub in kind.__subclasses__() for each in every(sub))]


def test_no_error_of_the_tree_was_forgotten():
    exported = {kind for kind in every(errors.AnyLLMError) if kind.__module__ == "anyllm.errors"}
    assert exported - {errors.AnyLLMError, errors.APIError} <= {type(error) for error, _ in STATUSES}


@pytest.mark.parametrize("wait", [float("inf"), float("nan"), None])
def test_an_infinite_retry_after_is_left_out(interface: Interface, wait: Optional[float]):
    response = interface.answer(Pair().end(errors.RateLimitError("x", retry_after=wait)))
    assert "Retry-After" not in response.headers
    assert b"retry_after" not in b"".join(response.body)


def test_an_error_in_the_first_moments_has_its_status(interface: Interface):
    """Of a call that fails late, but before a silence is broken."""
    pair = Pair()
    timer = threading.Timer(0.05, pair.end, [errors.NetworkError("x")])
    timer.start()
    assert interface.answer(pair).status == 502
    timer.join(TIMEOUT)


def test_nothing_of_the_first_content_is_lost_by_waiting_for_it(interface: Interface):
    response = interface.answer(Pair(piece(""), piece("one"), piece(" two")).end(), "text")
    assert (response.status, response.headers) == (200, wsgi.headers("text"))
    assert b"".join(response.body) == b"one two"


@pytest.mark.parametrize("seconds", [0, SOON])
def test_the_wait_for_the_first_content_ends(interface: Interface, seconds: float):
    """And what goes wrong then is an event."""
    pair = Pair()
    response = interface.answer(pair, first_content_timeout=seconds, keep_alive=SOON)
    assert response.status == 200
    assert next(response.body) == KEEP_ALIVE
    pair.end(errors.NetworkError("x"))
    assert b"event: error" in b"".join(response.body)


def test_a_dropped_answer_is_cancelled(interface: Interface):
    pair = Pair()
    response = interface.answer(pair, first_content_timeout=0)
    del response
    gc.collect()
    assert pair.cancelled


def test_an_error_is_logged_in_the_providers_words_and_without_the_key(
    interface: Interface, caplog: pytest.LogCaptureFixture
):
    with serve(Reply.json({"error": {"message": f"bad key {KEY}"}}, 401)) as upstream:
        response = interface.answer(ask(upstream.url))
    assert response.status == 502
    assert KEY not in b"".join(response.body).decode()
    assert "bad key [key]" in caplog.text
    assert KEY not in caplog.text


# -- bare WSGI ---------------------------------------------------------------------------------------------------------


def test_head_is_not_left_to_the_server():
    """Some send what they are given."""
    pair = Pair(piece("one"))
    assert list(wsgi.respond({"REQUEST_METHOD": "HEAD"}, lambda *_: None, pair)) == []
    assert pair.cancelled


def test_a_server_that_refuses_the_headers_ends_the_call():
    def start_response(*_: Any) -> None:
        raise AssertionError("headers already set")

    with serve(begun("one")) as upstream:
        with pytest.raises(AssertionError, match="already set"):
            wsgi.respond({}, start_response, ask(upstream.url))
        assert upstream.wait_closed(TIMEOUT)


def test_it_keeps_to_the_standard():
    """wsgiref's own judge: types, no hop-by-hop headers, close."""
    from wsgiref.util import setup_testing_defaults
    from wsgiref.validate import validator

    environ: Any = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)
    with serve(Reply.sse(chat_events("one"))) as upstream:
        result = validator(bare(lambda: ask(upstream.url)))(environ, lambda *_: lambda data: None)
        assert b"".join(result).endswith(b"\n\n")
        result.close()
