"""
What a format is: how one answer's chunks, a whole answer, and an error are written in it.

Strategy: a `Format` is a value, shared by all answers; it makes a `Writer` for each. A writer keeps what the format
wants said at the end or only once, and neither waits nor sends: `Body` does that.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from anyllm.errors import IncompleteStreamError
from anyllm.types import ChatCompletion, ChatCompletionChunk
from anyllm.types._convert import in_one_line, json_bytes

__all__ = ["Format", "Writer", "event", "in_one_line", "json_bytes", "json_line"]


class Writer:
    """Makes bytes of one answer's chunks; b"" is nothing to send. Used by one thread, for one answer."""

    #: Whether bytes of the answer have been made.
    _has_begun = False

    def chunk(self, chunk: ChatCompletionChunk) -> bytes:
        """
        What *chunk* adds.

        Raises:
            IncompleteStreamError: the answer begins anew, and what was sent of it cannot be taken back.
        """
        if chunk.retry is not None:
            if chunk.retry.policy == "restart" and self._has_begun:
                raise IncompleteStreamError(f"the answer was cut off, and begins anew: {chunk.retry.reason}")
            return b""
        written = self.write(chunk)
        if written:
            self._has_begun = True
        return written

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        """What a chunk adds that is part of the answer."""
        raise NotImplementedError

    def end(self) -> bytes:
        """What follows the last chunk of an answer that is whole."""
        raise NotImplementedError

    def error(self, error: BaseException) -> bytes:
        """What follows the last chunk of an answer that is not; raises *error* where the format has no words for it."""
        raise NotImplementedError


class Format(Protocol):
    """A way to write answers down, with its settings."""

    #: The type of a stream, and of a whole answer or error.
    content_type: ClassVar[str]
    whole_type: ClassVar[str]
    #: What every client of the format passes over, to be written into a silence; b"" where there is no such thing.
    keep_alive: ClassVar[bytes]

    def writer(self) -> Writer:
        """A fresh writer for one answer."""

    def whole(self, completion: ChatCompletion) -> bytes:
        """A whole answer."""

    def problem(self, error: BaseException, status: int) -> bytes:
        """The body of a response that says with *status* that there is no answer."""


def event(value: Any, name: str = "") -> bytes:
    """A server-sent event whose data is JSON."""
    data = b"data: %b\n\n" % json_bytes(value)
    return b"event: %b\n%b" % (name.encode(), data) if name else data


def json_line(value: Any) -> bytes:
    """Compact JSON that is one line for every reader of lines."""
    return in_one_line(json_bytes(value))
