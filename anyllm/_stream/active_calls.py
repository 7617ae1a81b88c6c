"""Registry of the calls that run in this process; ends them at interpreter exit and in a forked child."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from typing import Protocol

#: With more calls than this at once, each uses less memory.
_CROWD = 16
#: Seconds that interpreter exit waits for workers to close their sockets.
_EXIT_TIMEOUT = 1.0


class ActiveCall(Protocol):
    """A call that runs."""

    streaming: bool

    def cancel(self, cause: object = None) -> None:
        """End it."""

    def join(self, timeout: float) -> None:
        """Wait for its worker, for *timeout* seconds at most."""

    def forget_connection(self) -> None:
        """Drop its connection without closing it: that is another process's."""


#: By id(). Single operations on a dict are atomic; iterating over it is not, because any allocation may run a finalizer
#: that ends a call: iterate over a copy.
_active: dict[int, ActiveCall] = {}


def add(call: ActiveCall) -> None:
    """Register *call*, which begins."""
    _active[id(call)] = call


def remove(call: ActiveCall) -> None:
    """Remove *call*, which has ended. Takes no lock; a second time does nothing."""
    _active.pop(id(call), None)


def active_streams() -> int:
    """How many streams run now: started, and neither complete, failed nor cancelled."""
    return sum(call.streaming for call in _active.copy().values())


def is_crowded() -> bool:
    """Whether many calls run."""
    return len(_active) > _CROWD


def end_all() -> None:
    """
    End every call, and give the workers a moment to close their sockets.

    Runs at exit, because daemon threads are frozen then wherever they are. Code that stops a server of its own at exit
    calls this first.
    """
    calls = _active.copy().values()
    for call in calls:
        call.cancel("interpreter exit")
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for call in calls:
        call.join(max(0.0, deadline - time.monotonic()))


def _after_fork() -> None:
    """In a child: end all calls, whose workers do not exist here and whose connections are the parent's."""
    for call in _active.copy().values():
        with contextlib.suppress(Exception):  # a call that was forked in an inconsistent state must not stop the rest
            call.forget_connection()
        call.cancel("forked: the stream goes on in the parent process")
    _active.clear()


atexit.register(end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
