"""
Streams in async code: in Starlette, FastAPI and other ASGI applications, or any program with an asyncio event loop.

    return StreamingResponse(asgi.body(stream), headers=asgi.headers())  # Starlette, FastAPI
    return StreamingResponse(*await asgi.answer(stream))  # where an error before the first content has its own status

    async for chunk in asgi.iterate(stream):  # any coroutine
        print(chunk.content, end="")

Cancelling the task, as servers do when a visitor leaves, ends the stream; so does closing or dropping the iterator.

Strategy: a stream's worker puts chunks into a channel from its own thread. No further thread waits for them: a waiter
in the channel's line (`Channel.in_line`) wakes the event loop (see `_serving/async_wait`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Optional

from anyllm import formats
from anyllm._serving.async_wait import deadline_after, is_ready, remaining
from anyllm._serving.responses import FirstContentTimeout, error_response, first_content_seconds
from anyllm._serving.stream_sources import END, SILENCE, Source, source_of
from anyllm.formats import KEEP_ALIVE, Body
from anyllm.wsgi import headers

__all__ = ["Answer", "AsgiResponse", "answer", "body", "headers", "iterate"]


class AsgiResponse(NamedTuple):
    """The parts of a response, in the order of the arguments of Starlette's StreamingResponse."""

    body: AsyncIterator[bytes]
    status: int
    headers: dict[str, str]


Answer = AsgiResponse  #: The former name.


def iterate(stream: Any) -> AsyncIterator[Any]:
    """
    The chunks of *stream*, as they come; its error is raised at the end.

    Args:
        stream: A `Stream`, or a `ChatStream`, which is then read on a thread of its own.

    Raises:
        TypeError: *stream* cannot be waited for, or is a Channel, which cannot report an error.
    """
    return _AsyncChunks(stream)


def body(
    stream: Any, format: formats.Named = "sse", *, keep_alive: Optional[float] = KEEP_ALIVE, **settings: Any
) -> AsyncIterator[bytes]:
    """
    The body of a streamed response, as `anyllm.wsgi.body`, for async servers.

    Args:
        stream: As in `iterate`.
        format, settings: As in `anyllm.wsgi.body`.
        keep_alive: Seconds of silence before the format's keep-alive bytes are given; None for never.

    Raises:
        TypeError: as `iterate`.
        ValueError: *format* is unknown, or *keep_alive* is not positive.

    Source: https://asgi.readthedocs.io/en/latest/specs/www.html
    """
    return _AsyncBody(Body(stream, formats.find(format, **settings), keep_alive), keep_alive)


async def answer(
    stream: Any,
    format: formats.Named = "sse",
    *,
    first_content_timeout: FirstContentTimeout = "keep_alive",
    keep_alive: Optional[float] = KEEP_ALIVE,
    **settings: Any,
) -> AsgiResponse:
    """
    Wait for the first content, as `anyllm.wsgi.answer` does, without blocking the event loop.

    Most servers do not tell an application during this wait that its client has left.

    Args:
        stream, format, keep_alive, settings: As in `body`.
        first_content_timeout: As in `anyllm.wsgi.answer`.

    Returns:
        Body, status and headers. After an error the body is one JSON object, ``{"error": {...}}``.

    Raises:
        ValueError: *first_content_timeout* is negative; and as `body` does.
    """
    seconds = first_content_seconds(first_content_timeout, keep_alive, settings)
    chosen = formats.find(format, **settings)
    content = Body(stream, chosen, keep_alive)
    deadline = deadline_after(seconds)
    try:
        error = content.begin(0)
        while error is None and content.channel is not None and await is_ready(content.channel, deadline):
            error = content.begin(0)
    except BaseException:
        content.close()
        raise
    if error is None:
        return AsgiResponse(_AsyncBody(content, keep_alive), 200, headers(chosen))
    data, status, error_headers = error_response(error, chosen)
    return AsgiResponse(_once(data), status, error_headers)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


class _AsyncChunks(AsyncIterator[Any]):
    """
    An async iterator over the chunks of a stream; dropping it cancels the stream.

    It is no generator, because only a running event loop closes a generator that is dropped.
    """

    def __init__(self, stream: Any) -> None:
        self._source: Optional[Source] = source_of(stream)
        _ = self._source.channel  # TypeError where there is none

    async def __anext__(self) -> Any:
        try:
            await asyncio.sleep(0)  # so that chunks that wait already do not keep the loop from other tasks
            while self._source is not None:
                item = self._source.next(0)
                if item is END:
                    break
                if item is not SILENCE:
                    return item
                await is_ready(self._source.channel, None)
        except BaseException:
            self._end()
            raise
        self._source = None
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Cancel the stream, unless it has ended."""
        self._end()

    def _end(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.cancel()

    def __del__(self) -> None:
        if self.__dict__.get("_source") is not None:
            self._end()


class _AsyncBody(AsyncIterator[bytes]):
    """An async iterator over a `Body`; dropping it cancels the stream."""

    def __init__(self, body: Body, keep_alive: Optional[float]) -> None:
        self._body = body
        self._keep_alive = keep_alive if body.format.keep_alive else None
        _ = body.channel  # TypeError where there is none

    async def __anext__(self) -> bytes:
        deadline = deadline_after(self._keep_alive)
        try:
            await asyncio.sleep(0)  # as in `_AsyncChunks`
            while (data := self._body.take()) is not None:
                if data:
                    return data
                channel = self._body.channel
                # Chunks that add no bytes do not break the silence.
                if channel is not None and (remaining(deadline) == 0 or not await is_ready(channel, deadline)):
                    return self._body.format.keep_alive
        except BaseException:
            self._body.close()
            raise
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Cancel the stream, unless it has ended."""
        self._body.close()
