"""Streams as responses: in Flask, Django, Bottle and bare WSGI, under real servers, to clients that come and go."""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import os
import queue
import re
import socket
import socketserver
import subprocess
import sys
import threading
import types
import wsgiref.simple_server
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Tuple

import pytest
from conftest import ROOT
from loopback import until

import anyllm
from anyllm import errors, wsgi
from anyllm._serving import body as _body
from anyllm.channel import open_channel
from anyllm.reading import tee
from anyllm.testing import Cut, Reply, Stall, chat_events, fake, serve
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, Reasoning, RetryNotice

#: cheroot's files are Python's own in Python, and complain when they are collected after their client has gone.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function IOBase.__del__:pytest.PytestUnraisableExceptionWarning"
)

PARAMS = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
TIMEOUT = 30
KEY = "sk-very-secret-1234567890"
#: Seconds: what comes in the same test, and what does not.
SOON, NEVER = 0.01, 3600.0

Application = Callable[..., Any]
Make = Callable[[Callable[[], Any]], Application]


def ask(url: str) -> anyllm.Stream:
    options = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
    return anyllm.completion_stream(
        anyllm.Context(timeout=60), PARAMS, provider="compatible", base_url=url, api_key=KEY, options=options
    )


def open_events(*pieces: str, **more: Any) -> List[Any]:
    """Events of a stream that goes on."""
    return chat_events(pieces, finish_reason=None, usage=False, **more)


# -- applications ------------------------------------------------------------------------------------------------------


def bare(stream: Callable[[], Any], **options: Any) -> Application:
    return lambda environ, start_response: wsgi.respond(environ, start_response, stream(), **options)


def in_flask(stream: Callable[[], Any], **options: Any) -> Application:
    flask = pytest.importorskip("flask")
    app = flask.Flask("test")
    app.get("/")(lambda: wsgi.answer(stream(), **options))
    return app.wsgi_app  # type: ignore[no-any-return]


def in_flask_body(stream: Callable[[], Any], **options: Any) -> Application:
    flask = pytest.importorskip("flask")
    app = flask.Flask("test")
    options.pop("first_content_timeout", None)
    app.get("/")(lambda: flask.Response(wsgi.body(stream(), **options), headers=wsgi.headers()))
    return app.wsgi_app  # type: ignore[no-any-return]


def in_bottle(stream: Callable[[], Any], **options: Any) -> Application:
    bottle = pytest.importorskip("bottle")
    app = bottle.Bottle()
    app.get("/")(lambda: bottle.HTTPResponse(*wsgi.answer(stream(), **options)))
    return app  # type: ignore[no-any-return]


def in_django(stream: Callable[[], Any], **options: Any) -> Application:
    pytest.importorskip("django")
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import StreamingHttpResponse
    from django.urls import clear_url_caches, path

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x", ROOT_URLCONF=None, USE_I18N=False)
        django.setup()

    def view(request: Any) -> Any:
        response = wsgi.answer(stream(), **options)
        return StreamingHttpResponse(response.body, status=response.status, headers=response.headers)

    settings.ROOT_URLCONF = _Urls([path("", view)])
    clear_url_caches()
    return WSGIHandler()  # type: ignore[no-any-return]


class _Urls:
    """Where Django expects a module."""

    def __init__(self, urlpatterns: List[Any]) -> None:
        self.urlpatterns = urlpatterns


# -- servers -----------------------------------------------------------------------------------------------------------


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Wsgiref(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = False  # so that closing the server joins them


@contextlib.contextmanager
def wsgiref_server(app: Application) -> Iterator[int]:
    with wsgiref.simple_server.make_server("127.0.0.1", 0, app, _Wsgiref, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(TIMEOUT)


@contextlib.contextmanager
def cheroot_server(app: Application) -> Iterator[int]:
    cheroot = pytest.importorskip("cheroot.wsgi")
    server = cheroot.Server(("127.0.0.1", 0), app, numthreads=2, shutdown_timeout=TIMEOUT)
    server.error_log = lambda *args, **kwargs: None
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server.bind_addr[1]
    finally:
        server.stop()
        thread.join(TIMEOUT)


@contextlib.contextmanager
def waitress_server(app: Application) -> Iterator[int]:
    waitress = pytest.importorskip("waitress")
    sockets: Any = {}
    server = waitress.server.create_server(app, host="127.0.0.1", port=0, map=sockets, threads=2)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.effective_port
    finally:
        server.trigger.pull_trigger(lambda: waitress.wasyncore.close_all(sockets))  # its own thread must do it
        thread.join(TIMEOUT)
        server.task_dispatcher.shutdown(timeout=TIMEOUT)


SERVERS = [wsgiref_server, cheroot_server, waitress_server]
FRAMEWORKS = [bare, in_flask, in_flask_body, in_django, in_bottle]


@contextlib.contextmanager
def client(port: int, method: str = "GET") -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request(method, "/")
        with contextlib.closing(connection.getresponse()) as response:
            yield response


def next_event(response: http.client.HTTPResponse) -> Tuple[str, Any]:
    """The next event's name and data, comments left out."""
    name = ""
    while line := response.readline().decode():
        key, _, value = line.rstrip("\n").partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            assert response.readline() == b"\n"
            return name, json.loads(value)
    return "", None


DONE = ("done", {"finish_reason": "stop", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})


# -- over the wire -----------------------------------------------------------------------------------------------------


def pairs() -> List[Any]:
    found = [(server, bare) for server in SERVERS] + [(wsgiref_server, framework) for framework in FRAMEWORKS[1:]]
    return [pytest.param(*pair, id="-".join(part.__name__ for part in pair)) for pair in found]


@pytest.mark.parametrize(("server", "make"), pairs())
def test_each_piece_arrives_before_the_next_is_sent(server: Any, make: Make):
    """The model says its second piece only once the client has read the first."""
    go = threading.Event()
    with (
        serve(Reply.sse([*open_events("öne"), Stall(go), *chat_events([" two"], role=False)])) as upstream,
        server(make(lambda: ask(upstream.url))) as port,
        client(port) as response,
    ):
        assert response.status == 200
        for name, value in wsgi.headers().items():
            assert response.headers[name] == value
        assert next_event(response) == ("", {"content": "öne"})
        go.set()
        assert next_event(response) == ("", {"content": " two"})
        assert next_event(response) == DONE
        assert next_event(response) == ("", None)
    assert anyllm.active_streams() == 0


@pytest.mark.parametrize(("server", "make"), pairs())
@pytest.mark.parametrize("format", ["sse", "ndjson"])
def test_a_client_that_leaves_a_silent_model_ends_the_call(server: Any, make: Any, format: str):
    streams: List[anyllm.Stream] = []
    with serve(Reply.sse([*open_events("one"), Stall()])) as upstream:

        def stream() -> anyllm.Stream:
            streams.append(ask(upstream.url))
            return streams[-1]

        with server(make(stream, format=format, keep_alive=SOON)) as port:
            with client(port) as response:
                assert any(b"one" in line for line in iter(response.readline, b""))  # keep-alives may come before it
                assert upstream.open_connections == 1
            assert upstream.wait_closed(TIMEOUT)
        error = streams[0].errors.get(timeout=TIMEOUT)
        assert isinstance(error, errors.Cancelled)
        assert error.cause == "the client has left"


@pytest.mark.parametrize("make", FRAMEWORKS)
def test_a_client_that_leaves_before_the_first_word_ends_the_call(make: Any):
    with (
        serve(Reply.sse([Stall()])) as upstream,
        wsgiref_server(make(lambda: ask(upstream.url), first_content_timeout=0, keep_alive=SOON)) as port,
    ):
        with client(port) as response:
            assert response.readline() == b": keep-alive\n"
        assert upstream.wait_closed(TIMEOUT)


@pytest.mark.parametrize("server", SERVERS)
def test_an_answer_waits_no_longer_than_a_silence_for_a_client_that_may_have_left(server: Any):
    """Nothing is written before the answer begins; only a write shows that nobody reads."""
    with (
        serve(Reply.sse([Stall()])) as upstream,
        server(bare(lambda: ask(upstream.url), keep_alive=SOON)) as port,
        socket.create_connection(("127.0.0.1", port), TIMEOUT) as leaving,
    ):
        leaving.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        upstream.wait_for_requests(1)
        leaving.close()
        assert upstream.wait_closed(TIMEOUT)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("seconds", [0, SOON])
def test_one_silence_shows_that_a_client_has_left(server: Any, seconds: float):
    """The next is an hour away. The first write succeeds, because the client's system has not answered it yet."""
    with (
        serve(Reply.sse([Stall()])) as upstream,
        server(bare(lambda: ask(upstream.url), first_content_timeout=seconds, keep_alive=NEVER)) as port,
        socket.create_connection(("127.0.0.1", port), TIMEOUT) as leaving,
    ):
        leaving.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        upstream.wait_for_requests(1)
        leaving.close()
        assert upstream.wait_closed(TIMEOUT)


def test_an_error_in_the_first_moments_has_its_status():
    """Of a call that fails late, but before a silence is broken."""
    pair = Pair()
    timer = threading.Timer(0.05, pair.end, [errors.NetworkError("x")])
    timer.start()
    assert wsgi.answer(pair).status == 502
    timer.join(TIMEOUT)


@pytest.mark.parametrize("make", [make for make in FRAMEWORKS if make is not in_flask_body])
def test_an_error_before_the_first_word_has_its_status(make: Any):
    refused = {"error": {"message": f"key {KEY} of org-1 has too many requests", "code": "rate_limit_exceeded"}}
    with (
        serve(Reply.json(refused, 429, headers={"Retry-After": "6.5"})) as upstream,
        wsgiref_server(make(lambda: ask(upstream.url))) as port,
        client(port) as response,
    ):
        assert response.status == 429
        assert response.headers["Retry-After"] == "7"
        assert response.headers["Content-Type"] == "application/json"
        assert json.loads(response.read()) == {
            "error": {
                "type": "RateLimitError",
                "message": "The model has too many requests now.",
                "is_retryable": True,
                "retry_after": 7,
            }
        }


@pytest.mark.parametrize("make", FRAMEWORKS)
@pytest.mark.parametrize("format", ["sse", "ndjson"])
def test_an_error_after_the_first_word_is_the_last_event(make: Any, format: str):
    with (
        serve(Reply.sse([*open_events("one"), Cut("eof")])) as upstream,
        wsgiref_server(make(lambda: ask(upstream.url), format=format)) as port,
        client(port) as response,
    ):
        assert response.status == 200
        events = response.read().decode().rstrip("\n").split("\n\n" if format == "sse" else "\n")
    assert len(events) == 2
    name, _, data = events[-1].rpartition("data: ")
    assert name == ("event: error\n" if format == "sse" else "")
    assert json.loads(data)["error"]["type"] == "ConnectionLostError"
    assert "Traceback" not in data


def test_a_text_that_is_cut_off_is_not_whole_to_the_client():
    """A text has no place to say so: the connection breaks."""
    with (
        serve(Reply.sse([*open_events("one"), Cut("eof")])) as upstream,
        cheroot_server(bare(lambda: ask(upstream.url), format="text")) as port,
        client(port) as response,
    ):
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.read(3) == b"one"
        with pytest.raises(http.client.IncompleteRead):
            response.read()


def test_head_has_no_body_and_ends_the_call():
    with (
        serve(Reply.sse([*open_events("one"), Stall()])) as upstream,
        cheroot_server(bare(lambda: ask(upstream.url))) as port,
        client(port, "HEAD") as response,
    ):
        assert response.status == 200
        assert response.read() == b""
        assert upstream.wait_closed(TIMEOUT)


def test_head_is_not_left_to_the_server():
    """Some send what they are given."""
    pair = Pair()
    pair.sender.put(piece("one"))
    assert list(wsgi.respond({"REQUEST_METHOD": "HEAD"}, lambda *_: None, pair)) == []
    assert pair.cancelled


def test_a_server_that_refuses_the_headers_ends_the_call():
    def start_response(*_: Any) -> None:
        raise AssertionError("headers already set")

    with serve(Reply.sse([*open_events("one"), Stall()])) as upstream:
        with pytest.raises(AssertionError, match="already set"):
            wsgi.respond({}, start_response, ask(upstream.url))
        assert upstream.wait_closed(TIMEOUT)


def test_it_keeps_to_the_standard():
    """wsgiref's own judge: types, no hop-by-hop headers, close."""
    from wsgiref.util import setup_testing_defaults
    from wsgiref.validate import validator

    environ: Any = {}
    setup_testing_defaults(environ)
    environ["QUERY_STRING"] = ""
    with serve(Reply.sse(chat_events("one"))) as upstream:
        result = validator(bare(lambda: ask(upstream.url)))(environ, lambda *_: lambda data: None)
        assert b"".join(result).endswith(b"\n\n")
        result.close()


# -- the body ----------------------------------------------------------------------------------------------------------


def piece(content: Optional[str] = None, **delta: Any) -> ChatCompletionChunk:
    return ChatCompletionChunk(choices=(ChunkChoice(0, ChunkDelta(content=content, **delta)),))


class Pair:
    """A stream by hand."""

    def __init__(self) -> None:
        self.sender, self.chunks = open_channel(16)
        self.failure, self.errors = open_channel(1)
        self.cancelled: List[Any] = []

    def cancel(self, cause: Any = None) -> None:
        self.cancelled.append(cause)

    def end(self, error: Any = None) -> None:
        self.failure.close(error)
        self.sender.close()


def whole(*items: Any, error: Any = None, **options: Any) -> bytes:
    pair = Pair()
    for item in items:
        pair.sender.put(item)
    pair.end(error)
    return b"".join(wsgi.body(pair, **options))


def test_formats():
    items = (piece(role="assistant", content=""), piece("Hé\nllo"), piece(reasoning=Reasoning("hm")), piece(" you"))
    assert whole(*items).decode() == (
        'data: {"content": "Hé\\nllo"}\n\ndata: {"content": " you"}\n\nevent: done\ndata: {}\n\n'
    )
    assert whole(*items, format="ndjson").decode() == ('{"content": "Hé\\nllo"}\n{"content": " you"}\n{"done": true}\n')
    assert whole(*items, format="text").decode() == "Hé\nllo you"
    assert whole(format="text") == b""


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


def test_half_an_emoji_is_sent_all_the_same():
    assert whole(piece("\ud83d")) == b'data: {"content": "\\ud83d"}\n\nevent: done\ndata: {}\n\n'
    assert whole(piece("\ud83d"), format="text") == b"?"


def test_the_application_chooses_the_data_of_an_event():
    def event(chunk: Any) -> Any:
        return {"thought": chunk.reasoning} if chunk.reasoning else None

    said_of = whole(piece("no"), piece(reasoning=Reasoning("hm")), event=event, format="ndjson")
    assert said_of == b'{"thought": "hm"}\n{"done": true}\n'


@pytest.mark.parametrize("format", ["ndjson", "text"])
def test_a_restarted_answer_is_not_repeated(format: str):
    items = [piece("one t"), ChatCompletionChunk(retry=RetryNotice("restart")), piece("on"), piece("e two")]
    output = whole(*items, format=format)
    if format == "ndjson":
        output = "".join(json.loads(line).get("content", "") for line in output.splitlines()).encode()
    assert output == b"one two"


def test_a_restarted_answer_with_another_text_is_an_error():
    output = whole(piece("one t"), ChatCompletionChunk(retry=RetryNotice("restart")), piece("other"))
    assert b"event: error" in output
    assert b"other" not in output


def test_a_continued_answer_is_not_taken_for_a_restart():
    assert whole(piece("a"), ChatCompletionChunk(retry=RetryNotice("continue")), piece("b"), format="text") == b"ab"


def test_the_application_chooses_the_description_of_an_error():
    output = whole(
        error=errors.NetworkError("no route"), describe=lambda error: {"message": str(error)}, format="ndjson"
    )
    assert output == b'{"error": {"message": "no route"}}\n'


def test_a_silent_chat_is_waited_for_in_pieces_and_ends_with_the_body():
    """It has no channel to wait on, so it is read ahead: by a thread that ends with it."""
    stream = anyllm.Client("m", provider=fake(["one", Stall()])).chat_stream("Hi")
    content = iter(wsgi.body(stream, keep_alive=SOON))
    written = next(piece for piece in content if b"one" in piece)
    assert written.startswith(b"data: ")
    assert next(content) == b": keep-alive\n\n"
    content.close()  # type: ignore[attr-defined]
    until(lambda: all(thread.name not in ("anyllm-call", "anyllm-read-ahead") for thread in threading.enumerate()))
    failing = anyllm.Client("m", provider=fake(["one", errors.ServerError("down")])).chat_stream("Hi")
    assert b"event: error" in b"".join(wsgi.body(failing))


def test_a_silent_model_is_waited_for_in_pieces():
    pair = Pair()
    content = wsgi.body(pair, keep_alive=SOON)
    assert [next(content), next(content)] == [b": keep-alive\n\n"] * 2
    pair.sender.put(piece("one"))
    assert next(content) == b'data: {"content": "one"}\n\n'
    spaced = wsgi.body(pair, "ndjson", keep_alive=SOON)
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

    pair = Pair()
    for _ in range(5):
        pair.sender.put(piece(reasoning=Reasoning("hm")))
    pair.sender.put(piece("one"))
    pair.end()
    content = wsgi.body(pair, keep_alive=5, event=event)
    silence = [b": keep-alive\n\n"] * 3
    assert list(content) == [*silence, b'data: {"content": "one"}\n\n', b"event: done\ndata: {}\n\n"]


def test_a_text_gets_no_keep_alives(spawn: Any):
    """Nothing can be sent that would not be part of it."""
    pair = Pair()
    task = spawn(list, wsgi.body(pair, "text", keep_alive=1e-9))
    while not pair.chunks._pipes[0].receivers:
        threading.Event().wait(0.001)
    pair.end()
    assert task.join() == []


@pytest.mark.parametrize("read", [0, 1])
@pytest.mark.parametrize("leave", ["close", "let go"])
def test_a_client_that_leaves_cancels(read: int, leave: str):
    pair = Pair()
    pair.sender.put(piece("one"))
    content = wsgi.body(pair)
    for _ in range(read):
        next(content)
    if leave == "close":
        content.close()  # type: ignore[attr-defined]
        content.close()  # type: ignore[attr-defined]
        assert list(content) == []
    else:
        del content
        gc.collect()
    assert pair.cancelled == ["the client has left"]


def test_an_exception_in_the_middle_cancels(monkeypatch: pytest.MonkeyPatch):
    """What a server kills a request with (gevent's GreenletExit, Ctrl-C) passes through."""

    def killed(chunk: Any) -> Any:
        raise KeyboardInterrupt

    pair = Pair()
    pair.sender.put(piece("one"))
    content = wsgi.body(pair, event=killed)
    with pytest.raises(KeyboardInterrupt):
        next(content)
    assert pair.cancelled


def test_a_bug_in_the_middle_cancels_and_is_not_shown(caplog: pytest.LogCaptureFixture):
    def bug(chunk: Any) -> Any:
        raise ZeroDivisionError("secret")

    pair = Pair()
    pair.sender.put(piece("one"))
    output = b"".join(wsgi.body(pair, event=bug))
    assert pair.cancelled
    assert b"InternalError" in output
    assert b"secret" not in output
    assert "secret" in caplog.text


def test_a_bug_that_looks_like_an_end_is_none():
    for kind in (StopIteration, queue.Empty):

        def bug(chunk: Any, kind: Any = kind) -> Any:
            raise kind

        assert b"event: error" in whole(piece("one"), event=bug)


def test_closing_from_elsewhere_frees_the_body(spawn: Any):
    with serve(Reply.sse([Stall()])) as upstream:
        content = wsgi.body(ask(upstream.url), keep_alive=NEVER)
        task = spawn(list, content)
        upstream.wait_for_requests(1)
        content.close()  # type: ignore[attr-defined]
        assert task.join() == []
        assert upstream.wait_closed(TIMEOUT)


def test_a_stream_that_is_over_is_not_cancelled():
    with serve(Reply.sse(chat_events("one"))) as upstream:
        stream = ask(upstream.url)
        content = wsgi.body(stream)
        list(content)
        content.close()  # type: ignore[attr-defined]
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
    source = kind("one", piece(" two"))
    assert b"".join(wsgi.body(source, "text")) == b"one two"
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


def test_other_objects_than_streams_are_refused():
    with pytest.raises(TypeError):
        wsgi.body(5)
    with pytest.raises(TypeError, match="pass the stream, not its chunks"):
        wsgi.body(open_channel()[1])
    assert b"InternalError" in b"".join(wsgi.body([5]))
    with pytest.raises(ValueError, match=r"one of sse, ndjson, .*, not 'xml'"):
        wsgi.body([], "xml")
    with pytest.raises(ValueError, match="one of"):
        wsgi.headers("xml")


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_seconds_are_checked(seconds: float):
    for call in (wsgi.body, wsgi.answer):
        with pytest.raises(ValueError, match="keep_alive must be positive"):
            call([], keep_alive=seconds)
    if seconds != 0:
        with pytest.raises(ValueError, match="first_content_timeout must not be negative"):
            wsgi.answer([], first_content_timeout=seconds)


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
    pair = Pair()
    pair.end(error)
    heads: List[str] = []
    body = b"".join(wsgi.respond({}, lambda head, _: heads.append(head), pair))
    assert heads[0].startswith(f"{status} ")
    assert json.loads(body)["error"]["message"] == wsgi.describe(error)["message"] != ""


def every(kind: type) -> List[type]:
    return [kind, *(each for sub in kind.__subclasses__() for each in every(sub))]


def test_no_error_of_the_tree_was_forgotten():
    exported = [kind for kind in every(errors.AnyLLMError) if kind.__module__ == "anyllm.errors"]
    assert {kind for kind in exported if kind is not errors.AnyLLMError} - {errors.APIError} <= {
        type(error) for error, _ in STATUSES
    }


@pytest.mark.parametrize("wait", [float("inf"), float("nan"), None])
def test_an_infinite_retry_after_is_left_out(wait: Optional[float]):
    pair = Pair()
    pair.end(errors.RateLimitError("x", retry_after=wait))
    response = wsgi.answer(pair)
    assert "Retry-After" not in response.headers
    assert b"retry_after" not in b"".join(response.body)


def test_nothing_of_the_first_content_is_lost_by_waiting_for_it():
    pair = Pair()
    for item in (piece(""), piece("one"), piece(" two")):
        pair.sender.put(item)
    pair.end()
    response = wsgi.answer(pair, "text")
    assert (response.status, response.headers) == (200, wsgi.headers("text"))
    assert b"".join(response.body) == b"one two"


def test_the_wait_for_the_first_content_ends():
    """And what goes wrong then is an event."""
    pair = Pair()
    response = wsgi.answer(pair, first_content_timeout=0, keep_alive=NEVER)
    assert response.status == 200
    pair.end(errors.NetworkError("x"))
    assert b"event: error" in b"".join(response.body)


def test_a_dropped_answer_is_cancelled():
    pair = Pair()
    response = wsgi.answer(pair, first_content_timeout=0)
    del response
    gc.collect()
    assert pair.cancelled


def test_an_error_is_logged_in_the_providers_words_and_without_the_key(caplog: pytest.LogCaptureFixture):
    with serve(Reply.json({"error": {"message": f"bad key {KEY}"}}, 401)) as upstream:
        response = wsgi.answer(ask(upstream.url))
    assert response.status == 502
    assert KEY not in b"".join(response.body).decode()
    assert "bad key [key]" in caplog.text
    assert KEY not in caplog.text


# -- under gunicorn ----------------------------------------------------------------------------------------------------

#: The stream's next silence is an hour away, so that only the first can show that nobody reads.
UNDER_GUNICORN = """
import os
import anyllm
from anyllm import wsgi

def app(environ, start_response):
    params = anyllm.CompletionParams("compatible/m", [anyllm.Message.user("hello")])
    stream = anyllm.completion_stream(anyllm.Context(), params, base_url=os.environ["UPSTREAM"])
    return wsgi.respond(environ, start_response, stream, first_content_timeout=0.01, keep_alive=3600)
"""


@pytest.mark.once
@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"], ids="{}-worker".format)
def test_gunicorn_ends_the_call_of_a_client_that_leaves(worker: str, tmp_path: Path):
    pytest.importorskip("gunicorn")
    (tmp_path / "site_under_test.py").write_text(UNDER_GUNICORN)
    command = ["-m", "gunicorn", "-k", worker, "-b", "127.0.0.1:0", "--graceful-timeout", "1", "site_under_test:app"]
    with serve(Reply.sse([Stall()])) as upstream:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "UPSTREAM": f"{upstream.url}/v1"}
        with subprocess.Popen(
            [sys.executable, *command], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        ) as gunicorn:
            assert gunicorn.stderr is not None
            killer = threading.Timer(60, gunicorn.kill)
            killer.start()
            try:
                listening = next(line for line in gunicorn.stderr if "Listening at" in line)
                port = int(re.findall(r"127.0.0.1:(\d+)", listening)[0])
                with socket.create_connection(("127.0.0.1", port), TIMEOUT) as leaving:
                    leaving.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    upstream.wait_for_requests(1, TIMEOUT)
                assert upstream.wait_closed(TIMEOUT)
                gunicorn.terminate()
                said_beside = gunicorn.stderr.read()
            finally:
                killer.cancel()
                killer.join()
                gunicorn.kill()
        assert "Traceback" not in said_beside


# -- the examples ------------------------------------------------------------------------------------------------------

RUN = """
import sys, wsgiref.simple_server
sys.path[:0] = [{examples!r}]
import {module}
server = wsgiref.simple_server.make_server("127.0.0.1", 0, {module}.{app})
print(server.server_port, flush=True)
server.handle_request()
"""


@pytest.mark.parametrize(
    ("module", "app", "needs"), [("flask_stream", "app", "flask"), ("django_stream", "application", "django")]
)
def test_an_example_streams(module: str, app: str, needs: str):
    pytest.importorskip(needs)
    go = threading.Event()
    with serve(Reply.sse([*open_events("one"), Stall(go), *chat_events([" two"], role=False)])) as upstream:
        environment = {
            **os.environ,
            "ANYLLM_MODEL": "openai/gpt-4o-mini",
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": upstream.url,
            "PYTHONPATH": str(ROOT),
        }
        program = RUN.format(examples=str(ROOT / "examples"), module=module, app=app)
        with subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                port = int(process.stdout.readline())
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
                with contextlib.closing(connection):
                    connection.request("GET", "/ask?q=Why%3F")
                    response = connection.getresponse()
                    assert next_event(response) == ("", {"content": "one"})
                    go.set()
                    assert next_event(response) == ("", {"content": " two"})
                    assert next_event(response) == DONE
                said_beside = process.communicate(timeout=TIMEOUT)[1]
            finally:
                process.kill()
        assert "Traceback" not in said_beside
        assert upstream.requests[0].json()["messages"][0]["content"] == "Why?"
