"""
The server every client is measured against: a process of its own, on loopback, that says the same events for ever.

Strategy: one thread and a selector. Each event is one HTTP chunk and one write, and streams take turns, an event each,
so that a thousand of them are really under way at once. What a stream looks like stands in its URL, so that one server
serves all measurements:

    /e20000/p0.05/g1/v1/chat/completions

means 20,000 events of OpenAI's kind (see `formats.py` for the others), 0.05 seconds apart (0: as fast as the client
reads), and a gate: after the first one the stream waits until somebody posts to ``/release``, which is the moment when
all streams are open and none has ended. Two more words: with ``/s0`` the text of each event is the time at which it is
written (`stamps.py`; ``/s2000``: and 2,000 more bytes), and with ``/j1`` each pause is between half and one and a half
times as long, as models do not keep time to the millisecond.

It prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import selectors
import socket
import sys
import threading
import time
from typing import Union

from formats import format_of
from stamps import StampedEvents

#: Events written to a stream before the next one's turn: more than one only when it is alone.
_BURST = 64

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class _Connection:
    """One client; `left` counts the events still to be sent of the stream under way."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        self.unsent = b""
        self.left = 0
        self.pace = 0.0
        self.has_jitter = False
        self.gated = False
        self.writing = False  # waits for room in the socket
        self.events: Union[tuple[bytes, ...], StampedEvents] = ()
        self.end = b""


class Server:
    """Accepts, reads requests, and gives every open stream its turn."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ready: dict[_Connection, None] = {}  # may be written to at once; a dict keeps the order
        self._later: list[tuple[float, int, _Connection]] = []
        self._gated: list[_Connection] = []
        self._order = itertools.count()
        self._chance = random.Random(1)
        self._stamped: dict[int, StampedEvents] = {}  # by size
        self.port: int = self._listener.getsockname()[1]

    def run(self) -> None:
        while True:
            for key, mask in self._selector.select(self._patience()):
                if key.data is None:
                    self._accept()
                elif mask & selectors.EVENT_WRITE:
                    self._watch(key.data, writing=False)
                    self._ready[key.data] = None
                else:
                    self._read(key.data)
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                self._ready[heapq.heappop(self._later)[2]] = None
            burst = _BURST if len(self._ready) == 1 else 1
            for connection in tuple(self._ready):
                self._turn(connection, burst)

    def _patience(self) -> float | None:
        if self._ready:
            return 0
        return max(0.0, self._later[0][0] - time.monotonic()) if self._later else None

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(sock, selectors.EVENT_READ, _Connection(sock))

    def _watch(self, connection: _Connection, *, writing: bool) -> None:
        connection.writing = writing
        events = selectors.EVENT_WRITE if writing else selectors.EVENT_READ
        self._selector.modify(connection.sock, events, connection)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.received += data
        head, found, body = connection.received.partition(b"\r\n\r\n")
        if not found:
            return
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].split(b":")[1]) if lengths else 0
        if len(body) >= length:
            connection.received = body[length:]
            self._answer(connection, head.split(b" ", 2)[1].decode())

    def _answer(self, connection: _Connection, path: str) -> None:
        if path.endswith("/release"):
            connection.unsent, connection.end, connection.left = _OK, b"", 0
            self._ready[connection] = None
            for waiting in self._gated:
                self._schedule(waiting)
            self._gated = []
            return
        words = [word for word in path.split("/") if word[:1] in tuple("epgjs") and word[1:2].isdigit()]
        settings = {word[0]: word[1:] for word in words}
        begin, connection.events, connection.end = format_of(path)
        if "s" in settings:
            size = int(settings["s"])
            connection.events = self._stamped.setdefault(size, StampedEvents(size))
        connection.unsent = _HEAD + begin
        connection.left = int(settings.get("e", 100))
        connection.pace = float(settings.get("p", 0))
        connection.has_jitter = settings.get("j", "0") != "0"
        connection.gated = settings.get("g", "0") != "0"
        self._ready[connection] = None

    def _turn(self, connection: _Connection, burst: int) -> None:
        """Write up to *burst* events, one write each, and decide when this stream's turn comes again."""
        del self._ready[connection]
        if connection.unsent and not self._write(connection, connection.unsent):
            return
        for _ in range(burst):
            if not connection.left:
                end, connection.end = connection.end, b""
                if end:
                    self._write(connection, end)
                return
            connection.left -= 1
            if not self._write(connection, connection.events[connection.left % len(connection.events)]):
                return
            if connection.gated:
                connection.gated = False
                self._gated.append(connection)
                return
            if connection.pace:
                break
        self._schedule(connection)

    def _schedule(self, connection: _Connection) -> None:
        if connection.pace:
            pause = connection.pace * (self._chance.uniform(0.5, 1.5) if connection.has_jitter else 1)
            heapq.heappush(self._later, (time.monotonic() + pause, next(self._order), connection))
        else:
            self._ready[connection] = None

    def _write(self, connection: _Connection, data: bytes) -> bool:
        """Whether all of *data* went out; if not, this stream waits for room in its socket."""
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return False
        connection.unsent = data[sent:]
        if connection.unsent:
            self._watch(connection, writing=True)
            return False
        return True

    def _close(self, connection: _Connection) -> None:
        self._selector.unregister(connection.sock)
        connection.sock.close()
        self._ready.pop(connection, None)
        self._gated = [other for other in self._gated if other is not connection]
        self._later = [entry for entry in self._later if entry[2] is not connection]
        heapq.heapify(self._later)


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Serve until standard input ends."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    server = Server()
    print(server.port, flush=True)
    server.run()


if __name__ == "__main__":
    main()
