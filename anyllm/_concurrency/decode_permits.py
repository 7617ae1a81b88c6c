"""
Permits for decoding: only a few workers may decode at once.

Strategy: a thread that waits for the interpreter wakes up every few milliseconds to ask for it again. When hundreds of
streams bring data at the same time, their workers and the callers that they wake do little else: a thousand streams
cost 600 us of CPU a chunk, fourteen times the loop written by hand. So a worker takes a permit after each read, and
without one it sleeps on a lock of its own, which costs nothing. Permits are handed out in the order of the requests.
A worker that holds a permit waits for nothing else.
"""

from __future__ import annotations

import os
import sys

from anyllm._concurrency import waiters
from anyllm._concurrency.permits import Permits

#: With an interpreter lock a second permit only adds a thread that waits for it: 25 us a chunk with one, 30 with four.
_WITH_LOCK = 1


class DecodePermits(Permits):
    """The permits of all workers: *count*, or None for as many as this interpreter can use."""

    __slots__ = ()

    def __init__(self, count: int | None = None) -> None:
        if count is None:
            locked = getattr(sys, "_is_gil_enabled", lambda: True)()
            count = _WITH_LOCK if locked else max(_WITH_LOCK, os.cpu_count() or 1)
        super().__init__(count)

    def take(self) -> None:
        """Wait for a permit."""
        if self.take_free():
            return
        waiter = waiters.new_waiter()
        self.stand_in_line(waiter)
        waiters.wait(waiter, None)
