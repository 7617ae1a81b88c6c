"""
Starting threads and logging from code that must not wait for locks: finalizers, signal handlers, the timer's thread.

A finalizer or a signal handler may interrupt any line, and would wait for ever for a lock that its own thread holds.
`Thread.start` takes locks of `threading`; a log handler takes its own, `logging.handlers.QueueHandler` that of a queue,
in the middle of whose `get` the collector may run.
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

_log = logging.getLogger("anyllm")

_start_native = _thread.start_new_thread

#: Functions to run, each on a new thread, with the thread's name.
_jobs: deque[tuple[Callable[[], object], str]] = deque()
#: The permit to start `_dispatch`: empty while it runs.
_dispatcher: list[None] = [None]
#: Records to log: level, message, arguments and exception.
_records: deque[tuple[int, str, tuple[Any, ...], Optional[BaseException]]] = deque()
#: The permit to start a thread that logs: empty while one is about to run.
_logger: list[None] = [None]
#: Held while records are logged, so that exit waits for that. No finalizer and no signal handler takes it.
_flushing = threading.Lock()
#: Seconds that exit waits for it at most.
_FLUSH_TIMEOUT = 1.0


def start_thread(target: Callable[[], object], name: str) -> None:
    """Call *target* soon, on a new daemon thread. Takes no lock; RuntimeError if none can be started, as at exit."""
    if monkey_patch.began_native():
        _start_native(monkey_patch.run_native, (target,))  # for a deadline of the timer that is older than the patch
        return
    job = (target, name)
    _jobs.append(job)
    if not waiters.take_one(_dispatcher):
        return  # it runs, and checks again before it ends
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

    Runs on a thread that `_thread` started, which `threading` does not know: nothing here may call `current_thread`,
    which would leave an entry behind.
    """
    while True:
        try:
            target, name = _jobs.popleft()
        except IndexError:
            _dispatcher.append(None)
            if _jobs and waiters.take_one(_dispatcher):  # a job came before the permit was back
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
    _logger.append(None)  # first: a record that comes after the last check finds the permit
    flush_log()


def flush_log() -> None:
    """Log all records now, on this thread, after another thread that is logging."""
    lock = _flushing
    if not lock.acquire(timeout=_FLUSH_TIMEOUT):
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
    """In a child: the jobs and records are the parent's, and its threads are not here."""
    _renew_lock()
    _jobs.clear()
    _records.clear()
    _dispatcher[:] = _logger[:] = [None]


atexit.register(flush_log)
monkey_patch.on_patch(_renew_lock)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
