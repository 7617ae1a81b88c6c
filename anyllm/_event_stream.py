"""
Bytes to events: the binary framing that AWS streams in.

Strategy: a frame says its length in its first twelve bytes, and botocore knows how to check and read it. But botocore
joins each read to all that waits, which takes quadratic time over a large frame in small pieces, and over many frames
in one read. So frames are cut here, and botocore is given the twelve bytes, which it checks before the length in them
is believed, and then the rest of that one frame.

Source: https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from anyllm import _convert
from anyllm._event import Event, JSONEvent, too_large
from anyllm.errors import InvalidRequestError, MalformedStreamError

__all__ = ["event_stream_parser", "frames"]

#: Lengths of the frame and of its headers, and a checksum over both.
_PRELUDE = struct.Struct("!III")
#: A prelude and the checksum at the end.
_SMALLEST = _PRELUDE.size + 4


def frames(reads: Iterable[bytes], max_event_bytes: int) -> Iterator[Event]:
    """
    The events of a body, each as soon as its last byte is there; half a frame at the end is none.

    An event is named by its frame's ``:event-type``, and its data is the payload. An exception is named "error", and
    its data is ``{"error": {"code": its type, "message": ...}}`` with whatever else it says.

    Args:
        reads: The body, cut anywhere.
        max_event_bytes: The largest frame, in bytes.

    Raises:
        MalformedStreamError: a frame is larger, or damaged; or botocore, which reads frames, is not installed.
    """
    try:
        frame = _Frame(max_event_bytes)
    except InvalidRequestError as exc:
        # Nobody has to install anything to talk to a host whose answers are not of AWS; this one's answer just was.
        raise MalformedStreamError(f"the answer is an event stream of AWS, or no text at all; {exc.message}") from exc
    for data in reads:
        yield from frame.feed(data)


def event_stream_parser() -> Any:
    """
    botocore's parser of frames, a fresh one.

    Raises:
        InvalidRequestError: botocore is not installed.
    """
    try:
        from botocore.eventstream import EventStreamBuffer  # on first use: it is an extra
    except ImportError as exc:
        raise InvalidRequestError(
            'event streams of AWS are read with botocore: pip install "anyllm-channels[bedrock]"'
        ) from exc
    return EventStreamBuffer()


class _Frame:
    """The frame that is being read; one after the other."""

    __slots__ = ("_buffer", "_limit", "_missing", "_parser")

    def __init__(self, limit: int) -> None:
        self._parser = event_stream_parser()
        self._limit = limit
        self._buffer = bytearray()
        #: What follows the prelude, in bytes; 0 while that is still to come.
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that *data* completes."""
        buffer, at = self._buffer, 0
        buffer += data
        while True:
            size = self._missing or _PRELUDE.size
            if len(buffer) - at < size:
                break
            piece = bytes(buffer[at : at + size])
            at += size
            message = self._parsed(piece)
            if self._missing:
                self._missing = 0
                yield _event(message)
            else:
                self._missing = self._length_in(piece) - _PRELUDE.size
        del buffer[:at]

    def _parsed(self, piece: bytes) -> Any:
        """The message that *piece* completes; None for a prelude, which is checked."""
        try:
            self._parser.add_data(piece)
            return next(self._parser, None)
        except Exception as exc:  # whatever a parser says of bytes that pass their checksums and make no sense
            raise MalformedStreamError(f"a frame of the event stream is damaged: {exc or type(exc).__name__}") from exc

    def _length_in(self, prelude: bytes) -> int:
        length, headers_length, _ = _PRELUDE.unpack(prelude)
        if length > self._limit:
            raise too_large(self._limit)
        if length < _SMALLEST + headers_length:
            raise MalformedStreamError("a frame of the event stream is damaged: it is shorter than its headers")
        return int(length)


def _event(message: Any) -> Event:
    headers: Mapping[str, Any] = message.headers
    data = message.payload.decode("utf-8", "replace")
    if headers.get(":message-type") in ("exception", "error"):
        return JSONEvent(_failure(headers, data), "error")
    return JSONEvent(data, str(headers.get(":event-type") or "message"))


def _failure(headers: Mapping[str, Any], data: str) -> str:
    """What went wrong, in one form: an exception says it in its payload, an error in its headers."""
    about = {
        "code": headers.get(":exception-type") or headers.get(":error-code"),
        "message": headers.get(":error-message"),
    }
    known = {name: str(value) for name, value in about.items() if value}
    try:
        body = _convert.loads(data)
        if isinstance(body, dict):
            return _convert.dumps({"error": {**body, **known}}).decode()
    except (ValueError, RecursionError):
        pass  # it is text
    return _convert.dumps({"error": {"message": data, **known}}).decode()
