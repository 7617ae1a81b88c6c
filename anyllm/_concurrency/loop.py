"""
The loop: one thread that waits for many sockets, started by the first and ended soon after the last.

Strategy: `call_soon` may run in a signal handler or a finalizer, so it takes no lock (see `waiters`): it appends to a
deque, and wakes the thread if that sleeps. Everything else runs on the loop's thread.

It is no asyncio loop, because a forked child must close its copy of this one without touching the parent's: the two
share one epoll set.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Optional

from anyllm._concurrency import background, fork_guard, monkey_patch, waiters

#: Seconds the thread stays without work, so that not each of many calls in a row starts a new one.
_LINGER = 0.5
#: Seconds between reads of all sockets while the system cannot wait for them.
_RETRY = 0.01


class Loop:
    """Calls functions when sockets can be read, on its own daemon thread. They must not block."""

    def __init__(self) -> None:
        self._soon: deque[Callable[[], object]] = deque()
        self._asleep: list[None] = []  # an item while the thread sleeps; who takes it wakes the thread
        self._lock = threading.Lock()  # guards the start and the end of the thread, and the number of its users
        self._users = 0
        self._thread: Optional[threading.Thread] = None
        self._selector: Optional[selectors.BaseSelector] = None
        self._wake_end: Optional[socket.socket] = None

    # -- on any thread ---------------------------------------------------------------------------------------------

    def start(self, call: Callable[[], object]) -> None:
        """
        Call *call* on the loop's thread, which is started if necessary, and stays until as many calls of `finish`.

        Raises:
            RuntimeError, OSError: there is no thread, or no descriptor, to be had.
        """
        with self._lock:
            if self._thread is None:
                self._start_thread()
            self._users += 1
            self._soon.append(call)
        self._wake()

    def call_soon(self, call: Callable[[], object]) -> None:
        """Call *call* on the loop's thread, between `start` and `finish`. Takes no lock."""
        self._soon.append(call)
        self._wake()

    def is_current(self) -> bool:
        """Whether this is the loop's thread."""
        return self._thread is threading.current_thread()

    def _wake(self) -> None:
        end = self._wake_end
        if waiters.take_one(self._asleep) and end is not None:
            try:
                end.send(b"\0")
            except OSError:
                pass  # the buffer is full: it will wake

    def _start_thread(self) -> None:
        read_end, self._wake_end = socket.socketpair()
        try:
            read_end.setblocking(False)
            self._wake_end.setblocking(False)
            self._selector = selector = selectors.DefaultSelector()
            selector.register(read_end, selectors.EVENT_READ)
            thread = threading.Thread(target=self._run, args=(selector, read_end), name="anyllm-loop", daemon=True)
            thread.start()
        except Exception:
            self._close(read_end)
            raise
        self._thread = thread

    # -- on the loop's thread --------------------------------------------------------------------------------------

    def finish(self) -> None:
        """The counterpart of `start`."""
        with self._lock:
            self._users -= 1

    def watch(self, sock: socket.socket, on_readable: Callable[[], object]) -> None:
        """Call *on_readable* whenever *sock* can be read, until `unwatch`."""
        assert self._selector is not None
        self._selector.register(sock, selectors.EVENT_READ, on_readable)

    def unwatch(self, sock: socket.socket) -> None:
        """Watch *sock* no more; must come before it is closed."""
        assert self._selector is not None
        self._selector.unregister(sock)

    def _run(self, selector: selectors.BaseSelector, read_end: socket.socket) -> None:
        monkey_patch.thread_begins()
        fork_guard.add_worker(lambda: False)
        soon, asleep = self._soon, self._asleep
        while True:
            asleep.append(None)
            # Asleep first, then look: who adds a call after this look wakes the thread.
            is_idle = not self._users
            ready = _select(selector, 0 if soon else _LINGER if is_idle else None)
            waiters.take_one(asleep)
            if is_idle and not ready and not soon and self._retire(read_end):
                break
            while ready:  # which is emptied: what is left in it would live until the thread wakes again
                on_readable = ready.pop(0)[0].data
                if on_readable is None:
                    _empty(read_end)
                else:
                    _call(on_readable)
            on_readable = None
            for _ in range(len(soon)):
                _call(soon.popleft())
        fork_guard.remove_worker()
        monkey_patch.thread_ends()

    def _retire(self, read_end: socket.socket) -> bool:
        with self._lock:
            if self._users or self._soon:
                return False
            self._thread = None
            self._close(read_end)
            return True

    def _close(self, *ends: Optional[socket.socket]) -> None:
        """Close the selector and *ends*. In a child this closes copies only, and unregisters nothing."""
        selector, self._selector = self._selector, None
        wake_end, self._wake_end = self._wake_end, None
        if selector is not None:
            selector.close()
        for end in (wake_end, *ends):
            if end is not None:
                end.close()


def _select(selector: selectors.BaseSelector, timeout: Optional[float]) -> list[tuple[selectors.SelectorKey, int]]:
    """The sockets that can be read; all of them, soon, where the system cannot say."""
    try:
        return selector.select(timeout)
    except (OSError, ValueError):  # more than select() can wait for, as on Windows, or one was closed elsewhere
        time.sleep(_RETRY)
        return [(key, selectors.EVENT_READ) for key in selector.get_map().values()]


def _call(call: Callable[[], object]) -> None:
    try:
        call()
    except BaseException as exc:  # SystemExit too: the thread serves every call of the process
        # Through `background`, because a log handler may block.
        background.log(logging.ERROR, "a function called by the loop failed", exc=exc)


def _empty(end: socket.socket) -> None:
    try:
        while end.recv(4096):
            pass
    except OSError:
        pass


shared = Loop()


def _after_fork() -> None:
    """In a child: the thread does not exist here, and may have held the lock."""
    global shared
    old, shared = shared, Loop()
    selector = old._selector
    ends: tuple[Any, ...] = ()
    if selector is not None:
        ends = tuple(key.fileobj for key in selector.get_map().values() if key.data is None)
    old._close(*ends)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
