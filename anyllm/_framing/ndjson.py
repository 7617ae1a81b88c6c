"""
Parses NDJSON, and other sequences of JSON documents, into events.

Strategy: most bodies have one document on each line, which is checked by parsing each line as JSON; others are split by
their braces. Each byte is read a constant number of times, however the reads split the body, and documents have a size
limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Optional

from anyllm._framing.event import Event, JSONEvent, too_large
from anyllm.types import _convert

__all__ = ["JSONParser"]

#: A longer incomplete line is not checked again with each read.
_MAX_REST = 16 * 1024


class JSONParser:
    """Parses a body that begins with JSON; raises as `body_events.BodyParser` does."""

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._documents, self._lines = _Documents(max_event_bytes), _Lines()

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that *data* completes."""
        complete: Optional[Iterable[bytes]] = None
        if data and not self._documents.is_inside:
            complete = self._lines.feed(data)
        return self._events(self._documents.feed(self._lines.take_rest() or data) if complete is None else complete)

    def finish(self) -> Iterator[Event]:
        """The events of the rest."""
        return self._events(self._documents.feed(self._lines.take_rest()))

    def _events(self, documents: Iterable[bytes]) -> Iterator[Event]:
        for document in documents:
            if len(document) > self._limit:
                raise too_large(self._limit)
            yield JSONEvent(document.decode("utf-8", "replace"))


class _Lines:
    """
    The common case: one JSON document on each line, and no other lines.

    Parsing a line as JSON is ten times cheaper than searching for its braces. Other input, and long lines, are left to
    `_Documents`.
    """

    #: Between two documents on one line, or inside a document, which does not matter.
    _SEPARATOR = re.compile(rb"\}\s*,?\s*\{")

    def __init__(self) -> None:
        self._rest = b""  # the beginning of a line

    def feed(self, data: bytes) -> Optional[list[bytes]]:
        """The documents that *data* completes; None if there is anything but one document on each line."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        if rest.endswith(b"}") and _convert.is_json(rest):
            lines.append(rest)  # its line end has not come yet
            rest = b""
        lines = [line for line in map(bytes.strip, lines) if line]
        if not self._could_begin_a_line(rest) or not all(line[:1] == b"{" and _convert.is_json(line) for line in lines):
            return None
        self._rest = rest
        return lines

    @classmethod
    def _could_begin_a_line(cls, rest: bytes) -> bool:
        return not rest.strip() or (rest[:1] == b"{" and len(rest) <= _MAX_REST and not cls._SEPARATOR.search(rest))

    def take_rest(self) -> bytes:
        """The input that is not part of a complete document, which is removed."""
        rest, self._rest = self._rest, b""
        return rest


class _Documents:
    """
    Splits JSON documents of any layout: on lines, one after the other, pretty-printed, or the elements of an array.

    It only counts braces outside of strings, with a search from each relevant byte to the next, so each byte is read
    once.
    """

    _OUTSIDE = re.compile(rb'[{}"]')
    _INSIDE = re.compile(rb'["\\]')

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._buffer = bytearray()
        self._position = 0
        self._depth = 0
        self._in_string = False

    @property
    def is_inside(self) -> bool:
        """Whether a document has begun."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The documents that *data* completes."""
        self._buffer += data
        while True:
            pattern = self._INSIDE if self._in_string else self._OUTSIDE
            match = pattern.search(self._buffer, self._position)
            if match is None:
                self._position = len(self._buffer)
                break
            byte = match.group()
            self._position = match.end()
            if byte == b"\\":
                if self._position >= len(self._buffer):
                    self._position = match.start()  # the escaped byte has not come yet
                    break
                self._position += 1
            elif byte == b'"':
                self._in_string = not self._in_string
            elif byte == b"{":
                if self._depth == 0:
                    self._take(match.start())
                    self._position = 1
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    if self._position > self._limit:
                        raise too_large(self._limit)
                    yield self._take(self._position)
        if self._depth == 0 and not self._in_string:
            self._take(self._position)  # commas, brackets, white space
        if len(self._buffer) > self._limit:
            raise too_large(self._limit)

    def _take(self, end: int) -> bytes:
        taken = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._position = 0
        return taken
