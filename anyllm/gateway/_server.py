"""
An HTTP server for a gateway, on waitress.

Strategy: waitress reads requests in one thread, so that slow senders block no other thread, and answers them in a pool
of threads. The loop and the connections are ours (`_event_loop`, `_connections`), because waitress notices that a
client has left only at the next write. cheroot was measured, too: 300 clients that send slowly block all its threads.

Source: https://docs.pylonsproject.org/projects/waitress
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Optional

from anyllm._hints.extras import import_extra
from anyllm.gateway._app import Gateway
from anyllm.gateway._auth import is_loopback
from anyllm.gateway._config import Config

_log = logging.getLogger("anyllm.gateway")

_WAITRESS = ("waitress", "serve", "serving needs waitress")
#: Threads beyond those for answers: for model lists, metrics, rejections.
_SPARE_THREADS = 8
#: The timeouts of connections in seconds; `GatewayConnection.is_overdue` explains them.
_TIMEOUTS = {"header": 10.0, "body": 120.0, "blocked": 60.0, "idle": 75.0}


class NeedsKeys(ValueError):
    """A gateway that listens on more than loopback has no keys."""


class GatewayServer:
    """
    A server for a gateway. It listens once it is made, and answers after `run` or `start`.

    Args:
        gateway: The application.
        sockets: Listening sockets, as `bind` makes them; it makes its own if not given.
        clock: Monotonic seconds.

    Raises:
        NeedsKeys: the gateway has no keys and would listen on more than loopback.
        OSError: the address cannot be listened on.
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
        import_extra(*_WAITRESS)
        bound = bind(gateway.config) if sockets is None else sockets
        from anyllm.gateway._connections import ConnectionRequest, GatewayConnection
        from anyllm.gateway._event_loop import EventLoop

        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that waits for a thread
        self.gateway = gateway
        self._clock = clock
        request = type("ConnectionRequest", (ConnectionRequest,), {"precheck": staticmethod(gateway.precheck)})
        error_body = staticmethod(gateway.error_body)
        self._connection = type(
            "GatewayConnection", (GatewayConnection,), {"error_body": error_body, "parser_class": request}
        )
        self._loop = EventLoop()
        threads = server.max_streams + _SPARE_THREADS
        self._listeners = _listeners(gateway, self._loop, bound, threads)  # one for each address
        for listener in self._listeners:
            listener.channel_class = self._connection
            listener.maintenance = lambda now: None  # `_close_overdue` instead
        self._grace: Optional[float] = None  # seconds; set by `stop`
        self._thread: Optional[threading.Thread] = None
        self._has_run = False
        self._is_closed = threading.Event()
        self._waking: list[None] = []  # an item for each `stop` that wakes the loop; without a lock, see `stop`
        self._is_closing = False  # the loop must not be woken any more

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listeners[0].effective_port)

    @property
    def url(self) -> str:
        """``http://host:port``, for clients on this machine."""
        return url_of(self.gateway.config, [listener.socket for listener in self._listeners])

    def run(self) -> None:
        """Answer requests until `stop` is called."""
        self._has_run = True
        try:
            self._serve()
            if self._grace is not None:
                self._drain()
        finally:
            self._close()

    def start(self) -> GatewayServer:
        """`run` on a new thread."""
        self._thread = threading.Thread(target=self.run, name="anyllm-gateway", daemon=True)
        self._thread.start()
        return self

    def stop(self, grace: float = 0.0) -> None:
        """
        Accept no more connections, wait *grace* seconds for running answers, then cancel them. Returns at once; safe in
        a signal handler.
        """
        self._grace = grace
        self._waking.append(None)  # before reading `_is_closing`, which `_close` sets before reading this
        try:
            if not self._is_closing:
                self._listeners[0].pull_trigger()
        finally:
            self._waking.pop()

    def close(self, grace: float = 0.0) -> None:
        """`stop`, and wait until it has stopped. A second call does nothing."""
        self.stop(grace)
        if self._thread is not None:
            self._thread.join()
        elif not self._has_run:
            self._close()

    def __enter__(self) -> GatewayServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _close(self) -> None:
        if not self._is_closed.is_set():
            self._listeners[0].task_dispatcher.shutdown(timeout=5)  # the listeners share it
            self._is_closing = True
            while self._waking:  # once the trigger is closed, its descriptor may be another file's
                time.sleep(0.001)
            for listener in self._listeners:
                listener.trigger.close()
            self._loop.close()
            self._is_closed.set()

    # -- the loop's thread -----------------------------------------------------------------------------------------

    def _serve(self) -> None:
        next_sweep = 0.0
        while self._grace is None:
            for listener in self._listeners:
                self._loop.touch(listener)  # whether it accepts depends on the number of connections
            self._loop.step(1.0)
            now = self._clock()
            if now >= next_sweep:
                next_sweep = now + 1.0
                self._close_overdue(now)

    def _close_overdue(self, now: float) -> None:
        for connection in self._connections():
            if connection.is_overdue(now, **_TIMEOUTS):
                connection.handle_close()

    def _drain(self) -> None:
        from waitress import wasyncore

        for listener in self._listeners:
            wasyncore.dispatcher.close(listener)  # but not its trigger, which `stop` may use
        start = self._clock()
        while True:
            is_late = self._clock() >= start + (self._grace or 0.0)  # a second `stop` may have shortened it
            busy = [
                connection for connection in self._connections() if connection.requests or connection.total_outbufs_len
            ]
            for connection in self._connections():
                if is_late or connection not in busy:
                    connection.handle_close()
            if is_late or not busy:
                return
            self._loop.step(0.1)

    def _connections(self) -> list[Any]:
        return [item for item in list(self._loop.values()) if isinstance(item, self._connection)]


def _listeners(gateway: Gateway, loop: Any, sockets: Sequence[socket.socket], threads: int) -> list[Any]:
    from waitress.server import BaseWSGIServer, create_server

    from anyllm.gateway._connections import MAX_PIPELINED

    create_server(
        gateway,
        map=loop,
        sockets=list(sockets),
        threads=threads,
        channel_request_lookahead=MAX_PIPELINED,  # reading on during an answer shows that the client has left
        outbuf_high_watermark=1 << 16,  # bytes buffered for a client before a write blocks
        inbuf_overflow=1 << 20,
        connection_limit=threads + 2000,
        max_request_header_size=1 << 16,
        max_request_body_size=gateway.config.server.max_body_bytes + 1,  # it rejects bodies of this size
        ident=None,
        backlog=1024,
        clear_untrusted_proxy_headers=False,
    )
    return [item for item in loop.values() if isinstance(item, BaseWSGIServer)]


def url_of(config: Config, sockets: Sequence[socket.socket]) -> str:
    """``http://host:port`` of a gateway that listens on *sockets*, for clients on this machine."""
    host = config.server.host
    return f"http://{f'[{host}]' if ':' in host else host}:{sockets[0].getsockname()[1]}"


def bind(config: Config) -> list[socket.socket]:
    """
    Listening sockets for all addresses of the configured host, with the same port.

    Raises:
        NeedsKeys: the gateway has no keys and would listen on more than loopback.
        OSError: an address cannot be listened on.
        ModuleNotFoundError: waitress is not installed, which `GatewayServer` needs.
    """
    import_extra(*_WAITRESS)
    host, port = config.server.host, config.server.port
    if not config.keys and not is_loopback(host):
        raise NeedsKeys(f"to listen on {host} the gateway needs keys: `anyllm serve --new-key NAME` makes one")
    bound: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)):
            local = (address[0], port or (bound[0].getsockname()[1] if bound else 0))
            bound.append(socket.create_server(local, family=family))
    except OSError:
        for listener in bound:
            listener.close()
        raise
    return bound
