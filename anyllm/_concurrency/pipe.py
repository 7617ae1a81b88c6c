"""
What the two ends of a channel share, and the end that sends.

Strategy: items wait in a deque, whose operations are atomic, so receiving and closing take no lock; `waiters` says
why that matters. Senders share one lock, which only keeps the bound exact. The rule that makes this sound without
more locks is: *stand in line first, then look again*. A waiter that registers and then finds something to do steps
out and does it; one that finds nothing is sure to be seen by whoever changes something next. Who is woken but does
not take what it was woken for wakes the next in line.

Closing is one `dict.setdefault`: the first to close decides what comes last. A put may be under way just then, so the
sender looks again after it has put, and takes the item back if the channel was closed meanwhile; and the receiver
that finds nothing left turns away from that deque for good, so that after the end nothing comes.

A blocked sender is woken only when the channel is half empty, so that a fast producer and a fast consumer change
places once every half buffer rather than once an item; and what does not fit of a batch is in the deque all the same,
while its sender waits, so that receivers find it there without waking the sender.

A receiver may leave a `Forwarder` with the channel, which the sender runs after it has put (see `forwarding`).
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Optional, Protocol, TypeVar

from anyllm._concurrency import waiters

__all__ = ["EMPTY", "Forwarder", "Pipe", "Sender"]

T = TypeVar("T")
EMPTY: Any = object()  # "nothing there now", where None means "closed and drained"


class Forwarder(Protocol):
    """What a receiver leaves with a channel, to be run by whoever puts something."""

    def run(self) -> bool:
        """Deal with what waits, on the sender's thread; False: wake a receiver as usual."""

    def wake(self) -> None:
        """The channel is closed. Takes no lock."""


class Pipe(Generic[T]):
    """What both ends share."""

    __slots__ = ("end", "forwarder", "items", "low_water", "maxsize", "put_count", "receivers", "senders", "sending")

    def __init__(self, maxsize: int) -> None:
        self.items: deque[T] = deque()
        self.maxsize = maxsize
        self.low_water = maxsize // 2
        #: How many items were ever put: without those that wait, how many were taken. Changed and read with `sending`.
        self.put_count = 0
        #: Empty while open; then {"last": what `close` added}, a deque that takes the place of `items` once drained.
        self.end: dict[str, deque[T]] = {}
        self.forwarder: Optional[Forwarder] = None
        self.receivers: deque[waiters.Waiter] = deque()
        self.senders: deque[waiters.Waiter] = deque()
        #: Held while looking at the size and appending; never while waiting, and never by a receiver or by close.
        self.sending = threading.Lock()

    def take(self) -> Any:
        """The next item; None when closed and drained; `EMPTY` when there is nothing now."""
        items = self.items
        try:
            item = items.popleft()
        except IndexError:
            if not self.end:
                return EMPTY
            last = self.end["last"]
            if items is last:
                return None
            # Something may have been put between the look and the close: look again.
            if not items:
                self.items = last
            return self.take()
        if self.senders and len(items) <= self.low_water:
            waiters.wake(self.senders)
        return item

    def qsize(self) -> int:
        """How many items can be received without waiting."""
        items = self.items
        last = self.end.get("last", items)
        return len(items) if items is last else len(items) + len(last)

    def close(self, last: Optional[T] = None) -> None:
        self.end.setdefault("last", deque(() if last is None else (last,)))
        while waiters.wake(self.receivers):
            pass
        while waiters.wake(self.senders):
            pass
        forwarder = self.forwarder
        if forwarder is not None:
            forwarder.wake()

    def announce(self, count: int) -> None:
        """So many items were put: have them forwarded, or wake as many receivers."""
        forwarder = self.forwarder
        if forwarder is not None and forwarder.run():
            return
        for _ in range(count):
            if not waiters.wake(self.receivers):
                break


class Sender(Generic[T]):
    """
    The send end of a channel. Any number of threads may send.

    Closing takes no lock: it is safe in a signal handler, a finalizer, any thread.
    """

    __slots__ = ("_pipe",)

    def __init__(self, pipe: Pipe[T]) -> None:
        self._pipe = pipe

    @property
    def closed(self) -> bool:
        """Whether the channel was closed, by this end or because nobody can receive any more."""
        return bool(self._pipe.end)

    def try_put(self, item: T) -> bool:
        """Put *item* if there is room, without waiting; False when the channel is full or closed."""
        if item is None:
            raise TypeError("None cannot be sent: it is what a closed channel gives")
        pipe = self._pipe
        with pipe.sending:
            items = pipe.items
            if pipe.end or len(items) >= pipe.maxsize:
                return False
            items.append(item)
            pipe.put_count += 1
            if pipe.end and not self._received(items):
                return False
        if pipe.receivers or pipe.forwarder is not None:
            pipe.announce(1)
        return True

    def put(self, item: T, timeout: Optional[float] = None) -> bool:
        """
        Put *item*, waiting for room.

        Args:
            item: Anything but None.
            timeout: Seconds to wait at most; None for ever.

        Returns:
            False when the channel is closed: nobody will receive the item.

        Raises:
            queue.Full: there was no room in time.
        """
        if self.try_put(item):
            return True
        deadline = waiters.deadline_after(timeout)
        while not self.closed:
            room = self._wait_for_room(deadline)
            if self.try_put(item):
                return True
            if not room and not self.closed:
                raise queue.Full
        return False

    def put_many(self, items: Sequence[T], before_delay: Callable[[], object] = lambda: None) -> bool:
        """
        Put all of *items* in order, a batch under one lock, waiting for room where needed; False once closed.

        Where there is room for one, all are put, and receivers find them: this returns when there is room for all, so
        the sender is woken once, not each time that some of them fit.

        Args:
            items: Anything but None.
            before_delay: Called before this waits for room or runs a receiver's `Forwarder`, perhaps several times: to
                give back what others wait for.
        """
        for item in items:
            if item is None:
                raise TypeError("None cannot be sent: it is what a closed channel gives")
        pipe = self._pipe
        while items and not (place := self._put_where_room(items)):
            if pipe.end:
                return False
            before_delay()
            self._wait_for_room(None)
        if pipe.forwarder is not None:
            before_delay()
        pipe.announce(len(items))
        while items and not self._has_room_for(place) and not pipe.end:
            before_delay()
            self._wait_for_room(None)
        return not pipe.end or not items or self._has_room_for(place) or self._hand_is_empty(items)

    def _has_room_for(self, place: int) -> bool:
        """Whether the item that was put as number *place* is among those there is room for, or gone."""
        pipe = self._pipe
        if len(pipe.items) <= pipe.maxsize:
            return True
        with pipe.sending:
            return place - (pipe.put_count - len(pipe.items)) <= pipe.maxsize

    def _hand_is_empty(self, items: Sequence[T]) -> bool:
        """After a close: whether receivers have taken all of *items* that had no room; the rest is dropped."""
        pipe = self._pipe
        dropped = False
        with pipe.sending, contextlib.suppress(IndexError):  # emptied under our hands
            waiting = pipe.items
            for item in reversed(items):
                if len(waiting) <= pipe.maxsize or waiting[-1] is not item:
                    break
                waiting.pop()
                dropped = True
        return not dropped

    def _put_where_room(self, items: Sequence[T]) -> int:
        """Put *items* if there is room for one of them; the number of the last, 0 if nothing was put."""
        pipe = self._pipe
        with pipe.sending:
            waiting = pipe.items
            if pipe.end or len(waiting) >= pipe.maxsize:
                return 0
            waiting.extend(items)
            pipe.put_count += len(items)
            if pipe.end and not self._received(waiting):
                return 0
            return pipe.put_count

    @staticmethod
    def _received(items: deque[T]) -> bool:
        """
        Whether a receiver has the item just put, which a close overtook; if none has, it is taken back.

        Only the holder of `sending` adds to *items*, so the item is the rightmost, or it and all before it are gone.
        """
        try:
            items.pop()
        except IndexError:
            return True
        return False

    def _wait_for_room(self, deadline: Optional[float]) -> bool:
        pipe = self._pipe
        waiter = waiters.new_waiter()
        try:
            pipe.senders.append(waiter)
            if pipe.end or len(pipe.items) <= pipe.low_water:
                return True
            return waiters.wait(waiter, deadline)
        finally:
            if not waiters.leave(pipe.senders, waiter) and len(pipe.items) <= pipe.low_water:
                # Taken out of the line, and perhaps not the only one with room now.
                waiters.wake(pipe.senders)

    def close(self, last: Optional[T] = None) -> None:
        """
        End the channel; what was put can still be received. Closing twice does nothing.

        Args:
            last: One more item, put whatever the size, before the end.
        """
        self._pipe.close(last)
