"""
Bytes to events: Server-Sent Events, parsed by sseclient-py.

Strategy: sseclient-py is the parser, but on raw input it loses the first event after a byte order mark, hands out half
an event at the end of the bytes, does not see that a mixed line ending ends an event, dies of one bad byte, and takes
quadratic time over an event that comes in many pieces or many lines. So `_Blocks` gives it only what it does well:
whole events, one kind of line ending, valid UTF-8, few lines. Each byte is looked at a constant number of times,
however the input is cut, and an event is bounded.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from anyllm._framing.event import Event, JSONEvent, too_large
from anyllm.types import _convert

__all__ = ["sse_events"]

#: More lines than this in one event, and its data lines are joined before the parser sees them.
_MANY_LINES = 64
#: Up to this size, lines of this length on average are too few to cost much, whatever events they make; and up to that
#: size, an event may have any lines.
_SHORT_BLOCK, _LONG_LINE, _SMALL_EVENT = 128 * 1024, 64, 2048
#: Stands for the line feed between two joined data lines; raw control characters cannot occur in JSON.
_JOINT = "\x1e"


def sse_events(reads: Iterator[bytes], max_event_bytes: int) -> Iterator[Event]:
    """The events of a body whose first byte is none of JSON's; errors as `anyllm._framing.detect.events` has them."""
    import sseclient  # on first use: it is not needed to import anyllm

    blocks = _Blocks(reads, max_event_bytes)
    client: Any = sseclient.SSEClient(iter(blocks))
    client._read = blocks.events  # it would cut blocks into lines, add them up, and look for the end after each
    parsed: Iterator[Event] = client.events()
    for event in parsed:
        data = event.data
        if "\n" not in data and _JOINT not in data:
            yield event
        else:
            yield from _split(event)


def _split(event: Event) -> Iterator[Event]:
    """
    Several data lines: one document over several lines, or, from hosts that forget the blank line, several documents.
    """
    event.data = event.data.replace(_JOINT, "\n")
    lines = event.data.split("\n")
    if all(not line.strip() or _is_document(line) for line in lines):
        for line in lines:
            if line.strip():
                yield JSONEvent(line, event.event)
    else:
        yield event


def _is_document(line: str) -> bool:
    return line.strip() == "[DONE]" or _convert.is_json(line)


class _Blocks:
    """
    What sseclient-py iterates: whole events, clean, one or more at a time.

    At the end of the bytes an event that lacks its blank line is handed on only if its data is whole: some hosts
    forget the blank line, but half an event is none.
    """

    def __init__(self, reads: Iterator[bytes], max_event_bytes: int) -> None:
        self._reads = reads
        self._limit = max_event_bytes
        self._buffer = bytearray()
        self._after_return = False

    def __iter__(self) -> Iterator[bytes]:
        buffer = self._buffer
        for data in self._reads:
            if b"\r" in data or self._after_return:
                data = self._one_line_ending(data)
            if not buffer and data.endswith(b"\n\n"):
                yield from self._bounded(data)  # the common case: whole events in one read
                continue
            seen = max(0, len(buffer) - 1)
            buffer += data if buffer else data.lstrip(b"\n")
            end = buffer.rfind(b"\n\n", seen)
            if end >= 0:
                yield from self._bounded(self._cut(end + 2))
                seen = 0
            end = self._end_of_unparted(seen)
            if end:
                yield from self._bounded(self._cut(end) + b"\n")
            if len(buffer) > self._limit and self._size_of_rest() > self._limit:
                raise too_large(self._limit)
        rest = self._whole_rest()
        if rest:
            yield self._clean(rest)

    def events(self) -> Iterator[bytes]:
        """Each event by itself, without the blank line behind it."""
        for block in self:
            yield from block.split(b"\n\n")

    def _cut(self, end: int) -> bytes:
        block = bytes(self._buffer[:end])
        del self._buffer[:end]
        return block

    def _end_of_unparted(self, seen: int) -> int:
        """The end of the last object that another data line follows at once; 0 where there is none."""
        start = max(0, seen - len(_UNPARTED))
        at = self._buffer.rfind(_UNPARTED, start)
        while at >= 0:
            line = bytes(self._buffer[self._buffer.rfind(b"\n", 0, at) + 1 : at + 1])
            if line.startswith(b"data:") and _is_object(line[5:]):
                return at + 2
            at = self._buffer.rfind(_UNPARTED, start, at)
        return 0

    def _size_of_rest(self) -> int:
        """How much of one event waits: without a last line that may turn out to begin the next."""
        at = self._buffer.rfind(b"}\n", -len(_UNPARTED))
        if at >= 0 and _UNPARTED.startswith(self._buffer[at:]):
            return at + 1
        return len(self._buffer) - self._buffer.endswith(b"\n")

    def _bounded(self, block: bytes) -> Iterator[bytes]:
        if _UNPARTED in block:
            block = _OBJECT_BEFORE_DATA.sub(_parted, block)
        if len(block) <= self._limit:
            yield self._clean(block)
            return
        for part in block.split(b"\n\n"):  # so that what comes before an event that is too large is not lost with it
            if len(part.strip(b"\n")) > self._limit:
                raise too_large(self._limit)
            yield self._clean(part + b"\n\n")

    def _one_line_ending(self, data: bytes) -> bytes:
        """LF for CR LF and for CR, also where the two were cut apart."""
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
        elif not data:
            return data
        self._after_return = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _clean(self, block: bytes) -> bytes:
        if not block.isascii():
            block = _valid_utf8(block)
        if b"error:" in block and _ERROR_FIELD.search(block):
            block = _ERROR_FIELD.sub(rb"\1event: error\ndata: \2", block)
        if _may_hold_many_lines(block):
            block = b"".join(_few_lines(part) for part in block.split(b"\n\n"))
        return block

    def _whole_rest(self) -> bytes:
        lines = bytes(self._buffer).split(b"\n")
        data = [line[5:].strip().decode("utf-8", "replace") for line in lines if line.startswith(b"data:")]
        if any(line.startswith(b"error:") for line in lines) or _is_document("\n".join(data)):
            return b"\n".join(lines) + b"\n\n"
        if data and all(_is_document(line) for line in data[:-1]):
            # Several events parted by a single newline, of which the last may be cut.
            whole = lines if _is_document(data[-1]) else lines[: _last_data(lines)]
            return b"\n".join(whole) + b"\n\n"
        return b""


#: An object at the end of a line, and a data line at once behind it. No document goes on behind an object, so these
#: are two events, and their host forgot the blank line.
_UNPARTED = b"}\ndata:"
_OBJECT_BEFORE_DATA = re.compile(rb"(?m)^data:(.*\}\n)(?=data:)")


def _parted(match: re.Match[bytes]) -> bytes:
    return match[0] + b"\n" if _is_object(match[1]) else match[0]


def _is_object(text: bytes) -> bool:
    text = text.strip()
    return text.startswith(b"{") and _convert.is_json(text.decode("utf-8", "replace"))


def _last_data(lines: list[bytes]) -> int:
    return max(at for at, line in enumerate(lines) if line.startswith(b"data:"))


#: gpustack sends an error as a field of its own, which no SSE parser knows.
_ERROR_FIELD = re.compile(rb"(?m)(^)error:[ ]?(.*)$")


def _valid_utf8(block: bytes) -> bytes:
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return block.decode("utf-8", "replace").encode("utf-8")
    return block


def _may_hold_many_lines(block: bytes) -> bool:
    """Whether an event in *block* is so large, and of so many lines, that the parser would take long over it."""
    lines = block.count(b"\n")
    if lines <= _MANY_LINES or (len(block) < _SHORT_BLOCK and len(block) > lines * _LONG_LINE):
        return False
    return max(map(len, block.split(b"\n\n"))) > _SMALL_EVENT


def _few_lines(event: bytes) -> bytes:
    """One event of many lines with its comments left out and its data lines joined into one."""
    if len(event) <= _SMALL_EVENT or event.count(b"\n") <= _MANY_LINES:
        return event + b"\n\n"
    data, others = [], []
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line and not line.startswith(b":"):
            others.append(line)
    joined = [b"data: " + _JOINT.encode().join(data)] if data else []
    return b"\n".join([*others[-_MANY_LINES:], *joined]) + b"\n\n"
