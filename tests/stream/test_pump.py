"""The pump: one worker a call, one end a call, and everything that a host can do to it."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import queue
import random
import socket
import sys
import threading
import time
from typing import Any, Callable, Iterator, List, Optional, Set, Tuple

import loopback
import pytest
from conftest import LaterTime, at_length

import anyllm
from anyllm._concurrency import clock as _clock
from anyllm._stream import answer_reader as _reader
from anyllm._stream import pump, recovery
from anyllm.channel import open_channel
from anyllm.errors import (
    AnyLLMError,
    APIError,
    Cancelled,
    ConnectionLostError,
    DeadlineExceeded,
    IncompleteStreamError,
    InvalidRequestError,
    NetworkError,
    RateLimitError,
    ServerError,
    StreamTimeoutError,
    UnsupportedProviderError,
)
from anyllm.testing import Cut, Pause, Reply, Signal, Stall, blackhole, chat_events, serve, silent
from anyllm.types import _accumulate
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect

TIMEOUT = 30
HELLO = [{"role": "user", "content": "hello"}]
QUICK = anyllm.Retry(backoff=0.001, max_backoff=0.001)
ONCE = anyllm.Retry(attempts=1)


def ask(url: str, *, ctx: Optional[anyllm.Context] = None, retry: anyllm.Retry = QUICK, **more: Any) -> anyllm.Stream:
    timeouts = more.pop("timeouts", anyllm.Timeouts())
    how = {"buffer": more.pop("buffer", 64), "debug": more.pop("debug", False)}
    options = anyllm.StreamingOptions(retry=retry, timeouts=timeouts, **how)
    params = {"model": "m", "messages": HELLO, **more}
    return anyllm.completion_stream(
        ctx or anyllm.Context(timeout=60), params, provider="compatible", base_url=url, options=options
    )


def read(stream: anyllm.Stream) -> Tuple[List[anyllm.ChatCompletionChunk], Optional[AnyLLMError]]:
    """All chunks, and the error; the error must be there when the chunks have ended, without waiting."""
    chunks, errors = stream
    received = list(chunks)
    error = errors.get_nowait()
    assert chunks.closed
    assert errors.closed
    for channel in stream:
        assert [channel.get(), channel.get_nowait(), channel.recv(), list(channel)] == [None, None, (None, False), []]
    return received, error


def text(chunks: List[anyllm.ChatCompletionChunk]) -> str:
    return "".join(chunk.content for chunk in chunks)


def eventually(true: Callable[[], Any]) -> None:
    """Wait for another thread to come to a state which it does not announce."""
    until = time.monotonic() + TIMEOUT
    pause = threading.Event()
    while not true():
        assert time.monotonic() < until, "it never came to that"
        pause.wait(0.001)


def sse(*events: Any) -> List[bytes]:
    return list(Reply.sse(events, done=False).body)  # type: ignore[arg-type]


# -- P1: the pair ------------------------------------------------------------------------------------------------------


class _Audit:
    """Which threads open sockets and resolve names; the interpreter itself says so."""

    def __init__(self) -> None:
        self.threads: Optional[Set[int]] = None
        sys.addaudithook(self._note)

    def _note(self, event: str, _: Any) -> None:
        if self.threads is not None and event in ("socket.__new__", "socket.connect", "socket.getaddrinfo"):
            self.threads.add(threading.get_ident())


@pytest.fixture(scope="module")
def audit() -> _Audit:
    return _Audit()


def test_the_caller_opens_no_socket(audit: _Audit):
    with serve(Reply.sse(chat_events("hi"))) as server:
        audit.threads = opened = set()
        try:
            received, error = read(ask(server.url))
        finally:
            audit.threads = None
    assert (text(received), error) == ("hi", None)
    assert opened, "the worker was not seen opening one either"
    assert threading.get_ident() not in opened


@pytest.fixture
def slow_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tuple[threading.Event, threading.Event]]:
    """Names resolve once the second event is set; the first says that somebody is waiting."""
    asked, go = threading.Event(), threading.Event()
    resolve = socket.getaddrinfo

    def wait_and_resolve(*args: Any, **kwargs: Any) -> Any:
        asked.set()
        assert go.wait(TIMEOUT)
        return resolve(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", wait_and_resolve)
    yield asked, go
    go.set()


def test_the_call_returns_while_the_name_is_still_being_resolved(slow_resolver: Any):
    asked, go = slow_resolver
    with serve(Reply.sse(chat_events("hi"))) as server:
        stream = ask(server.url)  # returns, or this test hangs in the resolver
        assert asked.wait(TIMEOUT)
        with pytest.raises(queue.Empty):
            stream.chunks.get_nowait()
        go.set()
        assert text(read(stream)[0]) == "hi"


@pytest.mark.parametrize("kind", [dict, anyllm.CompletionParams])
def test_the_request_is_fixed_when_the_call_returns(kind: Any):
    """The worker sends it later, and what the caller does with its lists meanwhile is the caller's business."""
    messages: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "before"}}]}]
    tools: Any = [{"type": "function", "function": {"name": "before"}}]
    headers = {"X-When": "before"}
    extra: Any = {"deep": {"er": ["before"]}}
    stop, choice, formats = ["before"], {"type": "before"}, {"type": "before"}
    params = kind(
        model="m",
        messages=messages,
        tools=tools,
        extra_headers=headers,
        extra_body=extra,
        stop=stop,
        tool_choice=choice,
        response_format=formats,
    )
    go = threading.Event()

    def key() -> str:  # the worker asks for it before anything else
        assert go.wait(TIMEOUT)
        return "some-key"

    with serve(Reply.sse(chat_events("hi"))) as server:
        stream = anyllm.completion_stream(
            anyllm.Context(timeout=60), params, provider="compatible", base_url=server.url, api_key=key
        )
        messages[0]["content"][0]["image_url"]["url"] = "after"
        messages.append("after")
        tools[0]["function"]["name"] = "after"
        headers["X-When"] = "after"
        extra["deep"]["er"].append("after")
        stop.append("after")
        choice["type"] = formats["type"] = "after"
        go.set()
        read(stream)
        (request,) = server.requests
    assert b"after" not in request.body
    assert request.body.count(b"before") == 6
    assert request.headers["x-when"] == "before"


def endless() -> Any:
    value: Any = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({"model": "gpt-4o"}, UnsupportedProviderError),
        ({"model": ""}, UnsupportedProviderError),
        ({"model": "nobody/at-all"}, UnsupportedProviderError),
        ({"model": "compatible/"}, InvalidRequestError),
        ({"model": "compatible/m"}, InvalidRequestError),  # without a base URL
        ({"model": "local/gpt-4o"}, anyllm.ModelNotFoundError),
        ({"model": "openai/m"}, anyllm.MissingAPIKeyError),
        ({"temperature": float("nan")}, InvalidRequestError),
        ({"extra_body": {"x": object()}}, InvalidRequestError),
        ({"extra_body": {"x": endless()}}, InvalidRequestError),
        ({"extra_headers": {"X": "a\nb"}}, InvalidRequestError),
        ({"extra_headers": {"X": "\u20ac"}}, InvalidRequestError),
        ({"reasoning_effort": "enormous"}, anyllm.UnsupportedParameterError),
    ],
)
def test_what_the_content_of_params_causes_arrives_on_errors(params: Any, kind: type, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    params = {"model": "openai/m", "messages": HELLO, **params}
    wanted: Any = {"api_key": "k" * 9, "base_url": "http://127.0.0.1:9"}
    if kind is anyllm.MissingAPIKeyError or params["model"] == "compatible/m":
        wanted = {}
    received, error = read(anyllm.completion_stream(anyllm.Context(timeout=60), params, **wanted))
    assert received == []
    assert type(error) is kind
    assert "bug" not in str(error)
    assert error.partial is None


@pytest.mark.usefixtures("fast_switches")
@pytest.mark.parametrize("ends_well", [True, False])
def test_the_error_is_there_before_chunks_closes(ends_well: bool):
    """So `errors.get()` after the loop never waits; `read` asks without waiting."""
    reply = Reply.sse(chat_events("hi", finish_reason="stop" if ends_well else None), done=ends_well)
    with serve(reply) as server:
        for _ in range(100):
            error = read(ask(server.url))[1]
            assert (error is None) == ends_well


def test_errors_asked_early_waits_for_the_end(spawn: Any):
    go = threading.Event()
    with serve(Reply.sse([Stall(go), *chat_events("hi")])) as server:
        stream = ask(server.url)
        waiting = spawn(stream.errors.get)
        server.wait_for_requests(1)
        assert waiting.is_alive()
        go.set()
        assert waiting.join() is None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "_STALL", 0.02)


@pytest.mark.usefixtures("impatient")
def test_waiting_for_errors_while_nobody_reads_full_chunks_is_warned_of(caplog: pytest.LogCaptureFixture, spawn: Any):
    with serve(Reply.sse([*chat_events("a b c d"), Stall()])) as server:
        stream = ask(server.url, buffer=1)
        eventually(stream.chunks.full)
        waiting = spawn(stream.errors.get)
        eventually(lambda: caplog.records)
        stream.cancel()
        assert isinstance(waiting.join(), Cancelled)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "read chunks to the end, or cancel" in record.message


@pytest.mark.usefixtures("impatient")
def test_waiting_for_errors_is_no_mistake_while_there_is_room(caplog: pytest.LogCaptureFixture):
    with serve(Reply.sse([*chat_events("a b", finish_reason=None), Stall()])) as server:
        stream = ask(server.url)
        eventually(lambda: stream.chunks.qsize() == 4)
        with pytest.raises(queue.Empty):
            stream.errors.get(timeout=0.1)
        stream.cancel()
    assert caplog.records == []


@pytest.mark.usefixtures("impatient")
def test_waiting_for_errors_is_no_mistake_while_somebody_receives(caplog: pytest.LogCaptureFixture, spawn: Any):
    with serve(Reply.sse([Stall()])) as server:
        stream = ask(server.url, buffer=1)
        reader = spawn(lambda: list(stream.chunks))
        server.wait_for_requests(1)
        with pytest.raises(queue.Empty):
            stream.errors.get(timeout=0.1)
        stream.cancel()
        assert reader.join() == []
    assert caplog.records == []


def test_a_context_already_done_starts_nothing(audit: _Audit):
    before = threading.enumerate()
    cancelled = anyllm.Context()
    cancelled.cancel("why")
    for ctx, kind in ((cancelled, Cancelled), (anyllm.Context(timeout=0), DeadlineExceeded)):
        audit.threads = opened = set()
        received, error = read(ask("http://127.0.0.1:9", ctx=ctx))
        audit.threads = None
        assert (received, opened) == ([], set())
        assert isinstance(error, kind)
    assert set(threading.enumerate()) <= set(before)
    assert anyllm.active_streams() == 0


def test_a_process_out_of_threads_is_an_error_on_errors(monkeypatch: pytest.MonkeyPatch):
    def start(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    stream = ask("http://127.0.0.1:9", ctx=anyllm.Context())
    error = read(stream)[1]
    monkeypatch.undo()
    assert type(error) is AnyLLMError
    assert "cannot start a thread" in str(error)
    assert anyllm.active_streams() == 0


def test_an_error_that_nobody_can_receive_is_logged(caplog: pytest.LogCaptureFixture):
    """``for chunk in completion_stream(...).chunks`` lets go of errors before there is one."""
    with serve(Reply.sse(chat_events("hi", finish_reason=None, usage=False), done=False)) as server:
        received = list(ask(server.url).chunks)
        eventually(lambda: caplog.records)
    assert text(received) == "hi"
    gc.collect()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "compatible: the stream ended before the finish_reason" in record.message


def test_an_error_that_was_received_is_not_logged(caplog: pytest.LogCaptureFixture):
    with serve(Reply.error(400, "no")) as server:
        assert isinstance(read(ask(server.url))[1], InvalidRequestError)
        with pytest.raises(InvalidRequestError):
            ask(server.url).collect()
        with pytest.raises(InvalidRequestError):
            list(ask(server.url).text_stream)
    gc.collect()
    assert caplog.records == []


# -- P2: nothing ends silently -----------------------------------------------------------------------------------------

ANSWER = chat_events("one two three", usage=False)  # a role, three words, the finish reason
STEPS = [*sse(*ANSWER), b"data: [DONE]\n\n"]
SO_FAR = ["", "", "one", "one two", "one two three", "one two three", "one two three"]
CUTS = [(framing, how) for framing in ("chunked", "length", "close") for how in ("clean", "eof", "reset")]


@pytest.mark.parametrize(("framing", "how"), CUTS)
@pytest.mark.parametrize("came", range(len(STEPS) + 1))
def test_a_cut_at_any_event_is_incomplete_until_the_finish_reason(framing: str, how: str, came: int):
    gate = threading.Event()
    body = [*STEPS[:came], Stall(gate), Cut(how), *STEPS[came:]]
    with serve(Reply(body=body, framing=framing)) as server:
        stream = ask(server.url, retry=ONCE)
        if came < len(STEPS):
            # A reset drops what has not arrived yet, so it must have.
            server.wait_for_requests(1)
            eventually(lambda: arrived(stream.partial, came))
        gate.set()
        received, error = read(stream)
    if came > 4:
        assert error is None
        assert received[-1].finish_reason == "stop"
    else:
        is_lost = how != "clean" and not (framing == "close" and how == "eof")  # which is a clean end to who reads
        assert type(error) is (ConnectionLostError if is_lost else IncompleteStreamError)
        assert error.provider == "compatible"
        assert (error.partial.content if error.partial else "") == SO_FAR[came]
        assert (error.partial is None) == (came == 0)
        assert (error.__cause__ is not None) == is_lost
        assert error.__cause__ is not error
    assert text(received) == SO_FAR[came]


def arrived(partial: anyllm.ChatCompletion, came: int) -> bool:
    if came == 0:
        return True
    if came > 4:
        return partial.finish_reason == "stop"
    return bool(partial.choices) and partial.content == SO_FAR[came]


@pytest.mark.parametrize("events", [[], ANSWER[:1], ANSWER[:3]])
def test_done_without_a_finish_reason_is_incomplete(events: List[Any]):
    with serve(Reply.sse(events)) as server:
        _, error = read(ask(server.url, retry=ONCE))
    assert type(error) is IncompleteStreamError
    assert "[DONE]" in str(error)


def test_every_choice_needs_its_finish_reason():
    def event(index: int, reason: Optional[str]) -> Any:
        return {"choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": reason}]}

    with serve(Reply.sse([event(0, None), event(1, None), event(1, "stop")])) as server:
        error = read(ask(server.url, n=2))[1]
    assert type(error) is IncompleteStreamError
    assert [choice.finish_reason for choice in error.partial.choices] == [None, "stop"]


def test_a_silent_host_after_the_finish_reason_is_done(monkeypatch: pytest.MonkeyPatch):
    """Some hosts neither say [DONE] nor hang up."""
    monkeypatch.setattr(_reader, "_TAIL", 0.05)
    with serve(Reply.sse([*ANSWER, Stall()])) as server:
        received, error = read(ask(server.url))
        assert (text(received), error) == ("one two three", None)
        assert server.wait_closed()


def test_a_silent_host_before_the_finish_reason_is_not_done(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_reader, "_TAIL", 0.01)
    with serve(Reply.sse([*ANSWER[:-1], Stall()])) as server:
        error = read(ask(server.url, timeouts=anyllm.Timeouts(idle=0.2)))[1]
    assert isinstance(error, StreamTimeoutError)


def test_what_follows_the_finish_reason_is_still_read(monkeypatch: pytest.MonkeyPatch):
    """Usage comes last, and the tail clock begins again with any data."""
    usage = chat_events("x")[-1]
    with serve(Reply.sse([*ANSWER, Pause(0.02), usage, Pause(0.02), {"choices": [], "later": 1}])) as server:
        received, error = read(ask(server.url))
    assert error is None
    assert [chunk.usage is not None for chunk in received[-3:]] == [False, True, False]


def test_nothing_after_done_is_waited_for():
    """The connection may stay open for as long as the host likes."""
    with serve(Reply.sse([*ANSWER, "[DONE]", Stall()], done=False)) as server:
        stream = ask(server.url)
        assert text(read(stream)[0]) == "one two three"


@pytest.mark.partly
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_mutated_bodies_end_in_one_way_or_the_other(framing: str):
    """Whatever a host sends: our own errors only, and both channels always close."""
    chance = random.Random(framing)
    bodies = [mutated(chance) for _ in range(at_length(700, default=150))]
    answers = iter(bodies)

    def reply(_: Any) -> Reply:
        return Reply(body=[next(answers)], framing=framing)

    how: dict[str, int] = {}
    with serve(reply) as server:
        for body in bodies:
            error = read(ask(server.url, retry=ONCE))[1]
            assert error is None or isinstance(error, AnyLLMError), body
            assert "bug" not in str(error), body
            assert "\n" not in str(error), body
            how[type(error).__name__] = how.get(type(error).__name__, 0) + 1
    assert {"NoneType", "IncompleteStreamError", "MalformedStreamError"} <= set(how)
    assert anyllm.active_streams() == 0


WHOLE = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
GOOD_BODIES = [
    b"".join([*sse(*chat_events("a b \u20ac")), b"data: [DONE]\n\n"]),
    b"".join(sse(*chat_events("a b"))).replace(b"\n", b"\r\n"),
    b"\n".join(json.dumps(event).encode() for event in chat_events("a b")),
    json.dumps(chat_events("a b"), indent=1).encode(),
    json.dumps(WHOLE).encode(),
    b"event: error\n" + sse({"error": {"message": "no", "code": 429}})[0],
]
SPICES = [
    b"\n\n",
    b"\r",
    b"data: ",
    b"{",
    b"}",
    b"[",
    b'"',
    b"\\",
    b"null",
    b"\x00",
    b"\xff",
    b"error: x\n",
    b": ",
    b",",
]


def mutated(chance: random.Random) -> bytes:
    body = bytearray(chance.choice(GOOD_BODIES))
    for _ in range(chance.randrange(1, 4)):
        at, end = sorted(chance.randrange(len(body) + 1) for _ in range(2))
        kind = chance.randrange(6)
        if kind == 0:
            body[at : min(end, at + 40)] = b""
        elif kind == 1:
            body[at:at] = body[at : min(end, at + 60)]
        elif kind == 2:
            body[at:at] = chance.choice(SPICES)
        elif kind == 3:
            body[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 4:
            del body[end:]
        else:
            body = bytearray(body.replace(*chance.choice([(b'"hi"', b"5"), (b'"delta"', b"null"), (b"0", b"[]")])))
    return bytes(body)


# -- P7: four clocks ---------------------------------------------------------------------------------------------------

PING = [b": ping\n\n", Pause(0.01)]
EMPTY = [*sse({"choices": [{"index": 0, "delta": {"content": ""}}]}), Pause(0.01)]
ROLE = [*sse(ANSWER[0]), Pause(0.01)]
NAMED = [b"event: ping\ndata: {}\n\n", Pause(0.01)]
LIVENESS = {"comments": PING, "empty deltas": EMPTY, "roles": ROLE, "silence": [Stall()]}


def clock_of(error: Optional[AnyLLMError]) -> str:
    assert isinstance(error, StreamTimeoutError), error
    assert isinstance(error, TimeoutError)
    assert f"waited {error.seconds:g} s" in str(error)
    return error.clock


@pytest.mark.parametrize("kind", LIVENESS)
def test_liveness_is_no_first_content(kind: str):
    with serve(Reply(body=[*sse(ANSWER[0]), *LIVENESS[kind] * 3000])) as server:
        error = read(ask(server.url, timeouts=anyllm.Timeouts(first_content=0.2)))[1]
        assert clock_of(error) == "first_content"
        assert error.seconds == 0.2
        server.wait_for_requests(1)
        assert len(server.requests) == 1  # the host has the request, and may be working on it
        assert server.wait_closed()


@pytest.mark.parametrize("kind", LIVENESS)
def test_liveness_does_not_set_the_idle_clock_back(kind: str):
    with serve(Reply(body=[b"".join(sse(*ANSWER[:3])), *LIVENESS[kind] * 3000])) as server:
        received, error = read(ask(server.url, timeouts=anyllm.Timeouts(idle=0.2)))
        assert clock_of(error) == "idle"
        assert error.partial.content == text(received) == "one two"
        assert server.wait_closed()


@pytest.mark.parametrize("delta", [{"content": "x"}, {"reasoning_content": "x"}, {"refusal": "x"}], ids=repr)
def test_content_of_any_kind_sets_the_idle_clock_back(delta: Any, later: LaterTime):
    """More than twice the limit, in steps far below it."""
    event = sse({"choices": [{"index": 0, "delta": delta}]})
    go_on = [threading.Event() for _ in range(5)]
    steps = [step for step_over in go_on for step in (*event, Stall(step_over))]
    with serve(Reply(body=[*steps, *sse(ANSWER[-1])])) as server:
        timeouts = anyllm.Timeouts(idle=1000, first_content=1000)
        stream = ask(server.url, ctx=anyllm.Context(), timeouts=timeouts)
        for step_over in go_on:
            assert stream.chunks.get(timeout=TIMEOUT) is not None
            later.forward(600)
            step_over.set()
        assert read(stream)[1] is None


def test_a_host_that_never_sends_headers_meets_the_first_content_clock():
    with serve(Reply(before_headers=[Stall()])) as server:
        assert clock_of(read(ask(server.url, timeouts=anyllm.Timeouts(first_content=0.1)))[1]) == "first_content"


def test_a_host_that_trickles_headers_meets_the_first_content_clock():
    """Each byte would start a time-out of `requests` again."""
    trickle: List[Any] = [b"HTTP/1.1 200 OK\r\nX-Slow: "] + [b"x", Pause(0.01)] * 3000
    with serve(Reply(before_headers=trickle)) as server:
        assert clock_of(read(ask(server.url, timeouts=anyllm.Timeouts(first_content=0.2)))[1]) == "first_content"


def test_an_error_body_that_never_ends_meets_the_first_content_clock():
    with serve(Reply(status=500, body=[b"oh", Stall()])) as server:
        assert clock_of(read(ask(server.url, timeouts=anyllm.Timeouts(first_content=0.1)))[1]) == "first_content"


def test_a_whole_answer_meets_the_first_content_clock():
    with serve(Reply(body=[b'{"choices"', *PING * 3000], content_type="application/json")) as server:
        provider = anyllm.provider("compatible", base_url=server.url, timeouts=anyllm.Timeouts(first_content=0.2))
        with pytest.raises(StreamTimeoutError) as caught:
            provider.completion(anyllm.Context(timeout=60), {"model": "m", "messages": HELLO})
        provider.close()
    assert clock_of(caught.value) == "first_content"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ignores who cannot be queued")
def test_an_address_that_does_not_answer_meets_the_connect_clock():
    with blackhole() as (host, port):
        error = read(ask(f"http://{host}:{port}", retry=ONCE, timeouts=anyllm.Timeouts(connect=0.1)))[1]
    assert clock_of(error) == "connect"
    assert error.is_retryable


def test_a_tls_handshake_that_hangs_meets_the_connect_clock():
    with silent(scheme="https") as server:
        error = read(ask(server.url, timeouts=anyllm.Timeouts(connect=0.1)))[1]
        assert clock_of(error) == "connect"
        assert server.wait_for_connections(3) == 3  # a connection that fails is tried again
        assert server.wait_closed()


def test_a_name_that_never_resolves_meets_the_connect_clock(slow_resolver: Any):
    stream = ask("http://127.0.0.1:9", timeouts=anyllm.Timeouts(connect=0.05))
    assert clock_of(read(stream)[1]) == "connect"


def limit_attempts(monkeypatch: pytest.MonkeyPatch, clock: str, limits: List[float]) -> None:
    """Give the *clock* of the first attempts these *limits*, in seconds; later attempts have the configured one."""
    start = _clock.Clock.start

    def limited(self: _clock.Clock, name: str, seconds: Any, **more: Any) -> None:
        start(self, name, limits.pop(0) if name == clock and limits else seconds, **more)

    monkeypatch.setattr(_clock.Clock, "start", limited)


@pytest.mark.parametrize("slow_attempts", [1, 2])
def test_a_clock_that_finds_no_socket_keeps_the_retries(monkeypatch: pytest.MonkeyPatch, slow_attempts: int):
    """The worker is resolving a name, which nothing interrupts: another worker replaces it."""
    resolve, names, go_on = socket.getaddrinfo, [], threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        names.append(args[0])
        if len(names) <= slow_attempts:
            assert go_on.wait(TIMEOUT)
        return resolve(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    limit_attempts(monkeypatch, "connect", [0.05] * slow_attempts)
    try:
        with serve(Reply.sse(ANSWER)) as server:
            stream = ask(server.url)
            received, error = read(stream)
            assert (text(received), error) == ("one two three", None)
            assert len(names) == slow_attempts + 1
            go_on.set()
            for worker in [thread for thread in threading.enumerate() if thread.name == "anyllm-call"]:
                worker.join(TIMEOUT)
                assert not worker.is_alive()
            assert server.connections == 1, "a worker that was replaced went on"
    finally:
        go_on.set()


def test_a_name_that_never_resolves_gets_all_attempts(slow_resolver: Any, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, "anyllm"):
        stream = ask("http://127.0.0.1:9", timeouts=anyllm.Timeouts(connect=0.02), debug=True)
        assert clock_of(read(stream)[1]) == "connect"
    assert caplog.text.count("attempt begins") == 3


def test_cancelling_frees_the_caller_after_a_worker_was_replaced(slow_resolver: Any):
    patient = anyllm.Retry(attempts=2, backoff=TIMEOUT * 4, max_backoff=TIMEOUT * 4)
    ctx = anyllm.Context()
    stream = ask("http://127.0.0.1:9", ctx=ctx, timeouts=anyllm.Timeouts(connect=0.02), retry=patient)
    eventually(lambda: stream._pump._recovery.failures)
    stream.cancel()
    assert isinstance(read(stream)[1], Cancelled)
    loopback.join_workers()


def test_a_clock_that_fires_late_leaves_the_next_attempt_alone(monkeypatch: pytest.MonkeyPatch):
    """Its thread may not have been scheduled for a moment, and its attempt has ended by itself meanwhile."""
    fired, second, late = threading.Event(), threading.Event(), threading.Event()
    on_timeout = pump.Pump._on_timeout

    def delayed(self: pump.Pump, limit: Any, seconds: float) -> None:
        fired.set()
        assert second.wait(TIMEOUT)
        on_timeout(self, limit, seconds)
        late.set()

    monkeypatch.setattr(pump.Pump, "_on_timeout", delayed)

    def busy(_request: Any) -> Reply:
        assert fired.wait(TIMEOUT)
        return Reply.error(503, "busy")

    def well(_request: Any) -> Reply:
        second.set()
        assert late.wait(TIMEOUT)
        return Reply.sse(ANSWER)

    answers = iter([busy, well])
    limit_attempts(monkeypatch, "first_content", [0.1])
    with serve(lambda request: next(answers)(request)) as server:
        received, error = read(ask(server.url))
        assert (text(received), error) == ("one two three", None)


def test_no_clock_runs_while_a_whole_answer_is_parsed(monkeypatch: pytest.MonkeyPatch, later: LaterTime):
    """The provider has done its part."""
    parse = OpenAIChatDialect.response

    def slow(self: Any, body: bytes) -> Any:
        later.forward()
        return parse(self, body)

    monkeypatch.setattr(OpenAIChatDialect, "response", slow)
    whole = {"id": "1", "model": "m", "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}
    with serve(Reply.json(whole)) as server:
        provider = anyllm.provider("compatible", base_url=server.url)
        assert provider.completion(anyllm.Context(), {"model": "m", "messages": HELLO}).content == "x"
        assert later.ahead


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("how", ["reset", "eof"])
def test_a_connection_that_breaks_before_the_first_content_is_tried_again(how: str, whole: bool):
    """Nobody has seen anything of it, however good its headers were."""
    broken = Reply(body=[*sse({"choices": [{"index": 0, "delta": {"role": "assistant"}}]}), Cut(how)])
    message = {"choices": [{"index": 0, "message": {"content": "one two three"}, "finish_reason": "stop"}]}
    with serve(broken, broken, Reply.json(message) if whole else Reply.sse(ANSWER)) as server:
        provider = anyllm.provider("compatible", base_url=server.url, options={"retry": QUICK})
        params = {"model": "m", "messages": HELLO}
        if whole:
            assert provider.completion(anyllm.Context(TIMEOUT), params).content == "one two three"
        else:
            assert provider.completion_stream(anyllm.Context(TIMEOUT), params).collect().content == "one two three"
        assert len(server.requests) == 3


def test_a_page_instead_of_an_answer_is_not_asked_for_again():
    """Its connection did not break: it says the same the next time."""
    page = Reply(body=[b"<html>It works!</html>"], content_type="text/html")
    with serve(page) as server:
        assert isinstance(read(ask(server.url))[1], AnyLLMError)
        assert len(server.requests) == 1


def test_the_connect_clock_ends_with_the_connection(later: LaterTime):
    here, go_on = ([threading.Event() for _ in range(2)] for _ in range(2))
    replies = [Reply.sse([Signal(here[number]), Stall(go_on[number]), *ANSWER]) for number in range(2)]
    with serve(*replies) as server:
        for number in range(2):  # the second is connected from the beginning
            stream = ask(server.url, ctx=anyllm.Context(), retry=ONCE, timeouts=anyllm.Timeouts(connect=100))
            assert here[number].wait(TIMEOUT)
            later.forward(200)
            go_on[number].set()
            assert read(stream)[1] is None
            loopback.join_workers()


@pytest.mark.parametrize("seconds", [float("inf"), 1e300])
def test_an_absurd_limit_is_no_limit(seconds: float):
    timeouts = anyllm.Timeouts(connect=seconds, first_content=seconds, idle=seconds)
    with serve(Reply.sse(ANSWER)) as server:
        assert read(ask(server.url, timeouts=timeouts))[1] is None


def test_clocks_that_are_off_are_never_looked_at(monkeypatch: pytest.MonkeyPatch):
    looks: List[Any] = []
    monkeypatch.setattr(_clock.Clock, "_check_at", lambda *args: looks.append(args))
    with serve(Reply.sse(ANSWER)) as server:
        timeouts = anyllm.Timeouts(connect=None, first_content=None, idle=None)
        assert read(ask(server.url, timeouts=timeouts))[1] is None
    assert all(limit.name == "tail" for _, _, limit in looks)


def test_a_slow_consumer_lets_no_clock_run(later: LaterTime):
    with serve(Reply.sse(chat_events(["x"] * 50))) as server:
        timeouts = anyllm.Timeouts(connect=None, idle=100, first_content=100)
        stream = ask(server.url, ctx=anyllm.Context(), buffer=1, timeouts=timeouts)
        clock = stream._pump._attempt.content_clock
        eventually(lambda: stream.chunks.full() and not clock.runs)
        later.forward()  # the caller is away for eleven days
        received, error = read(stream)
    assert (text(received), error) == ("x" * 50, None)


def test_a_host_that_is_silent_after_a_slow_consumer_meets_its_clock(later: LaterTime):
    silence = threading.Event()
    with serve(Reply.sse([*chat_events(["x"] * 50, finish_reason=None), Signal(silence), Stall()])) as server:
        timeouts = anyllm.Timeouts(connect=None, first_content=100, idle=100)
        stream = ask(server.url, ctx=anyllm.Context(), buffer=1, timeouts=timeouts)
        clock = stream._pump._attempt.content_clock
        eventually(lambda: stream.chunks.full() and not clock.runs)
        received = [stream.chunks.get() for _ in range(51)]  # all but the usage
        assert silence.wait(TIMEOUT)
        stream.chunks.get()
        eventually(lambda: clock.runs)
        later.forward()
        assert clock_of(read(stream)[1]) == "idle"
    assert text(received) == "x" * 50


def test_with_a_session_of_the_callers_the_connect_clock_stays_off():
    """Its adapters do not say when they have connected; an answer that takes its time is not a slow connection."""
    import requests

    with requests.Session() as session, serve(Reply.sse([Pause(0.3), *ANSWER[:2], Pause(0.3), *ANSWER[2:]])) as server:
        timeouts = anyllm.Timeouts(connect=0.1)
        provider = anyllm.provider("compatible", base_url=server.url, session=session, timeouts=timeouts)
        stream = provider.completion_stream(anyllm.Context(timeout=60), {"model": "m", "messages": HELLO})
        assert read(stream)[1] is None


# -- P8: retry only before the first content ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_a_status_that_may_pass_is_tried_again(status: int):
    with serve(Reply.error(status, "later"), Reply.sse(ANSWER)) as server:
        received, error = read(ask(server.url))
        assert (text(received), error) == ("one two three", None)
        assert len(server.requests) == 2
        assert server.requests[0].body == server.requests[1].body


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 307])
def test_a_status_that_will_not_pass_is_not_tried_again(status: int):
    with serve(Reply.error(status, "no"), Reply.sse(ANSWER)) as server:
        assert isinstance(read(ask(server.url))[1], APIError)
        assert len(server.requests) == 1


@pytest.mark.parametrize("attempts", [1, 2, 3, 5])
def test_attempts_are_counted_exactly(attempts: int):
    with serve(Reply.error(503, "later")) as server:
        retry = anyllm.Retry(attempts=attempts, backoff=0.001)
        assert isinstance(read(ask(server.url, retry=retry))[1], ServerError)
        assert len(server.requests) == attempts


OVERLOADED = {"error": {"message": "Overloaded", "code": 529}}


def test_an_error_event_before_content_is_tried_again_without_showing_the_role_twice():
    failed = Reply.sse([ANSWER[0], {"choices": []}, OVERLOADED], done=False)
    with serve(failed, failed, Reply.sse(ANSWER)) as server:
        received, error = read(ask(server.url))
        assert (text(received), error) == ("one two three", None)
        assert len(server.requests) == 3
    assert [chunk.choices[0].delta.role for chunk in received if chunk.choices].count("assistant") == 1
    assert len(received) == len(ANSWER)


def test_a_failed_try_leaves_no_trace_in_partial():
    failed = Reply.sse([ANSWER[0], OVERLOADED], done=False)
    with serve(failed, Reply.error(400, "no")) as server:
        error = read(ask(server.url))[1]
    assert isinstance(error, InvalidRequestError)
    assert error.partial is None


@pytest.mark.parametrize(
    "delta", [{"content": "x"}, {"reasoning_content": "x"}, {"tool_calls": [{"index": 0, "id": "a"}]}]
)
def test_after_content_nothing_is_tried_again(delta: Any):
    """No text comes twice."""
    failed = Reply.sse([{"choices": [{"index": 0, "delta": delta}]}, OVERLOADED], done=False)
    with serve(failed, Reply.sse(ANSWER)) as server:
        received, error = read(ask(server.url))
        assert isinstance(error, ServerError)
        assert len(server.requests) == len(received) == 1
        assert error.partial is not None


def test_a_host_that_says_nothing_at_length_is_not_kept_for_ever():
    """Past a buffer's worth of empty chunks the caller has seen them, so they are not shown again."""
    empty = {"choices": [{"index": 0, "delta": {}}]}
    with serve(Reply.sse([empty] * 9 + [OVERLOADED], done=False), Reply.sse(ANSWER)) as server:
        received, error = read(ask(server.url, buffer=8))
        assert isinstance(error, ServerError)
        assert (len(received), len(server.requests)) == (9, 1)


def test_a_connection_that_breaks_before_the_answer_is_tried_again():
    with serve(Reply(before_headers=[Cut("reset")]), Reply(before_headers=[Cut("eof")]), Reply.sse(ANSWER)) as server:
        assert read(ask(server.url))[1] is None
        assert len(server.requests) == 3


def test_retry_after_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    pauses: List[Any] = []
    decide = recovery.pause_before_retry

    def note(*args: Any) -> Any:
        pauses.append(decide(*args))
        return 0.0

    monkeypatch.setattr(recovery, "pause_before_retry", note)
    date = {"Date": "Sat, 01 Jan 2022 00:00:00 GMT", "Retry-After": "Sat, 01 Jan 2022 00:00:07 GMT"}
    replies = [
        Reply.error(429, "later", headers={"Retry-After": "7"}),
        Reply.error(503, "later", headers=date),
        Reply.error(500, "later", headers={"retry-after-ms": "7000"}),
        Reply.sse(ANSWER),
    ]
    with serve(*replies) as server:
        assert read(ask(server.url, retry=anyllm.Retry(attempts=9)))[1] is None
    assert pauses == [7.0, 7.0, 7.0]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "61"}, 60), ({"Retry-After": "Sat, 01 Jan 2122 00:00:00 GMT"}, 60), ({"Retry-After": "50"}, 20)],
)
def test_a_retry_after_that_is_too_long_is_raised_at_once(headers: Any, seconds: float):
    """Beyond a minute, or the time that the Context has left."""
    with serve(Reply.error(429, "later", headers=headers)) as server:
        error = read(ask(server.url, ctx=anyllm.Context(timeout=seconds)))[1]
        assert isinstance(error, RateLimitError)
        assert error.retry_after > seconds
        assert len(server.requests) == 1


@pytest.mark.parametrize("end", ["cancel", "deadline"])
def test_the_wait_before_a_retry_can_be_cancelled(end: str, monkeypatch: pytest.MonkeyPatch, later: LaterTime):
    waiting = threading.Event()

    def long_pause(*_: Any) -> float:
        waiting.set()
        return 1000.0

    monkeypatch.setattr(recovery, "pause_before_retry", long_pause)
    ctx = anyllm.Context() if end == "cancel" else anyllm.Context(timeout=1000)
    with serve(Reply.error(429, "later")) as server:
        stream = ask(server.url, ctx=ctx)
        assert waiting.wait(TIMEOUT)
        if end == "cancel":
            ctx.cancel("enough")
        else:
            later.forward()
        error = read(stream)[1]
        assert isinstance(error, Cancelled if end == "cancel" else DeadlineExceeded)
        assert len(server.requests) == 1


def test_a_flood_that_says_nothing_keeps_no_chunk_back():
    """As long as the socket has more, chunks wait for more of their kind; comments are none."""
    sender, channel = open_channel(64)
    seen = []

    class Flood:
        headers: Any = None
        broken = None
        read_size = 0

        def has_more(self) -> bool:
            return True

        def reads(self) -> Any:
            first, second, *_, last = chat_events(["one", "two"], role=False)
            yield from (f"data: {json.dumps(event)}\n\n".encode() for event in (first, second))
            for _ in range(3):
                yield b": ping\n\n"
                seen.append(channel.qsize())
            yield f"data: {json.dumps(last)}\n\n".encode()

    clock = _clock.Clock(lambda *_: None)
    reader = _reader.AnswerReader(
        *(_accumulate.Assembler(), sender, anyllm.StreamingOptions(), clock, lambda: False),
        lambda: setattr(reader, "committed", True),
    )
    with contextlib.suppress(IncompleteStreamError):
        reader.read(Flood(), OpenAIChatDialect().decoder())  # type: ignore[arg-type]
    clock.stop()
    assert seen == [2, 2, 2]


def test_a_worker_woken_from_that_wait_first_ends_the_call_itself(monkeypatch: pytest.MonkeyPatch):
    """Whoever ends the context wakes it and ends the call, one after the other; it may be gone in between."""
    known, ctx = threading.Event(), anyllm.Context()

    def pause(*_: Any) -> float:
        known.wait(TIMEOUT)
        stream._pump._unwatch()
        ctx.cancel("enough")
        return 1000.0

    monkeypatch.setattr(recovery, "pause_before_retry", pause)
    with serve(Reply.error(429, "later")) as server:
        stream = ask(server.url, ctx=ctx)
        known.set()
        error = stream.errors.get(timeout=TIMEOUT)
        assert isinstance(error, Cancelled)
        assert error.cause == "enough"
        assert stream.chunks.get(timeout=TIMEOUT) is None


@pytest.mark.parametrize("status", [400, 422])
def test_a_host_that_refuses_stream_options_is_asked_without_them(status: int):
    """We sent the parameter unasked, so its refusal is not the caller's problem; it is no retry either."""
    refusal = Reply.error(
        status, {"error": {"message": "Unknown parameter: 'stream_options'", "param": "stream_options"}}
    )
    with serve(refusal, Reply.sse(ANSWER)) as server:
        assert read(ask(server.url, retry=ONCE))[1] is None
        first, second = (request.json() for request in server.requests)
    assert first.pop("stream_options") == {"include_usage": True}
    assert second == first


def test_a_refusal_in_the_stream_shows_no_role_twice():
    refused = {"error": {"message": "stream_options: extra inputs are not permitted", "code": 400}}
    with serve(Reply.sse([ANSWER[0], refused], done=False), Reply.sse(ANSWER)) as server:
        received, error = read(ask(server.url, retry=ONCE))
        assert error is None
        assert len(server.requests) == 2
    assert len(received) == len(ANSWER)


@pytest.mark.parametrize(
    ("status", "message", "params"),
    [
        (400, "bad temperature", {}),
        (401, "stream_options", {}),
        (400, "stream_options", {"stream_options": {"include_usage": True}}),
        (400, "stream_options", {"stream_options": {"include_usage": False}}),
    ],
)
def test_other_refusals_are_final(status: int, message: str, params: Any):
    with serve(Reply.error(status, message), Reply.sse(ANSWER)) as server:
        assert isinstance(read(ask(server.url, **params))[1], APIError)
        assert len(server.requests) == 1


def test_stream_options_are_dropped_once_only():
    with serve(Reply.error(400, "stream_options")) as server:
        assert isinstance(read(ask(server.url))[1], InvalidRequestError)
        assert len(server.requests) == 2


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_an_abandoned_stream_says_so(fast_switches: None):
    """The worker must not take the closed channel for a good end, nor the cancel for somebody else's."""
    with serve(Reply.sse([*chat_events(["x"] * 20), Stall()])) as server:
        for _ in range(4):
            stream = ask(server.url, buffer=2)
            chunks, errors = stream
            del stream
            assert chunks.get() is not None
            del chunks
            gc.collect()
            error = errors.get(timeout=TIMEOUT)
            assert isinstance(error, Cancelled)
            assert error.cause == "abandoned"


def test_own_errors_keep_what_provoked_them():
    with serve(Reply(body=[*STEPS[:3], Cut("reset")])) as server:
        error = read(ask(server.url))[1]
    seen = []
    cause: Optional[BaseException] = error
    while cause is not None:
        assert cause not in seen, "an error is its own cause"
        seen.append(cause)
        cause = cause.__cause__


def test_a_bug_of_ours_ends_the_stream_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr("anyllm._framing.detect.events", lambda *_, **__: 1 / 0)
    with serve(Reply.sse(ANSWER)) as server:
        error = read(ask(server.url))[1]
    assert "bug in anyllm: ZeroDivisionError" in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert caplog.records[0].levelno == logging.ERROR


def test_what_was_put_before_the_end_can_be_received_after_it():
    with serve(Reply.sse(ANSWER[:4], done=False)) as server:
        stream = ask(server.url)
        error = stream.errors.get(timeout=TIMEOUT)
        assert isinstance(error, IncompleteStreamError)
        assert stream.chunks.closed
        assert text(list(stream.chunks)) == "one two three"


def test_a_refused_connection_is_no_timeout():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = read(ask(f"http://127.0.0.1:{unused.getsockname()[1]}"))[1]
    assert type(error) is NetworkError


def test_streams_are_counted_while_they_run(spawn: Any):
    go = threading.Event()
    with serve(Reply.sse([Stall(go), *ANSWER])) as server:
        streams = [ask(server.url) for _ in range(5)]
        server.wait_for_requests(5)
        assert anyllm.active_streams() == 5
        streams[0].cancel()
        assert anyllm.active_streams() == 4
        go.set()
        for stream in streams:
            read(stream)
    assert anyllm.active_streams() == 0
