"""
The state that both ends of a channel share (`Pipe`), and the send end (`Sender`).

Strategy: items are in a deque, whose operations are atomic, so receiving and closing take no lock; `waiters` explains
why that matters. Senders share one lock, which only keeps the size exact. One rule makes this safe without more locks:
*register as a waiter first, then check again*. A waiter that then finds something to do unregisters and does it; one
that finds nothing is certainly woken by the next change. A waiter that was woken for an item and does not take it wakes
the next one.

Closing is one `dict.setdefault`: the first close decides the last item. A put may run at the same time, so the sender
checks again after it has put, and removes the item if the channel was closed meanwhile; and a receiver that finds the
deque empty after the close switches to the deque of the last item, so that nothing is received after the end.

A blocked sender is woken only when the channel is half empty, so that a fast producer and a fast consumer switch once
per half buffer, not once per item. The part of a batch that does not fit is put into the deque too, while its sender
waits, so that receivers find it without waking the sender.

A receiver may register a `Forwarder`, which the sender runs after it has put (see `forwarding`).
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, Optional, Protocol, TypeVar

from anyllm._concurrency import waiters

T = TypeVar("T")
EMPTY: Any = object()  # no item now; None means closed and drained


class Forwarder(Protocol):
    """Registered by a receiver, and run by the thread that puts an item."""

    def run(self) -> bool:
        """Process the items on the sender's thread; False: wake a receiver as usual."""

    def wake(self) -> None:
        """The channel is closed. Takes no lock."""


class Pipe(Generic[T]):
    """The state that both ends share."""

    __slots__ = (
        *("end", "forwarder", "items", "listeners", "low_water", "maxsize", "put_count"),
        *("receivers", "senders", "sending"),
    )

    def __init__(self, maxsize: int) -> None:
        self.items: deque[T] = deque()
        self.maxsize = maxsize
        self.low_water = maxsize // 2
        #: How many items were ever put; minus the items in the deque, how many were taken. Guarded by `sending`.
        self.put_count = 0
        #: Empty while open; then {"last": deque of `close`'s last item}, which replaces `items` when that is drained.
        self.end: dict[str, deque[T]] = {}
        self.forwarder: Optional[Forwarder] = None
        #: Called after items were put, and after the close; see `merged_pipe`.
        self.listeners: dict[Callable[[], object], None] = {}
        self.receivers: deque[waiters.Waiter] = deque()
        self.senders: deque[waiters.Waiter] = deque()
        #: Held while checking the size and appending; never while waiting, and never by a receiver or by close.
        self.sending = threading.Lock()

    def take(self) -> Any:
        """The next item; None if closed and drained; `EMPTY` if there is none now."""
        items = self.items
        try:
            item = items.popleft()
        except IndexError:
            if not self.end:
                return EMPTY
            last = self.end["last"]
            if items is last:
                return None
            # An item may have been put between `popleft` and the close: check again.
            if not items:
                self.items = last
            return self.take()
        if self.senders and len(items) <= self.low_water:
            waiters.wake(self.senders)
        return item

    def has_items(self) -> bool:
        """Whether an item can be received without waiting; the last one that `close` put does not count."""
        return bool(self.items)

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
        self._call_listeners()

    def _call_listeners(self) -> None:
        for listener in self.listeners.copy():
            listener()

    def announce(self, count: int) -> None:
        """Forward *count* new items, or wake as many receivers."""
        if self.listeners:
            self._call_listeners()
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
        """Whether the channel was closed, by this end or because the receive end was dropped."""
        return bool(self._pipe.end)

    def try_put(self, item: T) -> bool:
        """Put *item* if there is room, without waiting; False if the channel is full or closed."""
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
        if pipe.receivers or pipe.forwarder is not None or pipe.listeners:
            pipe.announce(1)
        return True

    def put(self, item: T, timeout: Optional[float] = None) -> bool:
        """
        Put *item*, which is not None, and wait up to *timeout* seconds for room; None for ever.

        Returns False if the channel is closed, so that nobody will receive the item; `queue.Full` if there was no room.
        """
        if self.try_put(item):
            return True
        deadline = waiters.deadline_after(timeout)
        while not self.closed:
            has_room = self._wait_for_room(deadline)
            if self.try_put(item):
                return True
            if not has_room and not self.closed:
                raise queue.Full
        return False

    def put_many(self, items: Sequence[T], before_delay: Callable[[], object] = lambda: None) -> bool:
        """
        Put all of *items* in order, under one lock, and wait for room; False if the channel is closed. See `put_steps`.
        """
        steps = self.put_steps(items, before_delay)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return bool(end.value)
            self._wait_for_room(None)

    def put_steps(
        self, items: Sequence[T], before_delay: Callable[[], object] = lambda: None
    ) -> Generator[None, None, bool]:
        """
        Put all of *items* in order, under one lock; yields where it must wait for room, and goes on when there may be
        some (see `await_room`). Returns False if the channel is closed.

        As soon as there is room for one item, all are put, and can be received. It ends when there is room for all, so
        the sender is woken once, not each time that some of them fit.

        Args:
            items: Anything but None.
            before_delay: Called before this waits for room or runs a receiver's `Forwarder`, perhaps several times: to
                release what other threads wait for.
        """
        for item in items:
            if item is None:
                raise TypeError("None cannot be sent: it is what a closed channel gives")
        pipe = self._pipe
        while items and not (place := self._put_where_room(items)):
            if pipe.end:
                return False
            before_delay()
            yield
        if pipe.forwarder is not None:
            before_delay()
        pipe.announce(len(items))
        while items and not self._has_room_for(place) and not pipe.end:
            before_delay()
            yield
        return not pipe.end or not items or self._has_room_for(place) or self._were_all_received(items)

    def _has_room_for(self, place: int) -> bool:
        """Whether the item that was put as number *place* fits into the buffer, or was received."""
        pipe = self._pipe
        if len(pipe.items) <= pipe.maxsize:
            return True
        with pipe.sending:
            return place - (pipe.put_count - len(pipe.items)) <= pipe.maxsize

    def _were_all_received(self, items: Sequence[T]) -> bool:
        """After a close: whether receivers took all of *items* beyond the buffer; drops the others."""
        pipe = self._pipe
        dropped = False
        with pipe.sending, contextlib.suppress(IndexError):  # receivers emptied it meanwhile
            buffered = pipe.items
            for item in reversed(items):
                if len(buffered) <= pipe.maxsize or buffered[-1] is not item:
                    break
                buffered.pop()
                dropped = True
        return not dropped

    def _put_where_room(self, items: Sequence[T]) -> int:
        """Put *items* if there is room for one of them; returns the number of the last, or 0 if none was put."""
        pipe = self._pipe
        with pipe.sending:
            buffered = pipe.items
            if pipe.end or len(buffered) >= pipe.maxsize:
                return 0
            buffered.extend(items)
            pipe.put_count += len(items)
            if pipe.end and not self._received(buffered):
                return 0
            return pipe.put_count

    @staticmethod
    def _received(items: deque[T]) -> bool:
        """
        Whether a receiver took the item that was just put, when the channel was closed meanwhile; else removes it.

        Only the holder of `sending` adds to *items*, so the item is the rightmost, or it and all before it are gone.
        """
        try:
            items.pop()
        except IndexError:
            return True
        return False

    def await_room(self, waiter: waiters.Waiter) -> bool:
        """
        Have *waiter* released when there is room, or the channel is closed; False, and it is not, if that is so now.

        For a sender that does not wait with a lock: an event loop, for example.
        """
        pipe = self._pipe
        pipe.senders.append(waiter)
        return not (pipe.end or len(pipe.items) <= pipe.low_water) or not waiters.leave(pipe.senders, waiter)

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
                # Another thread removed it from the queue; there may be room for the next sender too.
                waiters.wake(pipe.senders)

    def close(self, last: Optional[T] = None) -> None:
        """
        End the channel; items in it can still be received. Closing twice does nothing.

        Args:
            last: One more item, put before the end even if the channel is full.
        """
        self._pipe.close(last)
