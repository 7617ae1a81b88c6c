"""
The servers: one that plays replies, one that is silent, and one that cannot be reached.

Strategy: each connection has a thread that owns its socket: it alone reads, writes and closes it. A thread
that has nothing to send waits in a selector on two things: its client (which may leave) and the server's
`_Wake` (which becomes readable for all threads at once when the server closes). A thread blocked in a write
is freed by `shutdown()`. So no wait outlives the client or the server, and nobody polls, except for a
`Stall` with an event, because a `threading.Event` cannot be selected on.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import ssl
import struct
import threading
import time
import types
import warnings
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple, Type, Union

import attrs

from ._replies import BODILESS, Cut, Pause, Reply, Signal, Stall, Step

__all__ = ["Headers", "RecordedRequest", "Script", "Server", "serve"]

_HOST = "127.0.0.1"
_JOIN_TIMEOUT = 5.0  # seconds
_STALL_TICK = 0.005  # seconds between two looks at the client while a Stall waits for its event
_LINGER_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # struct linger: on, 0 seconds


class Headers(Mapping[str, str]):
    """Headers of a request, looked up without case; those sent twice are joined by a comma."""

    def __init__(self, pairs: Sequence[Tuple[str, str]]) -> None:
        self._values: Dict[str, Tuple[str, str]] = {}
        for name, value in pairs:
            known = self._values.get(name.lower())
            self._values[name.lower()] = (known[0], f"{known[1]}, {value}") if known else (name, value)

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._values.values())

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values


@attrs.frozen
class RecordedRequest:
    """
    A request as the server received it.

    Args:
        method: Upper case, as sent.
        path: The request target, with its query; whole, if the client took the server for a proxy.
        headers: Looked up without case. Not in the repr, because they hold keys.
        body: The whole body, also when it came chunked.
    """

    method: str
    path: str
    headers: Headers = attrs.field(repr=False)
    body: bytes

    def json(self) -> Any:
        """The body, decoded. Raises ValueError when it is not JSON."""
        return json.loads(self.body)


Script = Union[Reply, Callable[[RecordedRequest], Reply]]


def serve(*replies: Script, tls: Optional[ssl.SSLContext] = None, repeat_last: bool = True) -> Server:
    """
    Serve scripted replies on loopback.

    Args:
        replies: Given out in the order in which requests arrive, over all connections. A function is called
            with the request, on the connection's thread, and returns the reply.
        tls: A server-side context, to speak https.
        repeat_last: Once all are given out, give the last one again. Without it, or without any replies, a
            request nobody scripted is answered with a 404 that says so.

    Returns:
        The server, listening. Use it in a `with` statement, which starts and ends it.

    Raises:
        BaseException: On leaving the `with` block, what a function among *replies* raised, unless the block
            raises something itself. So an assertion in it fails the test; its client receives a 500.
    """
    return Server(replies, tls=tls, repeat_last=repeat_last)


class Server:
    """
    A running `serve()`. All its attributes may be read from any thread.

    Args:
        replies: As in `serve`.
        tls: As in `serve`.
        repeat_last: As in `serve`.
    """

    def __init__(
        self, replies: Sequence[Script], *, tls: Optional[ssl.SSLContext] = None, repeat_last: bool = True
    ) -> None:
        self._replies = replies
        self._tls = tls
        self._repeat_last = repeat_last
        self._listener = socket.create_server((_HOST, 0), backlog=1024)
        self._listener.setblocking(False)  # a client may leave between being announced and being accepted
        self._wake = _Wake()
        self._acceptor = threading.Thread(target=self._accept, name="anyllm-testing-accept", daemon=True)
        self._threads: Set[threading.Thread] = set()  # the acceptor's; after its end, close()'s
        # Guards everything below. A socket leaves _open and is closed in one step under it, so that close()
        # never shuts down a neighbour that was given the same descriptor. Nobody does slow I/O under it.
        self._changed = threading.Condition()
        self._open: Set[socket.socket] = set()
        self._failures: List[BaseException] = []
        self.requests: List[RecordedRequest] = []
        """The requests received so far, in the order in which replies were given out."""
        self.connections = 0
        """How many TCP connections were accepted so far."""
        self.port: int = self._listener.getsockname()[1]
        """The TCP port on 127.0.0.1."""

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://{_HOST}:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many are open now. One that a reply has ended counts until the client closes its side too."""
        with self._changed:
            return len(self._open)

    def wait_for_requests(self, n: int, timeout: float = 10) -> List[RecordedRequest]:
        """
        Wait until *n* requests were received in all.

        Args:
            n: How many.
            timeout: Seconds.

        Returns:
            The requests so far, at least *n*.

        Raises:
            TimeoutError: Fewer came in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= n, timeout):
                raise TimeoutError(f"{len(self.requests)} of {n} requests came in {timeout} s")
            return list(self.requests)

    def wait_closed(self, timeout: float = 10) -> bool:
        """
        Wait until no connection is open, which shows that clients closed theirs.

        Args:
            timeout: Seconds.

        Returns:
            Whether that is so; False after the time-out.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout)

    def __enter__(self) -> Server:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[types.TracebackType],
    ) -> None:
        self.close()
        if error is None and self._failures:
            raise self._failures[0]

    def close(self) -> None:
        """End every connection, whatever it is doing, and join all threads; calling it twice is harmless."""
        self._wake.set()
        if self._acceptor.ident is not None:
            self._acceptor.join(_JOIN_TIMEOUT)
        self._listener.close()
        with self._changed:
            for sock in self._open:
                _shut_down(sock, socket.SHUT_RDWR)  # frees a thread blocked in a write or a handshake
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT)
        if any(thread.is_alive() for thread in self._threads):  # stuck in a function among the replies
            warnings.warn("a connection of anyllm.testing did not end", ResourceWarning, stacklevel=2)
        else:
            self._wake.close()

    def _accept(self) -> None:
        """The accepting thread."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while all(key.fileobj is not self._wake for key, _ in selector.select()):
                try:
                    sock, _ = self._listener.accept()
                except OSError:  # the client has left already
                    continue
                self._start(sock)

    def _start(self, sock: socket.socket) -> None:
        """Give a connection its thread."""
        try:
            sock.setblocking(True)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:  # the handshake is its thread's work
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:  # the client has left already
            sock.close()
            return
        with self._changed:
            self.connections += 1
            self._open.add(sock)
        run = _Connection(sock, self._wake, self._reply_to, self._forget).run
        thread = threading.Thread(target=run, name=f"anyllm-testing-{self.connections}", daemon=True)
        self._threads = {old for old in self._threads if old.is_alive()} | {thread}
        thread.start()

    def _forget(self, sock: socket.socket) -> None:
        with self._changed:
            sock.close()
            self._open.discard(sock)
            self._changed.notify_all()

    def _reply_to(self, request: RecordedRequest) -> Reply:
        with self._changed:
            index = len(self.requests)
            self.requests.append(request)
            self._changed.notify_all()
        if self._replies and self._repeat_last:
            index = min(index, len(self._replies) - 1)
        if index >= len(self._replies):
            return Reply.error(404, f"anyllm.testing: no reply scripted for request {index + 1}")
        script = self._replies[index]
        if isinstance(script, Reply):
            return script
        try:
            reply = script(request)
            if not isinstance(reply, Reply):
                raise TypeError(f"{script!r} returned {type(reply).__name__}, not a Reply")
        except BaseException as error:  # what pytest.fail() raises is no Exception
            with self._changed:
                self._failures.append(error)
            return Reply.error(500, f"anyllm.testing: {error!r}")
        return reply


class _Gone(Exception):
    """The client left, or the server closes."""


class _Wake:
    """An event that any number of selectors can wait for: a socket at its end is readable for everyone."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()

    def fileno(self) -> int:
        return self._reader.fileno()

    def set(self) -> None:
        self._writer.close()

    def close(self) -> None:
        self._reader.close()


class _Connection:
    """One client's connection; everything runs on its own thread."""

    def __init__(
        self,
        sock: socket.socket,
        wake: _Wake,
        answer: Callable[[RecordedRequest], Reply],
        forget: Callable[[socket.socket], None],
    ) -> None:
        self._sock = sock
        self._wake = wake
        self._answer = answer
        self._forget = forget
        self._received = bytearray()  # what the client sent and nobody has read

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
        except (_Gone, OSError):
            pass
        finally:
            self._forget(self._sock)

    def _serve_one(self) -> bool:
        """Answer one request; return whether the connection can take another."""
        try:
            request = self._read_request()
        except ValueError as error:
            raise _Gone from error  # it does not speak HTTP
        reply = self._answer(request)
        how = self._perform(reply.before_headers, chunked=False)
        if how is None:
            self._sock.sendall(reply.head())
            how = self._send_body(reply, request)
        if how is None and "close" not in request.headers.get("connection", "").lower() and not reply.closes:
            return True
        self._hang_up(how or "clean")
        return False

    # What the server says.

    def _send_body(self, reply: Reply, request: RecordedRequest) -> Optional[str]:
        """Send the body; return how it was cut, None when it is whole."""
        if request.method == "HEAD" or reply.status in BODILESS:
            return None
        chunked = reply.framing == "chunked"
        how = self._perform(reply.body, chunked)
        if how in ("eof", "reset"):
            return how
        if chunked:
            self._sock.sendall(b"0\r\n\r\n")
        return None

    def _perform(self, steps: Sequence[Step], chunked: bool) -> Optional[str]:
        """Play steps; return how the first `Cut` among them ends it, None without one."""
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
        while (left := end - time.monotonic()) > 0:
            self._listen(left)

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
        _shut_down(self._sock, socket.SHUT_WR)
        self._received.clear()
        while not self._received:  # another request on a connection that has ended is answered by a close
            self._listen(None)

    # What the client says.

    def _listen(self, timeout: Optional[float]) -> None:
        """
        Wait until the client says something, which is kept for later, or *timeout* seconds are over.

        Raises:
            _Gone: The client left, or the server closes.
        """
        ready = [key.fileobj for key, _ in self._selector.select(timeout)]
        if self._wake in ready:
            raise _Gone
        if self._sock not in ready:
            return
        self._sock.setblocking(False)  # TLS can be readable and still have nothing to read
        try:
            data = self._sock.recv(65536)  # more than a TLS record: select is blind to a rest
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        finally:
            self._sock.setblocking(True)
        if not data:
            raise _Gone
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
        taken = bytes(self._received[:n])
        del self._received[:n]
        return taken


def _shut_down(sock: socket.socket, how: int) -> None:
    # Not the method of SSLSocket, which would forget its TLS state under the thread that is using it.
    try:
        socket.socket.shutdown(sock, how)
    except OSError:  # not connected any more
        pass
