"""Rate limit: it holds for every minute, calls go in order, and a cancelled call leaves nothing behind."""

from __future__ import annotations

from typing import Any, List

import pytest
from conftest import join
from limit_threads import CROWD, Clock, outcome, rate, stand_in_line, waiting
from loopback import until

from anyllm.context import Context
from anyllm.errors import Cancelled, DeadlineExceeded
from anyllm.limits import CircuitBreaker, LimitTooSmallError, RateLimit, StreamLimit, WaitTooLongError


@pytest.mark.usefixtures("fast_switches")
def test_no_window_of_a_minute_holds_more_than_the_limit(spawn):
    """Any window: a count that begins anew each minute would let twice as much through around the turn."""
    clock = Clock()
    requests, tokens = 25, 4000
    limit = rate(clock, requests, tokens)
    went: List[Any] = []

    def work(me: int) -> None:
        count = 37 * me % 500 + 1
        limit.acquire(Context(), count)
        went.append((clock.now, count))

    tasks = [spawn(work, me) for me in range(CROWD)]
    steps = 0
    while len(went) < CROWD:
        steps += 1
        assert steps < 2000
        until(lambda: len(went) + len(waiting(limit)) == CROWD and settled(limit, clock))
        clock.advance(7.3)
    join(tasks)
    for start, _ in went:
        window = [count for when, count in went if start <= when < start + 60]
        assert len(window) <= requests
        assert sum(window) <= tokens
    assert clock.now - 1000 < 60 * (sum(count for _, count in went) / tokens + 3)  # and it does not dawdle


def must_wait(limit: RateLimit, tokens: int) -> bool:
    """Whether a call that reserves *tokens* would wait for more than 10 seconds."""
    return isinstance(outcome(lambda: limit.acquire(Context(timeout=10), tokens)), WaitTooLongError)


def settled(limit: RateLimit, clock: Clock) -> bool:
    """Whether the first in line cannot go now."""
    ledger = limit._ledger()
    with ledger.lock:
        return not ledger.line or ledger.seconds_until(ledger.line[0], clock.now) > 0


def test_the_first_come_are_the_first_served(spawn):
    clock = Clock()
    limit = rate(clock, 1)
    limit.acquire(Context())
    order: List[int] = []
    tasks = stand_in_line(spawn, limit, 5, lambda me: (limit.acquire(Context()), order.append(me)))
    for served in range(1, 6):
        clock.advance(60)
        until(lambda served=served: len(order) == served)
    join(tasks)
    assert order == list(range(5))


def test_small_calls_do_not_starve_a_large_one(spawn):
    """There is room for the small ones now, and would be for ever: they wait behind it all the same."""
    clock = Clock()
    limit = rate(clock, None, 100)
    limit.acquire(Context(), 50)
    tasks = stand_in_line(spawn, limit, 4, lambda me: limit.acquire(Context(), 90 if me == 0 else 1))
    clock.advance(59)
    assert len(waiting(limit)) == 4
    clock.advance(1)
    assert [task.join().tokens for task in tasks] == [90, 1, 1, 1]
    assert clock.now == 1060


def test_calls_behind_a_large_call_wait_for_the_rest_of_the_limit(spawn):
    clock = Clock()
    limit = rate(clock, None, 100)
    limit.acquire(Context(), 50)
    first, *others = stand_in_line(spawn, limit, 3, lambda me: limit.acquire(Context(), 90 if me == 0 else 20))
    clock.advance(60)
    first.join()
    assert len(waiting(limit)) == 2
    clock.advance(60)
    join(others)


def test_calls_behind_a_cancelled_call_go_on(spawn):
    """The hungry one that held them up is gone: there is room for them now."""
    limit = RateLimit(None, 100)
    limit.acquire(Context(), 50)
    hungry = Context()
    first = spawn(outcome, lambda: limit.acquire(hungry, 90))
    until(lambda: len(waiting(limit)) == 1)
    second = spawn(limit.acquire, Context(), 10)
    until(lambda: len(waiting(limit)) == 2)
    hungry.cancel()
    assert isinstance(first.join(), Cancelled)
    assert second.join().tokens == 10


def test_a_wait_that_outlasts_the_context_is_not_begun():
    clock = Clock()
    limit = rate(clock, 2)
    limit.acquire(Context())
    clock.advance(20)
    limit.acquire(Context())
    with pytest.raises(WaitTooLongError, match="in 40 s") as caught:
        limit.acquire(Context(timeout=30))
    assert caught.value.seconds == pytest.approx(40)
    assert isinstance(caught.value, (DeadlineExceeded, TimeoutError))
    assert not waiting(limit)


def test_the_wait_includes_those_before_it(spawn):
    """Else it would stand in line until its deadline, for nothing."""
    clock = Clock()
    limit = rate(clock, 1)
    limit.acquire(Context())
    ctx = Context()
    tasks = [spawn(outcome, lambda: limit.acquire(ctx)) for _ in range(3)]
    until(lambda: len(waiting(limit)) == 3)
    error = outcome(lambda: limit.acquire(Context(timeout=200)))
    assert isinstance(error, WaitTooLongError)
    assert error.seconds == pytest.approx(240)
    ctx.cancel()
    join(tasks)


def test_a_context_that_has_ended_is_an_error_even_where_there_is_room():
    ended = Context()
    ended.cancel("why")
    limit, streams, breaker = RateLimit(10), StreamLimit(10), CircuitBreaker()
    for call in (limit.acquire, streams.acquire, breaker.before):
        with pytest.raises(Cancelled) as caught:
            call(ended)
        assert caught.value.cause == "why"
        with pytest.raises(DeadlineExceeded):
            call(Context(timeout=0))
    assert streams.active == 0


def test_more_than_a_minute_gives_is_refused_at_once():
    limit = RateLimit(None, 100)
    with pytest.raises(LimitTooSmallError, match="101 tokens") as caught:
        limit.acquire(Context(), 101)
    assert (caught.value.tokens, caught.value.tokens_per_minute) == (101, 100)
    assert isinstance(caught.value, ValueError)
    limit.acquire(Context(), 100)


def test_unused_tokens_are_free_at_once(spawn):
    limit = RateLimit(None, 100)
    reservation = limit.acquire(Context(), 100)
    task = spawn(limit.acquire, Context(), 60)
    until(lambda: len(waiting(limit)) == 1)
    reservation.settle(40)
    task.join()
    assert must_wait(limit, 1)


def test_a_reservation_is_settled_once():
    limit = RateLimit(None, 100)
    reservation = limit.acquire(Context(), 100)
    reservation.settle(90)
    reservation.settle(0)
    assert must_wait(limit, 11)
    assert limit.acquire(Context(timeout=10), 10)


def test_tokens_beyond_the_estimate_count_from_the_settlement():
    clock = Clock()
    limit = rate(clock, None, 100)
    reservation = limit.acquire(Context(), 10)
    clock.advance(50)
    reservation.settle(110)
    error = outcome(lambda: limit.acquire(Context(timeout=10), 1))
    assert error.seconds == pytest.approx(60)
    clock.advance(60)
    limit.acquire(Context(timeout=10), 100)


def test_settling_late_gives_nothing_back_twice():
    """The reservation has left the window by itself: what is given back then would be somebody else's."""
    clock = Clock()
    limit = rate(clock, None, 100)
    old = limit.acquire(Context(), 100)
    clock.advance(60)
    limit.acquire(Context(timeout=1), 100)
    old.settle(0)
    assert must_wait(limit, 1)
