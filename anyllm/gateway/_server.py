"""
Serve a gateway, on waitress.

Strategy: waitress reads requests in one thread, so that slow senders hold no other, and answers each in one of a fixed
number; its loop, and what it knows of a client that has left, are ours (`_event_loop`, `_connections`), because it
would see that only at the next write. Of cheroot, which was measured beside it, 300 clients that send slowly hold all
threads.

Source: https://docs.pylonsproject.org/projects/waitress
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Optional

from anyllm._hints.extras import pip_install
from anyllm.gateway._app import Gateway
from anyllm.gateway._auth import is_loopback
from anyllm.gateway._config import Config

__all__ = ["GatewayServer", "NeedsKeys", "bind", "url_of"]

_log = logging.getLogger("anyllm.gateway")

#: Threads beside those that answers may take: for lists, figures, refusals.
_SPARE = 8
#: Seconds: for a request's headers, for its body, with bytes that a client does not take, without any request.
_HEADER, _BODY, _STUCK, _IDLE = 10.0, 120.0, 60.0, 75.0


class NeedsKeys(ValueError):
    """A gateway without keys is to listen where others can reach it."""


class GatewayServer:
    """
    A gateway that listens from now on, and answers once it `run`s or is `start`ed.

    Args:
        gateway: The application.
        sockets: Where it listens, as `bind` gives them; its own if not given.
        clock: Monotonic seconds.

    Raises:
        NeedsKeys: it has no keys, and is to listen on more than loopback.
        OSError: nobody can listen there.
        ModuleNotFoundError: waitress is not installed; the message says what to install.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        sockets: Optional[Sequence[socket.socket]] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        server = gateway.config.server
        _require_waitress()
        bound = bind(gateway.config) if sockets is None else sockets
        from anyllm.gateway._connections import Connection, ConnectionRequest
        from anyllm.gateway._event_loop import Loop

        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of each request that waits a moment
        self.gateway = gateway
        self._clock = clock
        request = type("ConnectionRequest", (ConnectionRequest,), {"refuses": staticmethod(gateway.refuses)})
        refusal = staticmethod(gateway.refusal)
        self._connection = type("Connection", (Connection,), {"refusal": refusal, "parser_class": request})
        self._loop = Loop()
        threads = server.max_streams + _SPARE
        self._listeners = _listeners(gateway, self._loop, bound, threads)  # one for each address
        for listener in self._listeners:
            listener.channel_class = self._connection
            listener.maintenance = lambda now: None  # ours is `_sweep`
        self._grace: Optional[float] = None  # once it is to stop
        self._thread: Optional[threading.Thread] = None
        self._has_run = False
        self._is_over = threading.Event()
        self._pulling: list[None] = []  # an item for each `stop` that is about to wake the loop; no lock, see `stop`
        self._is_closing = False  # the loop needs no waking any more

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listeners[0].effective_port)

    @property
    def url(self) -> str:
        """``http://host:port``, for clients on this machine."""
        return url_of(self.gateway.config, [listener.socket for listener in self._listeners])

    def run(self) -> None:
        """Answer, until somebody calls `stop`."""
        self._has_run = True
        try:
            self._serve()
            if self._grace is not None:
                self._drain()
        finally:
            self._end()

    def start(self) -> GatewayServer:
        """Answer on a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="anyllm-gateway", daemon=True)
        self._thread.start()
        return self

    def stop(self, grace: float = 0.0) -> None:
        """
        Accept nobody any more, let answers end for *grace* seconds, and cancel the rest. Returns at once; safe in a
        signal handler.
        """
        self._grace = grace
        self._pulling.append(None)  # before the look at what `run` sets before its own look: one of them sees the other
        try:
            if not self._is_closing:
                self._listeners[0].pull_trigger()
        finally:
            self._pulling.pop()

    def close(self, grace: float = 0.0) -> None:
        """`stop`, and wait until that is done; one that never ran is let go of. A second time does nothing."""
        self.stop(grace)
        if self._thread is not None:
            self._thread.join()
        elif not self._has_run:
            self._end()

    def __enter__(self) -> GatewayServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self) -> None:
        if not self._is_over.is_set():
            self._listeners[0].task_dispatcher.shutdown(timeout=5)  # they share it
            self._is_closing = True
            while self._pulling:  # its number may be another file's once it is closed
                time.sleep(0.001)
            for listener in self._listeners:
                listener.trigger.close()
            self._loop.close()
            self._is_over.set()

    # -- the loop's thread -----------------------------------------------------------------------------------------

    def _serve(self) -> None:
        next_sweep = 0.0
        while self._grace is None:
            for listener in self._listeners:
                self._loop.touch(listener)  # whether it accepts depends on how many connections there are
            self._loop.step(1.0)
            now = self._clock()
            if now >= next_sweep:
                next_sweep = now + 1.0
                self._sweep(now)

    def _sweep(self, now: float) -> None:
        for connection in self._connections():
            if connection.overdue(now, _HEADER, _BODY, _STUCK, _IDLE):
                connection.handle_close()

    def _drain(self) -> None:
        from waitress import wasyncore

        for listener in self._listeners:
            wasyncore.dispatcher.close(listener)  # the trigger stays
        since = self._clock()
        while True:
            is_late = self._clock() >= since + (self._grace or 0.0)  # which another `stop` may have made shorter
            busy = [one for one in self._connections() if one.requests or one.total_outbufs_len]
            for connection in self._connections():
                if is_late or connection not in busy:
                    connection.handle_close()
            if is_late or not busy:
                return
            self._loop.step(0.1)

    def _connections(self) -> list[Any]:
        return [one for one in list(self._loop.values()) if isinstance(one, self._connection)]


def _listeners(gateway: Gateway, loop: Any, bound: Sequence[socket.socket], threads: int) -> list[Any]:
    from waitress.server import BaseWSGIServer, create_server

    from anyllm.gateway._connections import MOST_AHEAD

    create_server(
        gateway,
        map=loop,
        sockets=list(bound),
        threads=threads,
        channel_request_lookahead=MOST_AHEAD,  # read on while a request is answered, which is how an end is seen
        outbuf_high_watermark=1 << 16,  # bytes that may wait for a client before whoever writes them waits
        inbuf_overflow=1 << 20,
        connection_limit=threads + 2000,
        max_request_header_size=1 << 16,
        max_request_body_size=gateway.config.server.max_body_bytes + 1,  # it refuses what is as large
        ident=None,
        backlog=1024,
        clear_untrusted_proxy_headers=False,
    )
    return [found for found in loop.values() if isinstance(found, BaseWSGIServer)]


def url_of(config: Config, sockets: Sequence[socket.socket]) -> str:
    """``http://host:port`` of a gateway that listens on *sockets*, for clients on this machine."""
    host = config.server.host
    return f"http://{f'[{host}]' if ':' in host else host}:{sockets[0].getsockname()[1]}"


def _require_waitress() -> None:
    try:
        import waitress  # noqa: F401
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(f"serving needs waitress: {pip_install('serve')}", name="waitress") from exc


def bind(config: Config) -> list[socket.socket]:
    """
    Sockets for all addresses of the host that a gateway is to listen at, with one port.

    Raises:
        NeedsKeys: it has no keys, and is to listen on more than loopback.
        OSError: nobody can listen there.
        ModuleNotFoundError: waitress is not installed, so that no `GatewayServer` could answer there.
    """
    _require_waitress()
    host, port = config.server.host, config.server.port
    if not config.keys and not is_loopback(host):
        raise NeedsKeys(f"to listen at {host} the gateway needs keys: `anyllm serve --new-key NAME` makes one")
    bound: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)):
            where = (address[0], port or (bound[0].getsockname()[1] if bound else 0))
            bound.append(socket.create_server(where, family=family))
    except OSError:
        for listening in bound:
            listening.close()
        raise
    return bound
