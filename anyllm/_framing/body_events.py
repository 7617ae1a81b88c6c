"""
The events of a body, whatever its framing: SSE, NDJSON or AWS event stream.

Strategy: the first byte that is not white space decides: ``{`` is NDJSON (or one whole JSON answer), ``[`` an array, a
zero byte an AWS event stream, everything else SSE. The content type is wrong too often to be used.

Parsers are fed the body as it comes, and read nothing themselves, so that any thread may bring the next piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Optional

from anyllm._framing.event import Event, JSONEvent, Parser
from anyllm._framing.ndjson import JSONParser
from anyllm._framing.sse import SSEParser
from anyllm.errors import MalformedStreamError

__all__ = ["BodyParser", "Event", "JSONEvent", "events"]

_BOM = b"\xef\xbb\xbf"


class BodyParser:
    """
    Turns one body into events, each as soon as its last byte has come.

    Args:
        max_event_bytes: The largest event, in bytes.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._head = b""  # the beginning, until it shows the framing
        self._parser: Optional[Parser] = None

    def feed(self, data: bytes) -> Iterator[Event]:
        """
        The events that *data* completes; to be exhausted before more is fed.

        Raises:
            MalformedStreamError: an event is too large, or the body is a web page.
        """
        if self._parser is not None:
            return self._parser.feed(data)
        head = self._head + data
        if not _BOM.startswith(head):  # else perhaps a part of a byte order mark
            head = (head[len(_BOM) :] if head.startswith(_BOM) else head).lstrip()
            if head:
                return self._begin(head)
        self._head = head
        return iter(())

    def _begin(self, head: bytes) -> Iterator[Event]:
        self._parser = _parser_for(head, self._limit)
        return self._parser.feed(head)

    def finish(self) -> Iterator[Event]:
        """The events of the rest, at the end of the body; raises as `feed` does."""
        return iter(()) if self._parser is None else self._parser.finish()


def events(reads: Iterable[bytes], *, max_event_bytes: int) -> Iterator[Event]:
    """The events of a body that comes in *reads*, pieces of any size; raises as `BodyParser.feed` does."""
    parser = BodyParser(max_event_bytes)
    for data in reads:
        yield from parser.feed(data)
    yield from parser.finish()


def _parser_for(head: bytes, limit: int) -> Parser:
    if head[:1] in (b"{", b"["):
        return JSONParser(limit)
    if head[:1] == b"\0":
        from anyllm._framing.aws_eventstream import FrameParser  # on first use: it needs an extra

        return FrameParser(limit)
    if head[:1] == b"<":
        snippet = " ".join(head[:200].decode("utf-8", "replace").split())
        raise MalformedStreamError(f"the host answered with a web page instead of a stream: {snippet}")
    return SSEParser(limit)
