"""
One client's connection to the loopback server: it reads requests and plays replies.

Strategy: each connection has a thread that owns its socket: it alone reads, writes and closes it. A thread that has
nothing to send waits in a selector for two things: its client, which may leave, and the server's `Wake`, which becomes
readable for all threads at once when the server closes. So no wait outlives the client or the server. Only a `Stall`
with an event polls, because a `threading.Event` cannot be selected on.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import struct
import threading
import time
from typing import Callable, Optional, Sequence

from ._reply import BODILESS, Reply
from ._request import Headers, RecordedRequest
from ._steps import Cut, Pause, Signal, Stall, Step

_STALL_TICK = 0.005  # seconds between two looks at the client while a Stall waits for its event
_LINGER_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # struct linger: on, 0 seconds


class Gone(Exception):
    """The client left, or the server closes."""


class Wake:
    """An event for any number of selectors: a socket at end of file is readable for all of them."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()

    def fileno(self) -> int:
        return self._reader.fileno()

    def set(self) -> None:
        self._writer.close()

    def close(self) -> None:
        self._reader.close()


class Connection:
    """One client's connection; everything runs on its own thread."""

    def __init__(
        self,
        sock: socket.socket,
        wake: Wake,
        answer: Callable[[RecordedRequest], Reply],
        forget: Callable[[socket.socket], None],
    ) -> None:
        self._sock = sock
        self._wake = wake
        self._answer = answer
        self._forget = forget
        self._received = bytearray()  # bytes from the client that are not yet parsed

    def run(self) -> None:
        """The connection's thread."""
        try:
            with selectors.DefaultSelector() as self._selector:
                self._selector.register(self._sock, selectors.EVENT_READ)
                self._selector.register(self._wake, selectors.EVENT_READ)
                if isinstance(self._sock, ssl.SSLSocket):
                    self._sock.do_handshake()
                while self._serve_one():
                    pass
        except (Gone, OSError):
            pass
        finally:
            self._forget(self._sock)

    def _serve_one(self) -> bool:
        """Answer one request; return whether the connection can take another."""
        try:
            request = self._read_request()
        except ValueError as error:
            raise Gone from error  # not HTTP
        reply = self._answer(request)
        cut = self._play(reply.before_headers, chunked=False)
        if cut is None:
            self._sock.sendall(reply.head())
            cut = self._send_body(reply, request)
        if cut is None and "close" not in request.headers.get("connection", "").lower() and not reply.closes:
            return True
        self._hang_up(cut or "clean")
        return False

    # -- replies

    def _send_body(self, reply: Reply, request: RecordedRequest) -> Optional[str]:
        """Send the body; return how it was cut, or None if it is whole."""
        if request.method == "HEAD" or reply.status in BODILESS:
            return None
        chunked = reply.framing == "chunked"
        cut = self._play(reply.body, chunked)
        if cut in ("eof", "reset"):
            return cut
        if chunked:
            self._sock.sendall(b"0\r\n\r\n")
        return None

    def _play(self, steps: Sequence[Step], chunked: bool) -> Optional[str]:
        """Play steps; return the kind of the `Cut` that ended them, or None."""
        send = self._sock.sendall
        for step in steps:
            if isinstance(step, bytes):
                if step:  # an empty chunk would end the body
                    send(b"%x\r\n%b\r\n" % (len(step), step) if chunked else step)
            elif isinstance(step, Pause):
                self._pause(step.seconds)
            elif isinstance(step, Stall):
                self._stall(step.event)
            elif isinstance(step, Signal):
                step.event.set()
            elif isinstance(step, Cut):
                return step.how
        return None

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (remaining := end - time.monotonic()) > 0:
            self._listen(remaining)

    def _stall(self, event: Optional[threading.Event]) -> None:
        while event is None or not event.wait(_STALL_TICK):
            self._listen(None if event is None else 0)

    def _hang_up(self, how: str) -> None:
        """Close our side and, unless it is reset, wait until the client closes its own."""
        if how == "reset":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            return
        if how == "clean" and isinstance(self._sock, ssl.SSLSocket):
            self._sock.setblocking(False)  # to send our close_notify without waiting for the client's
            with contextlib.suppress(OSError):
                self._sock.unwrap()
        shut_down(self._sock, socket.SHUT_WR)
        self._received.clear()
        while not self._received:  # another request on an ended connection is answered by closing it
            self._listen(None)

    # -- requests

    def _listen(self, timeout: Optional[float]) -> None:
        """Receive what the client sends within *timeout* seconds; `Gone` if it left, or the server closes."""
        ready = [key.fileobj for key, _ in self._selector.select(timeout)]
        if self._wake in ready:
            raise Gone
        if self._sock not in ready:
            return
        self._sock.setblocking(False)  # TLS can be readable and still have nothing to read
        try:
            data = self._sock.recv(65536)  # more than a TLS record, because select does not see the rest of one
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        finally:
            self._sock.setblocking(True)
        if not data:
            raise Gone
        self._received += data

    def _read_request(self) -> RecordedRequest:
        start, *lines = self._take_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        method, path, _ = start.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = Headers([(name, value.strip()) for name, _, value in pairs])
        if headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._take_chunks()
        else:
            body = self._take(int(headers.get("content-length", "0")))
        return RecordedRequest(method, path, headers, body)

    def _take_chunks(self) -> bytes:
        chunks = []
        while (size := int(self._take_until(b"\r\n").partition(b";")[0], 16)) > 0:
            chunks.append(self._take(size))
            self._take_until(b"\r\n")
        while self._take_until(b"\r\n"):  # trailers
            pass
        return b"".join(chunks)

    def _take_until(self, mark: bytes) -> bytes:
        while (end := self._received.find(mark)) < 0:
            self._listen(None)
        return self._take(end + len(mark))[:end]

    def _take(self, n: int) -> bytes:
        while len(self._received) < n:
            self._listen(None)
        data = bytes(self._received[:n])
        del self._received[:n]
        return data


def shut_down(sock: socket.socket, how: int) -> None:
    # Not SSLSocket.shutdown, which would drop the TLS state that the connection's thread is using.
    try:
        socket.socket.shutdown(sock, how)
    except OSError:  # not connected any more
        pass
