"""
What a web response is made of: a stream, or anything that can be iterated, waited for with a time-out.

Where the thread that puts chunks can write them, it does, while the server's thread sleeps (`Channel.forward`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Optional, Union

from anyllm.channel import Channel, Sender, open_channel

__all__ = ["END", "SILENCE", "PassOn", "Source", "source_of"]

END: Any = object()  # nothing more will come
SILENCE: Any = object()  # nothing came in time
#: Given a function that takes the next item, or `EMPTY`, deals with what there is, without waiting; False, or an error,
#: when who waits must go on with it.
PassOn = Callable[[Callable[[], Any]], bool]


class _Pair:
    """A stream: chunks, and at most one error after them."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._chunks: Channel[Any] = stream.chunks

    @property
    def channel(self) -> Channel[Any]:
        return self._chunks

    def next(self, timeout: Optional[float], pass_on: Optional[PassOn] = None) -> Any:
        """
        The next item, `END`, or `SILENCE` after *timeout* seconds, or, where items were passed on, whenever that is to
        be looked at. Raises the stream's error.
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
        """Does nothing to a stream that is over."""
        cancel = getattr(self._stream, "cancel", None)
        if cancel is not None:
            cancel("the client has left")


class _Items:
    """Anything that can be iterated, which waits as long as it likes."""

    def __init__(self, items: Any) -> None:
        self._items = items
        self._iterator = iter(items)

    @property
    def channel(self) -> Channel[Any]:
        raise TypeError(f"a {type(self._items).__name__} cannot be waited for: pass a Stream or a ChatStream")

    def next(self, timeout: Optional[float], pass_on: Optional[PassOn] = None) -> Any:
        return next(self._iterator, END)

    def cancel(self) -> None:
        for thing, name in ((self._items, "cancel"), (self._iterator, "close"), (self._items, "close")):
            end = getattr(thing, name, None)
            if end is not None:
                end()
                return


class _Raised:
    """What items raised, on its way to another thread."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Ahead:
    """
    Items that can be cancelled, read on a thread, so that it shows when there are none.

    The thread knows the items and the send end of a channel, and not who receives: letting go of this ends it.
    """

    def __init__(self, items: Any) -> None:
        self._items = items
        self._channel: Optional[Channel[Any]] = None

    @property
    def channel(self) -> Channel[Any]:
        if self._channel is None:
            sender, self._channel = open_channel(1)
            threading.Thread(target=_read, args=(self._items, sender), name="anyllm-wsgi", daemon=True).start()
        return self._channel

    def next(self, timeout: Optional[float], pass_on: Optional[PassOn] = None) -> Any:
        try:
            item = self.channel.get(timeout=timeout)
        except queue.Empty:
            return SILENCE
        if isinstance(item, _Raised):
            raise item.error
        return END if item is None else item

    def cancel(self) -> None:
        self._items.cancel()


def _read(items: Any, sender: Sender[Any]) -> None:
    last: Optional[_Raised] = None
    try:
        for item in items:
            if not sender.put(item):
                return
    except BaseException as exc:
        last = _Raised(exc)
    finally:
        sender.close(last)


Source = Union[_Pair, _Ahead, _Items]


def source_of(stream: Any) -> Source:
    if isinstance(stream, Channel):
        raise TypeError("a Channel cannot say that it failed: pass the stream, and not its chunks")
    if isinstance(getattr(stream, "chunks", None), Channel):
        return _Pair(stream)
    return _Ahead(stream) if callable(getattr(stream, "cancel", None)) else _Items(stream)
