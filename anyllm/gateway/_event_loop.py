"""
An event loop for waitress, with the system's selector.

Strategy: in each turn of its loop waitress asks every connection which events it waits for, which with hundreds of
streams takes longer than the turn itself. This loop asks a connection only after something has happened to it: its
socket was ready, or a thread has written to it.
"""

from __future__ import annotations

import selectors
from typing import Any

from waitress import wasyncore

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class EventLoop(dict):  # type: ignore[type-arg]  # waitress has no types
    """
    Waitress's map from file descriptors to connections. Used by the loop's thread; other threads only call `touch`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, int] = {}
        self._touched: set[Any] = set()

    def __setitem__(self, fd: int, connection: Any) -> None:
        super().__setitem__(fd, connection)
        self.touch(connection)

    def __delitem__(self, fd: int) -> None:
        super().__delitem__(fd)
        self._watch(fd, 0)

    def touch(self, connection: Any) -> None:
        """Look again at the events that *connection* waits for. Safe in any thread."""
        self._touched.add(connection)  # atomic

    def step(self, timeout: float) -> None:
        """Wait for events, for *timeout* seconds at most, and handle them."""
        while self._touched:
            self._update(self._touched.pop())
        for key, ready in self._selector.select(timeout):
            connection = self.get(key.fd)
            if connection is None:
                continue
            self.touch(connection)
            if ready & _READ:
                wasyncore.read(connection)
            if ready & _WRITE and self.get(key.fd) is connection:
                wasyncore.write(connection)

    def close(self) -> None:
        """Close all connections and the selector."""
        wasyncore.close_all(self)
        self._selector.close()

    def _update(self, connection: Any) -> None:
        fd = connection._fileno  # None once it is closed
        if fd in self and self[fd] is connection:
            writes = connection.writable() and not connection.accepting
            self._watch(fd, (_READ if connection.readable() else 0) | (_WRITE if writes else 0))

    def _watch(self, fd: int, events: int) -> None:
        before = self._watched.pop(fd, 0)
        if events:
            self._watched[fd] = events
        if before == events:
            return
        if not before:
            self._selector.register(fd, events)
        elif events:
            self._selector.modify(fd, events)
        else:
            self._selector.unregister(fd)
