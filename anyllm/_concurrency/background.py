"""
Starting a thread, and logging, from where no lock may be waited for: a finalizer, a signal handler, the timer's thread.

A finalizer or a signal handler may interrupt any line of any thread, and wait for a lock that its own thread holds, for
ever. `Thread.start` takes locks of `threading`; a log handler takes its own, `logging.handlers.QueueHandler` that of a
queue, in the middle of whose `get` the collector may run.
"""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Optional

from anyllm._concurrency import monkey_patch, waiters

__all__ = ["flush_log", "log", "start_thread"]

_log = logging.getLogger("anyllm")

_start_native = _thread.start_new_thread

#: Functions that are to run, each on a thread of its own, with the thread's name.
_jobs: deque[tuple[Callable[[], object], str]] = deque()
#: The right to start `_dispatch`: empty while it runs.
_dispatcher: list[None] = [None]
#: Level, message, arguments and exception of what is to be logged.
_records: deque[tuple[int, str, tuple[Any, ...], Optional[BaseException]]] = deque()
#: The right to start a thread that logs: empty while one is on its way.
_logger: list[None] = [None]
#: Held while records are logged, so that exit waits for the one under way. No finalizer and no signal handler takes it.
_flushing = threading.Lock()
#: Seconds that exit waits for it at most.
_PATIENCE = 1.0


def start_thread(target: Callable[[], object], name: str) -> None:
    """
    Call *target* soon, on a daemon thread of its own. Takes no lock.

    Raises:
        RuntimeError: no thread can be started now; the interpreter is shutting down, for example.
    """
    if monkey_patch.began_native():
        _start_native(target, ())  # the timer's, for a deadline that is older than the patch
        return
    job = (target, name)
    _jobs.append(job)
    if not waiters.take_one(_dispatcher):
        return  # it is running, and looks again before it ends
    try:
        _thread.start_new_thread(_dispatch, ())
    except RuntimeError:
        _dispatcher.append(None)
        try:
            _jobs.remove(job)
        except ValueError:
            return  # another thread's dispatcher has taken it
        raise


def _dispatch() -> None:
    """
    Start the threads.

    On a thread that `_thread` started, which `threading` does not know: nothing here may ask for the current thread,
    which would leave an entry for it behind.
    """
    while True:
        try:
            target, name = _jobs.popleft()
        except IndexError:
            _dispatcher.append(None)
            if _jobs and waiters.take_one(_dispatcher):  # a job came while we looked the other way
                continue
            return
        try:
            threading.Thread(target=target, name=name, daemon=True).start()
        except RuntimeError:
            target()


def log(level: int, message: str, *args: Any, exc: Optional[BaseException] = None) -> None:
    """Log *message* % *args* soon, on another thread. Takes no lock."""
    _records.append((level, message, args, exc))
    if waiters.take_one(_logger):
        try:
            start_thread(_log_all, "anyllm-log")
        except RuntimeError:
            _logger.append(None)  # at exit, when `flush_log` runs


def _log_all() -> None:
    _logger.append(None)  # first: a record that comes after the last look finds the right to start a thread
    flush_log()


def flush_log() -> None:
    """Log what waits, on this thread, after what another thread is logging."""
    lock = _flushing
    if not lock.acquire(timeout=_PATIENCE):
        return
    try:
        while True:
            level, message, args, exc = _records.popleft()
            _log.log(level, message, *args, exc_info=exc)
    except IndexError:
        pass
    finally:
        lock.release()


def _renew_lock() -> None:
    global _flushing
    _flushing = threading.Lock()


def _after_fork() -> None:
    """In a child: what waits is the parent's to do, and its threads are not here."""
    _renew_lock()
    _jobs.clear()
    _records.clear()
    _dispatcher[:] = _logger[:] = [None]


atexit.register(flush_log)
monkey_patch.on_patch(_renew_lock)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
