"""
What a format is: how one answer's chunks, a whole answer, and an error are written in it.

Strategy: a `Format` is a value, shared by all answers; it makes a `Writer` for each. A writer keeps what the format
wants said at the end or only once, and neither waits nor sends: `Body` does that.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Protocol

from anyllm import _convert
from anyllm.errors import IncompleteStreamError
from anyllm.types import ChatCompletion, ChatCompletionChunk

__all__ = ["Format", "Writer", "event", "in_one_line", "json_bytes", "json_line"]

#: In UTF-8, and as JSON can write it.
_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


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


def json_bytes(value: Any) -> bytes:
    """Compact JSON; half of an emoji, which is no text, is escaped."""
    try:
        return _convert.dumps(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def event(value: Any, name: str = "") -> bytes:
    """A server-sent event whose data is JSON."""
    data = b"data: %b\n\n" % json_bytes(value)
    return b"event: %b\n%b" % (name.encode(), data) if name else data


def json_line(value: Any) -> bytes:
    """Compact JSON that is one line for every reader of lines."""
    return in_one_line(json_bytes(value))


def in_one_line(data: bytes) -> bytes:
    """JSON without what ends a line for readers that follow Unicode, as httpx's and so Ollama's clients do."""
    if not data.isascii():
        for end, escaped in _LINE_ENDS:
            data = data.replace(end, escaped)
    return data
