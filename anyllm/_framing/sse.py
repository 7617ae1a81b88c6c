"""
Parses Server-Sent Events, with sseclient-py.

Strategy: on raw input sseclient-py loses the first event after a byte order mark, returns half an event at the end of
the body, misses the end of an event with mixed line endings, raises on one invalid byte, and takes quadratic time for
an event in many pieces or lines. So `_Blocks` prepares its input: whole events, one kind of line ending, valid UTF-8,
few lines. Each byte is read a constant number of times, however the reads split the body, and events have a size limit.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from anyllm._framing.event import Event, JSONEvent, too_large
from anyllm.types import _convert

__all__ = ["SSEParser"]

#: If an event has more lines, its data lines are joined before they are parsed.
_MANY_LINES = 64
#: A block up to the first size, and an event up to the second, is parsed as it is, however many lines it has: joining
#: the lines one by one, which takes quadratic time, takes no longer there than reading them.
_SHORT_BLOCK, _SMALL_EVENT = 80 * 1024, 2048
#: Replaces the line feed between joined data lines; JSON contains no raw control characters.
_SEPARATOR = "\x1e"


class SSEParser:
    """
    Parses a body that does not begin with JSON; raises as `body_events.BodyParser` does.

    It is the source that sseclient-py iterates: of the blocks that are ready, again after each piece of the body.
    """

    def __init__(self, max_event_bytes: int) -> None:
        import sseclient  # on first use, for a faster import of anyllm

        source: Any = self  # iterated from the start for each piece
        self._client: Any = sseclient.SSEClient(source)
        self._blocks = _Blocks(max_event_bytes)
        self._ready: Iterable[bytes] = ()

    def __iter__(self) -> Iterator[bytes]:
        return map(_Block, self._ready)

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that *data* completes."""
        return self._events(self._blocks.feed(data))

    def finish(self) -> Iterator[Event]:
        """The events of the rest."""
        return self._events(self._blocks.finish())

    def _events(self, blocks: Iterable[bytes]) -> Iterator[Event]:
        self._ready = blocks
        parsed: Iterator[Event] = self._client.events()
        for event in parsed:
            data = event.data
            if "\n" not in data and _SEPARATOR not in data:
                yield event
            else:
                yield from _split(event)


def _split(event: Event) -> Iterator[Event]:
    """Several data lines: one document, or several documents if the host omits the blank lines between events."""
    event.data = event.data.replace(_SEPARATOR, "\n")
    lines = event.data.split("\n")
    if all(not line.strip() or _is_document(line) for line in lines):
        for line in lines:
            if line.strip():
                yield JSONEvent(line, event.event)
    else:
        yield event


def _is_document(line: str) -> bool:
    return line.strip() == "[DONE]" or _convert.is_json(line)


class _Block(bytes):
    """
    Whole events, for sseclient-py. It looks for the end of an event after each line that `splitlines` returns, so this
    returns whole events instead of lines, which saves up to 0.2 us an event.
    """

    def splitlines(self, keepends: bool = False) -> list[bytes]:
        """The events, each with its blank line."""
        return [event + b"\n\n" for event in self.split(b"\n\n") if event]


class _Blocks:
    """
    The input of sseclient-py: clean blocks of one or more whole events.

    At the end of the body an event without its blank line is only passed on if its data is complete: some hosts omit
    the blank line, but half an event must not be parsed.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._buffer = bytearray()
        self._after_return = False

    def feed(self, data: bytes) -> Iterable[bytes]:
        """The blocks that *data* completes."""
        if b"\r" in data or self._after_return:
            data = self._one_line_ending(data)
        if not self._buffer and data.endswith(b"\n\n"):
            return self._bounded(data)  # the common case: whole events in one read
        return self._joined(data)

    def _joined(self, data: bytes) -> Iterator[bytes]:
        buffer = self._buffer
        seen = max(0, len(buffer) - 1)
        buffer += data if buffer else data.lstrip(b"\n")
        end = buffer.rfind(b"\n\n", seen)
        if end >= 0:
            yield from self._bounded(self._take(end + 2))
            seen = 0
        end = self._end_before_missing_blank_line(seen)
        if end:
            yield from self._bounded(self._take(end) + b"\n")
        if len(buffer) > self._limit and self._size_of_rest() > self._limit:
            raise too_large(self._limit)

    def finish(self) -> Iterable[bytes]:
        """The rest, if it is whole."""
        rest = self._whole_rest()
        return (self._clean(rest),) if rest else ()

    def _take(self, end: int) -> bytes:
        block = bytes(self._buffer[:end])
        del self._buffer[:end]
        return block

    def _end_before_missing_blank_line(self, seen: int) -> int:
        """The end of the last object that a data line follows without a blank line; 0 if there is none."""
        start = max(0, seen - len(_MISSING_BLANK_LINE))
        at = self._buffer.rfind(_MISSING_BLANK_LINE, start)
        while at >= 0:
            line = bytes(self._buffer[self._buffer.rfind(b"\n", 0, at) + 1 : at + 1])
            if line.startswith(b"data:") and _is_object(line[5:]):
                return at + 2
            at = self._buffer.rfind(_MISSING_BLANK_LINE, start, at)
        return 0

    def _size_of_rest(self) -> int:
        """The size of the incomplete event, without a last line that may be the beginning of the next."""
        at = self._buffer.rfind(b"}\n", -len(_MISSING_BLANK_LINE))
        if at >= 0 and _MISSING_BLANK_LINE.startswith(self._buffer[at:]):
            return at + 1
        return len(self._buffer) - self._buffer.endswith(b"\n")

    def _bounded(self, block: bytes) -> Iterable[bytes]:
        if block.rfind(_MISSING_BLANK_LINE) >= 0:  # a third of the time of `in`
            block = _OBJECT_BEFORE_DATA.sub(_with_blank_line, block)
        return (self._clean(block),) if len(block) <= self._limit else self._parts(block)

    def _parts(self, block: bytes) -> Iterator[bytes]:
        for part in block.split(b"\n\n"):  # so that the events before one that is too large are not lost
            if len(part.strip(b"\n")) > self._limit:
                raise too_large(self._limit)
            yield self._clean(part + b"\n\n")

    def _one_line_ending(self, data: bytes) -> bytes:
        """LF for CR LF and for CR, also if a read ended between the two."""
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
        elif not data:
            return data
        self._after_return = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _clean(self, block: bytes) -> bytes:
        if not block.isascii():
            block = _valid_utf8(block)
        if block.rfind(b"error:") >= 0 and _ERROR_FIELD.search(block):
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
            # Several events without blank lines, of which the last may be incomplete.
            complete = lines if _is_document(data[-1]) else lines[: _last_data(lines)]
            return b"\n".join(complete) + b"\n\n"
        return b""


#: An object at the end of a line, followed by a data line. No document continues after an object, so these are two
#: events, and the host omitted the blank line.
_MISSING_BLANK_LINE = b"}\ndata:"
_OBJECT_BEFORE_DATA = re.compile(rb"(?m)^data:(.*\}\n)(?=data:)")


def _with_blank_line(match: re.Match[bytes]) -> bytes:
    return match[0] + b"\n" if _is_object(match[1]) else match[0]


def _is_object(text: bytes) -> bool:
    text = text.strip()
    return text.startswith(b"{") and _convert.is_json(text.decode("utf-8", "replace"))


def _last_data(lines: list[bytes]) -> int:
    return max(at for at, line in enumerate(lines) if line.startswith(b"data:"))


#: gpustack sends an error in a field named "error", which no SSE parser supports.
_ERROR_FIELD = re.compile(rb"(?m)(^)error:[ ]?(.*)$")


def _valid_utf8(block: bytes) -> bytes:
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return block.decode("utf-8", "replace").encode("utf-8")
    return block


def _may_hold_many_lines(block: bytes) -> bool:
    """Whether an event in *block* may have so many lines that the parser takes long."""
    if len(block) <= _SHORT_BLOCK or block.count(b"\n") <= _MANY_LINES:
        return False
    return max(map(len, block.split(b"\n\n"))) > _SMALL_EVENT


def _few_lines(event: bytes) -> bytes:
    """One event without its comments, and with its data lines joined into one, if it has many lines."""
    if len(event) <= _SMALL_EVENT or event.count(b"\n") <= _MANY_LINES:
        return event + b"\n\n"
    data, others = [], []
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line and not line.startswith(b":"):
            others.append(line)
    joined = [b"data: " + _SEPARATOR.encode().join(data)] if data else []
    return b"\n".join([*others[-_MANY_LINES:], *joined]) + b"\n\n"
