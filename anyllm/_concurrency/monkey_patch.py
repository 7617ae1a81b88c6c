"""
Late monkey patching: gevent or eventlet replaces threads and sockets after anyllm has made some of its own.

Strategy: a lock that was made before the patch blocks the whole thread, and with it every greenlet, also the one that
would release it. So objects that outlive a call (the timer, the pools of connections) are replaced at the first call
after the patch: code that starts a call or registers a deadline calls `renew`, which compares three attributes. The
objects of a single call come from `threading` and `socket` each time, and need nothing.

Calls that run during the patch continue on their native threads, with their native objects.
"""

from __future__ import annotations

import _socket
import _thread
import os
import socket
import ssl
import threading
import types
from collections.abc import Callable
from typing import Any, Optional

_renewals: list[Callable[[], object]] = []


def _primitives() -> tuple[Any, ...]:
    return _thread.start_new_thread, socket.socket, ssl.SSLContext


def _has_threads() -> bool:
    return isinstance(_thread.start_new_thread, types.BuiltinFunctionType)


def _kinds() -> tuple[bool, bool, bool]:
    """Whether threads, sockets and TLS are native. Other replacements, by tests for example, are no patch."""
    has_sockets = not isinstance(socket.socket, type) or issubclass(socket.socket, _socket.socket)
    has_tls = getattr(ssl.SSLContext, "__module__", "ssl") == "ssl"
    return _has_threads(), has_sockets, has_tls


_seen = _primitives()
_seen_kinds = _kinds()
#: Running native threads of anyllm, by their native ids.
_natives: dict[int, None] = {}


def on_patch(renewal: Callable[[], object]) -> None:
    """
    Call *renewal* once after each patch, in the order of registration.

    It must not wait: another greenlet would run before the other renewals.
    """
    _renewals.append(renewal)


def renew() -> None:
    """Call the renewals if there has been a patch since the last time."""
    global _seen, _seen_kinds
    current = _primitives()
    if current == _seen:
        return
    kinds, _seen = _kinds(), current
    if kinds != _seen_kinds:
        _seen_kinds = kinds
        for renewal in tuple(_renewals):
            renewal()


def thread_begins() -> None:
    """Called first in each thread of anyllm."""
    if _has_threads():
        _natives[threading.get_native_id()] = None


def thread_ends() -> None:
    """Called last in each thread of anyllm."""
    _natives.pop(threading.get_native_id(), None)
    if not _has_threads():
        # `threading` removes a thread by its id, which the patch has changed; and in a child it has removed all but
        # one, though greenlets continue. It would print a KeyError for a missing thread; this adds an entry for it.
        threading.current_thread()


def run_native(target: Callable[[], object]) -> None:
    """Call *target* on a native thread that began after a patch."""
    _natives[threading.get_native_id()] = None
    try:
        target()
    finally:
        _natives.pop(threading.get_native_id(), None)


def began_native() -> bool:
    """Whether this is a thread of anyllm from before a patch: a greenlet that it starts would never run."""
    return not _has_threads() and threading.get_native_id() in _natives


def must_poll() -> bool:
    """
    Whether a waiting greenlet must poll its lock, because a thread from before the patch may release it.

    A lock of eventlet's does not notice that, one of gevent's only in later versions (25.9 does not).
    """
    return bool(_natives) and not _has_threads()


def is_patched() -> bool:
    """Whether threads, sockets or TLS are replaced now."""
    return not all(_kinds())


def binds_sockets() -> bool:
    """Whether a socket works in one thread only: after ``patch_all(thread=False)`` it waits in that thread's hub."""
    has_threads, has_sockets, _ = _kinds()
    return has_threads and not has_sockets


def problem(*, tls: bool) -> Optional[str]:
    """
    Why no call, over https if *tls*, can be made under the current patch, and how to fix that; None if it can.

    A greenlet that waits on a native socket blocks all the others, deadlines included.
    """
    has_threads, has_sockets, has_tls = _kinds()
    if has_threads or not (has_sockets or (tls and has_tls)):
        return None
    missing = "sockets are" if has_sockets else "TLS is"
    return (
        f"threads are greenlets, but {missing} not patched: a silent host would stop the whole process, and no "
        "deadline could end that; patch everything, with gevent.monkey.patch_all() (without socket=False or ssl=False) "
        "or eventlet.monkey_patch()"
    )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_natives.clear)
