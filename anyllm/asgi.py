"""
Streams in async code: from Starlette, FastAPI and other ASGI applications, or any program with an asyncio event loop.

    return StreamingResponse(asgi.body(stream), headers=asgi.headers())  # Starlette, FastAPI
    return StreamingResponse(*await asgi.answer(stream))  # where an error before the first word has a status

    async for chunk in asgi.iterate(stream):  # any coroutine
        print(chunk.content, end="")

A task that is cancelled, as that of a visitor who leaves, ends its stream; so does closing the iterator or dropping it.

Strategy: a stream's worker puts chunks into a channel from its own thread. No further thread waits for them: a `_Waker`
stands in the channel's line (`Channel.in_line`), and its release wakes the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Optional

from anyllm import formats
from anyllm._serving.sources import END, SILENCE, Source, source_of
from anyllm.channel import Channel
from anyllm.formats import KEEP_ALIVE, Body
from anyllm.wsgi import Patience, failure, headers, seconds_to_wait

__all__ = ["Answer", "answer", "body", "headers", "iterate"]


class Answer(NamedTuple):
    """What a response is made of, in the order in which Starlette's StreamingResponse takes it."""

    body: AsyncIterator[bytes]
    status: int
    headers: dict[str, str]


def iterate(stream: Any) -> AsyncIterator[Any]:
    """
    The chunks of *stream*, as they come; its error is raised at the end.

    Args:
        stream: A `Stream`, or a `ChatStream`, which a thread of its own then reads.

    Raises:
        TypeError: *stream* cannot be waited for, or is a Channel, which cannot say that it failed.
    """
    return _Chunks(stream)


def body(
    stream: Any, format: formats.Named = "sse", *, keep_alive: Optional[float] = KEEP_ALIVE, **settings: Any
) -> AsyncIterator[bytes]:
    """
    The body of a response, as it comes. An error becomes its last event, because the status has been sent by then.

    Args:
        stream: As in `iterate`.
        format: One of `anyllm.formats.FORMATS`, or an instance of one; `anyllm.wsgi.body` shows how they look.
        keep_alive: Seconds of silence before the format's sign of life is given; None for never.
        settings: Those of the format.

    Raises:
        TypeError: as `iterate`.
        ValueError: *format* is unknown, or *keep_alive* is not positive.

    Source: https://asgi.readthedocs.io/en/latest/specs/www.html
    """
    return _Bytes(Body(stream, formats.find(format, **settings), keep_alive), keep_alive)


async def answer(
    stream: Any,
    format: formats.Named = "sse",
    *,
    patience: Patience = "keep_alive",
    keep_alive: Optional[float] = KEEP_ALIVE,
    **settings: Any,
) -> Answer:
    """
    Wait for the first content, so that an error before it has a status of its own.

    Args:
        patience: Seconds to wait; after that the answer begins, with 200, and an error becomes an event in it. Most
            servers do not tell an application meanwhile that its client has left: by default it is no longer than
            *keep_alive*, 5 seconds where that is None. None waits as long as it takes.
        stream: As in `body`, and so are the others.

    Returns:
        Body, status and headers. After an error the body is one JSON object, ``{"error": {...}}``.

    Raises:
        ValueError: *patience* is negative; and as `body` does.
    """
    how = formats.find(format, **settings)
    seconds = seconds_to_wait(patience, keep_alive)
    made = Body(stream, how, keep_alive)
    until = _deadline(seconds)
    try:
        error = made.begin(0)
        while error is None and made.channel is not None and await _is_ready(made.channel, _left(until)):
            error = made.begin(0)
    except BaseException:
        made.close()
        raise
    if error is None:
        return Answer(_Bytes(made, keep_alive), 200, headers(how))
    written, code, extra = failure(how, error)
    return Answer(_once(written), code, extra)


async def _once(written: bytes) -> AsyncIterator[bytes]:
    yield written


class _Chunks:
    """No generator: only a running event loop closes one that is dropped; this ends its stream itself."""

    def __init__(self, stream: Any) -> None:
        self._source: Optional[Source] = source_of(stream)
        _ = self._source.channel  # TypeError where there is none

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> Any:
        try:
            await asyncio.sleep(0)  # chunks that wait already must not keep the loop from other tasks
            while self._source is not None:
                item = self._source.next(0)
                if item is END:
                    break
                if item is not SILENCE:
                    return item
                await _is_ready(self._source.channel, None)
        except BaseException:
            self._end()
            raise
        self._source = None
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the stream, unless it is over."""
        self._end()

    def _end(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.cancel()

    def __del__(self) -> None:
        if self.__dict__.get("_source") is not None:
            self._end()


class _Bytes:
    """An async iterator over a `Body`, which ends the stream when it is let go of."""

    def __init__(self, body: Body, keep_alive: Optional[float]) -> None:
        self._body = body
        self._keep_alive = keep_alive if body.format.keep_alive else None
        _ = body.channel  # TypeError where there is none

    def __aiter__(self) -> _Bytes:
        return self

    async def __anext__(self) -> bytes:
        until = _deadline(self._keep_alive)
        try:
            await asyncio.sleep(0)  # as in `_Chunks`
            while (written := self._body.take()) is not None:
                if written:
                    return written
                channel = self._body.channel
                # Chunks of which nothing is written do not break the silence.
                if channel is not None and (_left(until) == 0 or not await _is_ready(channel, _left(until))):
                    return self._body.format.keep_alive
        except BaseException:
            self._body.close()
            raise
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the stream, unless it is over."""
        self._body.close()


# -- waiting -----------------------------------------------------------------------------------------------------------


class _Waker:
    """A `Waiter` that wakes the task which waits in an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self._loop.create_future()
        self._is_released = False

    def release(self) -> None:
        """From any thread; RuntimeError when nobody waits any more, or the loop is closed."""
        if self._is_released:
            raise RuntimeError("released already")
        self._is_released = True
        self._loop.call_soon_threadsafe(self._wake)  # it takes no lock, so a finalizer may do this

    def _wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


async def _is_ready(channel: Channel[Any], seconds: Optional[float]) -> bool:
    """Wait until *channel* has an item, or has ended; False when it has not after so many *seconds*."""
    until = _deadline(seconds)
    while channel.empty() and not channel.closed:
        if _left(until) == 0:
            return False
        waker = _Waker()
        try:
            with channel.in_line(waker):
                # Who is woken may find nothing, and waits on: the item that it was woken for may have been taken
                # before it stood in line.
                if channel.empty() and not channel.closed:
                    await asyncio.wait([waker.future], timeout=_left(until))
        finally:
            waker.future.cancel()
    return True


def _deadline(seconds: Optional[float]) -> Optional[float]:
    return None if seconds is None else asyncio.get_running_loop().time() + seconds


def _left(until: Optional[float]) -> Optional[float]:
    return None if until is None else max(0.0, until - asyncio.get_running_loop().time())
