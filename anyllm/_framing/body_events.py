"""
The events of a body, whatever its framing: SSE, NDJSON or AWS event stream.

Strategy: the first byte that is not white space decides: ``{`` is NDJSON (or one whole JSON answer), ``[`` an array, a
zero byte an AWS event stream, everything else SSE. The content type is wrong too often to be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from anyllm._framing.event import Event, JSONEvent
from anyllm._framing.ndjson import json_events
from anyllm._framing.sse import sse_events
from anyllm.errors import MalformedStreamError

__all__ = ["Event", "JSONEvent", "events"]

_BOM = b"\xef\xbb\xbf"


def events(reads: Iterable[bytes], *, max_event_bytes: int) -> Iterator[Event]:
    """
    The events of a body, each as soon as its last byte has come.

    Args:
        reads: The body, in pieces of any size.
        max_event_bytes: The largest event, in bytes.

    Raises:
        MalformedStreamError: an event is larger, or the body is a web page.
    """
    source = iter(reads)
    head = _head(source)
    if head[:1] in (b"{", b"["):
        return json_events(_chain(head, source), max_event_bytes)
    if head[:1] == b"\0":
        from anyllm._framing.aws_eventstream import frames  # on first use: it needs an extra

        return frames(_chain(head, source), max_event_bytes)
    if head[:1] == b"<":
        return iter(_refuse_markup(head))
    return sse_events(_chain(head, source), max_event_bytes)


def _head(source: Iterator[bytes]) -> bytes:
    """The first bytes after white space and a byte order mark; b"" if there are none."""
    head = b""
    for data in source:
        head += data
        if _BOM.startswith(head):
            continue  # perhaps a part of a byte order mark
        head = head[len(_BOM) :] if head.startswith(_BOM) else head
        head = head.lstrip()
        if head:
            return head
    return head


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _refuse_markup(head: bytes) -> list[Event]:
    snippet = " ".join(head[:200].decode("utf-8", "replace").split())
    raise MalformedStreamError(f"the host answered with a web page instead of a stream: {snippet}")
