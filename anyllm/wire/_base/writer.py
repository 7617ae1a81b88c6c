"""
The protocol of formats that the gateway writes: chunks, whole answers and errors as bytes.

Strategy: a `Format` is a value that all answers share; it makes a `Writer` for each answer. A writer has the state of
one answer, and neither waits nor sends: `Body` does that.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from anyllm.errors import IncompleteStreamError
from anyllm.types import ChatCompletion, ChatCompletionChunk
from anyllm.types._convert import in_one_line, json_bytes

__all__ = ["Format", "Writer", "event", "in_one_line", "json_bytes", "json_line"]


class Writer:
    """Writes one answer's chunks as bytes; b"" means nothing to send. Used by one thread, for one answer."""

    #: Whether bytes of the answer have been made.
    _has_begun = False

    def chunk(self, chunk: ChatCompletionChunk) -> bytes:
        """
        The bytes for *chunk*.

        Raises:
            IncompleteStreamError: the answer restarts after part of it was sent.
        """
        if chunk.retry is not None:
            if chunk.retry.policy == "restart":
                if self._has_begun:
                    raise IncompleteStreamError(f"the answer was cut off, and begins anew: {chunk.retry.reason}")
                self._reset()
            return b""
        written = self.write(chunk)
        if written:
            self._has_begun = True
        return written

    def _reset(self) -> None:
        """Forget the state of an answer that restarts before any of it was sent: a writer may have held it back."""

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        """The bytes for a chunk of the answer."""
        raise NotImplementedError

    def end(self) -> bytes:
        """The bytes after the last chunk of a complete answer."""
        raise NotImplementedError

    def error(self, error: BaseException) -> bytes:
        """The bytes that end an incomplete answer; raises *error* if the format cannot express it."""
        raise NotImplementedError


class Format(Protocol):
    """A format of answers, with its settings."""

    #: The content type of a stream, and of a whole answer or error.
    content_type: ClassVar[str]
    whole_type: ClassVar[str]
    #: Bytes that every client ignores, for keep-alives; b"" if the format has none.
    keep_alive: ClassVar[bytes]

    def writer(self) -> Writer:
        """A fresh writer for one answer."""

    def whole(self, completion: ChatCompletion) -> bytes:
        """The body of a whole answer."""

    def problem(self, error: BaseException, status: int) -> bytes:
        """The body of an error response with *status*."""


def event(value: Any, name: str = "") -> bytes:
    """A server-sent event whose data is JSON."""
    data = b"data: %b\n\n" % json_bytes(value)
    return b"event: %b\n%b" % (name.encode(), data) if name else data


def json_line(value: Any) -> bytes:
    """Compact JSON without any line separator, Unicode's included."""
    return in_one_line(json_bytes(value))
