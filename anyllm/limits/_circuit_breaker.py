"""Circuit breaker: stop calling a failing provider for a while."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Optional

import attrs

from anyllm._concurrency import waiters
from anyllm._concurrency.per_process import PerProcess
from anyllm._hints.arguments import non_negative, whole_number
from anyllm.context import Context, check_context, raise_if_ended
from anyllm.errors import (
    CircuitOpenError,
    IncompleteStreamError,
    NetworkError,
    ServerError,
    StreamTimeoutError,
)
from anyllm.limits._once import Once

_log = logging.getLogger("anyllm")

#: The errors that count against the provider. All others are the caller's: its request, its key, its Context.
_UNHEALTHY = (ServerError, NetworkError, StreamTimeoutError, IncompleteStreamError)


@attrs.define(eq=False)
class _State:
    """
    The breaker between two changes of its state.

    A change is one `dict.setdefault` in `next`: of several threads that change the same state, one succeeds. The report
    of a call counts only in the state in which the call began.

    Attributes:
        name: "closed", "open" or "half_open".
        since: The clock when it began.
        failures: The clock at each of the last failures.
        probe_permits: One permit for the probe of a half-open breaker. A child process has its own, because it cannot
            get back the permit of its parent's call.
        next: Empty, or {"state": the following state}.
    """

    name: str
    since: float
    failures: deque[float]
    probe_permits: PerProcess[deque[None]] = attrs.field(
        factory=lambda: PerProcess(lambda _inherited: deque([None])), init=False
    )
    next: dict[str, _State] = attrs.field(factory=dict, init=False)


class CircuitAttempt:
    """
    A call that the breaker allowed. It reports how the call ended: once, and without a lock.

    As a context manager it reports by itself.
    """

    __slots__ = ("_breaker", "_give_back", "_reports", "_state", "_unwatch")

    def __init__(self, breaker: CircuitBreaker, state: _State, give_back: Optional[Once] = None) -> None:
        self._breaker = breaker
        self._state = state
        self._give_back: Callable[[], object] = give_back or (lambda: None)
        self._unwatch: Callable[[], object] = lambda: None
        self._reports: list[None] = [None]

    def succeeded(self) -> None:
        """The provider answered: closes a half-open breaker."""
        if self._is_first_report():
            self._breaker._succeeded(self._state)

    def failed(self, error: BaseException) -> None:
        """
        The call ended with *error*.

        `ServerError`, `OverloadedError`, `NetworkError`, `StreamTimeoutError` and `IncompleteStreamError` count against
        the provider. All other errors are not about its health: after one of them the next call is the probe.
        """
        if self._is_first_report():
            if isinstance(error, _UNHEALTHY):
                self._breaker._failed(self._state)
            else:
                self._give_back()

    def _is_first_report(self) -> bool:
        if not waiters.take_one(self._reports):
            return False
        self._unwatch()
        return True

    def __enter__(self) -> CircuitAttempt:
        return self

    def __exit__(self, kind: object, exc: Optional[BaseException], trace: object) -> None:
        if exc is None:
            self.succeeded()
        else:
            self.failed(exc)

    def __del__(self) -> None:
        if hasattr(self, "_reports") and self._is_first_report():
            self._give_back()


class CircuitBreaker:
    """
    Stops calls to a failing provider, and tries it again after a while with one call at a time.

    "closed" allows every call. *failures* within *window* make it "open": every call is a `CircuitOpenError`. The first
    call after *cooldown* makes it "half_open": that call is the probe, and others are refused until it has reported.
    Success closes the breaker, and a failure opens it again. When a probe ends without either (cancelled, never
    reported, an error of the caller's), the next call is the probe. No call waits here::

        with breaker.before(ctx):
            answer = anyllm.completion(ctx, params)

    Shared freely between threads; a child process starts with its parent's state.

    Args:
        failures: The number of failures that opens it. Successes in between do not reduce the count.
        window: Seconds within which they happen.
        cooldown: Seconds for which it stays open.
        clock: Monotonic seconds.
        on_change: Called with the old state and the new one, after the change and on the thread that made it. It must
            not block; an exception in it is logged.

    Raises:
        TypeError, ValueError: *failures* is no int or less than 1, or a time is negative or NaN.

    Source: https://martinfowler.com/bliki/CircuitBreaker.html
    """

    def __init__(
        self,
        failures: int = 5,
        window: float = 60.0,
        cooldown: float = 30.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_change: Optional[Callable[[str, str], object]] = None,
    ) -> None:
        self._failures = whole_number("failures", failures, 1)
        self._window = non_negative("window", window)
        self._cooldown = non_negative("cooldown", cooldown)
        self._clock = clock
        self._on_change = on_change
        self._latest = _State("closed", clock(), deque(maxlen=failures))

    @property
    def state(self) -> str:
        """ "closed", "open" (until a call comes after the cooldown) or "half_open"."""
        return self._current().name

    def before(self, ctx: Context) -> CircuitAttempt:
        """
        Begin a call, if the breaker allows one. Never waits.

        Args:
            ctx: The call's. When it ends before a probe has reported, the next call is the probe.

        Returns:
            The attempt, to which the caller reports how the call ended.

        Raises:
            CircuitOpenError: no call is allowed now.
            Cancelled, DeadlineExceeded: the Context has ended.
        """
        check_context(ctx, "ctx must be")
        raise_if_ended(ctx)
        while True:
            state = self._current()
            if state.name == "closed":
                return CircuitAttempt(self, state)
            if state.name == "half_open":
                attempt = self._probe(ctx, state)
                if not state.next:
                    return attempt
                continue  # the previous probe has reported meanwhile
            remaining = state.since + self._cooldown - self._clock()
            if remaining > 0:
                raise CircuitOpenError(
                    f"the provider failed; the next attempt is in {remaining:.3g} s", retry_after=remaining
                )
            self._change(state, "half_open")

    def _probe(self, ctx: Context, state: _State) -> CircuitAttempt:
        permits = state.probe_permits()
        if not waiters.take_one(permits):
            raise CircuitOpenError("the provider failed, and one call is trying it again")
        give_back = Once(lambda: permits.append(None))
        attempt = CircuitAttempt(self, state, give_back)
        attempt._unwatch = ctx._on_end(give_back)  # holds no reference to the attempt, whose finalizer gives back too
        return attempt

    def _current(self) -> _State:
        state = self._latest
        while state.next:
            state = state.next["state"]
        self._latest = state
        return state

    def _succeeded(self, state: _State) -> None:
        if state.name == "half_open":
            self._change(state, "closed")

    def _failed(self, state: _State) -> None:
        now = self._clock()
        state.failures.append(now)
        too_many = len(state.failures) == self._failures and now - state.failures[0] < self._window
        if state.name == "half_open" or (state.name == "closed" and too_many):
            self._change(state, "open")

    def _change(self, state: _State, new_name: str) -> None:
        new = _State(new_name, self._clock(), deque(maxlen=self._failures))
        if state.next.setdefault("state", new) is not new or self._on_change is None:
            return
        try:
            self._on_change(state.name, new_name)
        except Exception:
            _log.exception("on_change of a CircuitBreaker failed")

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.state}>"
