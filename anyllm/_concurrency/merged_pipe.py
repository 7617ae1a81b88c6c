"""
The receiving side of several pipes as one (`anyllm.channel.merge`).

Strategy: each pipe reports to the merged one, which lists the pipes that may have something. So the cost of an item
does not depend on the number of pipes. As with a single pipe, nothing here takes a lock, and whoever waits registers
first and then looks again.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any, Generic, Optional, TypeVar

from anyllm._concurrency import waiters
from anyllm._concurrency.pipe import EMPTY, Forwarder, Pipe

T = TypeVar("T")


class MergedPipe(Generic[T]):
    """
    Has what a `Channel` needs of a `Pipe`.

    Attributes:
        pipes: The pipes; their items stay in order, and they take turns.
    """

    __slots__ = ("__weakref__", "_open", "_ready", "forwarder", "pipes", "receivers")

    def __init__(self, pipes: Iterable[Pipe[T]]) -> None:
        self.pipes = tuple(dict.fromkeys(pipes))
        self.forwarder: Optional[Forwarder] = None
        self.receivers: deque[waiters.Waiter] = deque()
        self._open: dict[Pipe[T], None] = dict.fromkeys(self.pipes)  # those that are not closed and drained
        self._ready: deque[Pipe[T]] = deque(self.pipes)  # those that may have an item, or their end; perhaps twice
        for pipe in self.pipes:
            _Listener(self, pipe)

    def take(self) -> Any:
        """The next item; None if all pipes are closed and drained; `EMPTY` if there is no item now."""
        while self._open:
            try:
                pipe = self._ready.popleft()
            except IndexError:
                return EMPTY
            item = pipe.take()
            if item is None:
                self._open.pop(pipe, None)
            elif item is not EMPTY:
                if pipe.items or pipe.end:
                    self._ready.append(pipe)
                    waiters.wake(self.receivers)  # one may have looked in between
                return item
        self._wake_all()
        return None

    def notify(self, pipe: Pipe[T]) -> None:
        """*pipe* has new items, or was closed."""
        self._ready.append(pipe)
        forwarder = self.forwarder
        if pipe.end:  # perhaps in a finalizer, where no forwarder may run: whoever waits looks again
            self._wake_all()
        elif forwarder is None or not forwarder.run():
            waiters.wake(self.receivers)

    def _wake_all(self) -> None:
        while waiters.wake(self.receivers):
            pass
        forwarder = self.forwarder
        if forwarder is not None:
            forwarder.wake()

    def has_items(self) -> bool:
        """Whether there is an item now."""
        return any(pipe.has_items() for pipe in self._ready.copy())

    @property
    def end(self) -> bool:
        """Whether all pipes are closed."""
        return all(pipe.end for pipe in self.pipes)

    @property
    def maxsize(self) -> int:
        """How many items fit before the senders must wait."""
        return sum(pipe.maxsize for pipe in self.pipes)

    def qsize(self) -> int:
        """How many items can be received without waiting."""
        return sum(pipe.qsize() for pipe in self.pipes)


class _Listener:
    """Tells a merged pipe, while there is one, that something happened to one of its pipes."""

    __slots__ = ("_merged", "_pipe")

    def __init__(self, merged: MergedPipe[Any], pipe: Pipe[Any]) -> None:
        self._merged = weakref.ref(merged)
        self._pipe = pipe
        pipe.listeners[self] = None

    def __call__(self) -> None:
        merged = self._merged()
        if merged is None:
            self._pipe.listeners.pop(self, None)
        else:
            merged.notify(self._pipe)
