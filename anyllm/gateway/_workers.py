"""
Several processes that serve one gateway, because one Python answers on one core.

Strategy: the sockets are bound before the processes are forked, and all accept on them. The parent only waits: it hands
on signals, and starts another worker for one that was killed. Should it be killed itself, its end of a pipe is closed,
and the workers end. Figures of all are added up by prometheus-client, through files in a folder of their own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

from anyllm.gateway._signals import SIGNALS, handled_by

__all__ = ["run_workers"]

_log = logging.getLogger("anyllm.gateway")

#: Where prometheus-client looks for the folder, when it is loaded.
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def run_workers(count: int, serve: Callable[[], int]) -> int:
    """
    Run *serve* in *count* processes, until a signal ends them. For the main thread, on systems that fork.

    Args:
        count: How many.
        serve: Serves until SIGINT or SIGTERM comes, which each process gets; gives its exit status.

    Returns:
        The worst exit status.
    """
    with _shared_figures(), _pipe() as (ours, theirs), _handing_on() as children:

        def begin() -> None:
            children.add(_fork(serve, ours, theirs))

        for _ in range(count):
            begin()
        worst = 0
        while children:
            pid, status = os.wait()
            children.discard(pid)
            if os.WIFSIGNALED(status) and not children.is_ending:
                _log.error("a worker was ended by signal %d; another begins", os.WTERMSIG(status))
                begin()
            elif os.WIFEXITED(status):
                worst = max(worst, os.WEXITSTATUS(status))
        return worst


class _Children(set):  # type: ignore[type-arg]  # of process ids
    is_ending = False


def _fork(serve: Callable[[], int], ours: int, theirs: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler)
        os.close(ours)
        threading.Thread(target=_end_with_parent, args=(theirs,), name="anyllm-parent", daemon=True).start()
        code = serve()
    except KeyboardInterrupt:
        code = 0
    except BaseException:
        _log.exception("a worker ended")
    finally:
        os._exit(code)  # what the parent has to put away is the parent's


def _end_with_parent(theirs: int) -> None:
    os.read(theirs, 1)  # nobody writes: it ends when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    theirs, ours = os.pipe()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


@contextlib.contextmanager
def _handing_on() -> Iterator[_Children]:
    children = _Children()

    def hand_on(number: int, _frame: Any) -> None:
        children.is_ending = True
        for pid in tuple(children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    with handled_by(hand_on):
        yield children


@contextlib.contextmanager
def _shared_figures() -> Iterator[None]:
    folder, before = tempfile.mkdtemp(prefix="anyllm-figures-"), os.environ.get(_FOLDER)
    os.environ[_FOLDER] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FOLDER]
        else:
            os.environ[_FOLDER] = before
        shutil.rmtree(folder, ignore_errors=True)
