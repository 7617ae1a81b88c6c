"""
Sources of web responses: a stream or any iterable, as one interface with a timeout.

Where the thread that puts chunks can write them, it does, while the server's thread sleeps (`Channel.forward`).
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any, Optional, Union

from anyllm._concurrency.read_ahead import ReadAhead
from anyllm.channel import Channel

END: Any = object()  # no item will follow
SILENCE: Any = object()  # no item came in time
#: Called with a function that returns the next item, or `EMPTY`: passes on all items there are, without waiting.
#: False, or an exception, hands over to the waiting thread.
PassOn = Callable[[Callable[[], Any]], bool]


class StreamSource:
    """A stream: chunks, and at most one error after them."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._chunks: Channel[Any] = stream.chunks

    @property
    def channel(self) -> Channel[Any]:
        return self._chunks

    def next(self, timeout: Optional[float], pass_on: Optional[PassOn] = None) -> Any:
        """
        The next item or `END`; `SILENCE` after *timeout* seconds, and, where items were passed on, whenever their state
        is to be checked. Raises the stream's error.
        """
        if pass_on is not None and self._chunks.empty() and not self._chunks.closed:
            self._chunks.forward(pass_on, timeout)
            return SILENCE
        try:
            item = self._chunks.get(timeout=timeout)
        except queue.Empty:
            return SILENCE
        if item is not None:
            return item
        error = self._stream.errors.get()  # which was put, or closed, before the chunks ended
        if error is not None:
            raise error
        return END

    def cancel(self) -> None:
        """Cancel the stream; does nothing to one that has ended."""
        cancel = getattr(self._stream, "cancel", None)
        if cancel is not None:
            cancel("the client has left")


class IterableSource:
    """An iterable that cannot be cancelled; its items are waited for without a timeout."""

    def __init__(self, items: Any) -> None:
        self._items = items
        self._iterator = iter(items)

    @property
    def channel(self) -> Channel[Any]:
        raise TypeError(f"a {type(self._items).__name__} cannot be waited for: pass a Stream or a ChatStream")

    def next(self, timeout: Optional[float], pass_on: Optional[PassOn] = None) -> Any:
        return next(self._iterator, END)

    def cancel(self) -> None:
        for owner, name in ((self._items, "cancel"), (self._iterator, "close"), (self._items, "close")):
            end = getattr(owner, name, None)
            if end is not None:
                end()
                return


class CancellableSource:
    """An iterable that can be cancelled, read ahead on a thread, so that waiting for an item can have a timeout."""

    def __init__(self, items: Any) -> None:
        self._items = items
        self._ahead: ReadAhead[Any] = ReadAhead(items, 1)

    @property
    def channel(self) -> Channel[Any]:
        return self._ahead.channel

    def next(self, timeout: Optional[float], pass_on: Optional[PassOn] = None) -> Any:
        try:
            item = self.channel.get(timeout=timeout)
        except queue.Empty:
            return SILENCE
        return END if item is None else self._ahead.checked(item)

    def cancel(self) -> None:
        self._items.cancel()


Source = Union[StreamSource, IterableSource, CancellableSource]


def source_of(stream: Any) -> Source:
    if isinstance(stream, Channel):
        raise TypeError("a Channel cannot report an error: pass the stream, not its chunks")
    if isinstance(getattr(stream, "chunks", None), Channel):
        return StreamSource(stream)
    return CancellableSource(stream) if callable(getattr(stream, "cancel", None)) else IterableSource(stream)
