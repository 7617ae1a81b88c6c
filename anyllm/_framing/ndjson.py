"""
Bytes to events: JSON documents one after the other, each an event.

Strategy: most bodies have a document a line, which is told by asking whether each line is one; all others are cut by
their braces. Each byte is looked at a constant number of times, however the input is cut, and a document is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Optional

from anyllm._framing.event import Event, JSONEvent, too_large
from anyllm.types import _convert

__all__ = ["json_events"]

#: The beginning of a line of JSON that is longer than this is not looked at again with each read.
_LONG_REST = 16 * 1024


def json_events(reads: Iterator[bytes], max_event_bytes: int) -> Iterator[Event]:
    """The events of a body whose first byte is JSON's; errors as `anyllm._framing.detect.events` has them."""
    documents, lines = _Documents(max_event_bytes), _Lines()
    for data in _chain_end(reads):
        found: Optional[Iterable[bytes]] = None if documents.is_inside or not data else lines.feed(data)
        if found is None:
            found = documents.feed(lines.give_back() or data)
        for document in found:
            if len(document) > max_event_bytes:
                raise too_large(max_event_bytes)
            yield JSONEvent(document.decode("utf-8", "replace"))


def _chain_end(reads: Iterator[bytes]) -> Iterator[bytes]:
    yield from reads
    yield b""  # the end, where what was kept is looked at once more


class _Lines:
    """
    The common case of JSON documents: one on each line, and no other line.

    Asking whether a line is a document is ten times cheaper than looking for its braces. Of what is unlike that, or
    long, it says so, and gives it back.
    """

    #: Between two documents on one line, or inside of one, which does not matter.
    _PARTED = re.compile(rb"\}\s*,?\s*\{")

    def __init__(self) -> None:
        self._rest = b""  # the beginning of a line

    def feed(self, data: bytes) -> Optional[list[bytes]]:
        """The documents that *data* completes; None where something is no document on a line of its own."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        if rest.endswith(b"}") and _convert.is_json(rest):
            lines.append(rest)  # its line end is still to come
            rest = b""
        lines = [line for line in map(bytes.strip, lines) if line]
        if not self._could_begin_a_line(rest) or not all(line[:1] == b"{" and _convert.is_json(line) for line in lines):
            return None
        self._rest = rest
        return lines

    @classmethod
    def _could_begin_a_line(cls, rest: bytes) -> bool:
        return not rest.strip() or (rest[:1] == b"{" and len(rest) <= _LONG_REST and not cls._PARTED.search(rest))

    def give_back(self) -> bytes:
        """What was fed and is not given out."""
        rest, self._rest = self._rest, b""
        return rest


class _Documents:
    """
    Cuts JSON documents out of bytes: one a line, one after the other, pretty-printed, or the elements of an array.

    It only counts braces outside of strings, and jumps from one that matters to the next, so each byte is passed once.
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
                    self._position = match.start()  # what it escapes is still to come
                    break
                self._position += 1
            elif byte == b'"':
                self._in_string = not self._in_string
            elif byte == b"{":
                if self._depth == 0:
                    self._drop(match.start())
                    self._position = 1
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    if self._position > self._limit:
                        raise too_large(self._limit)
                    yield self._drop(self._position)
        if self._depth == 0 and not self._in_string:
            self._drop(self._position)  # commas, brackets, white space
        if len(self._buffer) > self._limit:
            raise too_large(self._limit)

    def _drop(self, end: int) -> bytes:
        taken = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._position = 0
        return taken
