"""
Have the thread that puts items into a channel also deal with them, while the receiving thread sleeps.

Strategy: waking a thread costs more than many items cost, and hundreds of threads that wait for the interpreter hold
each other up. So a receiver that only passes items on leaves a function with the channel, and the sender calls it. As
with every other wait (see `pipe`), the receiver is in place first and then looks again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Optional

from anyllm._concurrency import waiters
from anyllm._concurrency.pipe import Pipe

__all__ = ["Forwarding"]


class Forwarding:
    """
    One wait of one thread; what `Channel.forward` does.

    Args:
        pipes: The channel's.
        take: Takes the channel's next item.
        pass_on: As `Channel.forward` has it.
    """

    def __init__(
        self,
        pipes: tuple[Pipe[Any], ...],
        take: Callable[[], Any],
        pass_on: Callable[[Callable[[], Any]], bool],
    ) -> None:
        self._pipes = pipes
        self._take = take
        self._pass_on = pass_on
        self._waiter = waiters.new_waiter()
        #: Held while items are passed on, and by the waiting thread when it goes. A sender takes it only if it is free.
        self._busy = threading.Lock()
        self._is_over = False
        self._error: Optional[BaseException] = None

    def wait(self, deadline: Optional[float]) -> None:
        """Until there is something that was not passed on, or the deadline. Raises what passing on raised."""
        try:
            for pipe in self._pipes:
                pipe.forwarder = self
            if not self._has_items() and not all(pipe.end for pipe in self._pipes):
                waiters.wait(self._waiter, deadline)
        finally:
            with self._busy:
                self._is_over = True
            for pipe in self._pipes:
                pipe.forwarder = None
        if self._error is not None:
            raise self._error

    def run(self) -> bool:
        """Pass on what there is, on the sender's thread; False when nobody waits any more."""
        while self._has_items() and not self._is_over:
            if not self._busy.acquire(blocking=False):
                return True  # another sender is at it, and looks again; or the thread that waited, which looks itself
            try:
                goes_on = self._is_over or self._pass_on(self._take)
            except BaseException as exc:  # the thread that waits must wake, whatever it is
                self._error, goes_on = exc, False
            finally:
                self._is_over = self._is_over or not goes_on
                self._busy.release()
            if not goes_on:
                self.wake()
                return True
        return not self._is_over

    def wake(self) -> None:
        """Wake the thread that waits. Takes no lock."""
        waiters.release(self._waiter)

    def _has_items(self) -> bool:
        return any(pipe.items for pipe in self._pipes)
