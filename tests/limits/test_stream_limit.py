"""Limit of concurrent streams: it always holds, calls go in order, and no slot is lost."""

from __future__ import annotations

import gc
import threading
from typing import Any, List

import pytest
from conftest import TIMEOUT, join
from limit_threads import CROWD, outcome, stand_in_line, waiting
from loopback import until

from anyllm._concurrency import waiters
from anyllm.context import Context
from anyllm.errors import Cancelled, DeadlineExceeded
from anyllm.limits import RateLimit, StreamLimit
from anyllm.limits._stream_limit import _SlotWaiter


@pytest.mark.usefixtures("fast_switches")
def test_no_more_streams_at_once_than_the_limit(spawn):
    limit = StreamLimit(7)
    inside: set = set()
    most = []

    def work(me: int) -> None:
        for _ in range(10):
            with limit.acquire(Context()):
                inside.add(me)
                most.append(len(inside))
                inside.discard(me)

    join([spawn(work, me) for me in range(CROWD)])
    assert len(most) == 10 * CROWD
    assert max(most) <= 7
    assert limit.active == 0
    assert not waiting(limit)


def test_the_longest_waiting_gets_the_slot(spawn):
    limit = StreamLimit(1)
    slot = limit.acquire(Context())
    order: List[int] = []

    def work(me: int) -> None:
        with limit.acquire(Context()):
            order.append(me)

    tasks = stand_in_line(spawn, limit, 5, work)
    slot.release()
    join(tasks)
    assert order == list(range(5))


def test_a_slot_is_released_once():
    """Twice would let two in for one that left."""
    limit = StreamLimit(2)
    first, _second = limit.acquire(Context()), limit.acquire(Context())
    with first:
        first.release()
    first.release()
    del first
    assert limit.active == 1


def test_a_dropped_slot_is_released():
    limit = StreamLimit(1)
    limit.acquire(Context())
    gc.collect()
    assert limit.active == 0


@pytest.mark.parametrize("limit", [RateLimit(1), StreamLimit(1)], ids=repr)
def test_cancelling_frees_all_waiters(limit, spawn):
    permit = limit.acquire(Context())
    ctx = Context()
    tasks = [spawn(outcome, lambda: limit.acquire(ctx)) for _ in range(CROWD)]
    until(lambda: len(waiting(limit)) == CROWD)
    ctx.cancel("enough")
    errors = join(tasks)
    assert all(isinstance(error, Cancelled) and error.cause == "enough" for error in errors)
    assert len({id(error) for error in errors}) == CROWD  # each its own: others add to theirs
    assert not waiting(limit)
    del permit
    assert not getattr(limit, "active", 0)


def test_the_deadline_frees_a_waiter_for_a_slot():
    limit = StreamLimit(1)
    with limit.acquire(Context()), pytest.raises(DeadlineExceeded):
        limit.acquire(Context(timeout=0.01))
    assert limit.active == 0


@pytest.mark.usefixtures("fast_switches")
def test_no_slot_is_lost_between_handing_over_and_cancelling(spawn):
    """The slot is given back just when the one who waits is cancelled: either it has the slot, or the next one does."""
    limit = StreamLimit(1)
    for _ in range(150):
        slot, ctx = limit.acquire(Context(timeout=TIMEOUT)), Context()
        start = threading.Barrier(2)
        waiter = spawn(outcome, lambda ctx=ctx: limit.acquire(ctx))
        until(lambda: waiting(limit))

        def cancel(ctx=ctx, start=start):
            start.wait(TIMEOUT)
            ctx.cancel()

        canceller = spawn(cancel)
        start.wait(TIMEOUT)
        slot.release()
        canceller.join()
        found = waiter.join()
        if not isinstance(found, Cancelled):
            found.release()
        del found, waiter
        assert limit.active == 0


def test_a_cancelled_waiter_still_in_line_gets_no_slot(spawn):
    """Its thread has yet to run, and will not look for a slot when it does."""
    limit = StreamLimit(1)
    slot = limit.acquire(Context())
    waiter = _SlotWaiter()
    waiting(limit).append(waiter)
    waiter.decide("context ended")
    second = spawn(limit.acquire, Context())
    until(lambda: len(waiting(limit)) == 2)
    slot.release()
    second.join().release()
    assert limit.active == 0


@pytest.mark.parametrize("end", ["cancelled", "interrupted"])
def test_a_slot_that_comes_too_late_goes_to_the_next(end, monkeypatch):
    """The slot comes first, then the end, before the thread has run: nobody else knows that it has the slot."""
    limit = StreamLimit(1)
    slot, ctx = limit.acquire(Context()), Context()

    def wait(waiter: Any, deadline: Any) -> bool:
        slot.release()
        assert waiter.acquire(timeout=TIMEOUT)
        assert limit.active == 1
        if end == "interrupted":
            raise KeyboardInterrupt
        ctx.cancel()
        return True

    monkeypatch.setattr(waiters, "wait", wait)
    with pytest.raises(Cancelled if end == "cancelled" else KeyboardInterrupt):
        limit.acquire(ctx)
    assert limit.active == 0


def interrupt(waiter: Any, deadline: Any) -> bool:
    raise KeyboardInterrupt


@pytest.mark.parametrize("limit", [RateLimit(1), StreamLimit(1)], ids=repr)
def test_ctrl_c_leaves_no_ghost_in_the_line(limit, monkeypatch):
    """It would be the first one day, and hold up all behind it for ever."""
    permit = limit.acquire(Context())

    monkeypatch.setattr(waiters, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        limit.acquire(Context())
    assert not waiting(limit)
    del permit


def test_an_interrupted_waiter_gets_no_slot(monkeypatch):
    """The slot comes back after it has decided to leave, and before it has left the line."""
    limit = StreamLimit(1)
    slot = limit.acquire(Context())
    leave = waiters.leave

    def leave_late(line: Any, waiter: _SlotWaiter) -> bool:
        slot.release()
        return leave(line, waiter)

    monkeypatch.setattr(waiters, "wait", interrupt)
    monkeypatch.setattr(waiters, "leave", leave_late)
    with pytest.raises(KeyboardInterrupt):
        limit.acquire(Context())
    assert limit.active == 0
