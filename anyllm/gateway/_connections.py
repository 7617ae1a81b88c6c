"""
waitress's connections, with what long streams need: who waits for a model hears at once that its client has left, and
what waitress itself refuses is said in the client's format.
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

from anyllm.gateway._request_context import CLIENT_LEFT, OUTLET

__all__ = ["MOST_AHEAD", "Connection", "Refusal", "Refuses", "ConnectionRequest"]

_log = logging.getLogger("anyllm.gateway")

#: Makes the body that says a refusal of waitress's: the path, the status and the reason to JSON.
Refusal = Callable[[str, int, str], bytes]
#: Says before the body whether a request is refused: method, path, query and headers to an error as waitress has it.
Refuses = Callable[[str, str, str, Any], Optional[Any]]
#: Bytes of a body that are read of anybody.
_SMALL = 1 << 16
#: Requests that a client may send before its answer has come. While more wait nothing is read, and so it would not be
#: seen that the client has left: who sends more is cut off.
MOST_AHEAD = 2
#: Seconds for which what a refused client still sends is thrown away, so that it gets to read why.
_LINGER = 2.0


class ConnectionRequest(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """A request that is being read."""

    path = ""  # of one that is none; waitress looks at it all the same
    completed = False
    refuses: Refuses

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.since = time.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        """Also refuse what two readers may read in two ways."""
        try:
            super().parse_header(header_plus)
        except ValueError as exc:  # of a URL that is none
            raise ParsingError(str(exc)) from exc
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("this version of HTTP is not spoken here")
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("Content-Length beside Transfer-Encoding")

    def received(self, data: bytes) -> int:
        """A large body is not read of who will not be answered anyway."""
        begins = not self.headers_finished
        taken: int = super().received(data)
        if begins and self.headers_finished and not self.completed and self._is_large():
            refused = self.refuses(self.command, self.path, self.query, self.headers)
            if refused is not None:
                self.error, self.completed = refused, True
        return taken

    def _is_large(self) -> bool:
        return bool(self.chunked) or int(self.content_length) > _SMALL


class _Answer(WSGITask):  # type: ignore[misc]
    """A request that the application answers."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[CLIENT_LEFT] = self.channel.on_left
        environ[OUTLET] = self
        return environ

    def has_room(self) -> bool:
        """Whether `write` would not have to wait for the client, or for anybody."""
        return not self.channel.total_outbufs_len

    def service(self) -> None:
        try:
            super().service()
        finally:
            self.channel.forget()  # here: once the channel goes on, the next request may be running


class _Refused(ErrorTask):  # type: ignore[misc]
    """A request that never gets to the application."""

    def execute(self) -> None:
        error, channel = self.request.error, self.channel
        body = channel.refusal(self.request.path, error.code, f"{error.reason}: {error.body}")
        _log.info("refused a request with %d: %s", error.code, error.reason)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        channel.lingers = True
        self.content_length = len(body)
        self.write(body)


class _Server:
    """The server as a connection sees it: when it is called for, so is the connection."""

    def __init__(self, server: Any, connection: Connection, loop: Any) -> None:
        self._server = server
        self._connection = connection
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def pull_trigger(self) -> None:
        self._loop.touch(self._connection)
        self._server.pull_trigger()


class Connection(HTTPChannel):  # type: ignore[misc]
    """
    One client's connection. Its loop's thread reads and closes it; a thread of waitress's answers its requests.

    `overdue` is for the loop: whether it has kept us waiting for too long.
    """

    task_class = _Answer
    error_task_class = _Refused
    parser_class = ConnectionRequest
    refusal: Refusal

    lingers = False  # close it in such a way that the client gets to read what was said
    _refused = False
    _lingering: Optional[float] = None
    _stuck_since: Optional[float] = None  # with bytes that the client does not take
    _stuck_at: Any = None
    _idle_since: Optional[float] = None

    def __init__(self, server: Any, sock: Any, addr: Any, adj: Any, map: Any = None) -> None:
        self._to_call: list[Callable[[], object]] = []
        self._has_left = False
        self._lock = threading.Lock()  # of the two above
        super().__init__(server, sock, addr, adj, map=map)
        self.server = _Server(server, self, map)

    # -- who waits hears that the client has left ------------------------------------------------------------------

    def on_left(self, call: Callable[[], object]) -> None:
        """Have *call*, which must not block, called by the loop's thread when the client has left; now if it has."""
        with self._lock:
            if not self._has_left:
                self._to_call.append(call)
                return
        call()

    def forget(self) -> None:
        """The request is answered."""
        with self._lock:
            self._to_call = []

    def handle_close(self) -> None:
        """The client has left, or is to go; waitress may say so twice."""
        with self._lock:
            self._has_left = True
            calls, self._to_call = self._to_call, []
        if self.socket is not None:
            super().handle_close()
        for call in calls:
            try:
                call()
            except Exception:
                _log.exception("a function that waited for a client to leave failed")

    # -- refusals that get to be read ------------------------------------------------------------------------------

    def received(self, data: bytes) -> bool:
        """The rest of a refused body is no next request."""
        if self._refused:
            return False
        taken: bool = super().received(data)
        with self.requests_lock:
            self._refused = any(request.error for request in self.requests)
            is_ahead = len(self.requests) > MOST_AHEAD
        if is_ahead:
            self.handle_close()
        return taken

    def send_continue(self) -> None:
        """Not to who is refused, nor to who has nothing to send: waitress would wait for a body."""
        if self.request.error or self.request.completed:
            self.request.expect_continue = False
        else:
            super().send_continue()

    def readable(self) -> bool:
        return self.socket is not None and (self._lingering is not None or bool(super().readable()))

    def writable(self) -> bool:
        return self.socket is not None and self._lingering is None and bool(super().writable())

    def handle_write(self) -> None:
        """A connection that lingers is closed on our side only."""
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
                self._lingering = time.monotonic() + _LINGER

    def handle_read(self) -> None:
        """What a connection that lingers still brings is thrown away."""
        if self._lingering is None:
            super().handle_read()
            return
        try:
            self.recv(1 << 18)
        except OSError:
            self.handle_close()

    # -- time ------------------------------------------------------------------------------------------------------

    def overdue(self, now: float, header: float, body: float, stuck: float, idle: float) -> bool:
        """
        Whether its client takes too long: to send a request, to take an answer, or to ask anything.

        Args:
            now: Monotonic seconds; asked again from time to time.
            header, body, stuck, idle: Seconds for each.
        """
        if self._lingering is not None:
            return now > self._lingering
        if self.total_outbufs_len:
            if self._stuck_since is None or self.last_activity != self._stuck_at:
                self._stuck_since, self._stuck_at = now, self.last_activity
            return now - self._stuck_since > stuck
        self._stuck_since = None
        request = self.request
        if self.requests or request is not None:
            self._idle_since = None
        if self.requests:
            return False
        if request is not None:
            return now - float(request.since) > (body if request.headers_finished else header)
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since > idle
