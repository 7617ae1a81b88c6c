"""
Delays a fork until ending worker threads are gone.

When a thread ends, OpenSSL frees its data for that thread, under its own locks and after Python's part of the thread
has ended. A child forked in that moment would find such a lock taken for ever, and its first TLS connection would hang.
A program that makes a call and then forks its own workers hits just that moment.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable

#: Seconds that a fork waits at most.
_MAX_DELAY = 0.1
#: Running worker threads by their native id (a late monkey patch changes `current_thread`), each with a function that
#: returns whether its call has ended.
_running: dict[int, tuple[threading.Thread, Callable[[], bool]]] = {}
#: Native ids of the workers that ended last.
_ended: deque[int] = deque(maxlen=256)


def add_worker(has_ended: Callable[[], bool]) -> None:
    """Register this thread as a worker, which ends soon after its call *has_ended*."""
    if _is_native():
        _running[threading.get_native_id()] = threading.current_thread(), has_ended


def remove_worker() -> None:
    """Called last on the worker's thread."""
    native = threading.get_native_id()
    if _running.pop(native, None) is not None:
        _ended.append(native)


def _is_native() -> bool:
    """Whether this is no greenlet of gevent's; those all share one thread."""
    return threading.get_native_id() != threading.main_thread().native_id


def _before_fork() -> None:
    deadline = time.monotonic() + _MAX_DELAY
    for native, (thread, has_ended) in _running.copy().items():
        if has_ended() and native != threading.get_native_id():
            thread.join(max(0.0, deadline - time.monotonic()))
    while time.monotonic() < deadline and any(os.path.exists(f"/proc/self/task/{native}") for native in _ended.copy()):
        time.sleep(0.0005)
    _ended.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_running.clear)
