"""The response to a request: status, headers, and a body that is read as it comes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from io import BufferedReader
from typing import Any, Optional

import requests
import urllib3
from urllib3.util import wait_for_read

from anyllm._concurrency import monkey_patch
from anyllm._transport.dechunk import Dechunker
from anyllm._transport.http_failures import reason
from anyllm._transport.sockets import AbortableCall, plain_class
from anyllm.errors import ConnectionLostError, MalformedStreamError

#: The most bytes of one read.
_READ_SIZE = 64 * 1024
#: Reads that `Response.drain` makes: after the end of a stream, hosts send at most an end mark or a line of usage.
DRAIN_READS = 4


class Response:
    """
    A response whose body is still coming. Used by one thread.

    Attributes:
        status: The HTTP status.
        headers: The headers, names in any case.
        read_size: The most bytes one read gives.
        broken: Why the body ended early; None if it ended regularly or has not ended.
    """

    def __init__(self, call: AbortableCall, answer: requests.Response) -> None:
        self._call = call
        self._raw: Any = answer.raw
        self.status: int = answer.status_code
        self.headers: Mapping[str, str] = answer.headers
        self.read_size = _READ_SIZE
        self.broken: Optional[BaseException] = None
        self._polled: Optional[socket.socket] = None  # does not block
        self._is_past_headers = False
        self._framing = Dechunker()
        self._body: Iterator[Any] = self._reads()

    def reads(self) -> Iterator[Any]:
        """
        The body as it comes. A second call continues. An early end does not raise, but sets `broken`.
        """
        return self._body

    def watch(self, on_first_bytes: Callable[[bytes], object]) -> None:
        """Call *on_first_bytes* with the first bytes of the body, before they are returned."""
        self._body = _watched(self._body, on_first_bytes)

    def has_more(self) -> bool:
        """Whether the next read would not wait: there is data, or the end. False if that is unknown."""
        sock = self._socket()
        if sock is None:
            return False
        try:
            pending = getattr(sock, "pending", None)  # TLS: read from the network, and decrypted
            return bool(pending and pending()) or (wait_for_read(sock, 0) and (not pending or _has_whole_record(sock)))
        except (OSError, ValueError):  # closed, by an abort
            return True

    def _socket(self) -> Any:
        return getattr(getattr(self._raw, "connection", None), "sock", None)

    def _reads(self) -> Iterator[Optional[bytes]]:
        try:
            stream = self._chunked_stream()
            yield from self._reads_decoded() if stream is None else self._reads_dechunked(stream)
        except (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as exc:
            # ValueError: broken framing, or a file closed under the read, which an abort may do on some systems.
            self.broken = exc

    def poll(self) -> Optional[socket.socket]:
        """
        Before the first read: from now on none waits. `receive` reads, and the returned socket shows when.

        None, and no change, for a body that ends with the connection or is compressed, and for a connection that is no
        plain socket, or belongs to greenlets.
        """
        sock = self._socket()
        if self._chunked_stream() is None or not isinstance(sock, socket.socket) or monkey_patch.is_patched():
            return None
        sock.settimeout(0)
        self._polled = sock
        return sock

    def receive(self) -> Optional[bytes]:
        """
        After `poll`: the next bytes of the body, or None if there are none yet.

        Raises:
            StopIteration: the body has ended; if that was early, `broken` says why.
        """
        data: Optional[bytes] = next(self._body)
        return data

    def is_ready(self) -> bool:
        """Whether `receive` has more that the socket does not show: read with the headers or by TLS, or the end."""
        pending = getattr(self._polled, "pending", None)
        return not self._is_past_headers or self._framing.done or bool(pending and pending())

    def _chunked_stream(self) -> Optional[BufferedReader]:
        """The stream below the chunked framing, if the body has no other encoding; else None."""
        if not getattr(self._raw, "chunked", False) or self.headers.get("content-encoding"):
            return None
        stream = getattr(getattr(self._raw, "_fp", None), "fp", None)
        return stream if isinstance(stream, BufferedReader) else None

    def _reads_dechunked(self, stream: BufferedReader) -> Iterator[Optional[bytes]]:
        framing = self._framing
        read = self._read_waiting if self._polled is None else self._read_polled
        while not framing.done:
            data = read(stream)
            if data is None:
                yield None
                continue
            if not data:
                raise urllib3.exceptions.ProtocolError("the connection ended inside the body")
            payload = framing.feed(data)
            if payload or not framing.done:
                yield payload  # b"" for a read of framing alone: the reader can put its chunks before the next read
        if framing.broken is not None:
            raise framing.broken
        if framing.excess and self._raw.connection is not None:
            self._raw.connection.close()  # host and we disagree on the end of the answer: do not reuse it
        if self._polled is not None:
            self._polled.settimeout(None)
        # As urllib3 does at the end of a body that it reads itself: the connection can be reused.
        self._raw._fp.close()
        self._raw.release_conn()

    def _read_waiting(self, stream: BufferedReader) -> bytes:
        return stream.read1(self.read_size)

    def _read_polled(self, stream: BufferedReader) -> Optional[bytes]:
        """What *stream* read behind the headers, then what the socket has; None if there is nothing now."""
        assert self._polled is not None
        try:
            if not self._is_past_headers:
                if stream.peek():
                    return stream.read1(self.read_size)
                self._is_past_headers = True
            return self._polled.recv(self.read_size)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._is_past_headers = True  # `peek` raises only when *stream* has nothing more
            return None

    def _reads_decoded(self) -> Iterator[bytes]:
        decode = bool(self.headers.get("content-encoding"))
        while True:
            data = self._raw.read1(self.read_size, decode_content=decode)
            if not data:
                return
            yield data

    def read(self, limit: int) -> bytes:
        """
        The whole body.

        Raises:
            MalformedStreamError: it is larger than *limit* bytes.
            ConnectionLostError: it ended early.
        """
        body = self.text_so_far(limit + 1)
        if len(body) > limit:
            raise MalformedStreamError(f"the answer is larger than max_event_bytes ({limit} bytes)")
        if self.broken is not None:
            raise ConnectionLostError(f"the answer ended early: {reason(self.broken)}") from self.broken
        return body

    def text_so_far(self, limit: int) -> bytes:
        """The body up to *limit* bytes, or to its early end: for errors, where a part of the message beats none."""
        parts, size = [], 0
        for data in self.reads():
            parts.append(data[: limit - size])
            size += len(data)
            if size >= limit:
                break
        return b"".join(parts)

    def drain(self, seconds: float) -> None:
        """Read the rest for *seconds* at most, so that the connection can be reused; else it is closed."""
        sock = self._socket()
        try:
            if sock is not None:
                sock.settimeout(seconds)
                for _ in range(DRAIN_READS):
                    next(self._body)
        except (StopIteration, OSError):
            pass

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, or close it."""
        self._call.release()
        try:
            self._raw.close()
        except (urllib3.exceptions.HTTPError, HTTPException, OSError):
            pass


def _watched(reads: Iterator[bytes], on_first_bytes: Callable[[bytes], object]) -> Iterator[bytes]:
    for data in reads:
        if data:
            on_first_bytes(data)
            yield data
            break
        yield data
    yield from reads


def _has_whole_record(sock: Any) -> bool:
    """Whether a whole TLS record has come: with half of one, a read waits. True at the end of the connection."""
    plain = getattr(sock, "socket", sock)
    peek = plain_class(plain).recv
    head = peek(plain, 5, socket.MSG_PEEK)
    size = 5 + int.from_bytes(head[3:], "big")
    return not head or (len(head) == 5 and len(peek(plain, size, socket.MSG_PEEK)) == size)
