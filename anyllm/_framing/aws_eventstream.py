"""
Parses AWS event streams (binary frames) into events, with botocore.

Strategy: the first twelve bytes of a frame contain its length, and botocore checks and parses frames. But botocore
appends each read to its buffer, which takes quadratic time for a large frame in small pieces, and for many frames in
one read. So frames are split here, after the checksum of their lengths is verified, and botocore gets one at a time.
Most of its time goes into the headers. The events of a stream are of few kinds, so parsed headers are cached by their
bytes; then only the checksum of the frame is verified.

Source: https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from anyllm._framing.event import Event, JSONEvent, too_large
from anyllm._hints.extras import pip_install
from anyllm.errors import InvalidRequestError, MalformedStreamError
from anyllm.types import _convert

__all__ = ["FrameParser", "event_stream_parser"]

#: Lengths of the frame and of its headers, and a checksum over both.
_PRELUDE = struct.Struct("!III")
#: A prelude and the checksum at the end.
_MIN_FRAME = _PRELUDE.size + 4
#: The size of the cache of headers.
_MAX_HEADERS = 64


def event_stream_parser() -> Any:
    """
    A new parser of botocore.

    Raises:
        InvalidRequestError: botocore is not installed.
    """
    try:
        from botocore.eventstream import EventStreamBuffer  # on first use: it is an extra
    except ImportError as exc:
        raise InvalidRequestError(f"event streams of AWS are read with botocore: {pip_install('bedrock')}") from exc
    return EventStreamBuffer()


class FrameParser:
    """
    Parses a body into events, each as soon as its last byte has come; half a frame at the end is dropped.

    The name of an event is its frame's ``:event-type``, its data the payload. The name of an exception is "error", its
    data ``{"error": {"code": type, "message": ..., **payload}}``.

    Args:
        max_event_bytes: The largest frame, in bytes.

    Raises:
        MalformedStreamError: botocore is not installed; by `feed`: a frame is larger, or damaged.
    """

    __slots__ = ("_buffer", "_headers", "_limit", "_parser")

    def __init__(self, max_event_bytes: int) -> None:
        try:
            self._parser = event_stream_parser()
        except InvalidRequestError as exc:
            # The host need not be AWS, so the user may not need botocore: the message says both.
            message = f"the answer is an event stream of AWS, or no text at all; {exc.message}"
            raise MalformedStreamError(message) from exc
        self._limit = max_event_bytes
        self._buffer = bytearray()
        #: Parsed headers by their bytes.
        self._headers: dict[bytes, Mapping[str, Any]] = {}

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

    def finish(self) -> Iterator[Event]:
        """No events: the rest is half a frame."""
        return iter(())

    def _lengths_in(self, prelude: bytes) -> tuple[int, int]:
        length, headers_length, checksum = _PRELUDE.unpack(prelude)
        if binascii.crc32(prelude[:8]) != checksum:
            raise _damaged("the checksum of its lengths is wrong")
        if length > self._limit:
            raise too_large(self._limit)
        if length < _MIN_FRAME + headers_length:
            raise _damaged("it is shorter than its headers")
        return length, headers_length

    def _read(self, frame: bytes, end_of_headers: int) -> tuple[Mapping[str, Any], bytes]:
        """The headers and the payload of a whole frame."""
        head = frame[_PRELUDE.size : end_of_headers]
        headers = self._headers.get(head)
        if headers is None:
            message = self._parse(frame)
            if len(self._headers) < _MAX_HEADERS:
                self._headers[head] = message.headers
            return message.headers, message.payload
        if binascii.crc32(frame[:-4]) != int.from_bytes(frame[-4:], "big"):
            raise _damaged("its checksum is wrong")
        return headers, frame[end_of_headers:-4]

    def _parse(self, frame: bytes) -> Any:
        try:
            self._parser.add_data(frame)
            return next(self._parser)
        except Exception as exc:  # bytes with valid checksums and invalid content raise errors of any kind
            raise _damaged(str(exc) or type(exc).__name__) from exc


def _damaged(reason: str) -> MalformedStreamError:
    return MalformedStreamError(f"a frame of the event stream is damaged: {reason}")


def _event(headers: Mapping[str, Any], payload: bytes) -> Event:
    data = payload.decode("utf-8", "replace")
    if headers.get(":message-type") in ("exception", "error"):
        return JSONEvent(_failure(headers, data), "error")
    return JSONEvent(data, str(headers.get(":event-type") or "message"))


def _failure(headers: Mapping[str, Any], data: str) -> str:
    """An error as JSON: an exception has its message in the payload, an error in the headers."""
    fields = {
        "code": headers.get(":exception-type") or headers.get(":error-code"),
        "message": headers.get(":error-message"),
    }
    present = {name: str(value) for name, value in fields.items() if value}
    try:
        body = _convert.loads(data)
        if isinstance(body, dict):
            return _convert.dumps({"error": {**body, **present}}).decode()
    except (ValueError, RecursionError):
        pass  # the payload is text
    return _convert.dumps({"error": {"message": data, **present}}).decode()
