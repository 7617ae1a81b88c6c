"""
A thread that reads an iterable ahead, into a channel.

Strategy: the thread holds the iterable and the send end of the channel, and not the receiver. So it ends when the
receiver is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, Optional, TypeVar

from anyllm.channel import Channel, Sender, open_channel

T = TypeVar("T")


class _RaisedError(NamedTuple):
    """The exception of the iterable, as the last item of the channel."""

    error: BaseException


class ReadAhead(Generic[T]):
    """
    Items that a daemon thread reads, from the first use of `channel` on. Used by one thread.

    Args:
        items: Read to the end, or until the receiver is dropped.
        buffer: How many items may wait in the channel; then the thread waits.
        close: Called by the thread after the last item.
    """

    def __init__(self, items: Iterable[T], buffer: int, close: Optional[Callable[[], object]] = None) -> None:
        self._items = items
        self._buffer = buffer
        self._close = close
        self._channel: Optional[Channel[Any]] = None
        self._thread: Optional[threading.Thread] = None

    @property
    def has_begun(self) -> bool:
        """Whether the thread has been started."""
        return self._thread is not None

    @property
    def channel(self) -> Channel[Any]:
        """The items. Pass each item that is received to `checked`."""
        if self._channel is None:
            sender, self._channel = open_channel(self._buffer)
            thread = threading.Thread(
                target=_read, args=(self._items, sender, self._close), name="anyllm-read-ahead", daemon=True
            )
            thread.start()
            self._thread = thread
        return self._channel

    @staticmethod
    def is_end(item: Any) -> bool:
        """Whether no item follows *item*."""
        return item is None or isinstance(item, _RaisedError)

    @staticmethod
    def checked(item: Any) -> Any:
        """*item*; if it stands for what the iterable raised, that is raised."""
        if isinstance(item, _RaisedError):
            raise item.error
        return item

    def join(self) -> None:
        """Wait for the end of the thread, which follows the last item at once."""
        if self._thread is not None:
            self._thread.join()

    def abandon(self) -> None:
        """Drop the channel: the thread ends with the next item."""
        self._channel = None


def _read(items: Iterable[Any], sender: Sender[Any], close: Optional[Callable[[], object]]) -> None:
    last: Optional[_RaisedError] = None
    try:
        try:
            for item in items:
                if not sender.put(item):
                    break
        finally:
            if close is not None:
                close()
    except BaseException as exc:
        last = _RaisedError(exc)
    finally:
        sender.close(last)
