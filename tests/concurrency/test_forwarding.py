"""Items passed on by the thread that puts them: in order, each once, and never after the receiver has gone on."""

from __future__ import annotations

import queue
import threading
from typing import Any, Callable, List

import pytest
from conftest import TIMEOUT, join
from loopback import until

import anyllm
from anyllm._concurrency.pipe import EMPTY
from anyllm._stream import blocking_reader
from anyllm.channel import merge, open_channel
from anyllm.formats import Body, find
from anyllm.testing import Reply, chat_events, serve


class Taker:
    """A function for `Channel.forward` that keeps what it takes, and which thread it ran on."""

    def __init__(self, most: int = 10**9) -> None:
        self.items: List[Any] = []
        self.threads: List[threading.Thread] = []
        self.runs = threading.Semaphore(0)
        self._most = most

    def __call__(self, take: Callable[[], Any]) -> bool:
        self.threads.append(threading.current_thread())
        while len(self.items) < self._most:
            item = take()
            if item is EMPTY or item is None:
                self.runs.release()
                return item is EMPTY
            self.items.append(item)
        self.runs.release()
        return False


def waiting(channel: Any) -> None:
    """Wait until somebody forwards."""
    until(lambda: channel._pipe.forwarder is not None)


def test_the_sender_passes_items_on(spawn):
    sender, channel = open_channel(4)
    taker = Taker()
    receiver = spawn(channel.forward, taker)
    waiting(channel)
    sender.put(1)
    sender.put_many([2, 3, 4])
    assert taker.items == [1, 2, 3, 4]
    assert set(taker.threads) == {threading.current_thread()}
    sender.close()
    receiver.join()
    assert channel.get() is None


def test_what_is_not_dealt_with_is_the_receivers(spawn):
    sender, channel = open_channel(8)
    taker = Taker(most=2)
    receiver = spawn(channel.forward, taker)
    waiting(channel)
    sender.put_many([1, 2, 3, 4])
    receiver.join()
    sender.put(5)
    assert taker.items == [1, 2]
    assert len(taker.threads) == 1, "called after it gave up"
    assert [channel.get_nowait() for _ in range(3)] == [3, 4, 5]


def test_an_error_is_raised_where_somebody_waits(spawn):
    sender, channel = open_channel(4)

    def fail(take):
        raise LookupError("cannot write")

    receiver = spawn(channel.forward, fail)
    waiting(channel)
    assert sender.put(1)  # which is no business of the sender's
    with pytest.raises(LookupError):
        receiver.join()
    assert channel.get_nowait() == 1


@pytest.mark.parametrize("close", [True, False])
def test_it_returns_at_once_when_there_is_something(close):
    sender, channel = open_channel(4)
    sender.close() if close else sender.put(1)
    taker = Taker()
    channel.forward(taker)
    assert taker.items == []
    assert channel.get_nowait() == (None if close else 1)


def test_it_returns_after_its_time_and_nothing_is_passed_on_any_more():
    sender, channel = open_channel(4)
    taker = Taker()
    channel.forward(taker, 0.001)
    sender.put(1)
    assert (taker.items, channel.get_nowait()) == ([], 1)
    with pytest.raises(ValueError, match="negative"):
        channel.forward(taker, -1)


def test_channels_read_as_one_are_forwarded_as_one(spawn):
    first, second = open_channel(4), open_channel(4)
    merged, taker = merge(first[1], second[1]), Taker()
    receiver = spawn(merged.forward, taker)
    waiting(merged)
    first[0].put("a")
    second[0].put("b")
    first[0].close()
    second[0].close()
    receiver.join()
    assert sorted(taker.items) == ["a", "b"]


def test_the_end_of_one_of_several_channels_wakes_the_receiver_and_runs_no_forwarder(spawn):
    """It may come in a finalizer, in the middle of any line."""
    (one, first), (_sender, second) = open_channel(4), open_channel(4)
    merged, taker = merge(first, second), Taker()
    receiver = spawn(merged.forward, taker)
    waiting(merged)
    first._pipe.items.append("a")  # put by a thread that has not announced it yet
    one.close()
    receiver.join()
    assert taker.items == []
    assert merged.get() == "a"


@pytest.mark.usefixtures("fast_switches")
@pytest.mark.parametrize("senders", [1, 3])
def test_items_come_once_and_in_order_however_short_the_waits(spawn, senders: int):
    """Whoever passes on, sender or receiver: those of each sender stay in order, and none is lost between two waits."""
    sender, channel = open_channel(8)
    count = 600
    taker = Taker()

    def receive():
        while True:
            if channel.empty() and not channel.closed:
                channel.forward(taker, 0.0001)
                continue
            try:
                item = channel.get_nowait()
            except queue.Empty:
                continue
            if item is None:
                return
            taker.items.append(item)

    def send(number):
        for at in range(0, count, 3):
            assert sender.put_many([(number, at), (number, at + 1)])
            assert sender.put((number, at + 2))

    receiver = spawn(receive)
    join([spawn(send, number) for number in range(senders)])
    sender.close()
    receiver.join()
    for number in range(senders):
        assert [at for who, at in taker.items if who == number] == list(range(count))


def test_a_stream_is_written_without_the_permit_to_decode(spawn):
    """A client's socket may take its time, while every other stream of the process waits for the permit."""
    held: List[bool] = []
    events = chat_events([f"word{number} " for number in range(300)])

    class Outlet:
        def has_room(self) -> bool:
            return True

        def write(self, data: bytes) -> None:
            held.append(not blocking_reader._decode_permits.free)

    with serve(Reply.sse(events)) as server:
        provider = anyllm.provider("compatible", base_url=server.url)
        params = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        for _ in range(5):
            stream = provider.completion_stream(anyllm.Context(TIMEOUT), params)
            rest = b"".join(Body(stream, find("text"), outlet=Outlet()))
            assert isinstance(rest, bytes)
    assert held, "nothing was written by the worker"
    assert not any(held)
