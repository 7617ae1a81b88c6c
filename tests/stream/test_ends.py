"""
The ends of streams when the consumer is slow, the host is odd, or something interrupts the end itself.

Each was once a way to lose text, to hang, or to get another call's answer.
"""

from __future__ import annotations

import threading
from typing import Any, List

import loopback
import pytest
from conftest import TIMEOUT, LaterTime
from loopback import HEAD, LAST, PARAMS, chunk, event, raw, request_from, until

import anyllm
from anyllm import errors
from anyllm._stream import answer_reader
from anyllm.testing import Reply, chat_events, fake, serve

DONE = chunk(b"data: [DONE]\n\n") + LAST
SOON = 0.03  # seconds; what `_TAIL` is here, where it is made to pass


@pytest.fixture
def short_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_reader, "_TAIL", SOON)


def ask(url: str, **options: Any) -> anyllm.Stream:
    return loopback.stream(url, anyllm.Context(timeout=TIMEOUT), **options)


def sending(*data: bytes) -> Any:
    """A server that sends *data* and hangs up."""

    def answer(client: Any) -> None:
        request_from(client)
        client.sendall(b"".join(data))

    return raw(answer)


# -- a slow consumer ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_tail")
@pytest.mark.parametrize("last", [LAST, b""], ids=["chunked", "cut"])
def test_chunks_that_wait_for_a_slow_consumer_are_never_dropped(last: bytes):
    """The answer was whole, its connection over, and the clock for what may still come ran against the consumer."""
    pause = threading.Event()
    words = [f"{number} " for number in range(50)]

    def answer(client: Any) -> None:
        request_from(client)
        client.sendall(HEAD + chunk(event(words[0])))
        pause.wait(SOON)
        client.sendall(chunk(b"".join(map(event, words[1:])) + event(finish="stop")))
        pause.wait(3 * SOON)
        client.sendall(last)

    with raw(answer) as server:
        stream = ask(server.url, buffer=8)
        received = []
        for piece in stream.chunks:
            received.append(piece.content)
            pause.wait(SOON / 2)  # as much as the clock has, for every two
    assert "".join(received) == "".join(words)
    assert stream.errors.get() is None


def test_a_chunk_is_not_held_back_for_what_follows_it():
    """The read ended before the line end of an HTTP chunk, which is more to read and no content."""
    sent, received, pause = threading.Event(), threading.Event(), threading.Event()

    def answer(client: Any) -> None:
        request_from(client)
        client.sendall(HEAD + chunk(event("first")))
        pause.wait(SOON)
        client.sendall(chunk(event("full")))  # so is the buffer: the worker waits, and reads the rest at once
        pause.wait(SOON)
        late = event("late")
        body = b":" + b"p" * (65536 - 6 - len(late) - 3) + b"\n\n" + late
        whole = b"%x\r\n%b" % (len(body), body)
        assert len(whole) == 65536
        client.sendall(whole + b"\r\n")
        sent.set()
        assert received.wait(TIMEOUT), "held back"
        client.sendall(chunk(event("end", finish="stop")) + DONE)

    with raw(answer) as server:
        texts, stream = [], ask(server.url, buffer=1)
        assert sent.wait(TIMEOUT)
        pause.wait(SOON)
        for piece in stream.chunks:
            texts.append(piece.content)
            if piece.content == "late":
                received.set()
    assert texts == ["first", "full", "late", "end"]


# -- odd hosts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["102 Processing", "103 Early Hints"])
def test_an_interim_answer_is_not_the_answer(status: str):
    """Else that came to the next caller on the connection."""
    again = threading.Event()

    def answer(client: Any) -> None:
        while body := request_from(client):
            client.sendall(f"HTTP/1.1 {status}\r\nLink: </x>; rel=preload\r\n\r\n".encode())
            again.wait(0.05)
            who = "alice" if b"alice" in body else "bob"
            client.sendall(HEAD + chunk(event(who, finish="stop")) + DONE)

    with raw(answer) as server:
        host = loopback.provider(server.url)
        for who in ("alice", "bob", "alice"):
            params = {"model": "m", "messages": [{"role": "user", "content": who}]}
            assert host.completion_stream(anyllm.Context(timeout=TIMEOUT), params).collect().content == who
        host.close()


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", None),
        (b"200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc", "contradict"),
    ],
    ids=["another protocol", "contradictory headers"],
)
def test_an_impossible_answer_is_a_typed_error(head: bytes, message: Any):
    with sending(b"HTTP/1.1 " + head) as server, pytest.raises(errors.NetworkError, match=message):
        ask(server.url).collect()


@pytest.mark.parametrize("tail", [b"\r\n" + LAST, b"zz\r\n", b"-5\r\n"])
def test_text_before_broken_framing_is_not_lost_with_it(tail: bytes):
    """In one read with it, or in one before."""
    with sending(HEAD, chunk(event("hello")), chunk(event(" world", finish="stop")), tail) as server:
        stream = ask(server.url)
        assert "".join(piece.content for piece in stream.chunks) == "hello world"
        assert stream.errors.get() is None  # whole, as after a reset


# -- the last five seconds ---------------------------------------------------------------------------------------------


def test_another_choice_that_begins_gives_the_stream_its_time_back(monkeypatch: pytest.MonkeyPatch, later: LaterTime):
    monkeypatch.setattr(answer_reader, "_TAIL", 1000)
    go_on = threading.Event()

    def answer(client: Any) -> None:
        request_from(client)
        client.sendall(HEAD + chunk(event("one", finish="stop")))
        client.sendall(chunk(event("two", index=1)))
        assert go_on.wait(TIMEOUT)
        client.sendall(chunk(event(" more", index=1, finish="stop")) + DONE)

    with raw(answer) as server:
        stream = loopback.stream(server.url)
        until(lambda: len(stream.partial.choices) == 2)
        later.forward()
        go_on.set()
        whole = stream.collect()
    assert [choice.message.text for choice in whole.choices] == ["one", "two more"]


@pytest.mark.usefixtures("short_tail")
def test_comments_do_not_keep_a_whole_answer_waiting():
    """A host that forgets [DONE] and goes on sending keep-alives."""

    def answer(client: Any) -> None:
        request_from(client)
        client.sendall(HEAD + chunk(event("all", finish="stop")))
        pause = threading.Event()
        while not pause.wait(SOON / 5):
            client.sendall(chunk(b": alive\n\n"))

    with raw(answer) as server:
        assert ask(server.url).collect().content == "all"


# -- what interrupts an end --------------------------------------------------------------------------------------------


def silent(client: Any) -> None:
    request_from(client)
    client.sendall(HEAD + chunk(event("begun")))
    client.recv(1)


class Frozen(Exception):
    """It takes two arguments, and refuses to be changed."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__(one, two)

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("frozen")


def chain_of(count: int) -> BaseException:
    error: BaseException = ValueError("0")
    for number in range(count):
        outer = ValueError(str(number))
        outer.__context__ = error
        error = outer
    return error


@pytest.mark.parametrize("cause", [Frozen("key-of-the-tests", 2), chain_of(5000)], ids=["frozen", "long"])
def test_any_cause_ends_a_call_and_is_left_as_it_is(cause: BaseException):
    args = cause.args
    with raw(silent) as server:
        ctx = anyllm.Context()
        stream = loopback.stream(server.url, ctx)
        next(iter(stream.chunks))
        ctx.cancel(cause)
        error = stream.errors.get(timeout=TIMEOUT)
    assert type(error) is anyllm.Cancelled
    assert error.cause is cause
    assert cause.args == args or isinstance(cause, Frozen)


def test_any_error_body_ends_a_call():
    """One that is nested deeper than Python's own functions go."""
    nested = b'{"error": {"message": "no", "deep": ' + b"[" * 900 + b"]" * 900 + b"}}"
    with serve(Reply(status=400, body=[nested], content_type="application/json")) as server:
        with pytest.raises(errors.AnyLLMError):
            loopback.provider(server.url).completion(anyllm.Context(timeout=TIMEOUT), PARAMS)
        assert anyllm.active_streams() == 0


def test_ctrl_c_inside_a_cancel_frees_the_caller_all_the_same(monkeypatch: pytest.MonkeyPatch):
    with raw(silent) as server:
        ctx = anyllm.Context()
        stream = loopback.stream(server.url, ctx)
        next(iter(stream.chunks))
        original, interrupted = stream._pump._enrich, []

        def enrich(error: Any) -> Any:
            if not interrupted:
                interrupted.append(True)
                raise KeyboardInterrupt
            return original(error)

        monkeypatch.setattr(stream._pump, "_enrich", enrich)
        with pytest.raises(KeyboardInterrupt):
            ctx.cancel()
        assert type(stream.errors.get(timeout=TIMEOUT)) is anyllm.Cancelled
        assert list(stream.chunks) == []


def test_a_context_that_is_done_comes_before_what_is_wrong_with_the_request():
    ctx = anyllm.Context()
    ctx.cancel("before")
    chunks, problems = anyllm.completion_stream(ctx, {**PARAMS, "model": "no-such-provider/m"})
    assert list(chunks) == []
    assert type(problems.get()) is anyllm.Cancelled


# -- attempts ----------------------------------------------------------------------------------------------------------


def test_a_role_alone_is_no_reason_not_to_try_again_whatever_the_buffer():
    overloaded = {"error": {"message": "Overloaded.", "code": "overloaded"}}
    first = chat_events("", finish_reason=None, usage=False)[:1]
    with serve(Reply.sse([*first, overloaded], done=False), Reply.sse(chat_events("there"))) as server:
        retry = anyllm.Retry(attempts=2, backoff=0.001, max_backoff=0.001)
        assert ask(server.url, buffer=1, retry=retry).collect().content == "there"
        assert len(server.requests) == 2


def test_each_call_of_a_fake_has_an_error_of_its_own():
    host = fake(["one", errors.ServerError("broken")])
    raised: List[Any] = []
    for _ in range(2):
        with pytest.raises(errors.ServerError) as caught:
            host.completion_stream(anyllm.Context(), PARAMS, options=loopback.PLAIN).collect()
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert raised[0].partial is not raised[1].partial
    host.close()
