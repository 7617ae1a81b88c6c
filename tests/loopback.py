"""Helpers of tests over a connection: providers, streams, certificates, raw servers, a tunnelling proxy, waiting."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import pathlib
import shutil
import socket
import ssl
import tempfile
import threading
import time
from typing import Any, Callable, List, Optional, Tuple

import pytest
from conftest import TIMEOUT

import anyllm
from anyllm.testing import Reply, Signal, Stall, chat_events

PARAMS = {"model": "m", "messages": [{"role": "user", "content": "Say something."}]}
OFF = anyllm.Timeouts(connect=None, first_content=None, idle=None)
#: No second attempt, so that harm shows, and no clock that could be what ended a call.
PLAIN = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1), timeouts=OFF)
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")


def provider(url: str, **kwargs: Any) -> anyllm.Provider:
    """A provider at *url* that makes one attempt and has no clocks, unless *kwargs* have other options."""
    kwargs.setdefault("options", PLAIN)
    return anyllm.provider("compatible", base_url=f"{url}/v1", api_key="key-of-the-tests", **kwargs)


def stream(url: str, ctx: Optional[anyllm.Context] = None, **options: Any) -> anyllm.Stream:
    """A stream from *url*, with `PLAIN` and *options*."""
    return provider(url, options=PLAIN.evolve(**options)).completion_stream(ctx or anyllm.Context(), PARAMS)


def silent_after(event: threading.Event, text: str = "one two", **fields: Any) -> Reply:
    """A stream that sends *text* and then nothing; *event* is set when it has been sent."""
    events = chat_events(text, finish_reason=None, usage=False)
    return Reply.sse([*events, Signal(event), Stall(), "never sent"], done=False, **fields)


def wait_for(event: threading.Event) -> None:
    assert event.wait(TIMEOUT), "what the test waits for did not happen"


def until(condition: Callable[[], Any], seconds: float = TIMEOUT) -> None:
    """Wait for a state that no event announces, such as a thread's or a socket's end; AssertionError without it."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "what the test waits for did not happen"
        pause.wait(0.002)


def workers() -> List[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "anyllm-call"]


def join_workers() -> None:
    """Every worker thread is over, soon."""
    for worker in workers():
        worker.join(TIMEOUT)
        assert not worker.is_alive()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# Certificates.


class _TLS:
    def __init__(self) -> None:
        import trustme  # not at the top: it is slow to import, and few tests need it

        folder = pathlib.Path(tempfile.mkdtemp(prefix="anyllm-tests-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        authority = trustme.CA()
        self.bundle = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.bundle)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self.server)


@functools.cache
def tls() -> _TLS:
    """A server's certificate for loopback, and the bundle that makes clients trust it."""
    return _TLS()


# A server of bytes.


class Raw:
    """It hands each connection to *handle*, on a thread of its own, for answers that no well-behaved server gives."""

    def __init__(self, handle: Callable[[socket.socket], object], scheme: str = "http") -> None:
        self._handle = handle
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: List[threading.Thread] = []
        self._run(self._accept)

    def _run(self, target: Callable[..., Any], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)  # now that it can be joined

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self._handle(client)

    def wait_closed(self) -> None:
        """Wait until the clients have left."""
        for thread in self._threads[1:]:
            thread.join(TIMEOUT)
            assert not thread.is_alive()

    def _stop_listening(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(TIMEOUT)  # now no client is added any more

    def close(self) -> None:
        self._stop_listening()
        self.wait_closed()


class Mute(Raw):
    """It reads what clients send, and answers nothing: a client that sent its part of a handshake waits for ours."""

    def __init__(self) -> None:
        self._received = threading.Semaphore(0)
        super().__init__(self._listen, "https")

    def _listen(self, client: socket.socket) -> None:
        if client.recv(65536):
            self._received.release()
        while client.recv(65536):
            pass

    def wait_until_received(self) -> None:
        """Wait for the next client that has sent something."""
        assert self._received.acquire(timeout=TIMEOUT)


def raw(handle: Callable[[socket.socket], object]) -> contextlib.closing[Raw]:
    return contextlib.closing(Raw(handle))


def request_from(client: socket.socket) -> bytes:
    """The next request's body; b"" when the client has left."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += client.recv(65536)
    return body


#: The head of a chunked stream.
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(text: Optional[str] = None, *, index: int = 0, finish: Optional[str] = None) -> bytes:
    """One event of OpenAI's."""
    choice = {"index": index, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "1", "choices": [choice]}).encode() + b"\n\n"


# A proxy.


class Tunnel(Raw):
    """An HTTP proxy that knows CONNECT. Its threads end with its connections."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.requested = threading.Event()
        self._answer = answer
        self._open: List[socket.socket] = []
        super().__init__(self._connect)

    def _connect(self, client: socket.socket) -> None:
        self._open.append(client)
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(4096)
            if not data:
                return
            head += data
        self.requested.set()
        if not self._answer:
            client.recv(1)  # silent until the client leaves
            return
        host, _, port = head.split(b" ")[1].rpartition(b":")
        with socket.create_connection((host.decode(), int(port)), timeout=TIMEOUT) as origin:
            origin.settimeout(None)
            self._open.append(origin)
            client.sendall(self._answer)
            self._run(_pass_on, origin, client)
            _pass_on(client, origin)

    def close(self) -> None:
        self._stop_listening()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        super().close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            data = source.recv(65536)
            if not data:
                break
            target.sendall(data)
    for sock in (source, target):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def tunnel(**kwargs: Any) -> contextlib.closing[Tunnel]:
    return contextlib.closing(Tunnel(**kwargs))


def use_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", url)
    monkeypatch.setenv("HTTPS_PROXY", url)


# A resolver that hangs.


def hanging_resolver(monkeypatch: pytest.MonkeyPatch) -> Tuple[threading.Event, threading.Event]:
    """Names are not resolved until the second event is set; the first is set when a thread waits for one."""
    waiting, go_on = threading.Event(), threading.Event()
    resolve = socket.getaddrinfo

    def hang(*args: Any, **kwargs: Any) -> Any:
        waiting.set()
        assert go_on.wait(4 * TIMEOUT)
        if str(args[0]).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return resolve(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    return waiting, go_on


def unanswered(port: int) -> int:
    """How many connections from this machine to *port* wait for an answer."""
    with open("/proc/net/tcp") as table:
        return sum(f":{port:04X} 02 " in line for line in table)  # 2 is SYN_SENT
