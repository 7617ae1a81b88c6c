"""
Late monkey patching: gevent or eventlet replaces threads and sockets after anyllm has made some of its own.

Strategy: a lock that was made before the patch blocks the whole thread, and with it every greenlet, the one that would
release it included. So what outlives a call (the timer, the pools of connections) is made anew at the first call after
the patch: whoever starts a call, or watches a deadline, calls `renew`, and that compares three attributes. What a call
makes for itself is looked up in `threading` and `socket` each time, and needs nothing.

Calls that run when the patch comes go on in their native threads, with the native objects that they began with.
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

__all__ = ["began_native", "binds_sockets", "must_look", "on_patch", "problem", "renew", "thread_begins", "thread_ends"]

_renewals: list[Callable[[], object]] = []


def _primitives() -> tuple[Any, ...]:
    return _thread.start_new_thread, socket.socket, ssl.SSLContext


def _has_threads() -> bool:
    return isinstance(_thread.start_new_thread, types.BuiltinFunctionType)


def _kinds() -> tuple[bool, bool, bool]:
    """Whether threads, sockets and TLS are native; what else may be put in their place (by tests) is no patch."""
    has_sockets = not isinstance(socket.socket, type) or issubclass(socket.socket, _socket.socket)
    has_tls = getattr(ssl.SSLContext, "__module__", "ssl") == "ssl"
    return _has_threads(), has_sockets, has_tls


_seen = _primitives()
_seen_kinds = _kinds()
#: Native threads of anyllm's that run, by their system's ids.
_natives: dict[int, None] = {}


def on_patch(renewal: Callable[[], object]) -> None:
    """
    Call *renewal* once after each patch, in the order of registration.

    It must not wait: another greenlet would run, and find the rest not renewed yet.
    """
    _renewals.append(renewal)


def renew() -> None:
    """Make anew what was made before a patch, if there has been one since the last time."""
    global _seen, _seen_kinds
    now = _primitives()
    if now == _seen:
        return
    kinds, _seen = _kinds(), now
    if kinds != _seen_kinds:
        _seen_kinds = kinds
        for renewal in tuple(_renewals):
            renewal()


def thread_begins() -> None:
    """To be called first in each thread of anyllm's."""
    if _has_threads():
        _natives[threading.get_native_id()] = None


def thread_ends() -> None:
    """To be called last."""
    _natives.pop(threading.get_native_id(), None)
    if not _has_threads():
        # `threading` forgets a thread by its number, which the patch has changed, and in a child all threads but one,
        # where greenlets go on. It would print a KeyError for a thread that it does not find; this makes it find one.
        threading.current_thread()


def began_native() -> bool:
    """Whether this is a thread of anyllm's that began before a patch: a greenlet that it starts would never run."""
    return not _has_threads() and threading.get_native_id() in _natives


def must_look() -> bool:
    """
    Whether who waits must look from time to time: threads that began before the patch may have to wake greenlets.

    A lock of eventlet's never sees that, one of gevent's only in later versions (25.9 does not).
    """
    return bool(_natives) and not _has_threads()


def binds_sockets() -> bool:
    """Whether a socket works in one thread only: after ``patch_all(thread=False)`` it waits in that thread's hub."""
    has_threads, has_sockets, _ = _kinds()
    return has_threads and not has_sockets


def problem(*, tls: bool) -> Optional[str]:
    """
    Why no call can be made under the present patch, and what to do; None when it can.

    A greenlet that waits on a native socket stops all the others, the deadlines among them.

    Args:
        tls: Whether the call is over https.
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
