"""Permits to decode: never more at once than there are, in the order of the requests, and none is lost."""

from __future__ import annotations

import pytest
from conftest import join
from loopback import until

from anyllm._concurrency.decode_permits import DecodePermits


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.usefixtures("fast_switches")
def test_no_more_than_there_are_at_once(spawn, count):
    permits = DecodePermits(count)
    inside: set[int] = set()
    most = []

    def work(me: int) -> None:
        for _ in range(300):
            permits.take()
            inside.add(me)
            most.append(len(inside))
            inside.discard(me)
            permits.give()

    join([spawn(work, me) for me in range(8)])
    assert len(most) == 8 * 300
    assert max(most) <= count


def test_the_longest_waiting_comes_first(spawn):
    permits = DecodePermits(1)
    permits.take()
    order = []

    def work(me: int) -> None:
        permits.take()
        order.append(me)
        permits.give()

    tasks = []
    for me in range(5):
        tasks.append(spawn(work, me))
        until(lambda count=me: len(permits.line) > count)
    permits.give()
    join(tasks)
    assert order == list(range(5))


def test_a_turn_given_back_without_anybody_waiting_can_be_taken(spawn):
    permits = DecodePermits(2)
    for _ in range(3):
        permits.take()
        permits.take()
        permits.give()
        permits.give()
    permits.take()
    permits.take()
    third = spawn(permits.take)
    until(lambda: permits.line)
    permits.give()
    third.join()
