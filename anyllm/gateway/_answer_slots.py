"""How many answers are on their way at once, in all and for each key; who finds no room is told so at once."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Optional

from anyllm.errors import OverloadedError, RateLimitError

__all__ = ["Slots"]

#: Seconds after which to try again.
_SOON = 1.0


class Slots:
    """
    Shared between threads.

    Args:
        limit: How many in all.
        per_key: How many for each key; None for no limit of its own.
    """

    def __init__(self, limit: int, per_key: Optional[int]) -> None:
        self._limit = limit
        self._per_key = per_key
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._total = 0

    @property
    def running(self) -> int:
        """How many are taken."""
        return self._total

    def take(self, key: str) -> None:
        """
        Take one, to be given back with `give`.

        Raises:
            RateLimitError: this key has all that it may have.
            OverloadedError: there is none left for anybody.
        """
        with self._lock:
            if self._per_key is not None and self._taken[key] >= self._per_key:
                what = f"this key has {self._per_key} answers on their way, which is all it may have"
                raise RateLimitError(what, status_code=429, code="rate_limit_exceeded", retry_after=_SOON)
            if self._total >= self._limit:
                what = f"{self._limit} answers are on their way, which is all this gateway gives at once"
                raise OverloadedError(what, status_code=503, code="overloaded", retry_after=_SOON)
            self._taken[key] += 1
            self._total += 1

    def give(self, key: str) -> None:
        """Give one back."""
        with self._lock:
            self._total -= 1
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
