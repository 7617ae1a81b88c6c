"""
The body of a response: what a server iterates, and closes when its client has gone.

Strategy: a server notices that its client has gone when it writes, and then calls the body's ``close()`` (PEP 3333).
So a silent model must not mean that nothing is written: the body waits for the next chunk only so long, then gives
something that every client ignores. ``close()``, letting go of the body, and any exception in it cancel the stream.

The first write to a client that has gone succeeds: only then does the client's system answer that nobody is there. The
second fails, and a server that writes on a thread of its own (waitress) reports it at the third. So a silence is broken
by three writes, one soon after the other, and not by one write in each interval.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Optional, Protocol

from anyllm._concurrency.pipe import EMPTY
from anyllm._serving.sources import END, SILENCE, PassOn, Source, source_of
from anyllm.channel import Channel
from anyllm.errors import AnyLLMError, Cancelled
from anyllm.types import ChatCompletionChunk, text_chunk
from anyllm.wire._base.writer import Format

__all__ = ["KEEP_ALIVE", "Body"]

_log = logging.getLogger("anyllm")

#: Seconds of silence before something is written that only proves that the client is there.
KEEP_ALIVE = 5.0
#: How many writes break a silence, and the seconds between them: enough for an answer from a client far away.
_WRITES, _BETWEEN_WRITES = 3, 0.25


class Outlet(Protocol):
    """Where a server lets other threads write, while its own waits for the body's next bytes."""

    def has_room(self) -> bool:
        """Whether a write would not have to wait."""

    def write(self, data: bytes) -> object:
        """Write; what it raises, it raises before that."""


class Body:
    """
    Bytes of a stream in a format, as they come. One thread iterates it; any may close it.

    No generator: closing one that has not begun would not run a line of it, and the stream would go on.

    Args:
        stream: A `Stream`; anything else with ``chunks`` and ``errors``; or an iterable of chunks or text, with
            ``cancel()`` or ``close()`` if it can be ended.
        format: How it is written.
        keep_alive: Seconds of silence before the format's sign of life is written; None for never. An iterable without
            ``cancel()`` cannot be waited for only so long.
        watch: Called with each chunk, before it is written.
        outlet: Where chunks are written by the thread that brings them, if the server has one.

    Raises:
        TypeError: *stream* cannot be iterated, or is a Channel, which cannot say that it failed.
        ValueError: *keep_alive* is not positive.
    """

    #: Why the answer is not whole; None while it is not known to be cut.
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
        self._source: Optional[Source] = source_of(stream)  # None once the stream is over, or ended
        self._writer = format.writer()
        self._keep_alive = keep_alive if format.keep_alive else None
        self._watch = watch
        self._outlet = outlet
        self._ready = b""  # what `begin` has received, or the outlet did not take
        self._written_at = 0.0
        self._writes_due = 0  # how many of the writes that break a silence are left

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        written = self._attempt(self._seconds_of_silence(), None if self._outlet is None else self._pass_on)
        if written is None:
            raise StopIteration
        if written:
            self._writes_due = 0
            return written
        if self._outlet is None:  # a server that has one looks for itself whether its client is there
            self._writes_due = (self._writes_due or _WRITES) - 1
        return self.format.keep_alive

    def take(self) -> Optional[bytes]:
        """The next bytes, without waiting: b"" when there are none yet, None when all is said."""
        return self._attempt(0)

    @property
    def channel(self) -> Optional[Channel[Any]]:
        """
        Where to wait for what `take` gives; None when nothing more will come.

        Raises:
            TypeError: the stream is an iterable without ``cancel()``, which cannot be waited for.
        """
        return None if self._ready or self._source is None else self._source.channel

    def _attempt(self, seconds: Optional[float], pass_on: Optional[PassOn] = None) -> Optional[bytes]:
        """`_next_bytes`, with what the format says of an error as the last of them."""
        try:
            return self._next_bytes(seconds, pass_on)
        except Exception as exc:
            if self._source is None:  # closed meanwhile: the error is that it was cancelled, and nobody is there
                return None
            self._fail(exc)
            return self._last_words(exc) or None
        except BaseException:
            self.close()
            raise

    def _seconds_of_silence(self) -> Optional[float]:
        """How long to wait for the next chunk before something is written without one; None for ever."""
        if self._keep_alive is None or not self._writes_due:
            return self._keep_alive
        if self._writes_due == _WRITES:  # `begin` has waited
            return 0
        return min(self._keep_alive, _BETWEEN_WRITES)

    def begin(self, patience: Optional[float]) -> Optional[BaseException]:
        """
        Wait for the first bytes and keep them, so that an error before them can have a status of its own.

        Args:
            patience: Seconds to wait; None waits as long as it takes.

        Returns:
            The error, if there are none because of one.
        """
        try:
            self._ready = self._next_bytes(patience) or b""
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
        """End the stream, unless it is over. The server calls it, whatever happened."""
        source, self._source = self._source, None
        self._ready = b""
        if source is not None:
            source.cancel()

    def __del__(self) -> None:
        # Cancelling a stream is safe in a finalizer; what else has a `close` runs it in its own as well.
        if self.__dict__.get("_source") is not None:
            self.close()

    def _last_words(self, error: Exception) -> bytes:
        """What the format says of an error; the error itself where it has no words, or they fail too."""
        try:
            return self._writer.error(error)
        except Exception as exc:
            if exc is not error:
                _log.error("an error could not be told", exc_info=exc)
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
        """
        The next bytes to send; None when all is said; b"" when there are none in so many *seconds*, whatever comes.
        """
        self._written_at = time.monotonic()
        while True:
            ready, self._ready = self._ready, b""
            if ready:
                return ready
            source = self._source
            if source is None:
                return None
            item = source.next(None if seconds is None else self._left_of(seconds), pass_on)
            if item is SILENCE:
                if not self._ready and seconds is not None and not self._left_of(seconds):
                    return b""
                continue
            if item is END:
                last = self._writer.end()  # it may find that the answer is not whole
                self.close()
                return last or None
            written = self._write(item)
            if written or (seconds is not None and not self._left_of(seconds)):
                return written

    def _pass_on(self, take: Callable[[], Any]) -> bool:
        """Write what there is at once; False when the server's thread must go on."""
        assert self._outlet is not None
        while self._outlet.has_room():
            item = take()
            if item is EMPTY:
                return True
            if item is None:
                return False
            written = self._write(item)
            if written:
                try:
                    self._outlet.write(written)
                except Exception:  # the server's own thread is to see it
                    self._ready = written
                    return False
                self._written_at = time.monotonic()
        return False

    def _write(self, item: Any) -> bytes:
        chunk = _chunk(item)
        if self._watch is not None:
            self._watch(chunk)
        return self._writer.chunk(chunk)

    def _left_of(self, seconds: float) -> float:
        return max(0.0, self._written_at + seconds - time.monotonic())


def _chunk(item: Any) -> ChatCompletionChunk:
    if isinstance(item, ChatCompletionChunk):
        return item
    if isinstance(item, str):
        return text_chunk("", item, 0, "", None, None, "", None)
    raise TypeError(f"expected chunks or text, not {type(item).__name__}")
