"""State that each process has for itself, whatever it inherits in a fork."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, Optional, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """
    One object in each process; calling this gives it.

    A child process makes a new object, because the inherited one may be locked for ever by a thread that the child does
    not have.

    Args:
        make: Makes the object, from the parent process's; None in the first process.
    """

    __slots__ = ("_by_pid", "_make")

    def __init__(self, make: Callable[[Optional[T]], T]) -> None:
        self._make = make
        self._by_pid = {os.getpid(): make(None)}

    def __call__(self) -> T:
        pid = os.getpid()
        own = self._by_pid.get(pid)
        if own is None:
            inherited = list(self._by_pid.copy().values())[-1]
            own = self._by_pid.setdefault(pid, self._make(inherited))  # of two threads that make one, the first wins
        return own
