"""
Go's channel for threads: bounded, closable, with a send end and a receive end.

Strategy: items wait in a deque, whose operations are atomic, so receiving and closing take no lock; `_waiting` says
why that matters. Senders share one lock, which only keeps the bound exact. The rule that makes this sound without
more locks is: *stand in line first, then look again*. A waiter that registers and then finds something to do steps
out and does it; one that finds nothing is sure to be seen by whoever changes something next. Who is woken but does
not take what it was woken for wakes the next in line.

Closing is one `dict.setdefault`: the first to close decides what comes last. A put may be under way just then, so the
sender looks again after it has put, and takes the item back if the channel was closed meanwhile; and the receiver
that finds nothing left turns away from that deque for good, so that after the end nothing comes.

A blocked sender is woken only when the channel is half empty, so that a fast producer and a fast consumer change
places once every half buffer rather than once an item; and what does not fit of a batch is in the deque all the same,
while its sender waits: it counts as in the sender's hand, but receivers find it there without waking the sender.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Optional, TypeVar

from anyllm import _waiting

__all__ = ["Channel", "Sender", "merge", "open_channel", "select"]

T = TypeVar("T")
_EMPTY: Any = object()  # "nothing there now", where None means "closed and drained"


class _Pipe(Generic[T]):
    """What both ends share."""

    __slots__ = ("end", "items", "low_water", "maxsize", "put_count", "receivers", "senders", "sending")

    def __init__(self, maxsize: int) -> None:
        self.items: deque[T] = deque()
        self.maxsize = maxsize
        self.low_water = maxsize // 2
        #: How many items were ever put: without those that wait, how many were taken. Changed and read with `sending`.
        self.put_count = 0
        #: Empty while open; then {"last": what `close` added}, a deque that takes the place of `items` once drained.
        self.end: dict[str, deque[T]] = {}
        self.receivers: deque[threading.Lock] = deque()
        self.senders: deque[threading.Lock] = deque()
        #: Held while looking at the size and appending; never while waiting, and never by a receiver or by close.
        self.sending = threading.Lock()

    def take(self) -> Any:
        """The next item; None when closed and drained; `_EMPTY` when there is nothing now."""
        items = self.items
        try:
            item = items.popleft()
        except IndexError:
            if not self.end:
                return _EMPTY
            last = self.end["last"]
            if items is last:
                return None
            # Something may have been put between the look and the close: look again.
            if not items:
                self.items = last
            return self.take()
        if self.senders and len(items) <= self.low_water:
            _waiting.wake(self.senders)
        return item

    def qsize(self) -> int:
        items = self.items
        last = self.end.get("last", items)
        waiting = min(len(items), self.maxsize)  # what is beyond that is in a sender's hand
        return waiting if items is last else waiting + len(last)

    def close(self, last: Optional[T] = None) -> None:
        self.end.setdefault("last", deque(() if last is None else (last,)))
        while _waiting.wake(self.receivers):
            pass
        while _waiting.wake(self.senders):
            pass


class Sender(Generic[T]):
    """
    The send end of a channel. Any number of threads may send.

    Closing takes no lock: it is safe in a signal handler, a finalizer, any thread.
    """

    __slots__ = ("_pipe",)

    def __init__(self, pipe: _Pipe[T]) -> None:
        self._pipe = pipe

    @property
    def closed(self) -> bool:
        """Whether the channel was closed, by this end or because nobody can receive any more."""
        return bool(self._pipe.end)

    def room(self) -> int:
        """How many items could be put now without waiting, if nobody else puts any."""
        return self._pipe.maxsize - len(self._pipe.items)

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
        if pipe.receivers:
            _waiting.wake(pipe.receivers)
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
        deadline = _waiting.deadline_after(timeout)
        while not self.closed:
            room = self._wait_for_room(deadline)
            if self.try_put(item):
                return True
            if not room and not self.closed:
                raise queue.Full
        return False

    def put_many(self, items: Sequence[T]) -> bool:
        """
        Put all of *items* in order, a batch under one lock, waiting for room where needed; False once closed.

        What there is no room for is in this sender's hand, as in Go: receivers take it from there, and who waits here
        is woken once, not each time that some of it fits.
        """
        for item in items:
            if item is None:
                raise TypeError("None cannot be sent: it is what a closed channel gives")
        pipe = self._pipe
        while items and not (place := self._put_where_room(items)):
            if pipe.end:
                return False
            self._wait_for_room(None)
        for _ in items:
            if not _waiting.wake(pipe.receivers):
                break
        while items and not self._has_room_for(place) and not pipe.end:
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
        waiter = _waiting.new_waiter()
        try:
            pipe.senders.append(waiter)
            if pipe.end or len(pipe.items) <= pipe.low_water:
                return True
            return _waiting.wait(waiter, deadline)
        finally:
            if not _waiting.leave(pipe.senders, waiter) and len(pipe.items) <= pipe.low_water:
                # Taken out of the line, and perhaps not the only one with room now.
                _waiting.wake(pipe.senders)

    def close(self, last: Optional[T] = None) -> None:
        """
        End the channel; what was put can still be received. Closing twice does nothing.

        Args:
            last: One more item, put whatever the size, before the end.
        """
        self._pipe.close(last)


class Channel(Generic[T]):
    """
    The receive end of a channel: iterate it, or use it like a `queue.Queue`.

    A receive from a closed and drained channel gives None at once, and for ever, so these all end::

        for item in channel: ...
        for item in iter(channel.get, None): ...
        while (item := channel.get()) is not None: ...

    Several threads may receive; each item goes to one of them. Letting go of the last reference closes the
    channel, so that its sender stops.

    Source: Go's channels; `queue.Queue` for the methods' names.
    """

    def __init__(
        self,
        *pipes: _Pipe[T],
        on_drop: Optional[Callable[[], object]] = None,
        on_stall: Optional[tuple[float, Callable[[], object]]] = None,
        keep: object = None,
    ) -> None:
        self._pipes = pipes
        self._on_drop = on_drop
        self._on_stall = on_stall
        self._keep = keep

    # -- receiving ---------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[T]:
        """Items until the channel is closed and drained."""
        take = self._pipes[0].take if len(self._pipes) == 1 else self._take_any
        while True:
            item = take()
            if item is _EMPTY:
                item = self._wait(None)
            if item is None:
                return
            yield item

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Optional[T]:
        """
        The next item, or None when the channel is closed and drained.

        Args:
            block: Wait for an item; False is `get_nowait`.
            timeout: Seconds to wait at most; None for ever.

        Raises:
            queue.Empty: nothing came in time.
            ValueError: *timeout* is negative or NaN.
        """
        deadline = _waiting.deadline_after(timeout) if block and timeout is not None else None
        item = self._take()
        if item is _EMPTY and block:
            item = self._wait(deadline)
        if item is _EMPTY:
            raise queue.Empty
        return item  # type: ignore[no-any-return]

    def get_nowait(self) -> Optional[T]:
        """The next item now, None when closed and drained; `queue.Empty` when there is nothing yet."""
        return self.get(block=False)

    def recv(self) -> tuple[Optional[T], bool]:
        """Go's receive: the next item and True, or None and False when closed and drained."""
        item = self.get()
        return item, item is not None

    def _take(self) -> Any:
        if len(self._pipes) == 1:
            return self._pipes[0].take()
        return self._take_any()

    def _take_any(self) -> Any:
        ended = True
        for pipe in self._pipes:
            item = pipe.take()
            if item is _EMPTY:
                ended = False
            elif item is not None:
                # The others get the first look next time.
                self._pipes = (*(other for other in self._pipes if other is not pipe), pipe)
                return item
        return None if ended else _EMPTY

    def _wait(self, deadline: Optional[float]) -> Any:
        if self._on_stall is None:
            return _first_ready((self,), deadline)[1]
        patience, complain = self._on_stall
        soon = _waiting.deadline_after(patience)
        if deadline is None or (soon is not None and soon < deadline):
            item = _first_ready((self,), soon)[1]
            if item is not _EMPTY:
                return item
            complain()
        return _first_ready((self,), deadline)[1]

    # -- looking -----------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the sender closed the channel, even with items still waiting."""
        return all(pipe.end for pipe in self._pipes)

    @property
    def maxsize(self) -> int:
        """How many items may wait."""
        return sum(pipe.maxsize for pipe in self._pipes)

    def qsize(self) -> int:
        """How many items wait now."""
        return sum(pipe.qsize() for pipe in self._pipes)

    def empty(self) -> bool:
        """Whether no item waits now."""
        return not self.qsize()

    def full(self) -> bool:
        """Whether a sender would have to wait now."""
        return self.qsize() >= self.maxsize

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Channel {state}, {self.qsize()} of {self.maxsize} waiting>"

    # -- mistakes, answered ------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        raise TypeError("a Channel has no truth value: ask .empty(), .closed or .get_nowait()")

    def __reduce__(self) -> Any:
        raise TypeError("a Channel cannot be copied or pickled: a copy that is let go of would close it")

    def __getattr__(self, name: str) -> Any:
        hint = ""
        if name in ("content", "choices", "text", "reasoning", "tool_calls"):
            hint = "; unpack first: chunks, errors = anyllm.completion_stream(...), then iterate chunks"
        elif name in ("put", "put_nowait", "close"):
            hint = "; this is the receive end"
        raise AttributeError(f"a Channel has no {name!r}{hint}")

    def __del__(self) -> None:
        # Runs in any thread at any moment, so it only does what `_waiting` allows.
        drop = self.__dict__.get("_on_drop")
        if drop is not None:
            drop()


def open_channel(maxsize: int = 1, **hooks: Any) -> tuple[Sender[Any], Channel[Any]]:
    """
    A new channel.

    Args:
        maxsize: How many items may wait; at least 1.
        hooks: ``on_drop``, called when the receive end is let go of (default: close), and ``on_stall``, a pair of
            seconds and a function that is called when a receive has waited that long.

    Returns:
        The send end and the receive end.
    """
    if isinstance(maxsize, bool) or not isinstance(maxsize, int):
        raise TypeError(f"maxsize must be an int, not {type(maxsize).__name__}")
    if maxsize < 1:
        raise ValueError(f"maxsize must be at least 1: {maxsize}")
    pipe: _Pipe[Any] = _Pipe(maxsize)
    hooks.setdefault("on_drop", pipe.close)
    return Sender(pipe), Channel(pipe, **hooks)


def select(*channels: Channel[Any], timeout: Optional[float] = None) -> tuple[Channel[Any], Any]:
    """
    Wait for the first of several channels.

    Args:
        channels: Looked at in this order; a closed and drained one is ready, with None.
        timeout: Seconds to wait at most; None for ever, 0 to only look.

    Returns:
        The channel that was ready, and its item.

    Raises:
        queue.Empty: none was ready in time.
        TypeError: there is no channel, or something else among them.
        ValueError: *timeout* is negative or NaN.

    Source: Go's select.
    """
    if not channels:
        raise TypeError("select needs channels: select(chunks, ctx.done())")
    _check_channels(channels)
    channel, item = _first_ready(channels, _waiting.deadline_after(timeout))
    if item is _EMPTY:
        raise queue.Empty
    return channel, item


def merge(*channels: Channel[T]) -> Channel[T]:
    """
    Many channels as one, which ends when all of them have. No thread is involved.

    The items of each stay in order; channels take turns. The merged channel keeps the others: letting go of it lets
    go of them.

    Raises:
        TypeError: there is something else among them.
    """
    _check_channels(channels)
    return Channel(*(pipe for channel in channels for pipe in channel._pipes), keep=channels)


def _check_channels(channels: tuple[Channel[Any], ...]) -> None:
    for channel in channels:
        if not isinstance(channel, Channel):
            raise TypeError(f"expected a Channel, not {type(channel).__name__}: select(chunks, ctx.done())")


def _first_ready(channels: tuple[Channel[Any], ...], deadline: Optional[float]) -> tuple[Channel[Any], Any]:
    """The first ready channel and its item, or the last channel and `_EMPTY` when the deadline passed first."""
    while True:
        waiter = _waiting.new_waiter()
        pipes = [pipe for channel in channels for pipe in channel._pipes]
        try:
            # In line first, then look again: see "Strategy".
            for pipe in pipes:
                pipe.receivers.append(waiter)
            found = _look(channels)
            if found is not None:
                return found
            woken = _waiting.wait(waiter, deadline)
        finally:
            _stand_down(pipes, waiter)
        found = _look(channels)
        if found is not None:
            return found
        if not woken:
            return channels[-1], _EMPTY


def _look(channels: tuple[Channel[Any], ...]) -> Optional[tuple[Channel[Any], Any]]:
    for channel in channels:
        item = channel._take()
        if item is not _EMPTY:
            return channel, item
    return None


def _stand_down(pipes: list[_Pipe[Any]], waiter: threading.Lock) -> None:
    """Leave every line; where somebody was waking us for an item that we may not take, wake the next instead."""
    for pipe in pipes:
        if not _waiting.leave(pipe.receivers, waiter) and pipe.items:
            _waiting.wake(pipe.receivers)
