"""Servers that accept a connection and send nothing, or never accept it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from typing import Iterator, List, Tuple

_HOST = "127.0.0.1"


class Silent:
    """
    A server that accepts connections and sends nothing; made by `silent()`. For one thread at a time.

    Strategy: the system completes connections by itself, so no thread is needed; the methods accept them.
    """

    def __init__(self, scheme: str) -> None:
        self._listener = socket.create_server((_HOST, 0), backlog=1024)
        self._accepted: List[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        """The TCP port on 127.0.0.1."""
        self.url = f"{scheme}://{_HOST}:{self.port}"
        """Scheme, host and port, without a slash at the end."""

    def wait_for_connections(self, n: int, timeout: float = 10) -> int:
        """
        Wait until *n* clients have connected in total, and return how many have.

        Raises:
            TimeoutError: There were fewer after *timeout* seconds.
        """
        end = time.monotonic() + timeout
        while self._collect() < n:
            if not _wait_readable(self._listener, end):
                raise TimeoutError(f"{len(self._accepted)} of {n} connections arrived in {timeout} s")
        return len(self._accepted)

    def wait_closed(self, timeout: float = 10) -> bool:
        """
        Wait until every client so far has closed its connection; False after *timeout* seconds.

        This reads and discards what the clients sent, because the end of a connection comes after it.
        """
        end = time.monotonic() + timeout
        self._collect()
        return all(_wait_ended(sock, end) for sock in self._accepted)

    def close(self) -> None:
        """Close every connection; calling it twice is harmless."""
        for sock in [self._listener, *self._accepted]:
            sock.close()

    def _collect(self) -> int:
        """Accept waiting connections; return the number of all so far."""
        self._listener.setblocking(False)
        try:
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                self._accepted.append(sock)
        except BlockingIOError:
            return len(self._accepted)


@contextlib.contextmanager
def silent(*, scheme: str = "http") -> Iterator[Silent]:
    """
    A server that accepts connections, and neither reads nor sends: one that hangs.

    Args:
        scheme: The scheme of `url`; with "https", a client hangs in the TLS handshake.

    Returns:
        A context manager with the server, whose connections are closed at the end.
    """
    server = Silent(scheme)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def blackhole() -> Iterator[Tuple[str, int]]:
    """
    A loopback address at which `connect()` never completes, as behind a firewall that drops packets.

    It belongs to a listening socket whose queue is full: the system ignores further clients, which keep trying.

    Returns:
        A context manager with host and port.

    Raises:
        RuntimeError: This system completes or refuses the connection (Linux ignores it).
    """
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server((_HOST, 0), backlog=0))
        address: Tuple[str, int] = listener.getsockname()
        for _ in range(16):
            filler = sockets.enter_context(socket.socket())
            filler.settimeout(0.2)  # loopback answers in microseconds or never
            try:
                filler.connect(address)
            except socket.timeout:
                break
            except OSError as error:
                raise RuntimeError("this system refuses connections to a full queue") from error
        else:
            raise RuntimeError("this system completes connections to a full queue")
        yield address


def _wait_readable(sock: socket.socket, end: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, end - time.monotonic())))


def _wait_ended(sock: socket.socket, end: float) -> bool:
    """Read and discard until the client closes; False if that takes until *end*."""
    while _wait_readable(sock, end):
        try:
            if not sock.recv(65536):
                return True
        except BlockingIOError:
            continue
        except OSError:  # a reset is an end too
            return True
    return False
