"""
llama.cpp's HTTP server in this process: started at the first use, stopped at exit, not shared by forks.

Strategy: one `_ProcessServer` for the process. The library does not support forks: its destructors wait for threads
that only the parent has, at the exit of every child, whether or not the child uses it. So a child destroys nothing that
it inherited, starts its own server on first use, and exits without running the destructors.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import http.client
import json
import os
import secrets
import threading
import time
from typing import Any

import attrs

from anyllm._concurrency import monkey_patch
from anyllm._stream.active_calls import end_all
from anyllm.providers.local import llama_cpp
from anyllm.providers.local.weights import ensure_weights

_GRACE = 0.3  # seconds at exit for streams that were just cancelled


@attrs.frozen
class Endpoint:
    """
    The local model's URL and key.

    Attributes:
        base_url: ``http://127.0.0.1:PORT/v1``, as for OpenAI's clients.
        api_key: The bearer token; random, and known only to this process.
    """

    base_url: str
    api_key: str = attrs.field(repr=False)


def endpoint() -> Endpoint:
    """
    Start the local model's server, unless it runs in this process.

    The first call may take a while (the weights are downloaded once; loading takes half a second); later calls return
    at once. Safe in any thread.

    Returns:
        The same endpoint each time; a forked child has its own.

    Raises:
        LocalUnavailableError: It cannot run here; the message says why, and what to do. The next call tries again.
    """
    return _server.endpoint()


class _ProcessServer:
    """The server of this process. Shared between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below; held while the weights are downloaded and the model is loaded
        self._server: Any = None
        self._endpoint: Endpoint | None = None
        self._loaded = False  # the library has started threads in this process
        self._inherited = False  # this process was forked from one in which it had

    def endpoint(self) -> Endpoint:
        with self._lock:
            if self._endpoint is None:
                self._endpoint = self._start()
            return self._endpoint

    def _start(self) -> Endpoint:
        llama_cpp.require()
        llama_cpp.probe()
        model = ensure_weights()
        llama_cpp.probe(model)
        api_key = secrets.token_urlsafe(32)
        self._loaded = True  # even if the start fails
        self._server = llama_cpp.start(model, api_key)
        if self._inherited:
            _leak(self._server)
        return Endpoint(base_url=f"{self._server.listening_address}/v1", api_key=api_key)

    def after_fork(self) -> None:
        """Drop the parent's server, in the child."""
        # A thread of the parent may have held the lock; in the child nothing would release it.
        self._lock = threading.Lock()
        if self._loaded:
            self._inherited = True
            _leak(self._server)
            _skip_destructors()
        self._server = self._endpoint = None

    def after_patch(self) -> None:
        """Replace the lock with one for greenlets, unless a native thread is loading the model now."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
            self._lock = threading.Lock()

    def stop(self) -> None:
        """Stop the server, at interpreter exit."""
        # A daemon thread may hold the lock during a download, which the exit must not wait for.
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._server is None or self._endpoint is None or self._inherited:
                return
            _wait_until_idle(self._endpoint)
            # The last reference: the destructor joins the library's threads. During a stream that takes up to two
            # seconds (see `sse_ping_interval`).
            self._server = self._endpoint = None
        finally:
            self._lock.release()


def _wait_until_idle(address: Endpoint) -> None:
    """
    Wait until streams that were just cancelled have ended.

    The server notices that a client has left when it writes the next token. If it is stopped before that, stopping
    takes a second or two; so Ctrl-C during an answer takes some 20 ms.
    """
    deadline = time.monotonic() + _GRACE
    host = address.base_url[len("http://") : -len("/v1")]
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(host, timeout=_GRACE)
        try:
            connection.request("GET", "/slots", headers={"Authorization": f"Bearer {address.api_key}"})
            slots = json.loads(connection.getresponse().read())
            if not any(slot["is_processing"] for slot in slots):
                return
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return  # stopping takes longer, no more
        finally:
            connection.close()
        time.sleep(0.005)


def _leak(server: Any) -> None:
    """Add a reference that is never released, so that no destructor runs."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))


def _skip_destructors() -> None:
    """
    Make the C library's exit() end this process before it runs the destructors of loaded libraries.

    Exit handlers run last in, first out, after Python has shut down (with its own exit handlers, and files flushed). So
    `_exit`, registered now, runs before the destructors, which would wait for ever on a condition variable whose
    waiters stayed in the parent. glibc's on_exit passes the exit status on; systems without it (macOS, musl) have no
    equivalent, and a child should exit by `os._exit`, as those of multiprocessing do.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.on_exit(libc._exit, None)


_server = _ProcessServer()
atexit.register(_server.stop)
atexit.register(end_all)  # runs before the other: a server with running streams takes seconds to stop
monkey_patch.on_patch(_server.after_patch)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_server.after_fork)
