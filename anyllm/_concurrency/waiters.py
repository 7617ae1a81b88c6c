"""
One thread waiting for another: a plain lock for each waiter, and a line of waiters.

Strategy: whoever ends something may be a signal handler, or a finalizer that the collector runs in the middle of
any other line of this package, in the same thread. It must never wait for a lock which the code it interrupted
holds. So waking takes no lock at all: each waiter brings its own lock, already taken, stands in a deque, and is
woken by releasing it. Deque operations are atomic, so a waiter is taken out of the line exactly once.

A line also takes other waiters than locks: anything that implements `Waiter`, for an event loop for example.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Optional, Protocol, TypeVar, Union

from anyllm._concurrency import monkey_patch

__all__ = ["Waiter", "deadline_after", "leave", "new_waiter", "release", "take_one", "wait", "wake"]

T = TypeVar("T")

#: Seconds after which the main thread, waiting, looks whether a signal has come. On Windows none interrupts a blocked
#: acquire; elsewhere one does, but not if it comes just before that blocks, or is given to another thread.
#: After a late monkey patch every greenlet looks, while there are native threads that may have to wake it.
_SLICE = 0.1


class Waiter(Protocol):
    """An entry in a line of waiters: a lock that is taken, or anything else with such a `release`."""

    def release(self) -> object:
        """
        Wake the waiting thread or task. Called in any thread, in signal handlers and finalizers: it must neither block
        nor take a lock.

        Raises:
            RuntimeError: it was woken before, or no longer waits; the next in line is woken instead.
        """


def new_waiter(make_lock: Optional[Callable[[], threading.Lock]] = None) -> threading.Lock:
    """A lock to wait on, made by *make_lock* or else by `threading`: taken, until `wake` releases it."""
    waiter = threading.Lock() if make_lock is None else make_lock()
    waiter.acquire()
    return waiter


def deadline_after(timeout: Optional[float]) -> Optional[float]:
    """The monotonic instant *timeout* seconds from now, None for never; ValueError when negative or NaN."""
    if timeout is None:
        return None
    if not timeout >= 0:
        raise ValueError(f"timeout must not be negative or NaN: {timeout!r}")
    return time.monotonic() + timeout


def wait(waiter: threading.Lock, deadline: Optional[float]) -> bool:
    """Block until *waiter* is woken (True) or the monotonic *deadline* has passed (False); Ctrl-C gets through."""
    in_main = threading.get_ident() == threading.main_thread().ident  # where signals are handled
    longest = _SLICE if in_main or monkey_patch.must_look() else threading.TIMEOUT_MAX
    while True:
        seconds = longest if deadline is None else min(longest, max(0.0, deadline - time.monotonic()))
        if waiter.acquire(timeout=seconds):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False


def wake(waiters: deque[Waiter]) -> bool:
    """Wake the first in line; False when nobody waits. Takes no lock; safe in signal handlers and finalizers."""
    while True:
        try:
            waiter = waiters.popleft()
        except IndexError:
            return False
        if release(waiter):
            return True


def release(waiter: Waiter) -> bool:
    """Wake one waiter; False when it had been woken before (it may stand in several lines)."""
    try:
        waiter.release()
    except RuntimeError:
        return False
    return True


def leave(waiters: deque[T], waiter: T) -> bool:
    """Step out of the line; False when *waiter* was taken out already, because somebody is waking it."""
    while True:
        try:
            waiters.remove(waiter)
            return True
        except ValueError:
            return False
        except IndexError:  # another thread changed the line while it was searched
            pass


def take_one(permits: Union[list[Any], deque[Any]]) -> bool:
    """Take one of *permits*, each of which only one thread gets; False when none is left. Takes no lock."""
    try:
        permits.pop()
    except IndexError:
        return False
    return True
