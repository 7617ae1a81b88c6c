"""
The timer: one thread for all deadlines of the process, started by the first and ended soon after the last.

Strategy: `Entry.cancel` may run in a signal handler or a finalizer, so it takes no lock (see `waiters`): it clears the
entry, removes it from a dict, and wakes the thread if that was the last one. The heap is cleaned up by code that may
lock: by the thread, and by `call_at`.
"""

from __future__ import annotations

import _thread
import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Optional

from anyllm._concurrency import background, monkey_patch, waiters

#: Seconds the thread stays without work, so that not each of many streams in a row starts a new one.
_LINGER = 0.5
#: Cancelled entries that the heap may hold before it is cleaned up.
_MAX_CANCELLED = 64


class Entry:
    """A scheduled call."""

    __slots__ = ("_timer", "call", "order", "when")

    def __init__(self, timer: Timer, when: float, order: int, call: Callable[[], object]) -> None:
        self.when = when
        self.order = order
        self.call: Optional[Callable[[], object]] = call
        self._timer = timer

    def __lt__(self, other: Entry) -> bool:
        return (self.when, self.order) < (other.when, other.order)

    def cancel(self) -> None:
        """Remove the call, and the references it holds. Takes no lock."""
        self.call = None
        self._timer._remove(self)


class Timer:
    """Calls functions at given times, on its own daemon thread. They must not block."""

    def __init__(self) -> None:
        #: Guards the heap and the start and end of the thread. Never held while a call runs, or by `cancel`.
        self._lock = threading.Lock()
        self._make_lock = threading.Lock  # after a late monkey patch, the old thread goes on with native locks
        self._heap: list[Entry] = []
        self._live: dict[Entry, None] = {}
        self._order = itertools.count()
        self._thread: Optional[threading.Thread] = None
        self._waiter = waiters.new_waiter(self._make_lock)

    def call_at(self, when: float, call: Callable[[], object]) -> Entry:
        """Call *call* at the time *when* of `time.monotonic`, or soon after."""
        entry = Entry(self, when, next(self._order), call)
        with self._lock:
            self._ensure_thread()  # first: if it raises, there is nothing to undo
            if len(self._heap) > 2 * len(self._live) + _MAX_CANCELLED:
                self._heap = [old for old in self._heap if old.call is not None]
                heapq.heapify(self._heap)
            heapq.heappush(self._heap, entry)
            self._live[entry] = None
            earliest = self._heap[0] is entry
        if earliest:
            waiters.release(self._waiter)
        return entry

    def _ensure_thread(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="anyllm-timer", daemon=True)
            thread.start()
            self._thread = thread

    def _remove(self, entry: Entry) -> None:
        self._live.pop(entry, None)
        if not self._live:
            waiters.release(self._waiter)

    def _run(self) -> None:
        monkey_patch.thread_begins()
        while True:
            # A new waiter before the check: every change after the check wakes it.
            self._waiter = waiter = waiters.new_waiter(self._make_lock)
            due, wait_until = self._due()
            for entry in due:
                self._fire(entry)
            if due:
                continue
            if wait_until is not None:
                waiters.wait(waiter, wait_until)
            elif not waiters.wait(waiter, time.monotonic() + _LINGER) and self._retire():
                monkey_patch.thread_ends()
                return

    def _due(self) -> tuple[list[Entry], Optional[float]]:
        """The entries that are due, and the time of the next one; None if there is none."""
        due: list[Entry] = []
        now = time.monotonic()
        with self._lock:
            while self._heap and (self._heap[0].call is None or self._heap[0].when <= now):
                due.append(heapq.heappop(self._heap))
            if not self._live:
                self._heap.clear()
            return [entry for entry in due if entry.call], self._heap[0].when if self._heap else None

    def _fire(self, entry: Entry) -> None:
        call, entry.call = entry.call, None
        self._live.pop(entry, None)
        if call is None:
            return
        try:
            call()
        except BaseException as exc:  # SystemExit too: the thread serves every deadline of the process
            # Through `background`, because a log handler may block.
            background.log(logging.ERROR, "a function called at a deadline failed", exc=exc)

    def _retire(self) -> bool:
        with self._lock:
            if self._live:
                return False
            self._thread = None
            return True

    def _after_fork(self) -> None:
        """In a child: the thread does not exist here, and may have held the lock."""
        self._lock = threading.Lock()
        self._heap = sorted(self._live.copy())  # the old heap may be in the middle of a change
        self._thread = None
        self._start_soon()

    def _take_over(self, old: Timer) -> None:
        """Move the entries of *old*, which has no thread, here. Takes no lock: this timer is not in use yet."""
        for entry in old._live.copy():
            if entry in old._live:  # not cancelled meanwhile
                entry._timer = self
                self._live[entry] = None
        self._heap = sorted(self._live)
        self._start_soon()

    def _start_soon(self) -> None:
        if self._live:
            # Not a Thread, whose start() waits and so lets gevent's greenlets run. They survive a fork, and the fork
            # handlers that run after this one must have taken the parent's connections from them by then.
            _thread.start_new_thread(self._restart, ())

    def _restart(self) -> None:
        with self._lock:
            if self._live:
                self._ensure_thread()


shared = Timer()
#: Timers from before a late monkey patch; each still serves its entries, on its native thread.
_replaced: list[Timer] = []


def _after_patch() -> None:
    """Replace the timer, whose lock is native. Its thread goes on with its entries, and ends after the last."""
    global shared
    old, shared = shared, Timer()
    _replaced.append(old)
    if old._thread is None:  # it was not started, or ended by a fork
        shared._take_over(old)


def _after_fork() -> None:
    shared._after_fork()
    for old in _replaced:
        old._thread = None
        shared._take_over(old)
    _replaced.clear()


monkey_patch.on_patch(_after_patch)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
