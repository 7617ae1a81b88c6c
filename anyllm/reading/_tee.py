"""
`tee`: several readers of one stream.

Strategy: there is no thread. A reader that has no items reads the source for all readers, one reader at a time; closing
takes no lock (see `waiters`). Readers are iterators and not Channels because an iterator can raise the source's error.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NoReturn, Optional, TypeVar, Union

from anyllm._concurrency import waiters
from anyllm._hints.arguments import one_of, whole_number
from anyllm._stream.stream import Stream
from anyllm.channel import Channel, open_channel, select
from anyllm.errors import AnyLLMError

T = TypeVar("T")


_POLICIES = ("wait", "drop", "unbounded")


def tee(
    chunks: Union[Stream, Iterable[T]], n: int = 2, *, policy: str = "wait", buffer: int = 64
) -> tuple[Reader[T], ...]:
    """
    Make *n* readers of one stream. Each reader gets all items, and may have its own thread.

    Args:
        chunks: A `Stream`, whose error each reader raises at its end, and which is cancelled when all readers are
            closed; a Channel; or any iterable. Only the readers may read it from now on.
        n: The number of readers.
        policy: What happens when one reader is *buffer* items behind another. "wait": the other waits. "drop": the
            slow reader loses its oldest items, and counts them in ``lost``. "unbounded": all items are stored. Readers
            in the same thread need "drop" or "unbounded", because a reader that waits would stop the others.
        buffer: How many items may wait for each reader.

    Raises:
        TypeError: *n* or *buffer* is no int, or *chunks* cannot be iterated.
        ValueError: *n* or *buffer* is less than 1, or there is no such *policy*.

    Source: `itertools.tee`, which is neither bounded nor safe between threads.
    """
    whole_number("n", n)
    whole_number("buffer", buffer)
    one_of("policy", policy, _POLICIES)
    shared: _SharedSource[T] = _SharedSource(chunks, n, policy, buffer)
    return tuple(Reader(shared, inbox) for inbox in shared.inboxes)


class Reader(Iterator[T]):
    """
    One of the readers that `tee` makes: iterate it in one thread; close or drop it to stop reading.

    It raises the source's error after the items that came before it, and again when iterated again.
    """

    def __init__(self, shared: _SharedSource[T], inbox: _Inbox[T]) -> None:
        self._shared = shared
        self._inbox = inbox

    @property
    def lost(self) -> int:
        """How many items this reader has lost; only with the policy "drop"."""
        return self._inbox.lost

    def __next__(self) -> T:
        shared, inbox = self._shared, self._inbox
        while True:
            end = shared.end  # read before the items, which come before it
            try:
                item = inbox.items.popleft()
            except IndexError:
                if inbox.closed:
                    raise StopIteration from None
                if end is not None:
                    end()
                shared.advance(inbox)
                continue
            if shared.waiting:  # readers may wait for room
                shared.wake()
            return item

    def close(self) -> None:
        """Stop reading. The other readers go on; the last one to close drops the source. Safe in any thread."""
        self._shared.leave(self._inbox)

    def __enter__(self) -> Reader[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Runs in any thread at any moment, so it may only do what takes no lock (see `waiters`).
        inbox = self.__dict__.get("_inbox")
        if inbox is not None:
            self._shared.leave(inbox)


class _Inbox(Generic[T]):
    """The items that wait for one reader. Only the reader that holds `_SharedSource._reading` adds to it."""

    __slots__ = ("close_sender", "closed", "closed_channel", "items", "lost")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.lost = 0
        self.closed = False
        #: A channel that closes with the inbox, to wake its reader while it waits for the source.
        self.close_sender, self.closed_channel = open_channel(1)


class _SharedSource(Generic[T]):
    """The source that the readers share, and the lock for reading it."""

    def __init__(self, source: Any, n: int, policy: str, buffer: int) -> None:
        self.inboxes = tuple(_Inbox[T]() for _ in range(n))
        #: Set at the end of the source: raises the end, or its error.
        self.end: Optional[Callable[[], NoReturn]] = None
        #: Readers without items, while another reads the source or there is no room. First in line, then look again.
        self.waiting: deque[waiters.Waiter] = deque()
        #: Held by the reader that reads the source and hands out items. No reader waits for the lock: see `waiting`.
        self._reading = threading.Lock()
        self._bound = buffer if policy == "wait" else sys.maxsize
        self._inbox_size = buffer if policy == "drop" else sys.maxsize
        self._stream = source if isinstance(source, Stream) else None
        source = source.chunks if isinstance(source, Stream) else source
        self._source: Any = source if isinstance(source, Channel) else iter(source)

    # -- closing: takes no lock ----------------------------------------------------------------------------------------

    def wake(self) -> None:
        while waiters.wake(self.waiting):
            pass

    def leave(self, inbox: _Inbox[T]) -> None:
        inbox.closed = True
        inbox.items.clear()
        inbox.close_sender.close()
        if all(other.closed for other in self.inboxes):
            self._source = None
            if self._stream is not None:
                self._stream.cancel("abandoned")
        self.wake()

    # -- reading -------------------------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        return all(inbox.closed or len(inbox.items) < self._bound for inbox in self.inboxes)

    def advance(self, inbox: _Inbox[T]) -> None:
        """Read one item for all readers; if that is not possible now, wait until something has changed."""
        if self.has_room() and self._reading.acquire(blocking=False):
            try:
                # Another reader may have read an item for this one just before.
                if not inbox.items and self.end is None and self.has_room():
                    self._read(inbox)
            finally:
                self._reading.release()
                self.wake()
            return
        waiter = waiters.new_waiter()
        try:
            self.waiting.append(waiter)
            if not self._has_changed_for(inbox):
                waiters.wait(waiter, None)
        finally:
            waiters.leave(self.waiting, waiter)

    def _has_changed_for(self, inbox: _Inbox[T]) -> bool:
        if inbox.items or inbox.closed or self.end is not None:
            return True
        return self.has_room() and not self._reading.locked()

    def _read(self, inbox: _Inbox[T]) -> None:
        source = self._source
        if source is None:  # dropped just now
            return
        if isinstance(source, Channel):
            item = self._receive(source, inbox)  # an exception here interrupts this reader only
            if item is None:
                self._finish(self._error_of_stream())
            elif item is not inbox:
                self._hand_out(item)
            return
        try:
            item = next(source)
        except StopIteration:
            self._finish(None)
        except BaseException as exc:  # any exception ends a generator
            self._finish(exc)
        else:
            self._hand_out(item)

    @staticmethod
    def _receive(source: Channel[Any], inbox: _Inbox[T]) -> Any:
        """The next item, None at the end, or *inbox* if that was closed meanwhile."""
        try:
            return source.get_nowait()
        except queue.Empty:
            ready, item = select(source, inbox.closed_channel)
            return item if ready is source else inbox

    def _error_of_stream(self) -> Optional[BaseException]:
        if self._stream is not None:
            try:
                self._stream.collect()
            except AnyLLMError as exc:
                return exc
        return None

    def _hand_out(self, item: Any) -> None:
        for inbox in self.inboxes:
            if inbox.closed:
                continue
            if len(inbox.items) >= self._inbox_size:
                with contextlib.suppress(IndexError):  # its reader has just taken the last item
                    inbox.items.popleft()
                    inbox.lost += 1
            inbox.items.append(item)

    def _finish(self, error: Optional[BaseException]) -> None:
        def end() -> NoReturn:
            raise StopIteration if error is None else error

        self.end = end
        self._source = None
