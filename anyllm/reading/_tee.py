"""
Several readers of one stream.

Strategy: there is no thread. Whoever finds nothing waiting reads the source for everybody, one at a time; closing takes
no lock (see `waiters`). Readers are iterators and not Channels because an iterator can raise the source's error.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, NoReturn, Optional, TypeVar, Union

from anyllm._concurrency import waiters
from anyllm._hints.arguments import whole_number
from anyllm._stream.stream import Stream
from anyllm.channel import Channel, open_channel, select
from anyllm.errors import AnyLLMError

__all__ = ["Reader", "tee"]


T = TypeVar("T")


_POLICIES = ("wait", "drop", "unbounded")


def tee(
    chunks: Union[Stream, Iterable[T]], n: int = 2, *, policy: str = "wait", buffer: int = 64
) -> tuple[Reader[T], ...]:
    """
    *n* readers of one stream, each of which gets everything; each may have a thread of its own.

    Args:
        chunks: A `Stream`, whose error each reader raises at its end, and which is cancelled when all readers are gone;
            a Channel; or any iterable. It belongs to the readers from now on: nobody else may read it.
        n: How many readers.
        policy: What happens when one reader is *buffer* items behind another: "wait" lets the other wait; "drop" takes
            the oldest from the slow one, which counts them in ``lost``; "unbounded" keeps them all. Within one thread
            it must be one of these two: nobody else would read what the first waits for.
        buffer: How many items may wait for each reader.

    Raises:
        TypeError: *n* or *buffer* is no int, or *chunks* cannot be iterated.
        ValueError: *n* or *buffer* is less than 1, or *policy* is none of these.

    Source: `itertools.tee`, which is neither bounded nor safe between threads.
    """
    whole_number("n", n)
    whole_number("buffer", buffer)
    if policy not in _POLICIES:
        raise ValueError(f"policy must be one of {', '.join(_POLICIES)}: {policy!r}")
    shared: _Shared[T] = _Shared(chunks, n, policy, buffer)
    return tuple(Reader(shared, place) for place in shared.places)


class Reader(Generic[T]):
    """
    One of the readers that `tee` gives: iterate it in one thread; close it, or let go of it, to read no further.

    It raises what ended the source, after everything that came before that, and again if asked again.
    """

    def __init__(self, shared: _Shared[T], place: _Place[T]) -> None:
        self._shared = shared
        self._place = place

    @property
    def lost(self) -> int:
        """How many items this reader was too slow for; only with the policy "drop"."""
        return self._place.lost

    def __iter__(self) -> Reader[T]:
        return self

    def __next__(self) -> T:
        shared, place = self._shared, self._place
        while True:
            end = shared.end  # before looking at the items, which come before it
            try:
                item = place.items.popleft()
            except IndexError:
                if place.closed:
                    raise StopIteration from None
                if end is not None:
                    end()
                shared.advance(place)
                continue
            if shared.waiting:  # perhaps for room
                shared.wake()
            return item

    def close(self) -> None:
        """Read no further. The others go on; the last one to close lets go of the source. Safe in any thread."""
        self._shared.leave(self._place)

    def __enter__(self) -> Reader[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Runs in any thread at any moment, so it only does what `waiters` allows.
        place = self.__dict__.get("_place")
        if place is not None:
            self._shared.leave(place)


class _Place(Generic[T]):
    """What waits for one reader. Only the holder of the turn adds to it."""

    __slots__ = ("closed", "closing", "items", "lost", "sign")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.lost = 0
        self.closed = False
        #: Closed with the place, to wake its reader where it waits for the source.
        self.sign, self.closing = open_channel(1)


class _Shared(Generic[T]):
    """What the readers share: the source, and the right to read it."""

    def __init__(self, source: Any, n: int, policy: str, buffer: int) -> None:
        self.places = tuple(_Place[T]() for _ in range(n))
        #: Set once nothing more will come: gives that end, by raising it.
        self.end: Optional[Callable[[], NoReturn]] = None
        #: Readers with nothing to read, while another has the turn or there is no room: first in line, then look again.
        self.waiting: deque[waiters.Waiter] = deque()
        #: Held by the reader that reads the source and hands out what comes. Nobody waits for it: see `waiting`.
        self._turn = threading.Lock()
        self._bound = buffer if policy == "wait" else sys.maxsize
        self._keeps = buffer if policy == "drop" else sys.maxsize
        self._stream = source if isinstance(source, Stream) else None
        source = source.chunks if isinstance(source, Stream) else source
        self._source: Any = source if isinstance(source, Channel) else iter(source)

    # -- closing: takes no lock ----------------------------------------------------------------------------------------

    def wake(self) -> None:
        while waiters.wake(self.waiting):
            pass

    def leave(self, place: _Place[T]) -> None:
        place.closed = True
        place.items.clear()
        place.sign.close()
        if all(other.closed for other in self.places):
            self._source = None
            if self._stream is not None:
                self._stream.cancel("abandoned")
        self.wake()

    # -- reading -------------------------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        return all(place.closed or len(place.items) < self._bound for place in self.places)

    def advance(self, place: _Place[T]) -> None:
        """Read one item for everybody; or wait, while that is not possible, until something has changed."""
        if self.has_room() and self._turn.acquire(blocking=False):
            try:
                # Another may have had the turn just before, and have read something for us.
                if not place.items and self.end is None and self.has_room():
                    self._read(place)
            finally:
                self._turn.release()
                self.wake()
            return
        waiter = waiters.new_waiter()
        try:
            self.waiting.append(waiter)
            if not self._has_changed_for(place):
                waiters.wait(waiter, None)
        finally:
            waiters.leave(self.waiting, waiter)

    def _has_changed_for(self, place: _Place[T]) -> bool:
        if place.items or place.closed or self.end is not None:
            return True
        return self.has_room() and not self._turn.locked()

    def _read(self, place: _Place[T]) -> None:
        source = self._source
        if source is None:  # let go of just now
            return
        if isinstance(source, Channel):
            item = self._receive(source, place)  # raises only what interrupts this reader, not the source
            if item is None:
                self._finish(self._error_of_stream())
            elif item is not place:
                self._hand_out(item)
            return
        try:
            item = next(source)
        except StopIteration:
            self._finish(None)
        except BaseException as exc:  # whatever it is, a generator is over with it
            self._finish(exc)
        else:
            self._hand_out(item)

    @staticmethod
    def _receive(source: Channel[Any], place: _Place[T]) -> Any:
        """The next item, None at the end, or *place* when that was closed meanwhile."""
        try:
            return source.get_nowait()
        except queue.Empty:
            ready, item = select(source, place.closing)
            return item if ready is source else place

    def _error_of_stream(self) -> Optional[BaseException]:
        if self._stream is not None:
            try:
                self._stream.collect()
            except AnyLLMError as exc:
                return exc
        return None

    def _hand_out(self, item: Any) -> None:
        for place in self.places:
            if place.closed:
                continue
            if len(place.items) >= self._keeps:
                with contextlib.suppress(IndexError):  # its reader has just taken them all
                    place.items.popleft()
                    place.lost += 1
            place.items.append(item)

    def _finish(self, error: Optional[BaseException]) -> None:
        def end() -> NoReturn:
            raise StopIteration if error is None else error

        self.end = end
        self._source = None
