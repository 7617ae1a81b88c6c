"""Circuit breaker: which errors open it, and which single call decides whether it closes."""

from __future__ import annotations

import gc
import logging
import threading
from typing import Any, List

import pytest
from conftest import TIMEOUT, join
from limit_threads import CROWD, DOWN, Clock, outcome

from anyllm import wsgi
from anyllm.context import Context
from anyllm.errors import (
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
from anyllm.limits import CircuitBreaker, CircuitOpenError


def breaker_at(clock: Clock, state: str, **options: Any) -> CircuitBreaker:
    """A breaker in *state*: "half_open" means that its cooldown is just over."""
    breaker = CircuitBreaker(failures=3, window=60, cooldown=30, clock=clock, **options)
    if state != "closed":
        fail(breaker, 3)
        assert breaker.state == "open"
    if state == "half_open":
        clock.advance(30)
    return breaker


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.before(Context()).failed(DOWN)


def is_open(breaker: CircuitBreaker) -> bool:
    """Whether a call is refused."""
    return isinstance(outcome(lambda: breaker.before(Context())), CircuitOpenError)


def test_so_many_failures_within_the_window_open_it():
    clock = Clock()
    breaker = breaker_at(clock, "closed")
    fail(breaker, 2)
    assert breaker.state == "closed"
    clock.advance(60)  # the first two are too old now
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"
    clock.advance(12)
    with pytest.raises(CircuitOpenError) as caught:
        breaker.before(Context())
    assert caught.value.retry_after == pytest.approx(18)
    assert caught.value.is_retryable


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("open", ServerError("", status_code=500)),
        ("open", OverloadedError("", status_code=529)),
        ("open", NetworkError("")),
        ("open", StreamTimeoutError("", clock="idle", seconds=1)),
        ("open", IncompleteStreamError("")),
        ("closed", InvalidRequestError("", status_code=400)),
        ("closed", AuthenticationError("", status_code=401)),
        ("closed", RateLimitError("", status_code=429)),
        ("closed", Cancelled()),
        ("closed", DeadlineExceeded()),
        ("closed", MalformedStreamError()),
        ("closed", KeyboardInterrupt()),
        ("closed", ValueError()),
    ],
)
def test_errors_of_the_provider_count_and_others_do_not(state, error):
    breaker = CircuitBreaker(failures=1)
    breaker.before(Context()).failed(error)
    assert breaker.state == state


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
    assert is_open(breaker) == (how == "failed")


def test_a_failed_probe_restarts_the_cooldown():
    clock = Clock()
    breaker = breaker_at(clock, "half_open")
    clock.advance(5)
    fail(breaker)
    error = outcome(lambda: breaker.before(Context()))
    assert error.retry_after == pytest.approx(30)


@pytest.mark.parametrize("end", ["its context ends", "it is forgotten"])
def test_a_probe_without_a_report_returns_its_permit(end):
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
    assert is_open(breaker)
    next_probe.succeeded()
    assert breaker.state == "closed"


def test_a_probe_permit_is_returned_once():
    """By the Context's end, then by the report, then by the collector: that would let three try at once."""
    breaker = breaker_at(Clock(), "half_open")
    ctx = Context()
    probe = breaker.before(ctx)
    ctx.cancel()
    probe.failed(Cancelled())
    del probe
    following = breaker.before(Context())
    assert is_open(breaker)
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
    fail(breaker, 3)
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
    states: List[str] = []

    def record(old: str, new: str) -> None:
        states.append(breaker.state)
        assert is_open(breaker)
        raise RuntimeError("on purpose")

    breaker = CircuitBreaker(failures=1, on_change=record)
    with caplog.at_level(logging.ERROR, "anyllm"):
        fail(breaker)
    assert states == ["open"]
    assert "on purpose" in caplog.text


def test_an_open_breaker_is_a_503():
    assert wsgi.status(CircuitOpenError("x", retry_after=3)) == 503
