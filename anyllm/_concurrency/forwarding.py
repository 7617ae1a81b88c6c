"""
Processing items on the thread that puts them into a channel, while the receiving thread sleeps (`Channel.forward`).

Strategy: waking a thread costs more than many items do, and hundreds of threads that wait for the interpreter slow each
other down. So a receiver that only forwards items registers a function, and the sender calls it. As with every other
wait (see `pipe`), the receiver registers first and then checks again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Optional, Union

from anyllm._concurrency import waiters
from anyllm._concurrency.merged_pipe import MergedPipe
from anyllm._concurrency.pipe import Pipe


class Forwarding:
    """One call of `Channel.forward` with *pass_on*; *take* removes the next item from the channel's *pipe*."""

    def __init__(
        self,
        pipe: Union[Pipe[Any], MergedPipe[Any]],
        take: Callable[[], Any],
        pass_on: Callable[[Callable[[], Any]], bool],
    ) -> None:
        self._pipe = pipe
        self._take = take
        self._pass_on = pass_on
        self._waiter = waiters.new_waiter()
        #: Held during `pass_on`, and by the waiting thread at its end. A sender acquires it only without waiting.
        self._busy = threading.Lock()
        self._is_over = False
        self._error: Optional[BaseException] = None

    def wait(self, deadline: Optional[float]) -> None:
        """Wait until an item was not passed on, or for the deadline. Raises the exception of `pass_on`."""
        try:
            self._pipe.forwarder = self
            if not self._pipe.has_items() and not self._pipe.end:
                waiters.wait(self._waiter, deadline)
        finally:
            with self._busy:
                self._is_over = True
            self._pipe.forwarder = None
        if self._error is not None:
            raise self._error

    def run(self) -> bool:
        """Pass the items on, on the sender's thread; False when nobody waits any more."""
        while self._pipe.has_items() and not self._is_over:
            if not self._busy.acquire(blocking=False):
                return True  # another sender passes items on and checks again, or the waiting thread has woken
            try:
                may_continue = self._is_over or self._pass_on(self._take)
            except BaseException as exc:  # raised on the waiting thread
                self._error, may_continue = exc, False
            finally:
                self._is_over = self._is_over or not may_continue
                self._busy.release()
            if not may_continue:
                self.wake()
                return True
        return not self._is_over

    def wake(self) -> None:
        """Wake the waiting thread. Takes no lock."""
        waiters.release(self._waiter)
