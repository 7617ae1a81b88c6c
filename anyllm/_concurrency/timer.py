"""
One thread for every deadline of the process, started by the first and gone soon after the last.

Strategy: `Entry.cancel` may run in a signal handler or a finalizer, so it takes no lock (see `waiters`): it empties
the entry, takes it out of a dict, and if that was the last one wakes the thread. The heap is cleaned by those who may
lock: the thread, and whoever adds.
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

__all__ = ["Entry", "Timer", "shared"]

#: Seconds the thread stays without work, so that one stream after another does not start it anew each time.
_LINGER = 0.5
#: Cancelled entries the heap may hold before it is swept.
_SLACK = 64


class Entry:
    """A call that is due; `cancel` takes it back."""

    __slots__ = ("_timer", "call", "order", "when")

    def __init__(self, timer: Timer, when: float, order: int, call: Callable[[], object]) -> None:
        self.when = when
        self.order = order
        self.call: Optional[Callable[[], object]] = call
        self._timer = timer

    def __lt__(self, other: Entry) -> bool:
        return (self.when, self.order) < (other.when, other.order)

    def cancel(self) -> None:
        """Forget the call, and everything it refers to. Takes no lock."""
        self.call = None
        self._timer._forget(self)


class Timer:
    """Calls functions at monotonic instants, on a daemon thread of its own. They must not block."""

    def __init__(self) -> None:
        #: Guards the heap and the start and end of the thread. Never held while a call runs, or by `cancel`.
        self._lock = threading.Lock()
        self._make_lock = threading.Lock  # after a late monkey patch, the thread of before it goes on with native ones
        self._heap: list[Entry] = []
        self._live: dict[Entry, None] = {}
        self._order = itertools.count()
        self._thread: Optional[threading.Thread] = None
        self._waiter = waiters.new_waiter(self._make_lock)

    def call_at(self, when: float, call: Callable[[], object]) -> Entry:
        """Call *call* at the instant *when* of `time.monotonic`, or soon after."""
        entry = Entry(self, when, next(self._order), call)
        with self._lock:
            self._ensure_thread()  # first: should it fail, nothing is left behind
            if len(self._heap) > 2 * len(self._live) + _SLACK:
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

    def _forget(self, entry: Entry) -> None:
        self._live.pop(entry, None)
        if not self._live:
            waiters.release(self._waiter)

    def _run(self) -> None:
        monkey_patch.thread_begins()
        while True:
            # A fresh waiter before looking: whatever changes after the look wakes it.
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
        """The entries whose time has come, and when the next one's will; None when nothing is left."""
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
        except BaseException as exc:  # SystemExit too: the thread belongs to every deadline of the process
            # Not here: a log handler may take its time.
            background.log(logging.ERROR, "a function called at a deadline failed", exc=exc)

    def _retire(self) -> bool:
        with self._lock:
            if self._live:
                return False
            self._thread = None
            return True

    def _after_fork(self) -> None:
        """In a child: threads do not survive a fork, and a lock may have been held by one that did not."""
        self._lock = threading.Lock()
        self._heap = sorted(self._live.copy())  # the old one may have been caught in the middle of a change
        self._thread = None
        self._start_soon()

    def _take_over(self, old: Timer) -> None:
        """Serve the entries of *old*, which has no thread. Takes no lock of its, and nobody knows this timer yet."""
        for entry in old._live.copy():
            if entry in old._live:  # not cancelled meanwhile
                entry._timer = self
                self._live[entry] = None
        self._heap = sorted(self._live)
        self._start_soon()

    def _start_soon(self) -> None:
        if self._live:
            # Not a Thread, whose start() waits and so lets gevent's greenlets run. They survive a fork, and whoever is
            # called after us must have taken the parent's connections from them by then.
            _thread.start_new_thread(self._restart, ())

    def _restart(self) -> None:
        with self._lock:
            if self._live:
                self._ensure_thread()


shared = Timer()
#: Those of before a late monkey patch; each serves, on its native thread, the entries that it has.
_replaced: list[Timer] = []


def _after_patch() -> None:
    """The lock is of the old kind. A thread of the old kind goes on with its entries, and ends after the last."""
    global shared
    old, shared = shared, Timer()
    _replaced.append(old)
    if old._thread is None:  # it has not been started, or a fork ended it
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
