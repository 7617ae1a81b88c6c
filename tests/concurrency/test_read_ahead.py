"""A thread that reads ahead: it begins late, waits when the channel is full, and ends with its receiver."""

from __future__ import annotations

import threading
from typing import Iterator, List

import pytest
from conftest import TIMEOUT

from anyllm._concurrency.read_ahead import ReadAhead


def test_items_come_in_order_and_close_comes_after_the_last():
    calls: List[str] = []
    ahead: ReadAhead[str] = ReadAhead("abc", 1, lambda: calls.append("close"))
    assert not ahead.has_begun
    channel = ahead.channel
    assert ahead.has_begun
    assert [channel.get(timeout=TIMEOUT) for _ in range(4)] == ["a", "b", "c", None]
    assert calls == ["close"]


def test_what_the_iterable_raises_is_the_last_item():
    def broken() -> Iterator[str]:
        yield "a"
        raise ValueError("on purpose")

    ahead = ReadAhead(broken(), 1)
    assert ahead.checked(ahead.channel.get(timeout=TIMEOUT)) == "a"
    last = ahead.channel.get(timeout=TIMEOUT)
    assert ahead.is_end(last)
    with pytest.raises(ValueError, match="on purpose"):
        ahead.checked(last)
    ahead.join()


def test_a_failing_close_is_raised_to_the_receiver():
    def close() -> None:
        raise ValueError("on purpose")

    ahead: ReadAhead[int] = ReadAhead([], 1, close)
    with pytest.raises(ValueError, match="on purpose"):
        ahead.checked(ahead.channel.get(timeout=TIMEOUT))


@pytest.mark.parametrize("dropped", ["channel", "object"])
def test_dropping_the_receiver_ends_the_thread(dropped):
    closed = threading.Event()

    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    ahead = ReadAhead(endless(), 1, closed.set)
    ahead.channel.get(timeout=TIMEOUT)
    if dropped == "channel":
        ahead.abandon()
    else:
        del ahead
    assert closed.wait(TIMEOUT)
