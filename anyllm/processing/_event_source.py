"""Sources of events: anything that gives events or chunks, as one class, read here or ahead on a thread."""

from __future__ import annotations

import operator
import queue
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Optional

from anyllm._concurrency.read_ahead import ReadAhead
from anyllm.channel import Channel, select
from anyllm.context import Context
from anyllm.errors import Cancelled
from anyllm.events import Events, StreamEvent
from anyllm.types import ChatCompletion
from anyllm.types._accumulate import Assembler

#: How many events the thread that reads ahead may have in store; then the source waits.
READ_AHEAD = 64


class NotReadyError(Exception):
    """No event came in time. Not `queue.Empty`, which a source or a transformer may raise itself."""


class EventSource:
    """
    A source of events. One thread reads and closes it; any thread may stop it.

    Args:
        source: An iterable of events, an object with ``events()``, or chunks and errors.
        ctx: Ends the waiting for a channel's next item.
        clock: Monotonic seconds, for the events made of chunks.

    Raises:
        TypeError: *source* is none of these.
    """

    def __init__(self, source: Any, ctx: Context, clock: Callable[[], float]) -> None:
        is_source = callable(getattr(source, "events", None)) or isinstance(source, Iterable)
        if not is_source and _chunks_and_errors(source) is None:
            raise TypeError(f"no source of events: {type(source).__name__}")
        self._source = source
        self._ctx = ctx
        self._clock = clock
        self._events: Optional[Iterator[StreamEvent]] = None

    def get(self, until: Optional[float] = None) -> Optional[StreamEvent]:
        """The next event, None at the end. Waits as long as the source does, whatever *until* is."""
        if self._events is None:
            self._events = self._open()
        return next(self._events, None)

    def _open(self) -> Iterator[StreamEvent]:
        source = self._source
        if callable(getattr(source, "events", None)):
            return iter(source.events())
        pair = _chunks_and_errors(source)
        if pair is not None:
            return _events_of_chunks(*pair, source, self._ctx, self._clock)
        return _received(source, self._ctx) if isinstance(source, Channel) else iter(source)

    def partial(self) -> Optional[ChatCompletion]:
        """The answer so far, if the source has one."""
        partial = getattr(self._source, "partial", None)
        return partial if isinstance(partial, ChatCompletion) else None

    def stop(self) -> None:
        """Cancel the source, if it can be cancelled, which wakes its reader."""
        cancel = getattr(self._source, "cancel", None)
        if callable(cancel):
            cancel()

    def close(self) -> None:
        """Close the source and drop it."""
        source, self._source = self._source, None
        events, self._events = self._events, None
        try:
            _close(events)
        finally:
            if source is not events and not callable(getattr(source, "cancel", None)):
                _close(source)


class ReadAheadSource:
    """An `EventSource` that a thread reads ahead and closes, from the first `get` on; *ctx* ends the waiting."""

    def __init__(self, source: EventSource, ctx: Context, clock: Callable[[], float]) -> None:
        self._source = source
        self._ahead: ReadAhead[StreamEvent] = ReadAhead(iter(source.get, None), READ_AHEAD, source.close)
        self._ctx = ctx
        self._done: Optional[Channel[Any]] = None
        self._clock = clock

    def get(self, until: Optional[float] = None) -> Optional[StreamEvent]:
        """The next event, None at the end; `NotReadyError` when the clock reaches *until* first."""
        events = self._ahead.channel
        if self._done is None:
            self._done = self._ctx.done()
        try:
            item = events.get_nowait()
        except queue.Empty:
            item = self._wait(events, self._done, until)
        if self._ahead.is_end(item):
            self._ahead.join()
        event: Optional[StreamEvent] = self._ahead.checked(item)
        return event

    def _wait(self, events: Channel[Any], done: Channel[Any], until: Optional[float]) -> Any:
        timeout = None if until is None else max(0.0, until - self._clock())
        try:
            ready, item = select(events, done, timeout=timeout)
        except queue.Empty:
            raise NotReadyError from None
        if ready is done:
            raise Cancelled
        return item

    def close(self) -> None:
        """Drop the events; a thread that waits for its source ends when that returns."""
        self._ahead.abandon()
        self._done = None
        if not self._ahead.has_begun:
            self._source.close()


def _close(value: Any) -> None:
    close = getattr(value, "close", None)
    if callable(close):
        close()


def _chunks_and_errors(source: Any) -> Optional[tuple[Any, Any]]:
    """The chunks and errors of *source*, if it has them."""
    if type(source) is tuple and len(source) == 2 and all(isinstance(one, Channel) for one in source):
        return source
    chunks, errors = getattr(source, "chunks", None), getattr(source, "errors", None)
    return None if chunks is None or errors is None else (chunks, errors)


def context_of(source: Any) -> Optional[Context]:
    """The Context of a stream, if it has one."""
    for path in ("ctx", "_pump.ctx", "_reader.plan.ctx"):  # of any object, a Stream, a ChatStream
        try:
            ctx = operator.attrgetter(path)(source)
        except AttributeError:
            continue
        if isinstance(ctx, Context):
            return ctx
    return None


def _events_of_chunks(
    chunks: Any, errors: Any, source: Any, ctx: Context, clock: Callable[[], float]
) -> Iterator[StreamEvent]:
    events, assembler = Events(clock=clock), Assembler()
    yield events.start()
    for chunk in _received(chunks, ctx) if isinstance(chunks, Channel) else chunks:
        assembler.add(chunk)
        yield from events.of(chunk)
    error = errors.get()
    if error is not None:
        yield events.fail(error)
        raise error
    completion = getattr(source, "partial", None)  # a Stream's has more, such as usage that was counted here
    yield from events.complete(assembler.snapshot() if completion is None else completion)


def _received(channel: Channel[Any], ctx: Context) -> Iterator[Any]:
    """The items of *channel*; `Cancelled` as soon as *ctx* ends, even if nothing stops the sender."""
    done = ctx.done()
    while True:
        try:
            item = channel.get_nowait()
        except queue.Empty:
            ready, item = select(channel, done)
            if ready is done:
                raise Cancelled from None
        if item is None:
            return
        yield item
