"""Turns: never more at once than there are, in the order they were asked for, and none is lost."""

from __future__ import annotations

import threading

import pytest
from conftest import TIMEOUT, join

from anyllm._concurrency.decode_permits import DecodePermits


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.usefixtures("fast_switches")
def test_no_more_than_there_are_at_once(spawn, count):
    turns = DecodePermits(count)
    inside: set[int] = set()
    most = []

    def work(me: int) -> None:
        for _ in range(300):
            turns.take()
            inside.add(me)
            most.append(len(inside))
            inside.discard(me)
            turns.give()

    join([spawn(work, me) for me in range(8)])
    assert len(most) == 8 * 300
    assert max(most) <= count


def test_the_longest_waiting_comes_first(spawn):
    turns = DecodePermits(1)
    turns.take()
    order = []

    def work(me: int) -> None:
        turns.take()
        order.append(me)
        turns.give()

    tasks = []
    for me in range(5):
        tasks.append(spawn(work, me))
        while len(turns.line) <= me:  # until it stands in line
            threading.Event().wait(0.001)
    turns.give()
    join(tasks)
    assert order == list(range(5))


def test_a_turn_given_back_without_anybody_waiting_can_be_taken(spawn):
    turns = DecodePermits(2)
    for _ in range(3):
        turns.take()
        turns.take()
        turns.give()
        turns.give()
    turns.take()
    turns.take()
    third = spawn(turns.take)
    third_is_waiting = threading.Event()

    def look() -> None:
        while not turns.line:
            threading.Event().wait(0.001)
        third_is_waiting.set()

    spawn(look).join()
    assert third_is_waiting.wait(TIMEOUT)
    turns.give()
    third.join()
