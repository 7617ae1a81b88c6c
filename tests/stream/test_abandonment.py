"""Letting go of a stream, in every way there is, and the backpressure of one that is read slowly."""

from __future__ import annotations

import gc
import logging
import random
import sys
import threading
from typing import Any, List

import loopback
import pytest
from conftest import TIMEOUT, join
from loopback import PARAMS, silent_after, until

import anyllm
from anyllm.testing import Cut, Reply, Signal, Stall, chat_events, serve


@pytest.fixture
def said() -> threading.Event:
    return threading.Event()


@pytest.fixture
def silent_server(said):
    """It says "one two" and then nothing."""
    with serve(silent_after(said)) as server:
        yield server
        loopback.join_workers()


def ended(server: Any) -> bool:
    """Whether the worker, the socket and the count of streams are gone."""
    gc.collect()
    loopback.join_workers()
    return server.wait_closed(TIMEOUT) and anyllm.active_streams() == 0


# How one lets go.


def test_break_and_del(silent_server):
    chunks, errors = loopback.provider(silent_server.url).completion_stream(anyllm.Context(), PARAMS)
    for _ in chunks:
        break
    assert anyllm.active_streams() == 1
    del chunks
    error = errors.get(timeout=TIMEOUT)
    assert type(error) is anyllm.Cancelled
    assert error.cause == "abandoned"
    assert errors.get(timeout=TIMEOUT) is None
    assert ended(silent_server)


def test_an_exception_in_the_loop(silent_server):
    """The traceback holds the channel for as long as somebody holds the traceback."""

    def reads() -> None:
        for _ in loopback.provider(silent_server.url).completion_stream(anyllm.Context(), PARAMS).chunks:
            raise LookupError

    with pytest.raises(LookupError):
        reads()
    assert ended(silent_server)


def test_a_text_stream_that_is_dropped(silent_server):
    texts = loopback.provider(silent_server.url).completion_stream(anyllm.Context(), PARAMS).text_stream
    assert next(texts) == "one"
    del texts
    assert ended(silent_server)


def test_a_cycle_that_the_collector_finds(silent_server, said):
    class Page:
        pass

    page = Page()
    page.stream = loopback.provider(silent_server.url).completion_stream(anyllm.Context(), PARAMS)
    page.itself = page
    loopback.set_soon(said)
    del page
    assert ended(silent_server)


def test_before_anything_came():
    """In the header wait: the worker is woken by its socket."""
    here = threading.Event()
    with serve(Reply(before_headers=[Signal(here), Stall()])) as server:
        chunks, errors = loopback.provider(server.url).completion_stream(anyllm.Context(), PARAMS)
        loopback.set_soon(here)
        del chunks
        assert errors.get(timeout=TIMEOUT).cause == "abandoned"
        assert ended(server)


def test_with_a_full_queue():
    with serve(Reply.sse(chat_events(["word "] * 1000))) as server:
        options = loopback.PLAIN.evolve(buffer=2)
        stream = loopback.provider(server.url, options=options).completion_stream(anyllm.Context(), PARAMS)
        until(stream.chunks.full)
        del stream
        assert ended(server)


def test_all_at_once_at_random_points(fast_switches, spawn):
    """300 streams, from 4 threads; what is left is what there was before."""
    chance = random.Random(4)
    descriptors = loopback.descriptors() if sys.platform == "linux" else 0
    with serve(
        Reply.sse([*chat_events("a b c d e f", finish_reason=None, usage=False), Stall()], done=False)
    ) as server:
        provider = loopback.provider(server.url)

        def abandon(points: List[int]) -> None:
            for point in points:
                chunks, _ = provider.completion_stream(anyllm.Context(), PARAMS)
                for _ in range(point):
                    assert chunks.get(timeout=TIMEOUT) is not None
                del chunks

        join([spawn(abandon, [chance.randrange(7) for _ in range(75)]) for _ in range(4)])
        assert ended(server)
    if sys.platform == "linux":
        until(lambda: loopback.descriptors() <= descriptors)


# What does not let go.


def test_dropping_only_errors_changes_nothing():
    go_on = threading.Event()
    first, *rest = chat_events("one two")
    with serve(Reply.sse([first, Stall(go_on), *rest])) as server:
        stream = loopback.provider(server.url).completion_stream(anyllm.Context(), PARAMS)
        chunks, errors = stream
        del stream, errors
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
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_unread_error_is_logged_once(caplog):
    with serve(CUT) as server:
        chunks, errors = loopback.provider(server.url).completion_stream(anyllm.Context(), PARAMS)
        assert [chunk.content for chunk in chunks if chunk.content] == ["one"]
        loopback.join_workers()
        assert warnings(caplog) == []
        del errors
        gc.collect()
        loopback.until(lambda: len(warnings(caplog)) == 1)
        assert "nobody received" in warnings(caplog)[0]


def test_an_error_after_errors_was_dropped_is_logged_once(caplog):
    """`for chunk in completion_stream(...).chunks` lets go of errors before there is one."""
    with serve(CUT) as server:
        provider = loopback.provider(server.url)
        assert [c.content for c in provider.completion_stream(anyllm.Context(), PARAMS).chunks if c.content] == ["one"]
        loopback.join_workers()
        gc.collect()
        loopback.until(lambda: len(warnings(caplog)) == 1)
        assert "nobody received" in warnings(caplog)[0]


def test_a_received_error_is_not_logged(caplog):
    with serve(CUT) as server:
        provider = loopback.provider(server.url)
        chunks, errors = provider.completion_stream(anyllm.Context(), PARAMS)
        assert isinstance(errors.get(timeout=TIMEOUT), anyllm.IncompleteStreamError)
        with pytest.raises(anyllm.IncompleteStreamError):
            provider.completion_stream(anyllm.Context(), PARAMS).collect()
        with pytest.raises(anyllm.IncompleteStreamError):
            list(provider.completion_stream(anyllm.Context(), PARAMS).text_stream)
        loopback.join_workers()
        del chunks, errors
        gc.collect()
        assert warnings(caplog) == []


def test_a_cancelled_stream_is_not_logged(caplog, silent_server):
    stream = loopback.provider(silent_server.url).completion_stream(anyllm.Context(), PARAMS)
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
        options = loopback.PLAIN.evolve(buffer=4)
        stream = loopback.provider(server.url, options=options).completion_stream(anyllm.Context(), PARAMS)
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
        stream = loopback.provider(server.url).completion_stream(anyllm.Context(), PARAMS)
        until(lambda: stream._pump._chunks_pipe.senders)
        waiting = stream.chunks.qsize()
        low_water = stream._pump._chunks_pipe.low_water  # from here on the worker puts more
        received = [stream.chunks.get_nowait() for _ in range(waiting - low_water - 1)]
        assert None not in received
        assert stream.chunks.qsize() == low_water + 1
        stream.cancel()


def test_a_slow_consumer_is_not_a_silent_provider(later: Any):
    """The clocks stand still while the worker waits for room."""
    options = loopback.PLAIN.evolve(buffer=1, timeouts=anyllm.Timeouts(connect=None, first_content=100, idle=100))
    go_on = threading.Event()
    first = chat_events(["x"] * 50, finish_reason=None, usage=False)
    events = [*first, Stall(go_on), *chat_events("y", role=False)]
    with serve(Reply.sse(events, event_per_write=False)) as server:
        stream = loopback.provider(server.url, options=options).completion_stream(anyllm.Context(), PARAMS)
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
