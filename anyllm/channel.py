"""
Go's channel for threads: bounded, closable, with a send end and a receive end; `select` and `merge`.

Strategy: `pipe` has the state that both ends share, and explains why receiving and closing need no lock. A channel is
the receive end of a pipe, or of several that are merged. Who selects from several channels waits in the queue of each.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Optional, TypeVar, Union

from anyllm._concurrency import waiters
from anyllm._concurrency.forwarding import Forwarding
from anyllm._concurrency.merged_pipe import MergedPipe
from anyllm._concurrency.pipe import EMPTY, Pipe, Sender

__all__ = ["Channel", "Sender", "merge", "open_channel", "select"]

T = TypeVar("T")


class Channel(Generic[T]):
    """
    The receive end of a channel: iterate it, or use it like a `queue.Queue`.

    A receive from a closed and drained channel returns None at once, and for ever, so these all end::

        for item in channel: ...
        for item in iter(channel.get, None): ...
        while (item := channel.get()) is not None: ...

    Several threads may receive; each item goes to one of them. Dropping the last reference closes the channel, so that
    its sender stops.

    Source: Go's channels; `queue.Queue` for the methods' names.
    """

    def __init__(
        self,
        pipe: Union[Pipe[T], MergedPipe[T]],
        *,
        on_drop: Optional[Callable[[], object]] = None,
        on_stall: Optional[tuple[float, Callable[[], bool]]] = None,
        keep: object = None,
    ) -> None:
        self._pipe = pipe
        self._on_drop = on_drop
        self._on_stall = on_stall
        self._keep = keep

    # -- receiving ---------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[T]:
        """The items until the channel is closed and drained."""
        take = self._pipe.take
        while True:
            item = take()
            if item is EMPTY:
                item = self._wait(None)
            if item is None:
                return
            yield item

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Optional[T]:
        """
        The next item, or None if the channel is closed and drained.

        Args:
            block: Wait for an item; False is `get_nowait`.
            timeout: Seconds to wait at most; None for ever.

        Raises:
            queue.Empty: nothing came in time.
            ValueError: *timeout* is negative or NaN.
        """
        deadline = waiters.deadline_after(timeout) if block and timeout is not None else None
        item = self._pipe.take()
        if item is EMPTY and block:
            item = self._wait(deadline)
        if item is EMPTY:
            raise queue.Empty
        return item  # type: ignore[no-any-return]

    def get_nowait(self) -> Optional[T]:
        """The next item without waiting; None if closed and drained; raises `queue.Empty` if there is none yet."""
        return self.get(block=False)

    def recv(self) -> tuple[Optional[T], bool]:
        """Go's receive: the next item and True, or None and False if closed and drained."""
        item = self.get()
        return item, item is not None

    def _wait(self, deadline: Optional[float]) -> Any:
        if self._on_stall is None:
            return _first_ready((self,), deadline)[1]
        seconds, on_stall = self._on_stall
        while True:
            stall = waiters.deadline_after(seconds)
            if deadline is not None and (stall is None or stall >= deadline):
                break
            item = _first_ready((self,), stall)[1]
            if item is not EMPTY:
                return item
            if on_stall():
                break
        return _first_ready((self,), deadline)[1]

    def forward(self, pass_on: Callable[[Callable[[], Any]], bool], timeout: Optional[float] = None) -> None:
        """
        Wait while the sender's thread processes the items; this thread is woken only if it must continue itself.

        For one receiver, if waking a thread costs more than processing an item: a server that writes to a client.

        Args:
            pass_on: Called on the sender's thread after it has put items, with a function that returns the next item,
                `pipe.EMPTY` if there is none now, or None if the channel is closed and drained. It processes the items
                without waiting, and returns True; or False, or raises, if the receiving thread must continue. After
                that, and after `forward` has returned, it is not called again.
            timeout: Seconds to wait at most; None for ever.

        Returns when *pass_on* returned False, when the channel is closed, or after *timeout* seconds. There may be
        items then.

        Raises:
            ValueError: *timeout* is negative or NaN.
            BaseException: the exception of *pass_on*.
        """
        Forwarding(self._pipe, self._pipe.take, pass_on).wait(waiters.deadline_after(timeout))

    @contextlib.contextmanager
    def in_line(self, waiter: waiters.Waiter) -> Iterator[None]:
        """
        Add *waiter* to the waiting receivers inside the block; it is released once, for an item or the end.

        For code that does not wait with a lock: an event loop, for example. Check the channel again inside the block,
        before waiting: an item that came just before it has released no waiter.
        """
        try:
            self._pipe.receivers.append(waiter)
            yield
        finally:
            _leave_queues([self._pipe], waiter)

    # -- state -------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the sender closed the channel, even if there are items in it."""
        return bool(self._pipe.end)

    @property
    def maxsize(self) -> int:
        """How many items fit before a sender must wait."""
        return self._pipe.maxsize

    def qsize(self) -> int:
        """
        How many items can be received now without waiting.

        More than `maxsize` while a sender that puts several at a time waits for room for all of them.
        """
        return self._pipe.qsize()

    def empty(self) -> bool:
        """Whether there is no item now."""
        return not self.qsize()

    def full(self) -> bool:
        """Whether a sender would wait now."""
        return self.qsize() >= self.maxsize

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Channel {state}, {self.qsize()} of {self.maxsize} waiting>"

    # -- hints for mistakes ------------------------------------------------------------------------------------

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
        # Runs in any thread at any moment, so it must take no lock: see `waiters`.
        on_drop = self.__dict__.get("_on_drop")
        if on_drop is not None:
            on_drop()


def open_channel(maxsize: int = 1, **hooks: Any) -> tuple[Sender[Any], Channel[Any]]:
    """
    A new channel.

    Args:
        maxsize: How many items fit; at least 1.
        hooks: ``on_drop``, called when the receive end is dropped (default: close), and ``on_stall``, a pair of seconds
            and a function that is called each time a receive has waited that long, until it returns True.

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
        channels: Checked in this order; a closed and drained one is ready, with None.
        timeout: Seconds to wait at most; None for ever, 0 for not at all.

    Returns:
        The channel that was ready, and its item.

    Raises:
        queue.Empty: none was ready in time.
        TypeError: an argument is not a channel, or there is none.
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
    Merge several channels into one, which ends when all of them have ended. No thread is involved.

    The items of each stay in order; channels take turns. The merged channel holds the others: dropping it drops them.

    Raises:
        TypeError: an argument is not a channel.
    """
    _check_channels(channels)
    pipes: list[Pipe[T]] = []
    for channel in channels:
        pipe = channel._pipe
        pipes += pipe.pipes if isinstance(pipe, MergedPipe) else (pipe,)
    return Channel(MergedPipe(pipes), keep=channels)


def _check_channels(channels: tuple[Channel[Any], ...]) -> None:
    for channel in channels:
        if not isinstance(channel, Channel):
            raise TypeError(f"expected a Channel, not {type(channel).__name__}: select(chunks, ctx.done())")


def _first_ready(channels: tuple[Channel[Any], ...], deadline: Optional[float]) -> tuple[Channel[Any], Any]:
    """The first ready channel and its item, or the last channel and `EMPTY` if the deadline passed first."""
    while True:
        waiter = waiters.new_waiter()
        pipes = [channel._pipe for channel in channels]
        try:
            # Register first, then check again: see `pipe`.
            for pipe in pipes:
                pipe.receivers.append(waiter)
            ready = _take_from(channels)
            if ready is not None:
                return ready
            was_woken = waiters.wait(waiter, deadline)
        finally:
            _leave_queues(pipes, waiter)
        ready = _take_from(channels)
        if ready is not None:
            return ready
        if not was_woken:
            return channels[-1], EMPTY


def _take_from(channels: tuple[Channel[Any], ...]) -> Optional[tuple[Channel[Any], Any]]:
    for channel in channels:
        item = channel._pipe.take()
        if item is not EMPTY:
            return channel, item
    return None


def _leave_queues(pipes: Sequence[Union[Pipe[Any], MergedPipe[Any]]], waiter: waiters.Waiter) -> None:
    """Remove *waiter* from every queue; if a sender is waking it for an item it may not take, wake the next."""
    for pipe in pipes:
        if not waiters.leave(pipe.receivers, waiter) and pipe.has_items():
            waiters.wake(pipe.receivers)
