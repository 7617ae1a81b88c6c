"""
waitress's event loop, by the system's own selector.

Strategy: waitress asks all of its connections, at each turn of its loop, what they wait for, which with hundreds of
streams takes longer than the turn. Here a connection is asked when something has happened to it: its socket was ready,
or a thread has written to it.
"""

from __future__ import annotations

import selectors
from typing import Any

from waitress import wasyncore

__all__ = ["Loop"]

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Loop(dict):  # type: ignore[type-arg]  # waitress's map, of whatever it puts in
    """
    The map of file descriptors that waitress keeps its sockets in. Used by the loop's thread; others call `touch`.
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
        """Have *connection* asked what it waits for. Safe in any thread."""
        self._touched.add(connection)  # one step

    def step(self, timeout: float) -> None:
        """Wait until something is ready, for *timeout* seconds at most, and handle it."""
        while self._touched:
            self._ask(self._touched.pop())
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
        """Close all that is left."""
        wasyncore.close_all(self)
        self._selector.close()

    def _ask(self, connection: Any) -> None:
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
