"""The pump: one worker a call, one end a call, and everything that a host can do to it."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import random
import socket
import sys
import threading
from typing import Any, Dict, Iterator, List, Optional, Tuple

import loopback
import pytest
import requests
from conftest import TIMEOUT, LaterTime, at_length
from loopback import until

import anyllm
from anyllm._concurrency.clock import Clock
from anyllm._stream import answer_reader, pump, recovery
from anyllm._stream.blocking_reader import BlockingReader
from anyllm.channel import open_channel
from anyllm.errors import (
    AnyLLMError,
    APIError,
    Cancelled,
    ConnectionLostError,
    IncompleteStreamError,
    InvalidRequestError,
    MalformedStreamError,
    RateLimitError,
    ServerError,
    StreamTimeoutError,
    UnsupportedProviderError,
)
from anyllm.testing import Cut, Pause, Reply, Signal, Stall, blackhole, chat_events, serve, silent
from anyllm.types import _accumulate
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect

PARAMS: Dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
QUICK = anyllm.Retry(backoff=0.001, max_backoff=0.001)
ONCE = anyllm.Retry(attempts=1)


def ask(url: str, *, ctx: Optional[anyllm.Context] = None, params: Any = (), **options: Any) -> anyllm.Stream:
    return anyllm.completion_stream(
        ctx or anyllm.Context(timeout=60),
        {**PARAMS, **dict(params)},
        provider="compatible",
        base_url=url,
        options=anyllm.StreamingOptions(**{"retry": QUICK, **options}),
    )


def complete(url: str, **options: Any) -> anyllm.ChatCompletion:
    options = {"retry": QUICK, **options}
    return anyllm.completion(anyllm.Context(timeout=60), PARAMS, provider="compatible", base_url=url, options=options)


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


def sse(*events: Any) -> List[bytes]:
    return list(Reply.sse(events, done=False).body)  # type: ignore[arg-type]


# -- P1: the pair ------------------------------------------------------------------------------------------------------


def test_the_caller_opens_no_socket():
    """The interpreter itself reports who opens sockets and resolves names."""
    threads, is_watched = set(), []

    def audit(event: str, _: Any) -> None:
        if is_watched and event in ("socket.__new__", "socket.connect", "socket.getaddrinfo"):
            threads.add(threading.get_ident())

    sys.addaudithook(audit)  # nothing takes it away again
    with serve(Reply.sse(chat_events("hi"))) as server:
        is_watched.append(True)
        try:
            received, error = read(ask(server.url))
        finally:
            is_watched.clear()
    assert (text(received), error) == ("hi", None)
    assert threads, "the worker did not open one either"
    assert threading.get_ident() not in threads


@pytest.fixture
def slow_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tuple[threading.Event, threading.Event]]:
    waiting, go_on = loopback.hanging_resolver(monkeypatch)
    yield waiting, go_on
    go_on.set()


def test_the_call_returns_while_the_name_is_still_being_resolved(slow_resolver: Any):
    waiting, go_on = slow_resolver
    with serve(Reply.sse(chat_events("hi"))) as server:
        stream = ask(server.url)  # returns, or this test hangs in the resolver
        assert waiting.wait(TIMEOUT)
        with pytest.raises(queue.Empty):
            stream.chunks.get_nowait()
        go_on.set()
        assert text(read(stream)[0]) == "hi"


def overwrite(value: Any) -> None:
    """Replace every "before" in *value* in place, and make every list in it longer."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if inner == "before":
            value[key] = "after"
        elif isinstance(inner, (dict, list)):
            overwrite(inner)
    if isinstance(value, list):
        value.append("after")


@pytest.mark.parametrize("kind", [dict, anyllm.CompletionParams])
def test_the_request_is_fixed_when_the_call_returns(kind: Any):
    """The worker sends it later, and what the caller does with its lists meanwhile is the caller's business."""
    content = {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "before"}}]}],
        "tools": [{"type": "function", "function": {"name": "before"}}],
        "extra_headers": {"X-When": "before"},
        "extra_body": {"deep": {"er": ["before"]}},
        "stop": ["before"],
        "tool_choice": {"type": "before"},
        "response_format": {"type": "before"},
    }
    params = kind(model="m", **content)
    go = threading.Event()

    def key() -> str:  # the worker calls it before anything else
        assert go.wait(TIMEOUT)
        return "some-key"

    with serve(Reply.sse(chat_events("hi"))) as server:
        stream = anyllm.completion_stream(
            anyllm.Context(timeout=60), params, provider="compatible", base_url=server.url, api_key=key
        )
        overwrite(content)
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
    params = {**PARAMS, "model": "openai/m", **params}
    settings: Any = {"api_key": "k" * 9, "base_url": "http://127.0.0.1:9"}
    if kind is anyllm.MissingAPIKeyError or params["model"] == "compatible/m":
        settings = {}
    received, error = read(anyllm.completion_stream(anyllm.Context(timeout=60), params, **settings))
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


@pytest.mark.parametrize("ends_well", [True, False])
def test_errors_waits_for_the_end_and_chunks_can_be_received_after_it(ends_well: bool, spawn: Any):
    go = threading.Event()
    events = chat_events("one two three", finish_reason="stop" if ends_well else None)
    with serve(Reply.sse([Stall(go), *events], done=ends_well)) as server:
        stream = ask(server.url)
        waiting = spawn(stream.errors.get)
        server.wait_for_requests(1)
        assert waiting.is_alive()
        go.set()
        assert type(waiting.join()) is (type(None) if ends_well else IncompleteStreamError)
        assert stream.chunks.closed
        assert text(list(stream.chunks)) == "one two three"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "_STALL", 0.02)


@pytest.mark.usefixtures("impatient")
def test_waiting_for_errors_while_nobody_reads_full_chunks_is_warned_of(caplog: pytest.LogCaptureFixture, spawn: Any):
    with serve(Reply.sse([*chat_events("a b c d"), Stall()])) as server:
        stream = ask(server.url, buffer=1)
        until(stream.chunks.full)
        waiting = spawn(stream.errors.get)
        until(lambda: caplog.records)
        stream.cancel()
        assert isinstance(waiting.join(), Cancelled)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "read chunks to the end, or cancel" in record.message


@pytest.mark.usefixtures("impatient")
def test_waiting_for_errors_is_no_mistake_while_there_is_room(caplog: pytest.LogCaptureFixture):
    with serve(Reply.sse([*chat_events("a b", finish_reason=None), Stall()])) as server:
        stream = ask(server.url)
        until(lambda: stream.chunks.qsize() == 4)
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
            until(lambda: arrived(stream.partial, came))
        gate.set()
        received, error = read(stream)
    if came > 4:
        assert error is None
        assert received[-1].finish_reason == "stop"
    else:
        is_lost = how != "clean" and not (framing == "close" and how == "eof")  # which is a clean end to who reads
        assert type(error) is (ConnectionLostError if is_lost else IncompleteStreamError)
        assert error.is_retryable
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
        error = read(ask(server.url, params={"n": 2}))[1]
    assert type(error) is IncompleteStreamError
    assert [choice.finish_reason for choice in error.partial.choices] == [None, "stop"]


def test_a_silent_host_after_the_finish_reason_is_done(monkeypatch: pytest.MonkeyPatch):
    """Some hosts neither say [DONE] nor hang up."""
    monkeypatch.setattr(answer_reader, "_TAIL", 0.05)
    with serve(Reply.sse([*ANSWER, Stall()])) as server:
        received, error = read(ask(server.url))
        assert (text(received), error) == ("one two three", None)
        assert server.wait_closed()


def test_a_silent_host_before_the_finish_reason_is_not_done(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answer_reader, "_TAIL", 0.01)
    with serve(Reply.sse([*ANSWER[:-1], Stall()])) as server:
        error = read(ask(server.url, timeouts=anyllm.Timeouts(idle=0.2)))[1]
    assert isinstance(error, StreamTimeoutError)


def test_what_follows_the_finish_reason_is_still_read():
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
    b"",
    b"\n\n",
    b"\r",
    b"data: ",
    b"null",
    b"5",
    b"\x00",
    b"\xff",
    b"error: x\n",
    *map(bytes, zip(b'{}[]"\\:,')),
]


def mutated(chance: random.Random) -> bytes:
    body = chance.choice(GOOD_BODIES)
    for _ in range(chance.randrange(1, 4)):
        start = chance.randrange(len(body) + 1)
        end = start + chance.choice((0, 1, 5, 40, len(body)))
        body = body[:start] + chance.choice([*SPICES, 2 * body[start:end], bytes([chance.randrange(256)])]) + body[end:]
    return body


@pytest.mark.partly
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_mutated_bodies_end_in_one_way_or_the_other(framing: str):
    """Our own errors only, and both channels always close."""
    chance = random.Random(framing)
    bodies = [mutated(chance) for _ in range(at_length(700, default=150))]
    classes = set()
    with serve(*(Reply(body=[body], framing=framing) for body in bodies)) as server:
        for body in bodies:
            error = read(ask(server.url, retry=ONCE))[1]
            assert error is None or isinstance(error, AnyLLMError), body
            assert "bug" not in str(error), body
            assert "\n" not in str(error), body
            classes.add(type(error).__name__)
    assert classes >= {"NoneType", "IncompleteStreamError", "MalformedStreamError"}
    assert anyllm.active_streams() == 0


# -- P7: four clocks ---------------------------------------------------------------------------------------------------

PING = [b": ping\n\n", Pause(0.01)]
EMPTY = {"choices": [{"index": 0, "delta": {"content": ""}}]}
LIVENESS = {
    "comments": PING,
    "empty deltas": [*sse(EMPTY), Pause(0.01)],
    "roles": [*sse(ANSWER[0]), Pause(0.01)],
    "silence": [Stall()],
}


def clock_of(error: Optional[AnyLLMError]) -> str:
    assert isinstance(error, StreamTimeoutError), error
    assert isinstance(error, TimeoutError)
    assert f"waited {error.seconds:g} s" in str(error)
    return error.clock


@pytest.mark.parametrize("kind", LIVENESS)
@pytest.mark.parametrize(("clock", "begun"), [("first_content", ANSWER[:1]), ("idle", ANSWER[:3])])
def test_liveness_sets_no_clock_back(clock: str, begun: List[Any], kind: str):
    with serve(Reply(body=[b"".join(sse(*begun)), *LIVENESS[kind] * 3000])) as server:
        received, error = read(ask(server.url, timeouts=anyllm.Timeouts(**{clock: 0.2})))
        assert clock_of(error) == clock
        assert error.seconds == 0.2
        assert text(received) == ("one two" if clock == "idle" else "")
        assert (error.partial.content if error.partial else "") == text(received)
        server.wait_for_requests(1)
        assert len(server.requests) == 1  # the host has the request, and may be working on it
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


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(before_headers=[Stall()]),
        # Each byte would start a time-out of `requests` again.
        Reply(before_headers=[b"HTTP/1.1 200 OK\r\nX-Slow: ", *[b"x", Pause(0.01)] * 3000]),
        Reply(status=500, body=[b"oh", Stall()]),
        Reply(body=[b'{"choices"', *PING * 3000], content_type="application/json"),
    ],
    ids=["no headers", "slow headers", "an error without end", "a whole answer without end"],
)
def test_a_host_without_content_meets_the_first_content_clock(reply: Reply, whole: bool):
    timeouts = anyllm.Timeouts(first_content=0.1)
    with serve(reply) as server:
        if whole:
            with pytest.raises(StreamTimeoutError) as caught:
                complete(server.url, timeouts=timeouts)
            error = caught.value
        else:
            error = read(ask(server.url, timeouts=timeouts))[1]
    assert clock_of(error) == "first_content"


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


def limit_attempts(monkeypatch: pytest.MonkeyPatch, clock: str, limits: List[float]) -> None:
    """Give the *clock* of the first attempts these *limits*, in seconds; later attempts have the configured one."""
    start = Clock.start

    def limited(self: Clock, name: str, seconds: Any, **more: Any) -> None:
        start(self, name, limits.pop(0) if name == clock and limits else seconds, **more)

    monkeypatch.setattr(Clock, "start", limited)


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
            loopback.join_workers()
            assert server.connections == 1, "a worker that was replaced went on"
    finally:
        go_on.set()


def test_a_name_that_never_resolves_gets_all_attempts(slow_resolver: Any, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, "anyllm"):
        stream = ask("http://127.0.0.1:9", timeouts=anyllm.Timeouts(connect=0.02), debug=True)
        assert clock_of(read(stream)[1]) == "connect"
    assert caplog.text.count("attempt begins") == 3


def test_cancelling_frees_the_caller_after_a_worker_was_replaced(slow_resolver: Any, monkeypatch: pytest.MonkeyPatch):
    failed = threading.Event()
    monkeypatch.setattr(recovery, "pause_before_retry", lambda *_: failed.set() or 1000.0)
    stream = ask("http://127.0.0.1:9", ctx=anyllm.Context(), timeouts=anyllm.Timeouts(connect=0.02))
    assert failed.wait(TIMEOUT)
    stream.cancel()
    assert isinstance(read(stream)[1], Cancelled)
    slow_resolver[1].set()
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


def whole_answer(content: str) -> Reply:
    return Reply.json({"choices": [{"index": 0, "message": {"content": content}, "finish_reason": "stop"}]})


def test_no_clock_runs_while_a_whole_answer_is_parsed(monkeypatch: pytest.MonkeyPatch, later: LaterTime):
    """The provider has done its part."""
    parse = OpenAIChatDialect.response

    def slow(self: Any, body: bytes) -> Any:
        later.forward()
        return parse(self, body)

    monkeypatch.setattr(OpenAIChatDialect, "response", slow)
    with serve(whole_answer("x")) as server:
        provider = anyllm.provider("compatible", base_url=server.url)
        assert provider.completion(anyllm.Context(), PARAMS).content == "x"
        assert later.ahead


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("how", ["reset", "eof"])
@pytest.mark.parametrize("where", ["before_headers", "body"])
def test_a_connection_that_breaks_before_the_first_content_is_tried_again(where: str, how: str, whole: bool):
    """Nobody has received anything of it, however good its headers were."""
    begun = sse({"choices": [{"index": 0, "delta": {"role": "assistant"}}]}) if where == "body" else []
    broken = Reply(**{where: [*begun, Cut(how)]})
    with serve(broken, broken, whole_answer("one two three") if whole else Reply.sse(ANSWER)) as server:
        answer = complete(server.url) if whole else ask(server.url).collect()
        assert answer.content == "one two three"
        assert len(server.requests) == 3


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
    monkeypatch.setattr(Clock, "_check_at", lambda *args: looks.append(args))
    with serve(Reply.sse(ANSWER)) as server:
        timeouts = anyllm.Timeouts(connect=None, first_content=None, idle=None)
        assert read(ask(server.url, timeouts=timeouts))[1] is None
    assert all(limit.name == "tail" for _, _, limit in looks)


def test_a_host_that_is_silent_after_a_slow_consumer_meets_its_clock(later: LaterTime):
    silence = threading.Event()
    with serve(Reply.sse([*chat_events(["x"] * 50, finish_reason=None), Signal(silence), Stall()])) as server:
        timeouts = anyllm.Timeouts(connect=None, first_content=100, idle=100)
        stream = ask(server.url, ctx=anyllm.Context(), buffer=1, timeouts=timeouts)
        clock = stream._pump._attempt.content_clock
        until(lambda: stream.chunks.full() and not clock.runs)
        received = [stream.chunks.get() for _ in range(51)]  # all but the usage
        assert silence.wait(TIMEOUT)
        stream.chunks.get()
        until(lambda: clock.runs)
        later.forward()
        assert clock_of(read(stream)[1]) == "idle"
    assert text(received) == "x" * 50


def test_with_a_session_of_the_callers_the_connect_clock_stays_off():
    """Its adapters do not say when they have connected; an answer that takes its time is not a slow connection."""
    with requests.Session() as session, serve(Reply.sse([Pause(0.3), *ANSWER[:2], Pause(0.3), *ANSWER[2:]])) as server:
        timeouts = anyllm.Timeouts(connect=0.1)
        provider = anyllm.provider("compatible", base_url=server.url, session=session, timeouts=timeouts)
        stream = provider.completion_stream(anyllm.Context(timeout=60), PARAMS)
        assert read(stream)[1] is None


# -- P8: retry only before the first content ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_a_status_that_may_pass_is_tried_again(status: int):
    with serve(Reply.error(status, "later"), Reply.sse(ANSWER)) as server:
        received, error = read(ask(server.url))
        assert (text(received), error) == ("one two three", None)
        assert len(server.requests) == 2
        assert server.requests[0].body == server.requests[1].body


#: By name: the reply, parameters of the request, and the class of the error.
FINAL: Dict[str, Tuple[Reply, Any, type]] = {
    **{str(status): (Reply.error(status, "no"), {}, APIError) for status in (400, 401, 402, 403, 404, 413, 422, 307)},
    # Its connection did not break: the host sends the same the next time.
    "a page": (Reply.text("<html>It works!</html>", content_type="text/html"), {}, MalformedStreamError),
    "bad temperature": (Reply.error(400, "bad temperature"), {}, APIError),
    "another status": (Reply.error(401, "stream_options"), {}, APIError),
    "the caller's True": (
        Reply.error(400, "stream_options"),
        {"stream_options": {"include_usage": True}},
        APIError,
    ),
    "the caller's False": (
        Reply.error(400, "stream_options"),
        {"stream_options": {"include_usage": False}},
        APIError,
    ),
}


@pytest.mark.parametrize(("reply", "params", "kind"), FINAL.values(), ids=FINAL)
def test_a_failure_that_will_not_pass_is_not_tried_again(reply: Reply, params: Any, kind: type):
    with serve(reply, Reply.sse(ANSWER)) as server:
        assert isinstance(read(ask(server.url, params=params))[1], kind)
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


def test_after_a_buffers_worth_of_empty_chunks_nothing_is_tried_again():
    """The caller has received them by then."""
    with serve(Reply.sse([EMPTY] * 9 + [OVERLOADED], done=False), Reply.sse(ANSWER)) as server:
        received, error = read(ask(server.url, buffer=8))
        assert isinstance(error, ServerError)
        assert (len(received), len(server.requests)) == (9, 1)


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


def test_a_flood_that_says_nothing_keeps_no_chunk_back():
    """As long as the socket has more, chunks wait for more of their kind; comments are none."""
    sender, channel = open_channel(64)
    sizes = []

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
                sizes.append(channel.qsize())
            yield f"data: {json.dumps(last)}\n\n".encode()

    clock = Clock(lambda *_: None)
    reader = answer_reader.AnswerReader(
        *(_accumulate.Assembler(), anyllm.StreamingOptions(), clock, lambda: False),
        lambda: setattr(reader, "committed", True),
    )
    with contextlib.suppress(IncompleteStreamError):
        BlockingReader(reader, Flood(), sender).read(OpenAIChatDialect().decoder())  # type: ignore[arg-type]
    clock.stop()
    assert sizes == [2, 2, 2]


def test_a_worker_woken_from_that_wait_first_ends_the_call_itself(monkeypatch: pytest.MonkeyPatch):
    """Whoever ends the context wakes it and ends the call, one after the other; it may be gone in between."""
    started, ctx = threading.Event(), anyllm.Context()

    def pause(*_: Any) -> float:
        started.wait(TIMEOUT)
        stream._pump._unwatch()
        ctx.cancel("enough")
        return 1000.0

    monkeypatch.setattr(recovery, "pause_before_retry", pause)
    with serve(Reply.error(429, "later")) as server:
        stream = ask(server.url, ctx=ctx)
        started.set()
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


def test_stream_options_are_dropped_once_only():
    with serve(Reply.error(400, "stream_options")) as server:
        assert isinstance(read(ask(server.url))[1], InvalidRequestError)
        assert len(server.requests) == 2


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_a_bug_of_ours_ends_the_stream_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr("anyllm._framing.body_events.BodyParser.feed", lambda *_: 1 / 0)
    with serve(Reply.sse(ANSWER)) as server:
        error = read(ask(server.url))[1]
    assert "bug in anyllm: ZeroDivisionError" in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert caplog.records[0].levelno == logging.ERROR


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
