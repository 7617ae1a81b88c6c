"""Helpers for tests of limits: a clock that stands still, and threads that stand in line."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, List

from loopback import until

from anyllm.errors import AnyLLMError, ServerError
from anyllm.limits import RateLimit

CROWD = 200
DOWN = ServerError("down", status_code=500)


class Clock:
    """A clock that stands still until `advance`, which wakes the waiting calls."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.limits: List[RateLimit] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for limit in self.limits:
            limit._ledger().look_again()


def rate(clock: Clock, *limits: Any) -> RateLimit:
    limit = RateLimit(*limits, clock=clock)
    clock.limits.append(limit)
    return limit


def waiting(limit: Any) -> deque[Any]:
    return limit._ledger().line if isinstance(limit, RateLimit) else limit._slots().line


def stand_in_line(spawn: Any, limit: Any, count: int, work: Callable[[int], Any]) -> List[Any]:
    """*count* threads, each in line before the next one starts."""
    tasks = []
    for me in range(count):
        before = len(waiting(limit))
        tasks.append(spawn(work, me))
        until(lambda before=before: len(waiting(limit)) > before)
    return tasks


def outcome(call: Callable[[], Any]) -> Any:
    """The result of *call*, or its error."""
    try:
        return call()
    except AnyLLMError as exc:
        return exc
