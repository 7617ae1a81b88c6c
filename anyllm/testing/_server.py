"""
The loopback server: it accepts connections, records requests and hands out the scripted replies.

Strategy: one thread accepts, and each connection has its own thread (`_connection`). Closing wakes them all, and
frees a thread that is blocked in a write by `shutdown()`.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import types
import warnings
from typing import Callable, List, Optional, Sequence, Set, Type, Union

from ._connection import Connection, Wake, shut_down
from ._reply import Reply
from ._request import RecordedRequest

_HOST = "127.0.0.1"
_JOIN_TIMEOUT = 5.0  # seconds

#: A reply, or a function that makes it from the request.
Script = Union[Reply, Callable[[RecordedRequest], Reply]]


def serve(*replies: Script, tls: Optional[ssl.SSLContext] = None, repeat_last: bool = True) -> Server:
    """
    Serve scripted replies on loopback.

    Args:
        replies: One for each request, in the order of the requests over all connections. A function receives the
            request, on the connection's thread, and returns the reply.
        tls: A server-side context, to speak https.
        repeat_last: Repeat the last reply for further requests. Otherwise, and without any replies, a request that
            has no reply is answered with a 404 that says so.

    Returns:
        The server. Use it in a `with` statement, which starts and ends it.

    Raises:
        BaseException: At the end of the `with` block, the exception of a function among *replies*, unless the block
            itself raises. So a failed assertion in it fails the test; its client receives a 500.
    """
    return Server(replies, tls=tls, repeat_last=repeat_last)


class Server:
    """A running `serve()`, with its arguments. All its attributes may be read from any thread."""

    def __init__(
        self, replies: Sequence[Script], *, tls: Optional[ssl.SSLContext] = None, repeat_last: bool = True
    ) -> None:
        self._replies = replies
        self._tls = tls
        self._repeat_last = repeat_last
        self._listener = socket.create_server((_HOST, 0), backlog=1024)
        self._listener.setblocking(False)  # a client may leave before it is accepted
        self._wake = Wake()
        self._acceptor = threading.Thread(target=self._accept, name="anyllm-testing-accept", daemon=True)
        self._threads: Set[threading.Thread] = set()  # used by the accepting thread, and after its end by __exit__
        # Guards everything below. A socket leaves _open and is closed in one step under it, so that __exit__ never
        # shuts down another socket that was given the same descriptor. No slow I/O happens under it.
        self._changed = threading.Condition()
        self._open: Set[socket.socket] = set()
        self._failures: List[BaseException] = []
        self.requests: List[RecordedRequest] = []
        """The requests so far, in the order of their replies."""
        self.connections = 0
        """The number of TCP connections accepted so far."""
        self.port: int = self._listener.getsockname()[1]
        """The TCP port on 127.0.0.1."""

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://{_HOST}:{self.port}"

    @property
    def open_connections(self) -> int:
        """The number of open connections. One that a reply has ended counts until the client closes its side too."""
        with self._changed:
            return len(self._open)

    def wait_for_requests(self, n: int, timeout: float = 10) -> List[RecordedRequest]:
        """
        Wait until *n* requests have been received in total, and return all so far.

        Raises:
            TimeoutError: There were fewer after *timeout* seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= n, timeout):
                raise TimeoutError(f"{len(self.requests)} of {n} requests arrived in {timeout} s")
            return list(self.requests)

    def wait_closed(self, timeout: float = 10) -> bool:
        """Wait until the clients have closed all connections; False after *timeout* seconds."""
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
                shut_down(sock, socket.SHUT_RDWR)  # frees a thread blocked in a write or a handshake
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT)
        if any(thread.is_alive() for thread in self._threads):  # blocked in a function among the replies
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
                except OSError:  # the client has left
                    continue
                self._start(sock)

    def _start(self, sock: socket.socket) -> None:
        """Give a connection its thread."""
        try:
            sock.setblocking(True)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:  # the connection's thread does the handshake
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:  # the client has left
            sock.close()
            return
        with self._changed:
            self.connections += 1
            self._open.add(sock)
        run = Connection(sock, self._wake, self._reply_to, self._forget).run
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
        except BaseException as error:  # pytest.fail() raises no Exception
            with self._changed:
                self._failures.append(error)
            return Reply.error(500, f"anyllm.testing: {error!r}")
        return reply
