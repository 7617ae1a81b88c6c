"""
urllib3 connections and pools that give each socket to the call that uses it, so that an abort can shut it down.

See `sockets` for the rules of ownership.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import select
import socket
import ssl
import sys
import traceback
import weakref
from typing import Any, Optional

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NameResolutionError, NewConnectionError
from urllib3.util import ssl_, wait
from urllib3.util.connection import allowed_gai_family

from anyllm._concurrency import monkey_patch
from anyllm._transport.sockets import AbortableCall, Aborted, current_call, duplicate


class _FinalResponse(http.client.HTTPResponse):
    """Skips interim answers: `http.client` takes 103 for the final answer, and that for the next request's."""

    def _read_status(self) -> Any:
        status_line = super()._read_status()  # type: ignore[misc]
        while 101 < status_line[1] < 200:
            http.client.parse_headers(self.fp)
            status_line = super()._read_status()  # type: ignore[misc]
        if status_line[1] == 101:
            raise http.client.HTTPException("the host switched protocols")
        return status_line


class _CallConnection:
    """Mixin of both connection classes: gives the call the socket in use."""

    response_class: Any = _FinalResponse
    call: Optional[AbortableCall] = None
    _uses_tls = False
    _in_getresponse = False

    def _new_conn(self: Any) -> socket.socket:
        call = self.call
        sock = _connect(self, call)
        if call is not None and (self._uses_tls or self._tunnel_host):
            try:
                call.swap(duplicate(sock), is_duplicate=True)
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
                _remove_timeout(self)
        except BaseException as exc:
            if call is not None:
                call.release()
            _close_after_failed_handshake(exc)
            raise

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.call is not None and self.sock is not None:
            _remove_timeout(self)
        super().request(*args, **kwargs)  # type: ignore[misc]

    def getresponse(self: Any) -> Any:
        self._in_getresponse = True
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            self._in_getresponse = False

    def close(self: Any) -> None:
        call = self.call
        if call is not None and self.sock is not None:
            self._release_socket(call)
        super().close()  # type: ignore[misc]

    def _release_socket(self: Any, call: AbortableCall) -> None:
        if not self._in_getresponse:
            call.release()
            return
        # The response owns the socket now, and may close it at any time: hold a duplicate.
        with contextlib.suppress(Aborted):
            call.swap(duplicate(self.sock), is_duplicate=True)


def _remove_timeout(conn: Any) -> None:
    """The time-out was for connecting: sending a long request may take longer, and the call has its own clocks."""
    conn.timeout = None
    conn.sock.settimeout(None)


def _close_after_failed_handshake(failure: BaseException) -> None:
    """
    Close the socket that Python leaves open when the host resets between connecting and the TLS handshake.

    `ssl.SSLContext.wrap_socket` owns it then, and raises without closing it: only the failed frame refers to it.
    """
    for frame, _ in traceback.walk_tb(failure.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, ssl.SSLSocket):
            owner.close()


class _PlainConnection(_CallConnection, HTTPConnection):
    pass


class _TLSConnection(_CallConnection, HTTPSConnection):
    _uses_tls = True


#: Every pool of this process; a forked child empties them.
_pools: weakref.WeakSet[Any] = weakref.WeakSet()


class _CallPool:
    """Mixin of both pool classes: a connection outside of the pool belongs to one call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _pools.add(self)

    def _get_conn(self: Any, timeout: Optional[float] = None) -> Any:
        conn = super()._get_conn(timeout)  # type: ignore[misc]
        call = conn.call = current_call()
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
            # A connection that a thread from before a late patch made belongs to that thread's hub.
            may_be_shared = not monkey_patch.binds_sockets() and not monkey_patch.began_native()
            if (call is not None and not call.release()) or not may_be_shared:
                conn.close()
        super()._put_conn(conn)  # type: ignore[misc]


class _PlainPool(_CallPool, HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TLSPool(_CallPool, HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def _after_fork() -> None:
    """In a child: idle connections are the parent's, and threads that are not here may hold the locks of the queues."""
    for pool in tuple(_pools):
        idle: Optional[queue.LifoQueue[Any]] = pool.pool
        if idle is not None:
            for conn in idle.queue:
                if conn is not None:
                    conn.close()  # our handle only; nothing is sent to the host
            idle.__init__(idle.maxsize)  # type: ignore[misc]  # new locks


def _after_patch() -> None:
    """Update urllib3, which imported the native class, and perhaps a `poll` that eventlet removes."""
    ssl_.SSLContext = ssl.SSLContext  # type: ignore[assignment]
    if not hasattr(select, "poll"):
        wait.wait_for_socket = wait.select_wait_for_socket


monkey_patch.on_patch(_after_patch)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

#: For a pool manager's ``pool_classes_by_scheme``.
POOLS = {"http": _PlainPool, "https": _TLSPool}


def _connect(conn: Any, call: Optional[AbortableCall]) -> socket.socket:
    """Like urllib3's `_new_conn`, but the call gets each socket before it connects."""
    try:
        return _connect_to_any_address(conn, call)
    except Aborted:
        raise
    except socket.gaierror as exc:
        raise NameResolutionError(conn.host, conn, exc) from exc
    except socket.timeout as exc:  # only since Python 3.10 the same as TimeoutError
        raise ConnectTimeoutError(conn, f"Connection to {conn.host} timed out") from exc
    except OSError as exc:
        raise NewConnectionError(conn, f"Failed to establish a new connection: {exc}") from exc


def _connect_to_any_address(conn: Any, call: Optional[AbortableCall]) -> socket.socket:
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
            _connect_to(sock, address, conn, call)
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


def _connect_to(sock: socket.socket, address: Any, conn: Any, call: Optional[AbortableCall]) -> None:
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
            call.release()
        raise
