"""
Bytes to events: the binary framing that AWS streams in.

Strategy: a frame says its length in its first twelve bytes, and botocore knows how to check and read it. But botocore
joins each read to all that waits, which takes quadratic time over a large frame in small pieces, and over many frames
in one read. So frames are cut here, once the checksum over their lengths says that these can be believed, and botocore
is given one at a time. Most of its time goes into the headers; a stream's events are of few kinds, so headers that it
has read once are known by their bytes, and only the frame's checksum is left to see to.

Source: https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from anyllm._framing.event import Event, JSONEvent, too_large
from anyllm._hints.extras import pip_install
from anyllm.errors import InvalidRequestError, MalformedStreamError
from anyllm.types import _convert

__all__ = ["event_stream_parser", "frames"]

#: Lengths of the frame and of its headers, and a checksum over both.
_PRELUDE = struct.Struct("!III")
#: A prelude and the checksum at the end.
_SMALLEST = _PRELUDE.size + 4
#: So many kinds of headers are remembered; what is beyond that is read anew.
_MANY = 64


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
        raise InvalidRequestError(f"event streams of AWS are read with botocore: {pip_install('bedrock')}") from exc
    return EventStreamBuffer()


class _Frame:
    """The frame that is being read; one after the other."""

    __slots__ = ("_buffer", "_known", "_limit", "_parser")

    def __init__(self, limit: int) -> None:
        self._parser = event_stream_parser()
        self._limit = limit
        self._buffer = bytearray()
        #: What headers mean that came before, by their bytes.
        self._known: dict[bytes, Mapping[str, Any]] = {}

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that *data* completes."""
        buffer, at = self._buffer, 0
        buffer += data
        while len(buffer) - at >= _PRELUDE.size:
            length, headers_length = self._lengths_in(bytes(buffer[at : at + _PRELUDE.size]))
            if len(buffer) - at < length:
                break
            frame = bytes(buffer[at : at + length])
            at += length
            yield _event(*self._read(frame, _PRELUDE.size + headers_length))
        del buffer[:at]

    def _lengths_in(self, prelude: bytes) -> tuple[int, int]:
        length, headers_length, checksum = _PRELUDE.unpack(prelude)
        if binascii.crc32(prelude[:8]) != checksum:
            raise _damaged("the checksum of its lengths is wrong")
        if length > self._limit:
            raise too_large(self._limit)
        if length < _SMALLEST + headers_length:
            raise _damaged("it is shorter than its headers")
        return length, headers_length

    def _read(self, frame: bytes, end_of_headers: int) -> tuple[Mapping[str, Any], bytes]:
        """The headers and the payload of a whole frame."""
        head = frame[_PRELUDE.size : end_of_headers]
        headers = self._known.get(head)
        if headers is None:
            message = self._parsed(frame)
            if len(self._known) < _MANY:
                self._known[head] = message.headers
            return message.headers, message.payload
        if binascii.crc32(frame[:-4]) != int.from_bytes(frame[-4:], "big"):
            raise _damaged("its checksum is wrong")
        return headers, frame[end_of_headers:-4]

    def _parsed(self, frame: bytes) -> Any:
        try:
            self._parser.add_data(frame)
            return next(self._parser)
        except Exception as exc:  # whatever a parser says of bytes that pass their checksums and make no sense
            raise _damaged(str(exc) or type(exc).__name__) from exc


def _damaged(why: str) -> MalformedStreamError:
    return MalformedStreamError(f"a frame of the event stream is damaged: {why}")


def _event(headers: Mapping[str, Any], payload: bytes) -> Event:
    data = payload.decode("utf-8", "replace")
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
