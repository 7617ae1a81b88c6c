"""
What threads share before they call: a rate, a number of streams at once, a circuit breaker.

Strategy: whoever waits stands in a line with a lock of its own, and the Context only releases that lock (see
`waiters`). Giving something back (`Slot.release`, `Reservation.settle`, a `CircuitAttempt`'s report) belongs to the end
of a call, which may be in a signal handler or a finalizer: it takes no lock, but decides with one operation of a dict
or a deque.
"""

from __future__ import annotations

from anyllm.errors import CircuitOpenError, LimitTooSmallError, WaitTooLongError
from anyllm.limits._breaker import CircuitAttempt, CircuitBreaker
from anyllm.limits._rate import RateLimit, Reservation
from anyllm.limits._streams import Slot, StreamLimit

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
