"""Limits of concurrent answers, in all and for each key; a request beyond them is rejected at once."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Optional

from anyllm.errors import OverloadedError, RateLimitError

#: The ``retry_after`` of rejected requests, in seconds.
_RETRY_AFTER = 1.0


class AnswerSlots:
    """Counts answers: *limit* at most in all, *per_key* for each key, None for no such limit. For any thread."""

    def __init__(self, limit: int, per_key: Optional[int]) -> None:
        self._limit = limit
        self._per_key = per_key
        self._lock = threading.Lock()  # guards both counts
        self._by_key: Counter[str] = Counter()
        self._total = 0

    @property
    def running(self) -> int:
        """The number of slots in use."""
        return self._total

    def acquire(self, key: str) -> None:
        """Take a slot. RateLimitError if the key has reached its limit, OverloadedError if the gateway has."""
        with self._lock:
            if self._per_key is not None and self._by_key[key] >= self._per_key:
                message = f"this key has reached its limit of {self._per_key} concurrent answers"
                raise RateLimitError(message, status_code=429, code="rate_limit_exceeded", retry_after=_RETRY_AFTER)
            if self._total >= self._limit:
                message = f"the gateway has reached its limit of {self._limit} concurrent answers"
                raise OverloadedError(message, status_code=503, code="overloaded", retry_after=_RETRY_AFTER)
            self._by_key[key] += 1
            self._total += 1

    def release(self, key: str) -> None:
        """Give a slot of *key* back."""
        with self._lock:
            self._total -= 1
            self._by_key[key] -= 1
            if not self._by_key[key]:
                del self._by_key[key]
