"""
Workers on their way out, for which a fork waits.

When a thread ends, OpenSSL frees what it had for that thread, under locks of its own and after Python has said goodbye
to the thread. A child forked in that moment would find such a lock taken for ever, and its first TLS connection would
hang. A program that makes a call and then forks its own workers meets just that moment.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable

__all__ = ["begins", "ends"]

#: Seconds that a fork waits at most.
_PATIENCE = 0.1
#: Worker threads that run, by their system's id (a late monkey patch changes what `current_thread` gives), each with a
#: function that says whether its call is over.
_running: dict[int, tuple[threading.Thread, Callable[[], bool]]] = {}
#: System ids of those that ended last.
_ended: deque[int] = deque(maxlen=256)


def begins(is_over: Callable[[], bool]) -> None:
    """This thread is a worker, and will soon be gone when its call *is_over*."""
    if _is_native():
        _running[threading.get_native_id()] = threading.current_thread(), is_over


def ends() -> None:
    """This thread has nothing left to do."""
    native = threading.get_native_id()
    if _running.pop(native, None) is not None:
        _ended.append(native)


def _is_native() -> bool:
    """Not one of gevent's, which all share a thread."""
    return threading.get_native_id() != threading.main_thread().native_id


def _before_fork() -> None:
    until = time.monotonic() + _PATIENCE
    for native, (thread, is_over) in _running.copy().items():
        if is_over() and native != threading.get_native_id():
            thread.join(max(0.0, until - time.monotonic()))
    while time.monotonic() < until and any(os.path.exists(f"/proc/self/task/{native}") for native in _ended.copy()):
        time.sleep(0.0005)
    _ended.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_running.clear)
