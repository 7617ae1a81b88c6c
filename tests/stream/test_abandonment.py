"""Streams that are dropped, in every way, and the backpressure of one that is read slowly."""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import sys
import threading
import types
from typing import Any, List

import loopback
import pytest
from conftest import TIMEOUT, join
from loopback import PARAMS, silent_after, until

import anyllm
from anyllm._concurrency import background
from anyllm.testing import Cut, Reply, Signal, Stall, chat_events, serve


@pytest.fixture
def sent() -> threading.Event:
    return threading.Event()


@pytest.fixture
def silent_server(sent):
    """It sends "one two" and then nothing."""
    with serve(silent_after(sent)) as server:
        yield server
        loopback.join_workers()


def ended(server: Any) -> bool:
    """Whether the worker, the socket and the count of streams are gone."""
    gc.collect()
    loopback.join_workers()
    return server.wait_closed(TIMEOUT) and anyllm.active_streams() == 0


# Ways to drop a stream.


def test_break_and_del(silent_server):
    chunks, errors = loopback.stream(silent_server.url)
    for _ in chunks:
        break
    assert anyllm.active_streams() == 1
    del chunks
    error = errors.get(timeout=TIMEOUT)
    assert type(error) is anyllm.Cancelled
    assert error.cause == "abandoned"
    assert errors.get(timeout=TIMEOUT) is None
    assert ended(silent_server)


def raise_in_the_loop(stream: anyllm.Stream) -> None:
    """The traceback holds the channel while anything holds the traceback."""
    with contextlib.suppress(LookupError):
        for _ in stream.chunks:
            raise LookupError


def drop_a_text_stream(stream: anyllm.Stream) -> None:
    assert next(stream.text_stream) == "one"


def make_a_cycle(stream: anyllm.Stream) -> None:
    page = types.SimpleNamespace(stream=stream)
    page.itself = page


@pytest.mark.parametrize("drop", [raise_in_the_loop, drop_a_text_stream, make_a_cycle])
def test_a_dropped_stream_ends(drop, silent_server, sent):
    drop(loopback.stream(silent_server.url))
    loopback.wait_for(sent)
    assert ended(silent_server)


def test_before_anything_came():
    """In the header wait: the worker is woken by its socket."""
    here = threading.Event()
    with serve(Reply(before_headers=[Signal(here), Stall()])) as server:
        chunks, errors = loopback.stream(server.url)
        loopback.wait_for(here)
        del chunks
        assert errors.get(timeout=TIMEOUT).cause == "abandoned"
        assert ended(server)


def test_with_a_full_queue():
    with serve(Reply.sse(chat_events(["word "] * 1000))) as server:
        stream = loopback.stream(server.url, buffer=2)
        until(stream.chunks.full)
        del stream
        assert ended(server)


def test_all_at_once_at_random_points(fast_switches, spawn):
    """300 streams, from 4 threads; nothing is left. A worker must not take the closed channel for a good end."""
    chance = random.Random(4)
    descriptors = loopback.descriptors() if sys.platform == "linux" else 0
    with serve(
        Reply.sse([*chat_events("a b c d e f", finish_reason=None, usage=False), Stall()], done=False)
    ) as server:
        provider = loopback.provider(server.url)

        def abandon(points: List[int]) -> None:
            for number, point in enumerate(points):
                chunks, errors = provider.completion_stream(anyllm.Context(), PARAMS)
                for _ in range(point):
                    assert chunks.get(timeout=TIMEOUT) is not None
                del chunks
                if number % 8 == 0:  # the others drop `errors` too
                    assert errors.get(timeout=TIMEOUT).cause == "abandoned"

        join([spawn(abandon, [chance.randrange(7) for _ in range(75)]) for _ in range(4)])
        assert ended(server)
    if sys.platform == "linux":
        until(lambda: loopback.descriptors() <= descriptors)


# What ends no stream.


def test_dropping_only_errors_changes_nothing():
    go_on = threading.Event()
    first, *rest = chat_events("one two")
    with serve(Reply.sse([first, Stall(go_on), *rest])) as server:
        chunks = loopback.stream(server.url).chunks
        gc.collect()
        go_on.set()
        assert "".join(chunk.content for chunk in chunks) == "one two"
        loopback.join_workers()


def test_dropping_after_the_end_keeps_the_connection():
    """The usual loop drops its channel the moment it has ended, while the worker reads the end mark."""
    with serve(Reply.sse(chat_events("one two"), framing="length")) as server:
        provider = loopback.provider(server.url)
        for _ in range(20):
            for _ in provider.completion_stream(anyllm.Context(), PARAMS).chunks:
                pass
            loopback.join_workers()
        assert server.connections == 1


# Errors that nobody received.

CUT = Reply.sse([*chat_events("one", finish_reason=None, usage=False), Cut("eof")], done=False)


def warnings(caplog: pytest.LogCaptureFixture) -> List[str]:
    background.flush_log()
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("dropped_after", [True, False], ids=["the error", "the start"])
def test_an_error_that_nobody_received_is_logged_once(dropped_after, caplog):
    """`for chunk in completion_stream(...).chunks` drops `errors` before there is one."""
    with serve(CUT) as server:
        chunks, errors = loopback.stream(server.url)
        if not dropped_after:
            errors = None
        assert [chunk.content for chunk in chunks if chunk.content] == ["one"]
        loopback.join_workers()
        assert warnings(caplog) == [] or not dropped_after
        del errors
        gc.collect()
        until(lambda: len(warnings(caplog)) == 1)
        assert "compatible: " in warnings(caplog)[0]
        assert "nobody received" in warnings(caplog)[0]


def test_a_received_error_is_not_logged(caplog):
    with serve(CUT) as server:
        chunks, errors = loopback.stream(server.url)
        assert isinstance(errors.get(timeout=TIMEOUT), anyllm.IncompleteStreamError)
        for read in (anyllm.Stream.collect, lambda stream: list(stream.text_stream)):
            with pytest.raises(anyllm.IncompleteStreamError):
                read(loopback.stream(server.url))
        loopback.join_workers()
        del chunks, errors
        gc.collect()
        assert warnings(caplog) == []


def test_a_cancelled_stream_is_not_logged(caplog, silent_server):
    stream = loopback.stream(silent_server.url)
    stream.cancel()
    del stream
    assert ended(silent_server)
    assert warnings(caplog) == []


# Backpressure.


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_slow_consumer_stops_the_provider(framing):
    """What is decoded ahead is bounded; then everything arrives."""
    all_sent = threading.Event()
    piece = "x" * 65536
    reply = Reply.sse([*chat_events([piece] * 400, usage=False), Signal(all_sent)], framing=framing)
    with serve(reply) as server:
        stream = loopback.stream(server.url, buffer=4)
        until(lambda: stream._pump._chunks_pipe.senders)  # the worker waits for room
        ahead = len(stream.partial.content or "") // len(piece)
        assert ahead <= 4 + 33  # the buffer, and one batch, in the channel or in the hand of the worker
        assert stream.chunks.full()
        assert not all_sent.is_set()
        assert len("".join(stream.text_stream)) == 400 * len(piece)
        loopback.join_workers()


def test_what_waits_is_what_can_be_received_at_once():
    """Whatever the batch that the worker puts: nobody else must touch the stream meanwhile."""
    reply = Reply(body=[b"".join(Reply.sse(chat_events(["x"] * 2000)).body)])  # type: ignore[arg-type]
    with serve(reply) as server:
        stream = loopback.stream(server.url)
        until(lambda: stream._pump._chunks_pipe.senders)
        waiting = stream.chunks.qsize()
        low_water = stream._pump._chunks_pipe.low_water  # from here on the worker puts more
        received = [stream.chunks.get_nowait() for _ in range(waiting - low_water - 1)]
        assert None not in received
        assert stream.chunks.qsize() == low_water + 1
        stream.cancel()


def test_a_slow_consumer_is_not_a_silent_provider(later: Any):
    """The clocks stand still while the worker waits for room."""
    timeouts = anyllm.Timeouts(connect=None, first_content=100, idle=100)
    go_on = threading.Event()
    first = chat_events(["x"] * 50, finish_reason=None, usage=False)
    events = [*first, Stall(go_on), *chat_events("y", role=False)]
    with serve(Reply.sse(events, event_per_write=False)) as server:
        stream = loopback.stream(server.url, buffer=1, timeouts=timeouts)
        clock = stream._pump._attempt.content_clock
        until(lambda: stream._pump._chunks_pipe.senders and not clock.runs)  # the worker waits for room
        later.forward()
        go_on.set()
        assert stream.collect().content == "x" * 50 + "y"


# Growth.


def test_many_calls_on_one_provider_leave_nothing_behind():
    """Keys differ by call; connections, threads, descriptors and objects do not grow."""
    answer = {"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}]}
    answer["choices"][0]["finish_reason"] = "stop"  # type: ignore[index]

    def reply(request: Any) -> Reply:
        del server.requests[:]  # else the server grows
        return whole if b'"stream":true' not in request.body.replace(b" ", b"") else streamed

    whole, streamed = Reply.json(answer), Reply.sse(chat_events("x"), framing="length")
    with serve(reply) as server:
        provider = loopback.provider(server.url)

        def calls(count: int) -> None:
            for number in range(count):
                key = f"key-{number}"
                assert provider.completion(anyllm.Context(), PARAMS, api_key=key).content == "x"
                assert provider.completion_stream(anyllm.Context(), PARAMS, api_key=key).collect().content == "x"

        def objects() -> int:
            gc.collect()
            return len(gc.get_objects())

        calls(100)
        before = objects()
        descriptors = loopback.descriptors() if sys.platform == "linux" else 0
        calls(500)
        loopback.join_workers()
        assert loopback.workers() == []
        assert objects() - before < 500
        # A call may begin while the worker of the one before gives its connection back.
        assert server.connections <= 3
        assert sys.platform != "linux" or loopback.descriptors() < descriptors + 20
