"""
The socket of a request, which any thread can shut down to end the request.

Strategy: a thread that connects, does a TLS handshake, waits for headers or reads can be woken by one thing only:
`shutdown` on its socket (closing does nothing, or waits too). So each `AbortableCall` holds the socket of its request,
from before it connects, and `AbortableCall.abort` shuts it down.

The socket changes owners on the way: TLS detaches it, a response that ends with the connection takes it, and the pool
gives it to the next request. Before each of these the owner takes the socket away from the call; if an abort was
faster, the owner waits until that is over and does not use the connection again. So an abort never shuts down a
neighbour's socket, or a file descriptor that was closed and reused.

`abort` may run in a signal handler or a finalizer, so it takes no lock: popping from a list is atomic.
"""

from __future__ import annotations

import _socket
import contextlib
import contextvars
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Optional

from anyllm._concurrency import monkey_patch, waiters

#: SO_LINGER with 0 seconds: closing an aborted connection sends a reset. Without it a host that is blocked in a write
#: may wait for a minute: after `shutdown` our system no longer announces free space, even if the worker reads on.
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
#: Seconds an owner waits for an abort that was faster. It takes microseconds, unless its thread was killed.
_ABORT_TIMEOUT = 1.0


class Aborted(OSError):
    """The call was aborted before it had a socket, or while the socket changed owners."""


class AbortableCall:
    """
    One request. `abort` is for any thread, the other methods for the thread that sends the request.

    Args:
        on_connected: Called when the connection is made.

    Attributes:
        connected: The same function.
        aborted: Whether `abort` was called.
    """

    __slots__ = ("_abort_end", "_has_put", "_slot", "aborted", "connected")

    def __init__(self, on_connected: Callable[[], object] = lambda: None) -> None:
        #: At most one socket, and whether it is our duplicate. The thread that pops it owns it.
        self._slot: list[tuple[Any, bool]] = []
        self._has_put = False  # whether the sender has put a socket there; only the sender uses this
        self._abort_end = waiters.new_waiter()  # released when an abort that had the socket is over
        self.connected = on_connected
        self.aborted = False

    def abort(self) -> bool:
        """End the request now: its thread fails or reads an end. Takes no lock. False when there was no socket."""
        self.aborted = True
        try:
            sock, is_duplicate = self._slot.pop()
        except IndexError:
            return False
        _shut_down(sock)
        if is_duplicate:
            sock.close()
        waiters.release(self._abort_end)
        return True

    def hold(self, sock: Any, *, is_duplicate: bool = False) -> None:
        """Let `abort` shut down *sock* from now on; `Aborted` if it was called before. Closes a duplicate itself."""
        self._has_put = True
        self._slot.append((sock, is_duplicate))
        if self.aborted:
            self.abort()
            self.release()
            raise Aborted("aborted")

    def release(self) -> bool:
        """Take the socket away; False when an abort had it first. That abort is over then."""
        if not self._has_put:
            return True
        self._has_put = False
        try:
            sock, is_duplicate = self._slot.pop()
        except IndexError:
            waiters.wait(self._abort_end, time.monotonic() + _ABORT_TIMEOUT)
            return False
        if is_duplicate:
            sock.close()
        return True

    def swap(self, sock: Any, *, is_duplicate: bool = False) -> None:
        """Hold *sock* instead of the socket that is held now; raises as `hold` does."""
        if not self.release():
            if is_duplicate:
                sock.close()
            raise Aborted("aborted")
        self.hold(sock, is_duplicate=is_duplicate)

    def forget(self) -> None:
        """
        In a child after a fork: drop the socket without touching the parent's connection.

        An open copy here would hide from the host that the parent closed it, and gevent's greenlets, which survive a
        fork, would read the parent's data: so the descriptor is replaced by one at its end.
        """
        while self._slot:
            sock, _ = self._slot.pop()
            _replace_descriptor(sock)
        self._has_put = False


def _shut_down(sock: Any) -> None:
    # Not sock.shutdown(): on a TLS socket that would drop the TLS state under the thread that is using it.
    plain = getattr(sock, "socket", sock)  # TLS inside TLS is no socket, but has one
    kind = plain_class(plain)
    try:
        if monkey_patch.binds_sockets() or not hasattr(kind, "shutdown"):  # eventlet's class has none
            with contextlib.closing(duplicate(sock)) as handle:
                _shut_down_with(_socket.socket, handle)
        else:
            _shut_down_with(kind, plain)
    except (OSError, TypeError, AttributeError):
        pass  # no longer connected, closed, or no real socket: the fake provider's stand-in only needs `close`


def _shut_down_with(kind: Any, sock: Any) -> None:
    """Shut *sock* down with the methods of the class *kind*."""
    with contextlib.suppress(OSError):
        kind.setsockopt(sock, socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    kind.shutdown(sock, socket.SHUT_RDWR)


def plain_class(sock: Any) -> Any:
    """The class whose methods work below TLS on *sock*, which may be native: older than a monkey patch."""
    return _socket.socket if isinstance(sock, _socket.socket) else socket.socket


def duplicate(sock: Any) -> Any:
    """A second handle on the same connection, to shut it down by while the first is detached or changes owners."""
    plain = getattr(sock, "socket", sock)
    # Native where gevent's would belong to the thread that made it, and where eventlet's has no `shutdown`.
    is_native = monkey_patch.binds_sockets() or not hasattr(socket.socket, "shutdown")
    kind: Any = _socket.socket if is_native else socket.socket
    return kind(plain.family, plain.type, plain.proto, fileno=socket.dup(plain.fileno()))


def _replace_descriptor(sock: Any) -> None:
    """Replace the descriptor of *sock*, for everything in this process that uses it, by a connection at its end."""
    plain = getattr(sock, "socket", sock)
    ended, other = socket.socketpair()
    with ended, contextlib.suppress(OSError):
        other.close()
        os.dup2(ended.fileno(), plain.fileno(), inheritable=False)


#: The call for which this thread sends. Not a `threading.local`: one made before a late monkey patch is shared by all
#: greenlets of a thread.
_current: contextvars.ContextVar[Optional[AbortableCall]] = contextvars.ContextVar("anyllm call", default=None)


@contextlib.contextmanager
def serving(call: AbortableCall) -> Iterator[None]:
    """Requests that this thread sends inside the block belong to *call*."""
    before = _current.set(call)
    try:
        yield
    finally:
        _current.reset(before)


def current_call() -> Optional[AbortableCall]:
    """The call for which this thread sends."""
    return _current.get()
