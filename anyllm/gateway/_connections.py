"""
waitress's connections, adapted to long streams.

A request learns at once that its client has left, errors that waitress itself reports are in the client's format, and
slow clients are timed out.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Optional

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask, WSGITask

from anyllm.gateway._event_loop import EventLoop
from anyllm.gateway._request_context import CLIENT_LEFT, OUTLET

_log = logging.getLogger("anyllm.gateway")

#: Makes the JSON body of an error response, from the path, the status and the reason.
ErrorBody = Callable[[str, int, str], bytes]
#: Checks a request before its body, from method, path, query and headers; returns an error for waitress, or None.
Precheck = Callable[[str, str, str, Any], Optional[Any]]
#: Larger bodies, in bytes, are read only after a precheck.
_SMALL_BODY = 1 << 16
#: Requests that a client may send before it has its answer. waitress reads nothing while more are queued, so it would
#: not notice that the client has left; a client that sends more is disconnected.
MAX_PIPELINED = 2
#: Seconds for which we discard what a rejected client still sends, so that it can read the response.
_LINGER = 2.0


class ConnectionRequest(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """
    A request that is being read.

    Attributes:
        precheck: Set in a subclass for each server.
        start: When its first bytes came, in monotonic seconds.
    """

    path = ""  # waitress reads it even if the request line is malformed
    completed = False
    precheck: Precheck

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.start = time.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        """Also reject ambiguous requests, which a proxy may read in another way (request smuggling)."""
        try:
            super().parse_header(header_plus)
        except ValueError as exc:  # a malformed URL
            raise ParsingError(str(exc)) from exc
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("this version of HTTP is not supported")
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("Content-Length beside Transfer-Encoding")

    def received(self, data: bytes) -> int:
        """Do not read a large body of a request that will be rejected."""
        was_in_headers = not self.headers_finished
        consumed: int = super().received(data)
        if was_in_headers and self.headers_finished and not self.completed and self._has_large_body():
            error = self.precheck(self.command, self.path, self.query, self.headers)
            if error is not None:
                self.error, self.completed = error, True
        return consumed

    def _has_large_body(self) -> bool:
        return bool(self.chunked) or int(self.content_length) > _SMALL_BODY


class _ApplicationTask(WSGITask):  # type: ignore[misc]
    """A request that the application answers; an `Outlet` for its body."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[CLIENT_LEFT] = self.channel.on_client_left
        environ[OUTLET] = self
        return environ

    def has_room(self) -> bool:
        """Whether `write` would not block."""
        return not self.channel.total_outbufs_len

    def service(self) -> None:
        try:
            super().service()
        finally:
            self.channel.remove_callbacks()  # before the channel starts the next request


class _RejectionTask(ErrorTask):  # type: ignore[misc]
    """A request that is rejected before the application sees it."""

    def execute(self) -> None:
        error, channel = self.request.error, self.channel
        body = channel.error_body(self.request.path, error.code, f"{error.reason}: {error.body}")
        _log.info("rejected a request with %d: %s", error.code, error.reason)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        channel.lingers = True
        self.content_length = len(body)
        self.write(body)


class _ServerProxy:
    """The server, for one connection: waking the server's loop also makes it look at the connection."""

    def __init__(self, server: Any, connection: GatewayConnection, loop: EventLoop) -> None:
        self._server = server
        self._connection = connection
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def pull_trigger(self) -> None:
        self._loop.touch(self._connection)
        self._server.pull_trigger()


class GatewayConnection(HTTPChannel):  # type: ignore[misc]
    """
    A client's connection. The loop's thread reads and closes it; a thread of waitress's pool answers its requests.

    Attributes:
        error_body: Set in a subclass for each server.
        lingers: Whether to close only our side at first, so that the client can read the response.
    """

    task_class = _ApplicationTask
    error_task_class = _RejectionTask
    parser_class = ConnectionRequest
    error_body: ErrorBody

    lingers = False
    _is_rejected = False
    _linger_until: Optional[float] = None
    _blocked_since: Optional[float] = None  # since when the client accepts no bytes
    _blocked_activity: Any = None  # waitress's `last_activity` at that time
    _idle_since: Optional[float] = None

    def __init__(self, server: Any, sock: Any, addr: Any, adj: Any, map: Any = None) -> None:
        self._callbacks: list[Callable[[], object]] = []
        self._client_left = False
        self._lock = threading.Lock()  # guards the two above
        super().__init__(server, sock, addr, adj, map=map)
        self.server = _ServerProxy(server, self, map)

    # -- callbacks when the client has left ------------------------------------------------------------------------

    def on_client_left(self, callback: Callable[[], object]) -> None:
        """Have the loop's thread call *callback*, which must not block, when the client leaves; now if it has left."""
        with self._lock:
            if not self._client_left:
                self._callbacks.append(callback)
                return
        callback()

    def remove_callbacks(self) -> None:
        """Remove the callbacks of a request that has been answered."""
        with self._lock:
            self._callbacks = []

    def handle_close(self) -> None:
        """Close it, because the client has left or is to be disconnected; waitress may call it twice."""
        with self._lock:
            self._client_left = True
            callbacks, self._callbacks = self._callbacks, []
        if self.socket is not None:
            super().handle_close()
        for callback in callbacks:
            try:
                callback()
            except Exception:
                _log.exception("a callback for a client that left failed")

    # -- rejected requests -----------------------------------------------------------------------------------------

    def received(self, data: bytes) -> bool:
        """Do not take the rest of a rejected body for the next request."""
        if self._is_rejected:
            return False
        consumed: bool = super().received(data)
        with self.requests_lock:
            self._is_rejected = any(request.error for request in self.requests)
            has_too_many = len(self.requests) > MAX_PIPELINED
        if has_too_many:
            self.handle_close()
        return consumed

    def send_continue(self) -> None:
        """Not for a rejected request, nor for one without a body: waitress would wait for the body."""
        if self.request.error or self.request.completed:
            self.request.expect_continue = False
        else:
            super().send_continue()

    def readable(self) -> bool:
        return self.socket is not None and (self._linger_until is not None or bool(super().readable()))

    def writable(self) -> bool:
        return self.socket is not None and self._linger_until is None and bool(super().writable())

    def handle_write(self) -> None:
        """Close a lingering connection on our side only."""
        if not (self.lingers and self.close_when_flushed):
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.socket is None:
            return
        if self.will_close:
            self.handle_close()
        elif not self.total_outbufs_len:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.handle_close()
            else:
                self._linger_until = time.monotonic() + _LINGER

    def handle_read(self) -> None:
        """Discard what comes on a lingering connection."""
        if self._linger_until is None:
            super().handle_read()
            return
        try:
            self.recv(1 << 18)
        except OSError:
            self.handle_close()

    # -- timeouts --------------------------------------------------------------------------------------------------

    def is_overdue(self, now: float, header: float, body: float, blocked: float, idle: float) -> bool:
        """
        Whether a timeout has expired; to be called every second or so.

        Args:
            now: Monotonic seconds.
            header: The timeout for a request's headers, in seconds as all.
            body: For a request's headers and body.
            blocked: While the client accepts no bytes of a response.
            idle: Between requests.
        """
        if self._linger_until is not None:
            return now > self._linger_until
        if self.total_outbufs_len:
            if self._blocked_since is None or self.last_activity != self._blocked_activity:
                self._blocked_since, self._blocked_activity = now, self.last_activity
            return now - self._blocked_since > blocked
        self._blocked_since = None
        request = self.request
        if self.requests or request is not None:
            self._idle_since = None
        if self.requests:
            return False
        if request is not None:
            return now - float(request.start) > (body if request.headers_finished else header)
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since > idle
