"""What the limits are made of."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, Generic, Optional, TypeVar

from anyllm.context import Context, own_error

__all__ = ["Once", "PerProcess", "check_context", "raise_if_ended", "seconds_in"]

T = TypeVar("T")


class PerProcess(Generic[T]):
    """
    One of something in each process.

    What a child inherits may be locked for ever, and full of threads that the child does not have: it makes its own.
    """

    __slots__ = ("_by_pid", "_make")

    def __init__(self, make: Callable[[Optional[T]], T]) -> None:
        self._make = make
        self._by_pid = {os.getpid(): make(None)}

    def __call__(self) -> T:
        pid = os.getpid()
        mine = self._by_pid.get(pid)
        if mine is None:
            inherited = list(self._by_pid.copy().values())[-1]
            mine = self._by_pid.setdefault(pid, self._make(inherited))  # of two threads that come first, one wins
        return mine


class Once:
    """A function that runs at the first call; whether this was the first. Takes no lock."""

    __slots__ = ("_left",)

    def __init__(self, fn: Callable[[], object]) -> None:
        self._left = [fn]

    def __call__(self) -> bool:
        try:
            fn = self._left.pop()
        except IndexError:
            return False
        fn()
        return True


def raise_if_ended(ctx: Context) -> None:
    """The Context's error, if it has one, as an error of this call's own."""
    if ctx.error is not None:
        raise own_error(ctx)


def check_context(ctx: Any) -> None:
    if not isinstance(ctx, Context):
        raise TypeError(f"the first argument must be a Context, not {type(ctx).__name__}")


def seconds_in(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be seconds (a number), not {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name} must not be negative or NaN: {value!r}")
    return float(value)
