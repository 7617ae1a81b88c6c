"""
Waiting without shared locks: each waiter is a lock of its own, in a queue of waiters.

Strategy: code that wakes others may be a signal handler, or a finalizer that the collector runs in the middle of any
other line of this package, in the same thread. It must never wait for a lock that the interrupted code holds. So waking
takes no lock at all: each waiting thread makes a lock, acquires it, appends it to a deque, and is woken by its release.
Deque operations are atomic, so each waiter is removed from the queue exactly once.

A queue can also hold other waiters than locks: anything that implements `Waiter`, for an event loop for example.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Optional, Protocol, TypeVar, Union

from anyllm._concurrency import monkey_patch

T = TypeVar("T")

#: Seconds after which the waiting main thread checks for signals. On Windows none interrupts a blocked acquire;
#: elsewhere one does, but not if it comes just before that blocks, or is delivered to another thread.
#: After a late monkey patch every greenlet polls like this, while native threads may have to wake it.
_POLL_INTERVAL = 0.1


class Waiter(Protocol):
    """An entry in a queue of waiters: an acquired lock, or anything else with such a `release`."""

    def release(self) -> object:
        """
        Wake the waiting thread or task. Called in any thread, in signal handlers and finalizers: it must neither block
        nor take a lock.

        Raises:
            RuntimeError: it was woken before, or no longer waits; the next one in the queue is woken instead.
        """


def new_waiter(make_lock: Optional[Callable[[], threading.Lock]] = None) -> threading.Lock:
    """A lock to wait on, acquired until `wake` releases it; made by *make_lock*, or by `threading`."""
    waiter = threading.Lock() if make_lock is None else make_lock()
    waiter.acquire()
    return waiter


def deadline_after(timeout: Optional[float]) -> Optional[float]:
    """The monotonic time *timeout* seconds from now, None for None; ValueError if negative or NaN."""
    if timeout is None:
        return None
    if not timeout >= 0:
        raise ValueError(f"timeout must not be negative or NaN: {timeout!r}")
    return time.monotonic() + timeout


def wait(waiter: threading.Lock, deadline: Optional[float]) -> bool:
    """Block until *waiter* is woken (True) or the monotonic *deadline* passes (False). Ctrl-C interrupts it."""
    in_main = threading.get_ident() == threading.main_thread().ident  # where signals are handled
    longest = _POLL_INTERVAL if in_main or monkey_patch.must_poll() else threading.TIMEOUT_MAX
    while True:
        seconds = longest if deadline is None else min(longest, max(0.0, deadline - time.monotonic()))
        if waiter.acquire(timeout=seconds):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False


def wake(waiters: deque[Waiter]) -> bool:
    """Wake the first waiter; False if there is none. Takes no lock; safe in signal handlers and finalizers."""
    while True:
        try:
            waiter = waiters.popleft()
        except IndexError:
            return False
        if release(waiter):
            return True


def release(waiter: Waiter) -> bool:
    """Wake *waiter*; False if it was woken before (it may be in several queues)."""
    try:
        waiter.release()
    except RuntimeError:
        return False
    return True


def leave(waiters: deque[T], waiter: T) -> bool:
    """Remove *waiter* from the queue; False if another thread removed it, and is waking it."""
    while True:
        try:
            waiters.remove(waiter)
            return True
        except ValueError:
            return False
        except IndexError:  # another thread changed the queue during the search
            pass


def take_one(permits: Union[list[Any], deque[Any]]) -> bool:
    """Take one of *permits*, each of which only one thread gets; False if none is left. Takes no lock."""
    try:
        permits.pop()
    except IndexError:
        return False
    return True
