"""
Go's channel for threads: bounded, closable, with a send end and a receive end.

Strategy: what both ends share, and why that needs no lock to receive or to close, is in `pipe`. A channel is the
receive end of one pipe, or of several that are read as one. Who waits for several stands in the line of each.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator
from typing import Any, Generic, Optional, TypeVar

from anyllm._concurrency import waiters
from anyllm._concurrency.forwarding import Forwarding
from anyllm._concurrency.pipe import EMPTY, Pipe, Sender

__all__ = ["Channel", "Sender", "merge", "open_channel", "select"]

T = TypeVar("T")


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
        *pipes: Pipe[T],
        on_drop: Optional[Callable[[], object]] = None,
        on_stall: Optional[tuple[float, Callable[[], bool]]] = None,
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
            if item is EMPTY:
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
        deadline = waiters.deadline_after(timeout) if block and timeout is not None else None
        item = self._take()
        if item is EMPTY and block:
            item = self._wait(deadline)
        if item is EMPTY:
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
            if item is EMPTY:
                ended = False
            elif item is not None:
                # The others get the first look next time.
                self._pipes = (*(other for other in self._pipes if other is not pipe), pipe)
                return item
        return None if ended else EMPTY

    def _wait(self, deadline: Optional[float]) -> Any:
        if self._on_stall is None:
            return _first_ready((self,), deadline)[1]
        patience, complain = self._on_stall
        while True:
            soon = waiters.deadline_after(patience)
            if deadline is not None and (soon is None or soon >= deadline):
                break
            item = _first_ready((self,), soon)[1]
            if item is not EMPTY:
                return item
            if complain():
                break  # once is enough
        return _first_ready((self,), deadline)[1]

    def forward(self, pass_on: Callable[[Callable[[], Any]], bool], timeout: Optional[float] = None) -> None:
        """
        Wait while the thread that puts items passes them on; this thread is woken only when there is something to do.

        For one receiver, where waking a thread costs more than dealing with an item: a server that writes to a client.

        Args:
            pass_on: Called by the sender's thread after it has put something, with a function that gives the next
                item, `pipe.EMPTY` when there is none now, and None when the channel is closed and drained. It deals
                with what there is, without waiting, and returns True; False, or an error, when this thread must go on
                with it. It is not called any more then, nor after this has returned.
            timeout: Seconds to wait at most; None for ever.

        Returns when *pass_on* returned False, when the channel is closed, or after *timeout* seconds. There may be
        items then.

        Raises:
            ValueError: *timeout* is negative or NaN.
            BaseException: what *pass_on* raised.
        """
        Forwarding(self._pipes, self._take, pass_on).wait(waiters.deadline_after(timeout))

    @contextlib.contextmanager
    def in_line(self, waiter: waiters.Waiter) -> Iterator[None]:
        """
        Stand in line with *waiter*, which is released once when there may be an item, or the end.

        For who waits by other means than a lock, an event loop for example. Look again when in line, before waiting:
        what came just before released nobody.
        """
        pipes = list(self._pipes)
        try:
            for pipe in pipes:
                pipe.receivers.append(waiter)
            yield
        finally:
            _stand_down(pipes, waiter)

    # -- looking -----------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the sender closed the channel, even with items still waiting."""
        return all(pipe.end for pipe in self._pipes)

    @property
    def maxsize(self) -> int:
        """How many items may wait before a sender has to."""
        return sum(pipe.maxsize for pipe in self._pipes)

    def qsize(self) -> int:
        """
        How many items wait now: so many can be received at once.

        More than `maxsize` where a sender that puts several at a time waits for room for all of them.
        """
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
        # Runs in any thread at any moment, so it only does what `waiters` allows.
        drop = self.__dict__.get("_on_drop")
        if drop is not None:
            drop()


def open_channel(maxsize: int = 1, **hooks: Any) -> tuple[Sender[Any], Channel[Any]]:
    """
    A new channel.

    Args:
        maxsize: How many items may wait; at least 1.
        hooks: ``on_drop``, called when the receive end is let go of (default: close), and ``on_stall``, a pair of
            seconds and a function that is called each time a receive has waited that long, until it gives True.

    Returns:
        The send end and the receive end.
    """
    if isinstance(maxsize, bool) or not isinstance(maxsize, int):
        raise TypeError(f"maxsize must be an int, not {type(maxsize).__name__}")
    if maxsize < 1:
        raise ValueError(f"maxsize must be at least 1: {maxsize}")
    pipe: Pipe[Any] = Pipe(maxsize)
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
    channel, item = _first_ready(channels, waiters.deadline_after(timeout))
    if item is EMPTY:
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
    """The first ready channel and its item, or the last channel and `EMPTY` when the deadline passed first."""
    while True:
        waiter = waiters.new_waiter()
        pipes = [pipe for channel in channels for pipe in channel._pipes]
        try:
            # In line first, then look again: see "Strategy".
            for pipe in pipes:
                pipe.receivers.append(waiter)
            found = _look(channels)
            if found is not None:
                return found
            woken = waiters.wait(waiter, deadline)
        finally:
            _stand_down(pipes, waiter)
        found = _look(channels)
        if found is not None:
            return found
        if not woken:
            return channels[-1], EMPTY


def _look(channels: tuple[Channel[Any], ...]) -> Optional[tuple[Channel[Any], Any]]:
    for channel in channels:
        item = channel._take()
        if item is not EMPTY:
            return channel, item
    return None


def _stand_down(pipes: list[Pipe[Any]], waiter: waiters.Waiter) -> None:
    """Leave every line; where somebody was waking us for an item that we may not take, wake the next instead."""
    for pipe in pipes:
        if not waiters.leave(pipe.receivers, waiter) and pipe.items:
            waiters.wake(pipe.receivers)
