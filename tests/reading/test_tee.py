"""Several readers of one stream: each gets everything, and closing frees them and the source."""

from __future__ import annotations

import gc
import queue
import threading
from typing import Any, Iterator, List

import pytest
from conftest import TIMEOUT, join
from loopback import PARAMS, until

import anyllm
from anyllm.channel import open_channel
from anyllm.errors import Cancelled, IncompleteStreamError
from anyllm.reading import Reader, tee
from anyllm.testing import Stall, chat_events, fake


def ask(*events: Any) -> anyllm.Stream:
    return fake(list(events)).completion_stream(anyllm.Context(timeout=60), PARAMS)


def test_each_reader_gets_everything():
    first, second, third = tee(iter("abc"), 3, policy="unbounded")
    assert list(first) == ["a", "b", "c"]
    assert next(second) == "a"
    assert list(third) == ["a", "b", "c"]
    assert list(second) == ["b", "c"]
    assert list(first) == []


def test_nothing_is_read_before_a_reader_needs_it():
    read: List[int] = []
    first, second = tee((read.append(at) or at for at in range(9)), 2, policy="unbounded")
    assert read == []
    assert (next(first), next(second), read) == (0, 0, [0])


@pytest.mark.parametrize("source", ["iterator", "channel"])
@pytest.mark.parametrize("policy", ["wait", "unbounded"])
@pytest.mark.parametrize("n", [2, 5])
def test_readers_in_threads_get_everything(source: str, policy: str, n: int, spawn: Any, fast_switches: None):
    sender, chunks = open_channel(2)
    readers = tee(chunks if source == "channel" else iter(range(1000)), n, policy=policy, buffer=3)
    tasks = [spawn(list, reader) for reader in readers]
    if source == "channel":
        assert all(sender.put(at) for at in range(1000))
    sender.close()
    assert join(tasks) == [list(range(1000))] * n


class Source:
    """An endless iterator that counts the items taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> int:
        self.taken += 1
        return self.taken


def until_it_waits(reader: Reader[Any]) -> None:
    """Until somebody stands in line behind *reader*'s source."""
    until(lambda: reader._shared.waiting)


def test_the_fast_reader_waits_for_the_slow_one(spawn: Any):
    source = Source()
    fast, slow = tee(source, 2, buffer=3)
    assert [next(fast) for _ in range(3)] == [1, 2, 3]
    task = spawn(next, fast)
    until_it_waits(fast)
    assert source.taken == 3
    assert next(slow) == 1  # which makes room for one
    assert task.join() == 4
    assert source.taken == 4


@pytest.mark.parametrize("leave", [Reader.close, lambda reader: None], ids=["closed", "dropped"])
def test_closing_a_slow_reader_frees_the_others(leave: Any, spawn: Any):
    fast, slow = tee(Source(), 2, buffer=1)
    assert next(fast) == 1
    task = spawn(next, fast)
    until_it_waits(fast)
    leave(slow)
    del slow
    gc.collect()
    assert task.join() == 2
    assert [next(fast) for _ in range(50)] == list(range(3, 53))


def test_the_slow_reader_loses_the_oldest_and_counts_them():
    fast, slow = tee(iter(range(10)), 2, policy="drop", buffer=3)
    assert list(fast) == list(range(10))
    assert slow.lost == 7
    assert list(slow) == [7, 8, 9]
    assert fast.lost == 0


def test_a_closed_reader_gives_nothing_more():
    first, second = tee(iter("abc"), 2, policy="unbounded")
    assert next(first) == "a"
    with second:
        assert next(second) == "a"
    assert list(second) == []
    assert list(first) == ["b", "c"]


def test_the_source_is_dropped_when_all_readers_are_closed():
    sender, chunks = open_channel(4)
    first, second = tee(chunks, 2)
    del chunks
    sender.put("a")
    first.close()
    assert not sender.closed
    assert next(second) == "a"
    del second
    gc.collect()
    assert sender.closed


def test_a_stream_is_cancelled_when_all_readers_are_closed():
    stream = ask(*chat_events("one", finish_reason=None), Stall())  # stays: its owner may ask it for errors
    first, second = tee(stream, 2)
    assert next(first).content == ""
    first.close()
    assert anyllm.active_streams() == 1
    second.close()
    error = stream.errors.get(timeout=TIMEOUT)
    assert isinstance(error, Cancelled)
    assert error.cause == "abandoned"


def test_a_generator_is_closed_when_all_readers_are_closed():
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(9)
        finally:
            closed.set()

    first, second = tee(source(), 2)
    next(first)
    first.close()
    assert not closed.is_set()
    second.close()
    gc.collect()
    assert closed.is_set()


@pytest.mark.parametrize("read_first", [0, 1])
def test_the_source_s_error_reaches_every_reader_after_the_items(read_first: int):
    def source() -> Iterator[str]:
        yield from "ab"
        raise IncompleteStreamError("cut off")

    readers = tee(source(), 2, policy="unbounded")
    for reader in (readers[read_first], readers[1 - read_first]):
        found: List[str] = []
        for _ in range(2):
            with pytest.raises(IncompleteStreamError, match="cut off"):
                found.extend(reader)
        assert found == ["a", "b"]


def test_an_error_reaches_readers_that_wait(spawn: Any):
    """One waits for the source, the other for the first; both must learn of it."""
    go, begun = threading.Event(), threading.Event()

    def source() -> Iterator[str]:
        begun.set()
        assert go.wait(TIMEOUT)
        raise IncompleteStreamError("cut off")
        yield ""

    first, second = tee(source(), 2)
    tasks = [spawn(next, first)]
    assert begun.wait(TIMEOUT)
    tasks.append(spawn(next, second))
    until_it_waits(second)
    go.set()
    for task in tasks:
        with pytest.raises(IncompleteStreamError):
            task.join()


def test_the_error_of_a_stream_reaches_every_reader():
    for reader in tee(ask("so far", IncompleteStreamError("cut off")), 2, policy="unbounded"):
        found: List[str] = []
        with pytest.raises(IncompleteStreamError):
            found.extend(each.content for each in reader)
        assert "".join(found) == "so far"


def test_closing_frees_a_reader_that_waits_for_a_channel(spawn: Any):
    """And the other, which waited for the first to read, reads for itself."""
    sender, chunks = open_channel(1)
    first, second = tee(chunks, 2)
    task = spawn(list, first)
    until_receiving(chunks)
    other = spawn(list, second)
    until_it_waits(second)
    first.close()
    assert task.join() == []
    sender.put("a")
    sender.close()
    assert other.join() == ["a"]


def until_receiving(chunks: Any) -> None:
    until(lambda: chunks._pipe.receivers)


def test_closing_frees_a_reader_that_waits_for_another(spawn: Any):
    sender, chunks = open_channel(1)
    first, second = tee(chunks, 2)
    reading = spawn(list, first)
    until_receiving(chunks)
    waiting = spawn(list, second)
    until_it_waits(second)
    second.close()
    assert waiting.join() == []
    sender.close()
    assert reading.join() == []


def test_a_late_reader_does_not_read_past_the_bound():
    """Between seeing that there is room and getting the lock, another may have read something for everybody."""
    source = Source()
    first, second = tee(source, 2, buffer=1)
    shared: Any = first._shared
    lock = shared._reading

    class Late:
        def acquire(self, blocking: bool = True) -> bool:
            shared._reading = lock
            assert next(second) == 1
            return lock.acquire(blocking)  # type: ignore[no-any-return]

    shared._reading = Late()
    assert next(first) == 1
    assert source.taken == 1


def test_interrupting_a_reader_of_a_channel_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C comes to one thread; nothing of the channel is lost."""
    sender, chunks = open_channel(4)
    first, second = tee(chunks, 2, policy="unbounded")

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("anyllm.reading._tee.select", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(first)
    sender.put("a")
    sender.close()
    assert list(second) == list(first) == ["a"]


def test_a_reader_may_be_collected_in_the_middle_of_anything():
    """A finalizer runs in any line, also while its own thread has the lock: it must not wait for that."""

    def source() -> Iterator[int]:
        readers.pop()  # the last reference: it is collected here, inside `next`
        gc.collect()
        yield 1
        yield 2

    readers = list(tee(source(), 3))
    first, second = readers[0], readers[1]
    assert next(first) == 1
    assert next(second) == 1
    assert next(first) == 2


@pytest.mark.parametrize("name", ["n", "buffer"])
@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (True, TypeError), (1.5, TypeError)])
def test_numbers_are_checked(name: str, value: Any, error: Any):
    with pytest.raises(error, match=name):
        tee([], **{name: value})


def test_policies_are_checked():
    with pytest.raises(ValueError, match="one of wait, drop, unbounded, not 'block'"):
        tee([], policy="block")
    with pytest.raises(TypeError):
        tee(5)  # type: ignore[arg-type]


def test_a_queue_error_of_a_source_is_an_error():
    """`queue.Empty` is how a Channel says "not yet"; of any other source it is a failure."""

    def source() -> Iterator[int]:
        raise queue.Empty
        yield 1

    with pytest.raises(queue.Empty):
        list(tee(source(), 1)[0])
