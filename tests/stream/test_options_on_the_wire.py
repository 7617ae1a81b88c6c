"""The effect of each option of a call at both ends of the connection."""

from __future__ import annotations

import gzip
import logging
import re
from typing import Any, List

import pytest
from conftest import TIMEOUT
from loopback import OFF, PARAMS, PLAIN, provider, until

import anyllm
from anyllm import options
from anyllm._stream import active_calls
from anyllm._transport.dechunk import Dechunker
from anyllm.channel import Sender
from anyllm.errors import DeadlineExceeded, IncompleteStreamError
from anyllm.testing import Cut, Pause, Reply, Stall, chat_events, serve


#: What a host says that is alive and gets nowhere.
def ask(url: str, how: anyllm.StreamingOptions) -> anyllm.Stream:
    return provider(url, options=how).completion_stream(anyllm.Context(TIMEOUT), PARAMS)


def test_the_total_runs_out_under_keep_alives():
    """The other clocks are in `test_pump`."""
    pings = [b": keep-alive\n\n", Pause(0.005)] * 400
    with serve(Reply(body=[*pings, Stall()], content_type="text/event-stream")) as server:
        stream = ask(server.url, PLAIN.evolve(timeouts=anyllm.Timeouts(first_content=None, idle=None, total=0.05)))
        error = stream.errors.get()
    assert isinstance(error, DeadlineExceeded)
    assert isinstance(error, TimeoutError)
    assert error.clock == "total"  # type: ignore[attr-defined]
    assert "0.05 s" in str(error)


def test_the_total_is_the_calls_own():
    """The Context goes on; if it ends first, its own error is given."""
    ctx = anyllm.Context(TIMEOUT)
    with serve(Reply.sse([Stall()])) as server:
        how = PLAIN.evolve(timeouts=anyllm.Timeouts(total=0.01))
        stream = provider(server.url).completion_stream(ctx, PARAMS, options=how)
        assert "total of 0.01 s" in str(stream.errors.get())
        assert ctx.error is None
        stream = provider(server.url).completion_stream(anyllm.Context(0.01), PARAMS, options=PLAIN)
        assert str(stream.errors.get()) == "compatible: deadline exceeded"
        with pytest.raises(DeadlineExceeded, match="total"):
            provider(server.url).completion(ctx, PARAMS, options=how)


def test_compression_is_requested_and_decoded():
    body = b"".join(Reply.sse(chat_events("one two")).body)  # type: ignore[arg-type]
    packed = Reply(body=[gzip.compress(body)], content_type="text/event-stream", headers={"Content-Encoding": "gzip"})
    with serve(packed) as server:
        assert ask(server.url, PLAIN.evolve(compression=True)).collect().content == "one two"
        assert "gzip" in server.requests[-1].headers["Accept-Encoding"]
        ask(server.url, PLAIN).collect()
        assert server.requests[-1].headers["Accept-Encoding"] == "identity"


def test_errors_have_partial_unless_it_is_turned_off():
    cut = Reply.sse([*chat_events("one two", finish_reason=None, usage=False), Cut("clean")], done=False)
    with serve(cut) as server:
        for keep, content in ((True, "one two"), (False, None)):
            stream = ask(server.url, PLAIN.evolve(keep_partial=keep))
            list(stream.chunks)
            error = stream.errors.get()
            assert isinstance(error, IncompleteStreamError)
            assert (error.partial.content if error.partial else None) == content
            assert stream.partial.content == "one two"


@pytest.mark.parametrize("size", [1, 7])
def test_reads_are_as_large_as_asked(size: int, monkeypatch: pytest.MonkeyPatch):
    sizes: List[int] = []
    feed = Dechunker.feed

    def spy(framing: Dechunker, data: bytes) -> bytes:
        sizes.append(len(data))
        return feed(framing, data)

    monkeypatch.setattr(Dechunker, "feed", spy)
    with serve(Reply.sse(chat_events("one two three four"), event_per_write=False)) as server:
        assert ask(server.url, PLAIN.evolve(read_size=size)).collect().content == "one two three four"
    assert max(sizes) == size


def test_debug_logs_each_step_and_no_secret_and_of_the_content_only_the_beginning(caplog: pytest.LogCaptureFixture):
    how = anyllm.StreamingOptions(timeouts=OFF, retry=anyllm.Retry(backoff=0), debug=True)
    secret = "key-of-the-tests"
    replies = (Reply.error(500, f"no {secret}"), Reply.sse(chat_events(["Hello", " " * 300, "very private words"])))
    with serve(*replies) as server, caplog.at_level(logging.DEBUG, "anyllm"):
        ask(server.url, how).collect()
        until(lambda: "call ended" in caplog.text)
        log = "\n".join(record.getMessage() for record in caplog.records)
        caplog.clear()
        ask(server.url, how.evolve(debug=False)).collect()
        assert not caplog.records
    steps = re.findall("attempt begins|answered: HTTP 500|attempt 1 ended|answered: HTTP 200|call ended: complete", log)
    assert steps == [
        *("attempt begins", "answered: HTTP 500", "attempt 1 ended"),
        *("attempt begins", "answered: HTTP 200", "call ended: complete"),
    ]
    assert secret not in log
    assert "private" not in log


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> List[int]:
    """How many chunks each hand-over had."""
    sizes: List[int] = []
    put_steps = Sender.put_steps

    def spy(sender: Any, items: Any, *more: Any) -> Any:
        sizes.append(len(items))
        return put_steps(sender, items, *more)

    monkeypatch.setattr(Sender, "put_steps", spy)
    return sizes


@pytest.mark.parametrize("is_crowded", [False, True])
def test_presets_are_what_their_names_say(
    is_crowded: bool, batches: List[int], driver: str, monkeypatch: pytest.MonkeyPatch
):
    """Seen in what one hand-over holds of a flood: a chunk that waits in it is late, one that does not is dear."""
    monkeypatch.setattr(active_calls, "is_crowded", lambda: is_crowded)
    flood = Reply.sse(chat_events(["word "] * 4000), event_per_write=False)
    largest = {}
    with serve(flood) as server:
        for name in ("LOW_LATENCY", "DEFAULT", "HIGH_THROUGHPUT"):
            preset = getattr(options, name)
            del batches[:]
            assert ask(server.url, preset).collect().usage is not None
            largest[name] = max(batches)
    assert largest["LOW_LATENCY"] <= 4 * options.LOW_LATENCY.buffer
    if driver == "loop":  # others have their turn after each read, whatever that brought
        return
    assert largest["DEFAULT"] > 4 * options.LOW_LATENCY.buffer
    assert largest["HIGH_THROUGHPUT"] >= 256
    if is_crowded:
        assert largest["HIGH_THROUGHPUT"] > largest["DEFAULT"]
    else:
        assert largest["HIGH_THROUGHPUT"] >= largest["DEFAULT"]
