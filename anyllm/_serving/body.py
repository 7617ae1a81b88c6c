"""
The body of a streamed response, which a server iterates, and closes when its client has left.

Strategy: a server notices that its client has left when it writes, and then calls the body's ``close()`` (PEP 3333).
So something must be written even while the model is silent: after *keep_alive* seconds without a chunk the body gives
bytes that every client ignores. ``close()``, dropping the body, and any exception in it cancel the stream.

The first write to a client that has left succeeds: only then does the client's system answer that the connection is
closed. The second write fails, and a server that writes on its own thread (waitress) reports that at the third. So the
body breaks a silence with three writes in quick succession, and not with one in each interval.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Optional, Protocol

from anyllm._concurrency.pipe import EMPTY
from anyllm._serving.stream_sources import END, SILENCE, PassOn, Source, source_of
from anyllm.channel import Channel
from anyllm.errors import AnyLLMError, Cancelled
from anyllm.types import ChatCompletionChunk, text_chunk
from anyllm.wire._base.writer import Format

_log = logging.getLogger("anyllm")

#: Seconds of silence before bytes are written that only test whether the client is there.
KEEP_ALIVE = 5.0
#: How many writes break a silence, and the seconds between them: enough for a distant client's system to answer.
_WRITES, _BETWEEN_WRITES = 3, 0.25
#: Bytes after which an `Outlet` gets what has been collected for it.
_LARGE_WRITE = 16 * 1024


class Outlet(Protocol):
    """Lets other threads write to the client, while the server's own thread waits for the body's next bytes."""

    def has_room(self) -> bool:
        """Whether a write would not block."""

    def write(self, data: bytes) -> object:
        """Write *data*. If it raises, nothing was written."""


class Body(Iterator[bytes]):
    """
    The bytes of a stream in a format, while it comes. One thread iterates it; any thread may close it.

    It is no generator, because closing a generator that has not begun runs none of its lines, and the stream would go
    on.

    Args:
        stream: A `Stream`; anything else with ``chunks`` and ``errors``; or an iterable of chunks or text, with
            ``cancel()`` or ``close()`` if it can be ended.
        format: The format.
        keep_alive: Seconds of silence before the format's keep-alive bytes are given; None for never. For an iterable
            without ``cancel()`` they are not given, because waiting for it has no timeout.
        watch: Called with each chunk, before it is written.
        outlet: Lets the thread that brings chunks write them, if the server supports that.

    Raises:
        TypeError: *stream* cannot be iterated, or is a Channel, which cannot report an error.
        ValueError: *keep_alive* is not positive.
    """

    #: The error that cut the answer; None before, and for a whole answer.
    error: Optional[BaseException] = None

    def __init__(
        self,
        stream: Any,
        format: Format,
        keep_alive: Optional[float] = KEEP_ALIVE,
        watch: Optional[Callable[[ChatCompletionChunk], object]] = None,
        outlet: Optional[Outlet] = None,
    ) -> None:
        if keep_alive is not None and not keep_alive > 0:
            raise ValueError(f"keep_alive must be positive, or None: {keep_alive!r}")
        self.format = format
        self._source: Optional[Source] = source_of(stream)  # None once the stream has ended or was closed
        self._writer = format.writer()
        self._keep_alive = keep_alive if format.keep_alive else None
        self._watch = watch
        self._outlet = outlet
        self._ready = b""  # bytes that `begin` has received, or that the outlet refused
        self._written_at = 0.0
        self._writes_due = 0  # how many of the writes that break a silence are still to come

    def __next__(self) -> bytes:
        data = self._next_or_error(self._timeout(), None if self._outlet is None else self._pass_on)
        if data is None:
            raise StopIteration
        if data:
            self._writes_due = 0
            return data
        if self._outlet is None:  # a server with an outlet notices by itself that its client has left
            self._writes_due = (self._writes_due or _WRITES) - 1
        return self.format.keep_alive

    def take(self) -> Optional[bytes]:
        """The next bytes, without waiting: b"" when there are none yet, None at the end."""
        return self._next_or_error(0)

    @property
    def channel(self) -> Optional[Channel[Any]]:
        """
        The channel to wait on before calling `take`; None when `take` need not wait any more.

        Raises:
            TypeError: the stream is an iterable without ``cancel()``, which cannot be waited for.
        """
        return None if self._ready or self._source is None else self._source.channel

    def _next_or_error(self, seconds: Optional[float], pass_on: Optional[PassOn] = None) -> Optional[bytes]:
        """`_next_bytes`; an error becomes the last bytes."""
        try:
            return self._next_bytes(seconds, pass_on)
        except Exception as exc:
            if self._source is None:  # closed meanwhile: the error is only that cancelling, and the client has left
                return None
            self._fail(exc)
            return self._error_bytes(exc) or None
        except BaseException:
            self.close()
            raise

    def _timeout(self) -> Optional[float]:
        """Seconds to wait for the next chunk before keep-alive bytes are given; None for ever."""
        if self._keep_alive is None or not self._writes_due:
            return self._keep_alive
        if self._writes_due == _WRITES:  # `begin` has waited
            return 0
        return min(self._keep_alive, _BETWEEN_WRITES)

    def begin(self, timeout: Optional[float]) -> Optional[BaseException]:
        """
        Wait *timeout* seconds, None for no limit, for the first bytes, and store them.

        Returns the error that came instead, which can then have a status of its own.
        """
        try:
            self._ready = self._next_bytes(timeout) or b""
            if not self._ready:
                self._writes_due = _WRITES
        except Exception as exc:
            self._fail(exc)
            return exc
        except BaseException:
            self.close()
            raise
        return None

    def close(self) -> None:
        """Cancel the stream, unless it has ended. The server calls this in any case."""
        source, self._source = self._source, None
        self._ready = b""
        if source is not None:
            source.cancel()

    def __del__(self) -> None:
        # Cancelling a stream is safe in a finalizer; the `close` of other sources runs in their own finalizers anyway.
        if self.__dict__.get("_source") is not None:
            self.close()

    def _error_bytes(self, error: Exception) -> bytes:
        """*error* in the format; raised where the format cannot express it, or writing it fails too."""
        try:
            return self._writer.error(error)
        except Exception as exc:
            if exc is not error:
                _log.error("writing an error of a streamed response failed", exc_info=exc)
            raise error from None

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.close()
        if isinstance(error, Cancelled):
            _log.info("a streamed response was ended: %s", error)
        elif isinstance(error, AnyLLMError):
            _log.warning("a streamed response ended with an error: %s: %s", type(error).__name__, error)
        else:
            _log.error("a bug ended a streamed response", exc_info=error)

    def _next_bytes(self, seconds: Optional[float], pass_on: Optional[PassOn] = None) -> Optional[bytes]:
        """The next bytes to send; None at the end; b"" when there are none after *seconds*."""
        self._written_at = time.monotonic()
        while True:
            ready, self._ready = self._ready, b""
            if ready:
                return ready
            source = self._source
            if source is None:
                return None
            item = source.next(None if seconds is None else self._remaining(seconds), pass_on)
            if item is SILENCE:
                if not self._ready and seconds is not None and not self._remaining(seconds):
                    return b""
                continue
            if item is END:
                last = self._writer.end()  # raises if the answer is not whole
                self.close()
                return last or None
            data = self._write(item)
            if data or (seconds is not None and not self._remaining(seconds)):
                return data

    def _pass_on(self, take: Callable[[], Any]) -> bool:
        """Write all items there are; False when the server's thread must go on. Runs on the sender's thread."""
        outlet = self._outlet
        assert outlet is not None
        while outlet.has_room():
            parts: list[bytes] = []
            try:
                item = self._collect(take, parts)
            finally:
                is_written = self._write_out(outlet, b"".join(parts))
            if item is EMPTY or item is None or not is_written:
                return item is EMPTY and is_written
        return False

    def _collect(self, take: Callable[[], Any], parts: list[bytes]) -> Any:
        """Add the data of the items there are to *parts*, for one write; returns `EMPTY` or None after the last."""
        size = 0
        while size < _LARGE_WRITE:
            item = take()
            if item is EMPTY or item is None:
                return item
            data = self._write(item)
            parts.append(data)
            size += len(data)
        return item

    def _write_out(self, outlet: Outlet, data: bytes) -> bool:
        if data:
            try:
                outlet.write(data)
            except Exception:  # raised again on the server's thread, which writes the same
                self._ready = data
                return False
            self._written_at = time.monotonic()
        return True

    def _write(self, item: Any) -> bytes:
        chunk = _chunk(item)
        if self._watch is not None:
            self._watch(chunk)
        return self._writer.chunk(chunk)

    def _remaining(self, seconds: float) -> float:
        return max(0.0, self._written_at + seconds - time.monotonic())


def _chunk(item: Any) -> ChatCompletionChunk:
    if isinstance(item, ChatCompletionChunk):
        return item
    if isinstance(item, str):
        return text_chunk("", item, 0, "", None, None, "", None)
    raise TypeError(f"expected chunks or text, not {type(item).__name__}")
