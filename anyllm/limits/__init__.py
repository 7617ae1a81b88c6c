"""
Limits that threads share: a rate limit, a limit of concurrent streams, a circuit breaker.

Strategy: each waiting thread stands in a line with a lock of its own, and the end of its Context only releases that
lock (see `waiters`). Giving something back (`Slot.release`, `Reservation.settle`, a `CircuitAttempt`'s report) happens
at the end of a call, perhaps in a signal handler or a finalizer: it takes no lock, but decides with one operation of a
dict or a deque.
"""

from __future__ import annotations

from anyllm.errors import CircuitOpenError, LimitTooSmallError, WaitTooLongError
from anyllm.limits._circuit_breaker import CircuitAttempt, CircuitBreaker
from anyllm.limits._rate_limit import RateLimit, Reservation
from anyllm.limits._stream_limit import Slot, StreamLimit

Attempt = CircuitAttempt  #: The former name.

__all__ = [
    "Attempt",
    "CircuitAttempt",
    "CircuitBreaker",
    "CircuitOpenError",
    "LimitTooSmallError",
    "RateLimit",
    "Reservation",
    "Slot",
    "StreamLimit",
    "WaitTooLongError",
]
