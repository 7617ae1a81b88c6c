"""The calls of this process that have not ended: their number, and their end at interpreter exit and in a fork."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from typing import Protocol

__all__ = ["ActiveCall", "active_streams", "add", "end_all", "is_crowded", "remove"]

#: More calls than this at once are a crowd.
_FEW = 16
#: Seconds that interpreter exit waits for workers to close their sockets.
_FAREWELL = 1.0


class ActiveCall(Protocol):
    """What is needed of a call that runs."""

    streaming: bool

    def cancel(self, cause: object = None) -> None:
        """End it."""

    def join(self, timeout: float) -> None:
        """Wait for its worker, for *timeout* seconds at most."""

    def forget_connection(self) -> None:
        """Its connection is another process's: leave it alone."""


#: By identity. Single operations on a dict are atomic; going through it is not, because allocating anything may run a
#: finalizer that ends a call: go through a copy.
_active: dict[int, ActiveCall] = {}


def add(call: ActiveCall) -> None:
    """*call* begins."""
    _active[id(call)] = call


def remove(call: ActiveCall) -> None:
    """*call* has ended. Takes no lock; a second time does nothing."""
    _active.pop(id(call), None)


def active_streams() -> int:
    """How many streams run now: started, and neither complete, failed nor cancelled."""
    return sum(call.streaming for call in _active.copy().values())


def is_crowded() -> bool:
    """Whether many calls run."""
    return len(_active) > _FEW


def end_all() -> None:
    """
    End every call, and give the workers a moment to close their sockets.

    At exit, because daemon threads are frozen then wherever they are. Whoever stops a server of its own at exit calls
    this before.
    """
    calls = _active.copy().values()
    for call in calls:
        call.cancel("interpreter exit")
    until = time.monotonic() + _FAREWELL
    for call in calls:
        call.join(max(0.0, until - time.monotonic()))


def _after_fork() -> None:
    """In a child: the workers are gone and their connections are the parent's, so their calls are over here."""
    for call in _active.copy().values():
        with contextlib.suppress(Exception):  # of one that is in no state to be forgotten; the others are to be
            call.forget_connection()
        call.cancel("forked: the stream goes on in the parent process")
    _active.clear()


atexit.register(end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
