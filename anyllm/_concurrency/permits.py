"""
A fixed number of permits, and the line of waiters for them.

Strategy: no lock. Free permits are items of a deque, and waiters stand in another (see `waiters`), so a permit may be
given back in a signal handler or a finalizer.
"""

from __future__ import annotations

from collections import deque

from anyllm._concurrency import waiters


class Permits:
    """
    *count* permits for any number of threads; the longest waiting thread gets the next one.

    Attributes:
        free: The permits that nobody holds.
        line: The waiters, the longest waiting first. Releasing a waiter hands it a permit.
    """

    __slots__ = ("free", "line")

    def __init__(self, count: int) -> None:
        self.free: deque[None] = deque([None] * count)
        self.line: deque[waiters.Waiter] = deque()

    def take_free(self) -> bool:
        """Take a permit without waiting; False when none is free, or others wait for one."""
        return not self.line and waiters.take_one(self.free)

    def stand_in_line(self, waiter: waiters.Waiter) -> None:
        """Put *waiter* into the line; it may be handed a permit at once."""
        self.line.append(waiter)
        # In line first, then look again: a permit given back in between is free now, or was handed to a waiter.
        if waiters.take_one(self.free):
            self.give()

    def give(self) -> None:
        """Give a permit back: the first in line gets it, or it is free. Takes no lock."""
        while not waiters.wake(self.line):
            self.free.append(None)
            if not self.line or not waiters.take_one(self.free):
                return
            # A waiter joined the line after we looked at it: hand it the permit.
