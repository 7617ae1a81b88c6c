"""Permits: a permit given back goes to the first in line that still waits."""

from __future__ import annotations

import pytest

from anyllm._concurrency import waiters
from anyllm._concurrency.permits import Permits


class Gone:
    """A waiter that no longer waits."""

    def release(self) -> None:
        raise RuntimeError("gone")


def test_a_permit_goes_to_the_first_that_still_waits():
    permits = Permits(1)
    assert permits.take_free()
    assert not permits.take_free()
    waiter = waiters.new_waiter()
    for one in (Gone(), Gone(), waiter):
        permits.stand_in_line(one)
    permits.give()
    assert not waiter.locked()
    assert not permits.free
    assert not permits.line


def test_a_permit_that_nobody_waits_for_is_free():
    permits = Permits(1)
    assert permits.take_free()
    permits.stand_in_line(Gone())
    permits.give()
    assert len(permits.free) == 1
    assert permits.take_free()


@pytest.mark.parametrize("free", [1, 2])
def test_who_stands_in_line_while_one_is_free_gets_it(free):
    permits = Permits(free)
    waiter = waiters.new_waiter()
    permits.stand_in_line(waiter)
    assert not waiter.locked()
    assert len(permits.free) == free - 1


def test_nobody_overtakes_the_line():
    permits = Permits(1)
    assert permits.take_free()
    permits.line.append(waiters.new_waiter())
    permits.free.append(None)
    assert not permits.take_free()
