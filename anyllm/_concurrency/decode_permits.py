"""
How many workers may decode at once: a few.

Strategy: a thread that waits for the interpreter wakes up every few milliseconds to ask for it again. When hundreds of
streams bring data at the same time, their workers and the callers that they wake do little else: a thousand streams
cost 600 us of CPU a chunk, fourteen times the loop written by hand. So a worker that comes back from a read takes a
turn first, and without one it sleeps on a lock of its own, which costs nothing until its turn comes. Turns are handed
on in the order in which they were asked for. A worker never waits for anything else while it has one.
"""

from __future__ import annotations

import os
import sys
from collections import deque

from anyllm._concurrency import waiters

__all__ = ["DecodePermits"]

#: With one interpreter lock a second turn only adds a thread that waits for it: 25 us a chunk with one, 30 with four.
_WITH_LOCK = 1


class DecodePermits:
    """
    A fixed number of turns, taken and given back by workers; the longest waiting comes first.

    Args:
        count: How many there are; None for what this interpreter can use.
    """

    __slots__ = ("_free", "_line")

    def __init__(self, count: int | None = None) -> None:
        if count is None:
            locked = getattr(sys, "_is_gil_enabled", lambda: True)()
            count = _WITH_LOCK if locked else max(_WITH_LOCK, os.cpu_count() or 1)
        self._free: deque[None] = deque([None] * count)
        self._line: deque[waiters.Waiter] = deque()

    def take(self) -> None:
        """Wait for a turn."""
        if not self._line and waiters.take_one(self._free):
            return
        waiter = waiters.new_waiter()
        self._line.append(waiter)
        # In line first, then look again: a turn given back in between is either free now, or ours.
        if waiters.take_one(self._free):
            self._hand_on()
        waiters.wait(waiter, None)

    def give(self) -> None:
        """Give a turn back."""
        self._hand_on()

    def _hand_on(self) -> None:
        if waiters.wake(self._line):
            return
        self._free.append(None)
        if self._line and waiters.take_one(self._free):  # somebody came while we looked the other way
            self._hand_on()
