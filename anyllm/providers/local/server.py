"""
llama.cpp's HTTP server inside this process: started at the first use, stopped at exit, not shared by forks.

Strategy: one `_Host` for the process. The library was not made for forks: its destructors wait for threads
that only the parent has, at the exit of any child too, whether or not the child uses it. A child therefore
destroys nothing that it inherited, starts a server of its own when asked, and leaves without destructors.
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

_GRACE = 0.3  # seconds that streams which were just cancelled have to notice it at exit


@attrs.frozen
class Endpoint:
    """
    Where the local model answers, and with which key.

    Attributes:
        base_url: ``http://127.0.0.1:PORT/v1``, as OpenAI's clients take it.
        api_key: The bearer token; random, and known to this process alone.
    """

    base_url: str
    api_key: str = attrs.field(repr=False)


def endpoint() -> Endpoint:
    """
    Give the local model's server, started at the first call in each process.

    The first call may take a while (weights are downloaded once; loading takes half a second); later ones are
    immediate. Safe in any thread.

    Returns:
        The same endpoint every time, until a fork: the child gets its own.

    Raises:
        LocalUnavailableError: It cannot run here; the message says why and what to do.
            The next call tries again.
    """
    return _host.endpoint()


class _Host:
    """The server of this process. Any thread may ask for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below; held while the weights come and the model loads
        self._server: Any = None
        self._endpoint: Endpoint | None = None
        self._loaded = False  # the library has threads of its own in this process
        self._haunted = False  # it had them in the parent when this process was forked

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
        if self._haunted:
            _never_destroy(self._server)
        return Endpoint(base_url=f"{self._server.listening_address}/v1", api_key=api_key)

    def after_fork(self) -> None:
        """Forget the parent's server, in the child."""
        # Another thread of the parent may have held the lock; here nobody would ever release it.
        self._lock = threading.Lock()
        if self._loaded:
            self._haunted = True
            _never_destroy(self._server)
            _skip_destructors()
        self._server = self._endpoint = None

    def after_patch(self) -> None:
        """Let greenlets wait for the lock, but for a native thread that loads the model now."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
            self._lock = threading.Lock()

    def stop(self) -> None:
        """Stop the server, at interpreter exit."""
        # A daemon thread may hold the lock in a download, and exit waits for no download.
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._server is None or self._endpoint is None or self._haunted:
                return
            _wait_until_idle(self._endpoint)
            # The last reference: the destructor joins the library's threads. With streams still under way it
            # takes up to two seconds (see `sse_ping_interval`).
            self._server = self._endpoint = None
        finally:
            self._lock.release()


def _wait_until_idle(where: Endpoint) -> None:
    """
    Give streams that were cancelled a moment ago the time to end.

    The server notices a lost client when it writes the next token. Stopped before that, it waits a second or
    two; this way Ctrl-C in the middle of an answer costs some 20 ms.
    """
    deadline = time.monotonic() + _GRACE
    host = where.base_url[len("http://") : -len("/v1")]
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(host, timeout=_GRACE)
        try:
            connection.request("GET", "/slots", headers={"Authorization": f"Bearer {where.api_key}"})
            slots = json.loads(connection.getresponse().read())
            if not any(slot["is_processing"] for slot in slots):
                return
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return  # it was only a courtesy
        finally:
            connection.close()
        time.sleep(0.005)


def _never_destroy(server: Any) -> None:
    """Add a reference that nobody takes away."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))


def _skip_destructors() -> None:
    """
    Make the C library's exit() end this process before it runs the destructors of loaded libraries.

    Handlers run last in, first out, after Python has ended in good order (its own exit handlers run, its
    files flushed), so `_exit` registered now comes before the destructors, which would wait for ever on a
    condition variable whose waiters stayed in the parent. glibc's on_exit passes the exit status on; where it
    is absent (macOS, musl) there is no equivalent, and a child should leave by `os._exit`, as those of
    multiprocessing do.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.on_exit(libc._exit, None)


_host = _Host()
atexit.register(_host.stop)
atexit.register(end_all)  # runs first: a server with streams under way takes seconds to stop
monkey_patch.on_patch(_host.after_patch)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_host.after_fork)
