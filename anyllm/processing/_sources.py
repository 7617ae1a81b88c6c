"""
Where events come from: whatever gives them, as one thing, here or read ahead on a thread.

Strategy: the thread knows the source and the send end of a channel, and nothing of the consumer, whose disappearance
therefore ends it.
"""

from __future__ import annotations

import operator
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Optional

from anyllm.channel import Channel, Sender, open_channel, select
from anyllm.context import Context
from anyllm.errors import Cancelled
from anyllm.events import Events, StreamEvent
from anyllm.types import ChatCompletion
from anyllm.types._accumulate import Assembler

__all__ = ["AHEAD", "Ahead", "NotYetError", "Source", "context_of"]

#: How many events the thread that reads ahead may have in store; then the source waits.
AHEAD = 64


class NotYetError(Exception):
    """Nothing has come in time. Not `queue.Empty`, which a source or a transformer may raise itself."""


class Source:
    """Whatever gives events, as one thing: read and closed by one thread, stopped by any."""

    def __init__(self, given: Any, ctx: Context, clock: Callable[[], float]) -> None:
        if not (callable(getattr(given, "events", None)) or isinstance(given, Iterable) or _pair(given)):
            raise TypeError(f"no source of events: {type(given).__name__}")
        self._given = given
        self._ctx = ctx
        self._clock = clock
        self._events: Optional[Iterator[StreamEvent]] = None

    def get(self, until: Optional[float] = None) -> Optional[StreamEvent]:
        """The next event, None at the end. It comes when it comes, whatever *until* says."""
        if self._events is None:
            self._events = self._open()
        return next(self._events, None)

    def _open(self) -> Iterator[StreamEvent]:
        given = self._given
        if callable(getattr(given, "events", None)):
            return iter(given.events())
        pair = _pair(given)
        if pair is not None:
            return _events_of_chunks(*pair, given, self._ctx, self._clock)
        return _received(given, self._ctx) if isinstance(given, Channel) else iter(given)

    def partial(self) -> Optional[ChatCompletion]:
        """What has come of the answer, where the source can say."""
        partial = getattr(self._given, "partial", None)
        return partial if isinstance(partial, ChatCompletion) else None

    def stop(self) -> None:
        """Free whoever reads, if there is a way to."""
        cancel = getattr(self._given, "cancel", None)
        if callable(cancel):
            cancel()

    def close(self) -> None:
        """Let go of it."""
        given, self._given = self._given, None
        events, self._events = self._events, None
        try:
            _close(events)
        finally:
            if given is not events and not callable(getattr(given, "cancel", None)):
                _close(given)


def _close(thing: Any) -> None:
    close = getattr(thing, "close", None)
    if callable(close):
        close()


def _pair(given: Any) -> Optional[tuple[Any, Any]]:
    """The chunks and errors of *given*, if it has them."""
    if type(given) is tuple and len(given) == 2 and all(isinstance(one, Channel) for one in given):
        return given
    chunks, errors = getattr(given, "chunks", None), getattr(given, "errors", None)
    return None if chunks is None or errors is None else (chunks, errors)


def context_of(given: Any) -> Optional[Context]:
    """The Context of the stream itself, if it has one."""
    for path in ("ctx", "_pump.ctx", "_reading.plan.ctx"):  # anybody's, a Stream's, a ChatStream's
        try:
            ctx = operator.attrgetter(path)(given)
        except AttributeError:
            continue
        if isinstance(ctx, Context):
            return ctx
    return None


def _events_of_chunks(
    chunks: Any, errors: Any, given: Any, ctx: Context, clock: Callable[[], float]
) -> Iterator[StreamEvent]:
    events, whole = Events(clock=clock), Assembler()
    yield events.start()
    for chunk in _received(chunks, ctx) if isinstance(chunks, Channel) else chunks:
        whole.add(chunk)
        yield from events.of(chunk)
    error = errors.get()
    if error is not None:
        yield events.fail(error)
        raise error
    completion = getattr(given, "partial", None)  # which knows more, such as usage that was counted here
    yield from events.complete(whole.snapshot() if completion is None else completion)


def _received(channel: Channel[Any], ctx: Context) -> Iterator[Any]:
    """The items of *channel*; `Cancelled` as soon as *ctx* ends, even if nobody stops the sender."""
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


class _Raised:
    """What a source raised, on its way to another thread."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Ahead:
    """Reads a source on a thread, from the first `get` on."""

    def __init__(self, source: Source, ctx: Context, clock: Callable[[], float]) -> None:
        self._source = source
        self._ctx = ctx
        self._clock = clock
        self._events: Optional[Channel[Any]] = None
        self._done: Optional[Channel[Any]] = None
        self._thread: Optional[threading.Thread] = None

    def get(self, until: Optional[float] = None) -> Optional[StreamEvent]:
        """The next event, None at the end; `NotYetError` when the clock says *until* first."""
        if self._events is None or self._done is None:
            sender, self._events = open_channel(AHEAD)
            self._done = self._ctx.done()
            thread = threading.Thread(target=_read, args=(self._source, sender), name="anyllm-ahead", daemon=True)
            thread.start()
            self._thread = thread
        try:
            item = self._events.get_nowait()
        except queue.Empty:
            item = self._wait(self._events, self._done, until)
        if item is None or isinstance(item, _Raised):
            self._thread.join()  # type: ignore[union-attr]  # it had only that left to do
            if item is not None:
                raise item.error
        return item

    def _wait(self, events: Channel[Any], done: Channel[Any], until: Optional[float]) -> Any:
        timeout = None if until is None else max(0.0, until - self._clock())
        try:
            ready, item = select(events, done, timeout=timeout)
        except queue.Empty:
            raise NotYetError from None
        if ready is done:
            raise Cancelled
        return item

    def close(self) -> None:
        """Let go of it; a thread that waits for its source ends as soon as that lets it."""
        self._events = self._done = None
        if self._thread is None:
            self._source.close()


def _read(source: Source, sender: Sender[Any]) -> None:
    last = None
    try:
        try:
            while (event := source.get()) is not None and sender.put(event):
                pass
        finally:
            source.close()
    except BaseException as exc:
        last = _Raised(exc)
    finally:
        sender.close(last)
