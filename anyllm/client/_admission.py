"""
What stands before a call and hears how it ended: the rate, how many run at once, whether the host is well.

Strategy: each call has a `Lease` of whatever guards there are. It is given back once, by whoever ends the call, and by
itself when the call is let go of; what it gives back then takes no lock, because that may be in a finalizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

from anyllm.context import Context
from anyllm.errors import AnyLLMError, APIError, DeadlineExceeded, IncompleteStreamError, NetworkError
from anyllm.limits import CircuitAttempt, CircuitBreaker, RateLimit, Reservation, Slot, StreamLimit
from anyllm.types import Usage

__all__ = ["BreakerSettings", "Admission", "Lease"]

#: A breaker for all providers, or the settings of one for each.
BreakerSettings = Union[CircuitBreaker, Mapping[str, Any], None]


#: Seconds that a call waits which may not wait.
_AT_ONCE = 0.001


def _is_refusal(error: Optional[BaseException]) -> bool:
    """Whether the provider refused the call or was not reached, so that it used no tokens."""
    if isinstance(error, IncompleteStreamError):
        return False
    return isinstance(error, (APIError, NetworkError)) and not error.partial


class NoRoom(AnyLLMError):
    """A call would have to wait, and may not."""


class Lease:
    """What a call holds while it runs."""

    def __init__(self) -> None:
        self.attempt: Optional[CircuitAttempt] = None
        self.slot: Optional[Slot] = None
        self.reservation: Optional[Reservation] = None
        self.unwatch: Callable[[], object] = lambda: None

    def end(self, error: Optional[BaseException], usage: Optional[Usage]) -> None:
        """Give everything back, and say how the call ended. A second time does nothing."""
        if self.attempt is not None:
            if error is None:
                self.attempt.succeeded()
            else:
                self.attempt.failed(error)
        if self.reservation is not None:
            if usage is not None:
                self.reservation.settle(usage.total_tokens)
            elif _is_refusal(error):
                self.reservation.settle(0)
        if self.slot is not None:
            self.slot.release()
        self.unwatch()

    def __del__(self) -> None:
        self.unwatch()  # the slot and the attempt give themselves back


class Admission:
    """
    Shared by all calls of a client.

    Args:
        rate: How many requests and tokens a minute.
        streams: How many at once.
        breaker: One for all providers, or the settings for one each.
    """

    def __init__(self, rate: Optional[RateLimit], streams: Optional[StreamLimit], breaker: BreakerSettings) -> None:
        self._rate = rate
        self._streams = streams
        self._breaker = breaker
        self._breakers: dict[str, CircuitBreaker] = {}
        if isinstance(breaker, Mapping):
            CircuitBreaker(**breaker)  # what is wrong with the settings is said here

    def enter(self, ctx: Context, provider: str, tokens: Callable[[], int], *, wait: bool = True) -> Lease:
        """
        Wait until a call to *provider* may be made.

        Args:
            tokens: Gives what it will use, at most.
            wait: Whether to; else `NoRoom` is raised where a call would have to.

        Raises:
            Cancelled, DeadlineExceeded: the Context ended.
            CircuitOpenError: the host is not well.
            LimitTooSmallError: the call is larger than the limit.
        """
        lease = Lease()
        try:
            if (breaker := self.breaker_of(provider)) is not None:
                lease.attempt = breaker.before(ctx)
            patience = ctx if wait else ctx.child(_AT_ONCE)
            if self._streams is not None:
                lease.slot = self._streams.acquire(patience)
                lease.unwatch = ctx._on_end(lease.slot._give)  # which keeps neither slot nor lease
            if self._rate is not None:
                lease.reservation = self._rate.acquire(patience, tokens() if self._rate.tokens_per_minute else 0)
        except BaseException as exc:
            lease.end(exc, None)
            if isinstance(exc, DeadlineExceeded) and not wait and not ctx.cancelled:
                raise NoRoom("the limits leave no room for another call") from exc
            raise
        return lease

    def breaker_of(self, provider: str) -> Optional[CircuitBreaker]:
        """The breaker that calls to *provider* pass."""
        if not isinstance(self._breaker, Mapping):
            return self._breaker
        known = self._breakers.get(provider)
        return known or self._breakers.setdefault(provider, CircuitBreaker(**self._breaker))  # of two, the first stays
