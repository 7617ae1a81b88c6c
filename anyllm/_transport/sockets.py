"""
Connections whose socket can be shut down from another thread, whatever they are doing.

Strategy: a thread that is connecting, shaking hands, waiting for headers or reading can be woken by one thing only:
`shutdown` on its socket (closing does nothing, or waits too). So each `AbortableCall` holds the socket of the request
in flight, from before it connects, and `AbortableCall.abort` shuts it.

The socket changes hands on the way: wrapping it in TLS detaches it, a response that is delimited by the connection's
end takes it, and the pool gives it to the next request. Before each of these the owner takes the socket away from the
call; if an abort was faster, it waits for it to be over and does not use the connection again. That way an abort can
never shut a neighbour's socket, nor a file descriptor that has been closed and given to somebody else.

`abort` may run in a signal handler or a finalizer, so it takes no lock: popping from a list is atomic.
"""

from __future__ import annotations

import _socket
import contextlib
import contextvars
import http.client
import os
import queue
import select
import socket
import ssl
import struct
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Optional

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NameResolutionError, NewConnectionError
from urllib3.util import ssl_, wait
from urllib3.util.connection import allowed_gai_family

from anyllm._concurrency import monkey_patch, waiters

__all__ = ["POOLS", "Aborted", "AbortableCall", "serving"]

#: SO_LINGER with 0 seconds: closing an aborted connection sends a reset. Without it a host that is blocked in a write
#: may wait for a minute: after `shutdown` our system no longer announces free space, even when the worker reads on.
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
#: Seconds an owner waits for an abort that was faster. It takes microseconds, unless its thread was killed.
_ABORT_PATIENCE = 1.0


class Aborted(OSError):
    """The call was aborted before it had a socket, or while the socket changed hands."""


class AbortableCall:
    """One request in flight. `abort` is for any thread; the rest is for the thread that sends it."""

    __slots__ = ("_held", "_holding", "_on_connected", "_over", "aborted")

    def __init__(self, on_connected: Callable[[], object] = lambda: None) -> None:
        #: At most one socket, and whether it is a duplicate of ours. Who pops it, owns it.
        self._held: list[tuple[Any, bool]] = []
        self._holding = False  # the sender's own note of whether it put one there
        self._over = waiters.new_waiter()  # released when an abort that had the socket is over
        self._on_connected = on_connected
        self.aborted = False

    def abort(self) -> bool:
        """End the request now: its thread fails or reads an end. Takes no lock. False when there was no socket."""
        self.aborted = True
        try:
            sock, ours = self._held.pop()
        except IndexError:
            return False
        _shut(sock)
        if ours:
            sock.close()
        waiters.release(self._over)
        return True

    def hold(self, sock: Any, *, ours: bool = False) -> None:
        """From now on *sock* is the one to shut; raises `Aborted` when the call was aborted before."""
        self._holding = True
        self._held.append((sock, ours))
        if self.aborted:
            self.abort()
            self.let_go()
            raise Aborted("aborted")

    def let_go(self) -> bool:
        """Take the socket away; False when an abort had it first, in which case that abort is over now."""
        if not self._holding:
            return True
        self._holding = False
        try:
            sock, ours = self._held.pop()
        except IndexError:
            waiters.wait(self._over, time.monotonic() + _ABORT_PATIENCE)
            return False
        if ours:
            sock.close()
        return True

    def swap(self, sock: Any, *, ours: bool = False) -> None:
        """Hold *sock* instead of what is held now."""
        if not self.let_go():
            if ours:
                sock.close()
            raise Aborted("aborted")
        self.hold(sock, ours=ours)

    def connected(self) -> None:
        """The connection stands: the request can be sent."""
        self._on_connected()

    def forget(self) -> None:
        """
        In a child after a fork: the connection is the parent's, which an abort here must not touch.

        A copy of it that stays open here would keep the host from seeing that the parent closed it, and gevent's
        greenlets, which survive a fork, would read what is meant for the parent's: put an ended one in its place.
        """
        while self._held:
            sock, _ = self._held.pop()
            _blind(sock)
        self._holding = False


def _shut(sock: Any) -> None:
    # Not sock.shutdown(): on a TLS socket that would drop the TLS state under the thread that is using it.
    plain = getattr(sock, "socket", sock)  # TLS inside TLS is no socket, but has one
    kind = plain_class(plain)
    try:
        if monkey_patch.binds_sockets() or not hasattr(kind, "shutdown"):  # eventlet's class has none
            with contextlib.closing(_duplicate(sock)) as handle:
                _shut_by(_socket.socket, handle)
        else:
            _shut_by(kind, plain)
    except (OSError, TypeError, AttributeError):
        pass  # not connected any more, closed, or no socket: what stands for one in tests is asked to close itself


def _shut_by(kind: Any, sock: Any) -> None:
    """Shut *sock* with the methods of *kind*."""
    with contextlib.suppress(OSError):
        kind.setsockopt(sock, socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    kind.shutdown(sock, socket.SHUT_RDWR)


def plain_class(sock: Any) -> Any:
    """Whose methods work below TLS on *sock*, which may be older than a monkey patch, and native."""
    return _socket.socket if isinstance(sock, _socket.socket) else socket.socket


def _duplicate(sock: Any) -> Any:
    """A second handle on the same connection, to shut it by while the first is detached or handed on."""
    plain = getattr(sock, "socket", sock)
    # Native where gevent's would belong to the thread that made it, and where eventlet's has no `shutdown`.
    is_native = monkey_patch.binds_sockets() or not hasattr(socket.socket, "shutdown")
    kind: Any = _socket.socket if is_native else socket.socket
    return kind(plain.family, plain.type, plain.proto, fileno=socket.dup(plain.fileno()))


def _blind(sock: Any) -> None:
    """Let *sock*, and whatever else uses its descriptor in this process, see the end of the connection."""
    plain = getattr(sock, "socket", sock)
    ended, other = socket.socketpair()
    with ended, contextlib.suppress(OSError):
        other.close()
        os.dup2(ended.fileno(), plain.fileno(), inheritable=False)


#: The call that this thread sends for. Not a `threading.local`: one made before a late monkey patch is shared by all
#: greenlets of a thread.
_current: contextvars.ContextVar[Optional[AbortableCall]] = contextvars.ContextVar("anyllm call", default=None)


@contextlib.contextmanager
def serving(call: AbortableCall) -> Iterator[None]:
    """What this thread sends inside the block belongs to *call*."""
    before = _current.set(call)
    try:
        yield
    finally:
        _current.reset(before)


class _FinalResponse(http.client.HTTPResponse):
    """Skips every interim answer: `http.client` takes 103 for the answer, and leaves that to the next request."""

    def _read_status(self) -> Any:
        said = super()._read_status()  # type: ignore[misc]
        while 101 < said[1] < 200:
            http.client.parse_headers(self.fp)
            said = super()._read_status()  # type: ignore[misc]
        if said[1] == 101:
            raise http.client.HTTPException("the host switched protocols")
        return said


class _CallConnection:
    """Mixed into both kinds of connection: tells the call which socket is in use."""

    response_class: Any = _FinalResponse
    call: Optional[AbortableCall] = None
    _wraps = False
    _handing_over = False

    def _new_conn(self: Any) -> socket.socket:
        call = self.call
        sock = _connect(self, call)
        if call is not None and (self._wraps or self._tunnel_host):
            try:
                call.swap(_duplicate(sock), ours=True)
            except BaseException:
                sock.close()
                raise
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock

    def connect(self: Any) -> None:
        call = self.call
        try:
            super().connect()  # type: ignore[misc]
            if call is not None:
                call.swap(self.sock)
                call.connected()
                _wait_for_ever(self)
        except BaseException as exc:
            if call is not None:
                call.let_go()
            _close_half_wrapped(exc)
            raise

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.call is not None and self.sock is not None:
            _wait_for_ever(self)
        super().request(*args, **kwargs)  # type: ignore[misc]

    def getresponse(self: Any) -> Any:
        self._handing_over = True
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            self._handing_over = False

    def close(self: Any) -> None:
        call = self.call
        if call is not None and self.sock is not None:
            self._let_go(call)
        super().close()  # type: ignore[misc]

    def _let_go(self: Any, call: AbortableCall) -> None:
        if not self._handing_over:
            call.let_go()
            return
        # The response keeps the socket and will close it when it likes: hold a handle of our own.
        with contextlib.suppress(Aborted):
            call.swap(_duplicate(self.sock), ours=True)


def _wait_for_ever(conn: Any) -> None:
    """The time-out was for connecting; sending a long request may take longer, and the call has clocks of its own."""
    conn.timeout = None
    conn.sock.settimeout(None)


def _close_half_wrapped(failure: BaseException) -> None:
    """
    Close the socket that Python forgets when the host resets between connecting and the TLS handshake.

    `ssl.SSLContext.wrap_socket` has taken it over then, and raises without closing it: only the failed frame knows it.
    """
    for frame, _ in traceback.walk_tb(failure.__traceback__):
        made = frame.f_locals.get("self")
        if isinstance(made, ssl.SSLSocket):
            made.close()


class _PlainConnection(_CallConnection, HTTPConnection):
    pass


class _TLSConnection(_CallConnection, HTTPSConnection):
    _wraps = True


#: Every pool of this process, for a child to empty.
_pools: weakref.WeakSet[Any] = weakref.WeakSet()


class _CallPool:
    """Mixed into both kinds of pool: a connection belongs to one call, from when it is taken to when it is back."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _pools.add(self)

    def _get_conn(self: Any, timeout: Optional[float] = None) -> Any:
        conn = super()._get_conn(timeout)  # type: ignore[misc]
        call = conn.call = _current.get()
        if call is not None and conn.sock is not None:
            try:
                call.hold(conn.sock)
            except Aborted:
                conn.close()
                raise
            call.connected()
        return conn

    def _put_conn(self: Any, conn: Any) -> None:
        if conn is not None:
            call, conn.call = conn.call, None
            if (call is not None and not call.let_go()) or monkey_patch.binds_sockets():
                conn.close()
        super()._put_conn(conn)  # type: ignore[misc]


class _PlainPool(_CallPool, HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TLSPool(_CallPool, HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def _after_fork() -> None:
    """In a child: idle connections are the parent's, and their queues' locks may be held by threads not here."""
    for pool in tuple(_pools):
        idle: Optional[queue.LifoQueue[Any]] = pool.pool
        if idle is not None:
            for conn in idle.queue:
                if conn is not None:
                    conn.close()  # our handle; nothing is said to the host
            idle.__init__(idle.maxsize)  # type: ignore[misc]  # new locks


def _after_patch() -> None:
    """Tell urllib3, which took the native class when it was imported, and perhaps a `poll` that eventlet takes away."""
    ssl_.SSLContext = ssl.SSLContext  # type: ignore[assignment]
    if not hasattr(select, "poll"):
        wait.wait_for_socket = wait.select_wait_for_socket


monkey_patch.on_patch(_after_patch)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

#: For a pool manager's ``pool_classes_by_scheme``.
POOLS = {"http": _PlainPool, "https": _TLSPool}


def _connect(conn: Any, call: Optional[AbortableCall]) -> socket.socket:
    """What urllib3's `_new_conn` does, except that the call knows each socket before it connects."""
    try:
        return _first_reachable(conn, call)
    except Aborted:
        raise
    except socket.gaierror as exc:
        raise NameResolutionError(conn.host, conn, exc) from exc
    except socket.timeout as exc:  # only since Python 3.10 the same as TimeoutError
        raise ConnectTimeoutError(conn, f"Connection to {conn.host} timed out") from exc
    except OSError as exc:
        raise NewConnectionError(conn, f"Failed to establish a new connection: {exc}") from exc


def _first_reachable(conn: Any, call: Optional[AbortableCall]) -> socket.socket:
    host = conn._dns_host.strip("[]")
    try:
        host.encode("idna")
    except UnicodeError:
        raise LocationParseError(f"{host!r}, label empty or too long") from None
    failure: Optional[OSError] = None
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, conn.port, allowed_gai_family(), socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            _reach(sock, address, conn, call)
        except OSError as exc:
            sock.close()
            if call is not None and call.aborted:
                raise Aborted("aborted") from exc
            failure = exc
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError(f"no address found for {host}")


def _reach(sock: socket.socket, address: Any, conn: Any, call: Optional[AbortableCall]) -> None:
    for option in conn.socket_options or ():
        sock.setsockopt(*option)
    if conn.timeout is None or isinstance(conn.timeout, (int, float)):
        sock.settimeout(conn.timeout)
    if conn.source_address:
        sock.bind(conn.source_address)
    if call is not None:
        call.swap(sock)
    try:
        sock.connect(address)
    except BaseException:
        if call is not None:
            call.let_go()
        raise
