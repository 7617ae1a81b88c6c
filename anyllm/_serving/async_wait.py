"""Wait for a channel in an asyncio event loop, without a thread."""

from __future__ import annotations

import asyncio
from typing import Any, Optional

from anyllm.channel import Channel


class _TaskWaiter:
    """A `Waiter` that wakes a task in an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self._loop.create_future()
        self._is_released = False

    def release(self) -> None:
        """From any thread; RuntimeError when it was released before, or the loop is closed."""
        if self._is_released:
            raise RuntimeError("released already")
        self._is_released = True
        self._loop.call_soon_threadsafe(self._wake)  # it takes no lock, so a finalizer may do this

    def _wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


async def is_ready(channel: Channel[Any], deadline: Optional[float]) -> bool:
    """Wait until *channel* has an item or has ended; False at the *deadline* of the event loop's clock."""
    while channel.empty() and not channel.closed:
        if remaining(deadline) == 0:
            return False
        waiter = _TaskWaiter()
        try:
            with channel.in_line(waiter):
                # A task that was woken may find nothing and wait again: the item may have been taken before it stood
                # in line.
                if channel.empty() and not channel.closed:
                    await asyncio.wait([waiter.future], timeout=remaining(deadline))
        finally:
            waiter.future.cancel()
    return True


def deadline_after(seconds: Optional[float]) -> Optional[float]:
    """The time of the event loop's clock *seconds* from now; None for never."""
    return None if seconds is None else asyncio.get_running_loop().time() + seconds


def remaining(deadline: Optional[float]) -> Optional[float]:
    """Seconds until *deadline*, 0 after it; None for no deadline."""
    return None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
