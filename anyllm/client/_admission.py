"""
Admission of calls: the rate limit, the limit of concurrent calls and the circuit breaker that a call must pass.

Strategy: each call has a `Lease`: its slot, its reservation and its attempt. The end of the call returns it, once; a
dropped lease returns itself. Returning takes no lock, because it may happen in a finalizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

from anyllm.context import Context
from anyllm.errors import AnyLLMError, APIError, DeadlineExceeded, IncompleteStreamError, NetworkError
from anyllm.limits import CircuitAttempt, CircuitBreaker, RateLimit, Reservation, Slot, StreamLimit
from anyllm.types import Usage

#: A breaker for all providers, or the settings of one breaker for each provider.
BreakerSettings = Union[CircuitBreaker, Mapping[str, Any], None]

#: Seconds that a call waits for its admission if it must not wait.
_NO_WAIT = 0.001


def _is_refusal(error: Optional[BaseException]) -> bool:
    """Whether the provider refused the call or was not reached, so that the call used no tokens."""
    if isinstance(error, IncompleteStreamError):
        return False
    return isinstance(error, (APIError, NetworkError)) and not error.partial


class AdmissionWouldWaitError(AnyLLMError):
    """A call would have to wait for its admission, and must not."""


class Lease:
    """The slot, reservation and breaker attempt that a call holds while it runs."""

    def __init__(self) -> None:
        self.attempt: Optional[CircuitAttempt] = None
        self.slot: Optional[Slot] = None
        self.reservation: Optional[Reservation] = None
        self.unwatch: Callable[[], object] = lambda: None

    def end(self, error: Optional[BaseException], usage: Optional[Usage]) -> None:
        """Return everything, and report how the call ended. A second time does nothing."""
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
        self.unwatch()  # the slot and the attempt have finalizers of their own


class Admission:
    """Admits the calls of a client, which has the same arguments. Shared between threads."""

    def __init__(
        self, rate_limit: Optional[RateLimit], stream_limit: Optional[StreamLimit], breaker: BreakerSettings
    ) -> None:
        self._rate_limit = rate_limit
        self._stream_limit = stream_limit
        self._breaker = breaker
        self._breakers: dict[str, CircuitBreaker] = {}
        if isinstance(breaker, Mapping):
            CircuitBreaker(**breaker)  # raises here for wrong settings, and not in the first call

    def enter(self, ctx: Context, provider: str, tokens: Callable[[], int], *, wait: bool = True) -> Lease:
        """
        Wait until a call to *provider* may be made.

        Args:
            tokens: Returns the most tokens that the call will use.
            wait: Whether to wait. If not, `AdmissionWouldWaitError` is raised instead.

        Raises:
            Cancelled, DeadlineExceeded: the Context ended.
            CircuitOpenError: the provider fails.
            LimitTooSmallError: the call needs more tokens than the limit of a minute.
        """
        lease = Lease()
        try:
            if (breaker := self.breaker_of(provider)) is not None:
                lease.attempt = breaker.before(ctx)
            wait_ctx = ctx if wait else ctx.child(_NO_WAIT)
            if self._stream_limit is not None:
                lease.slot = self._stream_limit.acquire(wait_ctx)
                lease.unwatch = ctx._on_end(lease.slot._give)  # which refers to neither slot nor lease
            if self._rate_limit is not None:
                count = tokens() if self._rate_limit.tokens_per_minute else 0
                lease.reservation = self._rate_limit.acquire(wait_ctx, count)
        except BaseException as exc:
            lease.end(exc, None)
            if isinstance(exc, DeadlineExceeded) and not wait and not ctx.cancelled:
                raise AdmissionWouldWaitError("the limits allow no further call now") from exc
            raise
        return lease

    def breaker_of(self, provider: str) -> Optional[CircuitBreaker]:
        """The breaker of calls to *provider*."""
        if not isinstance(self._breaker, Mapping):
            return self._breaker
        breaker = self._breakers.get(provider)
        return breaker or self._breakers.setdefault(provider, CircuitBreaker(**self._breaker))  # the first wins
