"""Not at all, for a while."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Optional

from anyllm._concurrency import waiters
from anyllm._hints.arguments import whole_number
from anyllm.context import Context
from anyllm.errors import (
    CircuitOpenError,
    IncompleteStreamError,
    NetworkError,
    ServerError,
    StreamTimeoutError,
)
from anyllm.limits._shared import Once, PerProcess, check_context, raise_if_ended, seconds_in

__all__ = ["CircuitAttempt", "CircuitBreaker"]

_log = logging.getLogger("anyllm")

#: The errors that speak of the host's health. All else is the caller's own: its request, its key, its Context.
_UNHEALTHY = (ServerError, NetworkError, StreamTimeoutError, IncompleteStreamError)


class _State:
    """
    The breaker between two changes of its state.

    It ends with one `dict.setdefault` of what comes next: of several who want to change the same state, one does.
    What a call reports counts in the era in which it began, and in no other.
    """

    __slots__ = ("failures", "next", "since", "state", "turns")

    def __init__(self, state: str, since: float, failures: int) -> None:
        self.state = state
        self.since = since
        self.failures: deque[float] = deque(maxlen=failures)  # when the last ones were
        #: The right to try the host, in a half-open era. A child cannot get back what its parent's call holds.
        self.turns = PerProcess(lambda _inherited: deque([None]))
        self.next: dict[str, _State] = {}  # empty, or {"era": what came next}


class CircuitAttempt:
    """
    A call that the breaker let through, which reports how it ended: once, and without a lock.

    As a context manager it reports by itself.
    """

    __slots__ = ("_breaker", "_era", "_give_back", "_reports", "_unwatch")

    def __init__(self, breaker: CircuitBreaker, era: _State, give_back: Optional[Once] = None) -> None:
        self._breaker = breaker
        self._era = era
        self._give_back: Callable[[], object] = give_back or (lambda: None)
        self._unwatch: Callable[[], object] = lambda: None
        self._reports: list[None] = [None]

    def succeeded(self) -> None:
        """The host answered: closes a half-open breaker."""
        if self._is_first_report():
            self._breaker._succeeded(self._era)

    def failed(self, error: BaseException) -> None:
        """
        The call ended with *error*.

        `ServerError`, `OverloadedError`, `NetworkError`, `StreamTimeoutError` and `IncompleteStreamError` count against
        the host. All else says nothing of its health: a probe then gives its turn back, to the next call.
        """
        if self._is_first_report():
            if isinstance(error, _UNHEALTHY):
                self._breaker._failed(self._era)
            else:
                self._give_back()

    def _is_first_report(self) -> bool:
        if not waiters.take_one(self._reports):
            return False
        self._unwatch()
        return True

    def __enter__(self) -> CircuitAttempt:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if exc is None:
            self.succeeded()
        else:
            self.failed(exc)

    def __del__(self) -> None:
        if hasattr(self, "_reports") and self._is_first_report():
            self._give_back()


class CircuitBreaker:
    """
    Stops calling a host that fails, and tries it again after a while, one call at a time.

    "closed" lets every call through. So many *failures* within *window* make it "open": every call is a
    `CircuitOpenError`. The first call after *cooldown* makes it "half_open": that one is the probe, and others are
    refused until it has reported. Success closes the breaker, a failure opens it again, and a probe that ends without
    either (cancelled, forgotten, refused for a reason of its own) leaves its turn to the next call. Nobody waits here::

        with breaker.before(ctx):
            answer = anyllm.completion(ctx, params)

    Shared freely between threads; a child process goes on from its parent's state.

    Args:
        failures: How many make it open. Successes in between do not take them back.
        window: Seconds within which they come.
        cooldown: Seconds for which it stays open.
        clock: Gives seconds that never go back.
        on_change: Called with the old state and the new one, on the thread that made the change, after it. It must not
            block; what it raises is logged.

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
        self._window = seconds_in("window", window)
        self._cooldown = seconds_in("cooldown", cooldown)
        self._clock = clock
        self._on_change = on_change
        self._latest = _State("closed", clock(), failures)

    @property
    def state(self) -> str:
        """ "closed", "open" (until a call comes after the cooldown) or "half_open"."""
        return self._era().state

    def before(self, ctx: Context) -> CircuitAttempt:
        """
        Ask whether a call may be made. Never waits.

        Args:
            ctx: The call's. When it ends, a probe that has not reported gives its turn back.

        Returns:
            What must be told how the call ended.

        Raises:
            CircuitOpenError: not now.
            Cancelled, DeadlineExceeded: the Context has ended.
        """
        check_context(ctx)
        raise_if_ended(ctx)
        while True:
            era = self._era()
            if era.state == "closed":
                return CircuitAttempt(self, era)
            if era.state == "half_open":
                attempt = self._probe(ctx, era)
                if not era.next:
                    return attempt
                continue  # whoever had the turn before reported all the same
            left = era.since + self._cooldown - self._clock()
            if left > 0:
                raise CircuitOpenError(f"the host failed; the next try is in {left:.3g} s", retry_after=left)
            self._change(era, "half_open")

    def _probe(self, ctx: Context, era: _State) -> CircuitAttempt:
        turns = era.turns()
        if not waiters.take_one(turns):
            raise CircuitOpenError("the host failed, and one call is trying it again")
        give_back = Once(lambda: turns.append(None))
        attempt = CircuitAttempt(self, era, give_back)
        attempt._unwatch = ctx._on_end(give_back)  # which does not keep the attempt: forgotten, it gives back too
        return attempt

    def _era(self) -> _State:
        era = self._latest
        while era.next:
            era = era.next["era"]
        self._latest = era
        return era

    def _succeeded(self, era: _State) -> None:
        if era.state == "half_open":
            self._change(era, "closed")

    def _failed(self, era: _State) -> None:
        now = self._clock()
        era.failures.append(now)
        too_many = len(era.failures) == self._failures and now - era.failures[0] < self._window
        if era.state == "half_open" or (era.state == "closed" and too_many):
            self._change(era, "open")

    def _change(self, era: _State, state: str) -> None:
        new = _State(state, self._clock(), self._failures)
        if era.next.setdefault("era", new) is not new or self._on_change is None:
            return
        try:
            self._on_change(era.state, state)
        except Exception:
            _log.exception("the function that a CircuitBreaker tells of its changes failed")

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.state}>"
