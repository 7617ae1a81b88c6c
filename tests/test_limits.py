"""Limits: they hold whatever the threads do, the first comes first, and whoever is cancelled leaves nothing behind."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import threading
from collections import deque
from typing import Any, Callable, List

import pytest
from conftest import TIMEOUT, join
from storm import BOMB, STORM

from anyllm._concurrency import waiters
from anyllm.context import Context
from anyllm.errors import (
    AnyLLMError,
    AuthenticationError,
    Cancelled,
    DeadlineExceeded,
    IncompleteStreamError,
    InvalidRequestError,
    MalformedStreamError,
    NetworkError,
    OverloadedError,
    RateLimitError,
    ServerError,
    StreamTimeoutError,
)
from anyllm.limits import (
    CircuitBreaker,
    CircuitOpenError,
    LimitTooSmallError,
    RateLimit,
    StreamLimit,
    WaitTooLongError,
)
from anyllm.limits._streams import _Slots, _Waiter

CROWD = 200
DOWN = ServerError("down", status_code=500)


class Clock:
    """A clock that stands still until `advance`, which lets those who wait for it look again."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.limits: List[RateLimit] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for limit in self.limits:
            limit._books().look_again()


def rate(clock: Clock, *limits: Any) -> RateLimit:
    limit = RateLimit(*limits, clock=clock)
    clock.limits.append(limit)
    return limit


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread is about to do."""
    tries = 0
    while not condition():
        tries += 1
        assert tries < TIMEOUT * 1000
        threading.Event().wait(0.001)


def waiting(limit: Any) -> deque[Any]:
    return limit._books().line if isinstance(limit, RateLimit) else limit._slots().line


def stand_in_line(spawn: Any, limit: Any, count: int, work: Callable[[int], Any]) -> List[Any]:
    """*count* threads, each in line before the next one starts."""
    tasks = []
    for me in range(count):
        before = len(waiting(limit))
        tasks.append(spawn(work, me))
        until(lambda before=before: len(waiting(limit)) > before)
    return tasks


def outcome(call: Callable[[], Any]) -> Any:
    """What *call* gives, or the error it ends with."""
    try:
        return call()
    except AnyLLMError as exc:
        return exc


# -- the rate ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fast_switches")
def test_no_window_of_a_minute_holds_more_than_the_limit(spawn):
    """Any window: a count that begins anew each minute would let twice as much through around the turn."""
    clock = Clock()
    requests, tokens = 25, 4000
    limit = rate(clock, requests, tokens)
    went: List[Any] = []

    def work(me: int) -> None:
        asked = 37 * me % 500 + 1
        limit.acquire(Context(), asked)
        went.append((clock.now, asked))

    tasks = [spawn(work, me) for me in range(CROWD)]
    steps = 0
    while len(went) < CROWD:
        steps += 1
        assert steps < 2000
        until(lambda: len(went) + len(waiting(limit)) == CROWD and settled(limit, clock))
        clock.advance(7.3)
    join(tasks)
    for start, _ in went:
        window = [asked for when, asked in went if start <= when < start + 60]
        assert len(window) <= requests
        assert sum(window) <= tokens
    assert clock.now - 1000 < 60 * (sum(asked for _, asked in went) / tokens + 3)  # and it does not dawdle


def settled(limit: RateLimit, clock: Clock) -> bool:
    """Whether the first in line cannot go now."""
    books = limit._books()
    with books.lock:
        return not books.line or books.wait_of(books.line[0], clock.now) > 0


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


def test_small_calls_do_not_starve_a_hungry_one(spawn):
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


def test_those_behind_a_hungry_call_wait_for_what_it_leaves(spawn):
    clock = Clock()
    limit = rate(clock, None, 100)
    limit.acquire(Context(), 50)
    first, *others = stand_in_line(spawn, limit, 3, lambda me: limit.acquire(Context(), 90 if me == 0 else 20))
    clock.advance(60)
    first.join()
    assert len(waiting(limit)) == 2
    clock.advance(60)
    join(others)


def test_cancelling_frees_all_who_wait_for_the_rate(spawn):
    limit = RateLimit(1)
    limit.acquire(Context())
    ctx = Context()
    tasks = [spawn(outcome, lambda: limit.acquire(ctx)) for _ in range(CROWD)]
    until(lambda: len(waiting(limit)) == CROWD)
    ctx.cancel("enough")
    errors = join(tasks)
    assert all(isinstance(error, Cancelled) and error.cause == "enough" for error in errors)
    assert len({id(error) for error in errors}) == CROWD  # each its own: others add to theirs
    assert not waiting(limit)


def test_those_behind_a_cancelled_call_go_on(spawn):
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


def test_what_was_not_used_is_free_at_once(spawn):
    limit = RateLimit(None, 100)
    reservation = limit.acquire(Context(), 100)
    task = spawn(limit.acquire, Context(), 60)
    until(lambda: len(waiting(limit)) == 1)
    reservation.settle(40)
    task.join()
    assert isinstance(outcome(lambda: limit.acquire(Context(timeout=10), 1)), WaitTooLongError)


def test_a_reservation_is_settled_once():
    limit = RateLimit(None, 100)
    reservation = limit.acquire(Context(), 100)
    reservation.settle(90)
    reservation.settle(0)
    assert isinstance(outcome(lambda: limit.acquire(Context(timeout=10), 11)), WaitTooLongError)
    assert limit.acquire(Context(timeout=10), 10)


def test_what_was_used_beyond_the_estimate_counts_from_when_it_is_known():
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
    assert isinstance(outcome(lambda: limit.acquire(Context(timeout=10), 1)), WaitTooLongError)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: RateLimit(0), ValueError),
        (lambda: RateLimit(None, -1), ValueError),
        (lambda: RateLimit(1.5), TypeError),
        (lambda: RateLimit(True), TypeError),
        (lambda: RateLimit(1).acquire(None), TypeError),
        (lambda: RateLimit(1).acquire(Context(), -1), ValueError),
        (lambda: RateLimit(1).acquire(Context()).settle(-1), ValueError),
        (lambda: StreamLimit(0), ValueError),
        (lambda: StreamLimit(1).acquire(5), TypeError),
        (lambda: CircuitBreaker(0), ValueError),
        (lambda: CircuitBreaker(window=float("nan")), ValueError),
        (lambda: CircuitBreaker(cooldown="1"), TypeError),
        (lambda: CircuitBreaker().before("ctx"), TypeError),
    ],
)
def test_what_is_no_limit_is_refused(make, kind):
    with pytest.raises(kind):
        make()


# -- streams at once -----------------------------------------------------------------------------------------------


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


def test_a_slot_is_given_back_once():
    """Twice would let two in for one that left."""
    limit = StreamLimit(2)
    first, _second = limit.acquire(Context()), limit.acquire(Context())
    with first:
        first.release()
    first.release()
    del first
    assert limit.active == 1


def test_a_slot_that_is_let_go_of_is_given_back():
    limit = StreamLimit(1)
    limit.acquire(Context())
    gc.collect()
    assert limit.active == 0


def test_cancelling_frees_all_who_wait_for_a_slot(spawn):
    limit = StreamLimit(1)
    slot = limit.acquire(Context())
    ctx = Context()
    tasks = [spawn(outcome, lambda: limit.acquire(ctx)) for _ in range(CROWD)]
    until(lambda: len(waiting(limit)) == CROWD)
    ctx.cancel("enough")
    assert all(isinstance(error, Cancelled) and error.cause == "enough" for error in join(tasks))
    assert not waiting(limit)
    slot.release()
    assert limit.active == 0


def test_the_deadline_frees_who_waits_for_a_slot():
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


def test_who_was_cancelled_but_has_not_left_the_line_is_handed_nothing(spawn):
    """Its thread has yet to run, and will not look for a slot when it does."""
    limit = StreamLimit(1)
    slot = limit.acquire(Context())
    seat = _Waiter()
    waiting(limit).append(seat)
    seat.decide("ended")
    second = spawn(limit.acquire, Context())
    until(lambda: len(waiting(limit)) == 2)
    slot.release()
    second.join().release()
    assert limit.active == 0


@pytest.mark.parametrize("end", ["cancelled", "interrupted"])
def test_who_is_handed_a_slot_too_late_hands_it_on(end, monkeypatch):
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


@pytest.mark.parametrize("limit", [RateLimit(1), StreamLimit(1)], ids=repr)
def test_ctrl_c_leaves_no_ghost_in_the_line(limit, monkeypatch):
    """It would be the first one day, and hold up all behind it for ever."""
    held = limit.acquire(Context())

    def wait(waiter: Any, deadline: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(waiters, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        limit.acquire(Context())
    assert not waiting(limit)
    del held


def test_who_is_interrupted_is_handed_nothing_on_its_way_out(monkeypatch):
    """The slot comes back after it has decided to leave, and before it has left the line."""
    limit = StreamLimit(1)
    slot = limit.acquire(Context())
    leave = _Slots.leave

    def wait(waiter: Any, deadline: Any) -> bool:
        raise KeyboardInterrupt

    def leave_late(slots: _Slots, seat: _Waiter) -> None:
        slot.release()
        leave(slots, seat)

    monkeypatch.setattr(waiters, "wait", wait)
    monkeypatch.setattr(_Slots, "leave", leave_late)
    with pytest.raises(KeyboardInterrupt):
        limit.acquire(Context())
    assert limit.active == 0


# -- the breaker ---------------------------------------------------------------------------------------------------


def breaker_at(clock: Clock, state: str, **options: Any) -> CircuitBreaker:
    """A breaker in *state*: "half_open" means that its cooldown is just over."""
    breaker = CircuitBreaker(failures=3, window=60, cooldown=30, clock=clock, **options)
    if state != "closed":
        for _ in range(3):
            breaker.before(Context()).failed(DOWN)
        assert breaker.state == "open"
    if state == "half_open":
        clock.advance(30)
    return breaker


def test_so_many_failures_within_the_window_open_it():
    clock = Clock()
    breaker = breaker_at(clock, "closed")
    for _ in range(2):
        breaker.before(Context()).failed(DOWN)
    assert breaker.state == "closed"
    clock.advance(60)  # the first two are too old now
    for _ in range(2):
        breaker.before(Context()).failed(DOWN)
    assert breaker.state == "closed"
    breaker.before(Context()).failed(DOWN)
    assert breaker.state == "open"
    clock.advance(12)
    with pytest.raises(CircuitOpenError) as caught:
        breaker.before(Context())
    assert caught.value.retry_after == pytest.approx(18)
    assert caught.value.is_retryable


@pytest.mark.parametrize(
    "error",
    [
        ServerError("", status_code=500),
        OverloadedError("", status_code=529),
        NetworkError(""),
        StreamTimeoutError("", clock="idle", seconds=1),
        IncompleteStreamError(""),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_the_host_count(error):
    breaker = CircuitBreaker(failures=1)
    breaker.before(Context()).failed(error)
    assert breaker.state == "open"


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("", status_code=400),
        AuthenticationError("", status_code=401),
        RateLimitError("", status_code=429),
        Cancelled(),
        DeadlineExceeded(),
        MalformedStreamError(),
        KeyboardInterrupt(),
        ValueError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_the_caller_do_not_count(error):
    breaker = CircuitBreaker(failures=1)
    breaker.before(Context()).failed(error)
    assert breaker.state == "closed"


@pytest.mark.parametrize(("how", "after"), [("succeeded", "closed"), ("failed", "open"), ("cancelled", "half_open")])
def test_the_probe_decides(how, after):
    clock = Clock()
    breaker = breaker_at(clock, "half_open")
    probe = breaker.before(Context())
    assert breaker.state == "half_open"
    with pytest.raises(CircuitOpenError, match="trying") as caught:
        breaker.before(Context())
    assert caught.value.retry_after is None
    if how == "succeeded":
        probe.succeeded()
    else:
        probe.failed(DOWN if how == "failed" else Cancelled())
    assert breaker.state == after
    assert isinstance(outcome(lambda: breaker.before(Context())), CircuitOpenError) == (how == "failed")


def test_after_a_failed_probe_the_cooldown_begins_anew():
    clock = Clock()
    breaker = breaker_at(clock, "half_open")
    clock.advance(5)
    breaker.before(Context()).failed(DOWN)
    error = outcome(lambda: breaker.before(Context()))
    assert error.retry_after == pytest.approx(30)


@pytest.mark.parametrize("end", ["its context ends", "it is forgotten"])
def test_a_probe_without_a_report_gives_its_turn_back(end):
    """Otherwise nobody would ever try the host again."""
    breaker = breaker_at(Clock(), "half_open")
    ctx = Context()
    probe = breaker.before(ctx)
    if end == "its context ends":
        ctx.cancel()
    else:
        del probe
        gc.collect()
    next_probe = breaker.before(Context())
    with pytest.raises(CircuitOpenError):
        breaker.before(Context())
    next_probe.succeeded()
    assert breaker.state == "closed"


def test_a_turn_is_given_back_once():
    """By the Context's end, then by the report, then by the collector: that would let three try at once."""
    breaker = breaker_at(Clock(), "half_open")
    ctx = Context()
    probe = breaker.before(ctx)
    ctx.cancel()
    probe.failed(Cancelled())
    del probe
    following = breaker.before(Context())
    assert isinstance(outcome(lambda: breaker.before(Context())), CircuitOpenError)
    following.succeeded()


def test_a_probe_that_succeeds_after_its_context_has_ended_closes_all_the_same():
    """The answer came: that the caller's ``with`` ended before the report changes nothing."""
    breaker = breaker_at(Clock(), "half_open")
    with Context() as ctx:
        probe = breaker.before(ctx)
    probe.succeeded()
    assert breaker.state == "closed"


def test_reports_of_an_earlier_time_do_not_count():
    """A slow call's failure, or success, from before the breaker opened says nothing of now."""
    clock = Clock()
    breaker = breaker_at(clock, "closed")
    slow, slower = breaker.before(Context()), breaker.before(Context())
    for _ in range(3):
        breaker.before(Context()).failed(DOWN)
    clock.advance(30)
    probe = breaker.before(Context())
    slow.succeeded()
    slower.failed(DOWN)
    assert breaker.state == "half_open"
    probe.succeeded()
    assert breaker.state == "closed"


def test_an_attempt_reports_once():
    breaker = CircuitBreaker(failures=2)
    attempt = breaker.before(Context())
    attempt.failed(DOWN)
    attempt.failed(DOWN)
    assert breaker.state == "closed"


def test_as_a_context_manager_it_reports_by_itself():
    clock = Clock()
    breaker = CircuitBreaker(failures=1, clock=clock)
    with breaker.before(Context()):
        pass
    with pytest.raises(ServerError), breaker.before(Context()):
        raise DOWN
    assert breaker.state == "open"
    clock.advance(30)
    with breaker.before(Context()):
        pass
    assert breaker.state == "closed"


@pytest.mark.usefixtures("fast_switches")
def test_a_crowd_sends_one_probe_and_sees_one_change(spawn):
    """200 threads find the cooldown over at the same time."""
    clock = Clock()
    changes: List[Any] = []
    breaker = breaker_at(clock, "half_open", on_change=lambda old, new: changes.append((old, new)))
    start = threading.Barrier(CROWD)

    def work() -> Any:
        start.wait(TIMEOUT)
        return outcome(lambda: breaker.before(Context()))

    found = join([spawn(work) for _ in range(CROWD)])
    probes = [each for each in found if not isinstance(each, CircuitOpenError)]
    assert len(probes) == 1
    probes[0].succeeded()
    assert changes == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


@pytest.mark.usefixtures("fast_switches")
def test_a_crowd_that_fails_opens_it_once(spawn):
    changes: List[Any] = []
    breaker = CircuitBreaker(failures=5, on_change=lambda old, new: changes.append(new))
    attempts = [breaker.before(Context()) for _ in range(CROWD)]
    join([spawn(attempt.failed, DOWN) for attempt in attempts])
    assert changes == ["open"]


def test_on_change_may_use_the_breaker_and_may_fail(caplog):
    """Nothing is locked while it runs, and what it raises is not the caller's."""
    seen: List[str] = []

    def tell(old: str, new: str) -> None:
        seen.append(breaker.state)
        assert isinstance(outcome(lambda: breaker.before(Context())), CircuitOpenError)
        raise RuntimeError("on purpose")

    breaker = CircuitBreaker(failures=1, on_change=tell)
    with caplog.at_level(logging.ERROR, "anyllm"):
        breaker.before(Context()).failed(DOWN)
    assert seen == ["open"]
    assert "on purpose" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        CircuitOpenError("m", retry_after=2.5),
        WaitTooLongError("m", seconds=3.0),
        LimitTooSmallError("m", tokens=2, tokens_per_minute=1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_errors_survive_pickle_and_copy(error):
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert vars(other) == vars(error)


# -- signals, finalizers, forks ------------------------------------------------------------------------------------


HARNESS = '''
import gc, os, signal, sys, threading
from anyllm import limits
from anyllm.context import Context
from anyllm.errors import AnyLLMError, ServerError
from anyllm.limits import *

def at_line(number, act, operate):
    """Run *operate*, and *act* before its line *number* inside the package; whether there was such a line."""
    seen = 0
    def local(frame, event, arg):
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == number:
                act()
        return local
    def tracer(frame, event, arg):
        return local if frame.f_code.co_filename.startswith(os.path.dirname(limits.__file__)) else None
    sys.settrace(tracer)
    try:
        operate()
    finally:
        sys.settrace(None)
    return seen >= number

def attempt(call):
    try:
        return call()
    except AnyLLMError as exc:
        return exc

def when_over(ctx, act):
    """Have *act* called when it ends, maybe by another thread; a function that waits until that is done."""
    done = threading.Event()
    ctx.on_done(lambda: (act(), done.set()))
    return lambda: done.wait(20)

def slot_at_once(ctx):
    limit, found = StreamLimit(1), []
    yield lambda: found.append(attempt(lambda: limit.acquire(ctx)))
    assert limit.active == (0 if isinstance(found[0], AnyLLMError) else 1), found
    found.clear()
    assert limit.active == 0

def slot_after_a_wait(ctx):
    """What frees it is the cancelling, or the slot that is given back beside it, in whatever order."""
    limit, found = StreamLimit(1), []
    slot = limit.acquire(Context())
    over = when_over(ctx, slot.release)
    yield lambda: found.append(attempt(lambda: limit.acquire(ctx)))
    assert over()
    assert limit.active == (0 if isinstance(found[0], AnyLLMError) else 1), found
    found.clear()
    assert limit.active == 0 and not limit._slots().line

def slot_given_back(ctx):
    limit = StreamLimit(2)
    slot, other = limit.acquire(Context()), limit.acquire(Context())
    over = when_over(ctx, slot.release)
    yield slot.release
    assert over()
    assert limit.active == 1

def rate_at_once(ctx):
    limit, found = RateLimit(2), []
    yield lambda: found.append(attempt(lambda: limit.acquire(ctx)))
    books = limit._books()
    assert not books.line and not books.lock.locked()
    left = 2 - books._requests
    for _ in range(left):
        limit.acquire(Context(timeout=5))
    assert isinstance(attempt(lambda: limit.acquire(Context(timeout=5))), WaitTooLongError)

def rate_after_a_wait(ctx):
    limit, found = RateLimit(None, 100), []
    reservation = limit.acquire(Context(), 100)
    over = when_over(ctx, lambda: reservation.settle(0))
    yield lambda: found.append(attempt(lambda: limit.acquire(ctx, 100)))
    assert over()
    books = limit._books()
    assert not books.line and not books.lock.locked()
    again = attempt(lambda: limit.acquire(Context(timeout=5), 100))
    assert isinstance(again, WaitTooLongError) != isinstance(found[0], AnyLLMError), (again, found)

def settle(ctx):
    limit = RateLimit(None, 100)
    reservation = limit.acquire(Context(), 100)
    over = when_over(ctx, lambda: reservation.settle(50))
    yield lambda: reservation.settle(50)
    assert over()
    limit.acquire(Context(timeout=5), 50)
    assert isinstance(attempt(lambda: limit.acquire(Context(timeout=5), 1)), WaitTooLongError)

def probe(ctx):
    breaker, found = CircuitBreaker(failures=1, cooldown=0), []
    breaker.before(Context()).failed(ServerError("down"))
    yield lambda: found.append(attempt(lambda: breaker.before(ctx)))
    found.clear()
    breaker.before(Context()).succeeded()
    assert breaker.state == "closed"

def report(ctx):
    breaker = CircuitBreaker(failures=2)
    one, other = breaker.before(Context()), breaker.before(Context())
    over = when_over(ctx, lambda: other.failed(ServerError("down")))
    yield lambda: one.failed(ServerError("down"))
    assert over()
    assert breaker.state == "open"

OPERATIONS = [slot_at_once, slot_after_a_wait, slot_given_back, rate_at_once, rate_after_a_wait, settle, probe, report]

def finish(ctx, body):
    ctx.cancel()
    next(body, None)
'''


def test_cancelling_may_interrupt_every_line(run_script):
    """A signal handler, or a finalizer, comes between any two lines of whoever waits, and ends what that waits for."""
    said = run_script(
        HARNESS
        + """
points = 0
for operation in OPERATIONS:
    number, more = 0, True
    while more:
        number += 1
        ctx = Context()
        timer = None
        body = operation(ctx)
        operate = next(body)
        if "after_a_wait" in operation.__name__:  # when no such line comes before it waits: from outside
            timer = threading.Timer(0.02, ctx.cancel)
            timer.start()
        more = at_line(number, ctx.cancel, operate)
        if timer is not None:
            timer.cancel()
        finish(ctx, body)
        points += more
print(points)
"""
    )
    assert int(said) > 150, said


def test_giving_back_may_interrupt_every_line(run_script):
    """Nobody is cancelled: whoever waits must see what came back, whenever that was."""
    said = run_script(
        HARNESS
        + """
def for_a_slot():
    limit = StreamLimit(1)
    slot = limit.acquire(Context())
    return slot.release, lambda: limit.acquire(Context(timeout=5)).release()

def for_the_rate():
    limit = RateLimit(None, 100)
    reservation = limit.acquire(Context(), 100)
    return lambda: reservation.settle(0), lambda: limit.acquire(Context(), 100)

points = 0
for case in (for_a_slot, for_the_rate):
    number, more = 0, True
    while more:
        number += 1
        give_back, acquire = case()
        timer = threading.Timer(0.02, give_back)  # when no such line comes before it waits: from outside
        timer.start()
        more = at_line(number, give_back, acquire)
        timer.cancel()
        points += more
print(points)
"""
    )
    assert int(said) > 60, said


def test_who_comes_while_a_slot_is_laid_down_gets_it(run_script):
    """Between the look at the empty line and the laying down, at any line of it, somebody stands in line."""
    said = run_script(
        HARNESS
        + """
number, more = 0, True
while more:
    number += 1
    limit, got, tasks = StreamLimit(1), [], []
    slot = limit.acquire(Context())
    def come():
        task = threading.Thread(target=lambda: got.append(attempt(lambda: limit.acquire(Context(timeout=5)))))
        task.start()
        tasks.append(task)
        while not limit._slots().line and not got and limit.active:
            threading.Event().wait(0.001)
        threading.Event().wait(0.002)  # it looks once more before it waits
    more = at_line(number, come, slot.release)
    for task in tasks:
        task.join(20)
        assert isinstance(got[0], Slot), (number, got)
print(number)
"""
    )
    assert int(said) > 10, said


def test_cancel_in_a_finalizer_never_deadlocks(run_script):
    """The collector runs finalizers in the middle of any allocation, also while `acquire` holds its lock."""
    said = run_script(
        HARNESS
        + BOMB
        + """
def work(first):
    for number in range(6):
        for operation in OPERATIONS:
            ctx = Context(timeout=0.02)
            body = operation(ctx)
            operate = next(body)
            for _ in range(number % 5 + 1):
                Bomb(ctx)
            operate()
            finish(ctx, body)
"""
        + STORM
    )
    assert int(said.split()[-1]) > 100, said


@pytest.mark.fork
def test_a_child_has_no_ghosts(run_script):
    """Whoever held a lock, a slot or the probe in the parent does not exist in the child; what was used is used."""
    said = run_script(
        HARNESS
        + """
import faulthandler, warnings
faulthandler.cancel_dump_traceback_later()
warnings.simplefilter("ignore")
rate, streams = RateLimit(3, 100), StreamLimit(1)
breaker = CircuitBreaker(failures=1, cooldown=0)
breaker.before(Context()).failed(ServerError("down"))
probe = breaker.before(Context())
slot = streams.acquire(Context())
reservation = rate.acquire(Context(), 90)
ctx = Context()
threads = [threading.Thread(target=attempt, args=(lambda: limit.acquire(ctx, *more),), daemon=True)
           for limit, *more in [(rate, 100), (streams,)] * 20]
for thread in threads:
    thread.start()
while len(rate._books().line) + len(streams._slots().line) < 40:
    threading.Event().wait(0.001)
rate._books().lock.acquire()  # another thread's, at that moment

pid = os.fork()
if not pid:
    signal.alarm(20)
    status = 1
    try:
        with streams.acquire(Context(timeout=5)):
            assert streams.active == 1
            slot.release()  # the parent's
            assert streams.active == 1
        assert streams.active == 0
        assert isinstance(attempt(lambda: rate.acquire(Context(timeout=1), 11)), WaitTooLongError)
        rate.acquire(Context(timeout=1), 10)
        reservation.settle(50)
        rate.acquire(Context(timeout=1), 40)
        assert isinstance(attempt(lambda: rate.acquire(Context(timeout=1))), WaitTooLongError)  # the fourth
        breaker.before(Context()).succeeded()
        assert breaker.state == "closed"
        status = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        os._exit(status)
assert os.waitpid(pid, 0)[1] == 0
rate._books().lock.release()
assert breaker.state == "half_open" and streams.active == 1
ctx.cancel()
for thread in threads:
    thread.join(20)
    assert not thread.is_alive()
print("done")
"""
    )
    assert said.strip() == "done"
