"""
Run a gateway in several worker processes, because one Python uses one core.

Strategy: the sockets are bound before the workers are forked, and every worker accepts on them. The parent forwards
signals to the workers and replaces a worker that was killed. If the parent itself is killed, its end of a pipe closes,
and the workers end. prometheus-client adds up the metrics of all workers, through files in a temporary folder.
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

_log = logging.getLogger("anyllm.gateway")

#: The signals that end a gateway.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: The variable that tells prometheus-client the folder; read when it is imported.
_FOLDER_VAR = "PROMETHEUS_MULTIPROC_DIR"


def run_workers(count: int, serve: Callable[[], int]) -> int:
    """
    Run *serve* in *count* processes, until a signal ends them. For the main thread, on systems that can fork.

    *serve* runs until SIGINT or SIGTERM, which each process gets; it returns an exit status, and this the worst one.
    """
    with _metrics_folder(), contextlib.ExitStack() as stack, _forwarding_signals() as children:
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)

        def start() -> None:
            children.add(_fork(serve, reader, writer))

        for _ in range(count):
            start()
        worst = 0
        while children:
            pid, status = os.wait()
            children.discard(pid)
            if os.WIFSIGNALED(status) and not children.is_ending:
                _log.error("signal %d ended a worker; starting another", os.WTERMSIG(status))
                start()
            elif os.WIFEXITED(status):
                worst = max(worst, os.WEXITSTATUS(status))
        return worst


@contextlib.contextmanager
def handled_by(handle: Callable[[int, Any], object]) -> Iterator[None]:
    """Have *handle* called for the signals that end a gateway within the block. For the main thread."""
    previous = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Children(set):  # type: ignore[type-arg]  # of process ids
    is_ending = False


def _fork(serve: Callable[[], int], reader: int, writer: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.default_int_handler)
        os.close(writer)
        threading.Thread(target=_end_with_parent, args=(reader,), name="anyllm-parent", daemon=True).start()
        code = serve()
    except KeyboardInterrupt:
        code = 0
    except BaseException:
        _log.exception("a worker failed")
    finally:
        os._exit(code)  # the parent's exit handlers and context managers are not for the child


def _end_with_parent(reader: int) -> None:
    os.read(reader, 1)  # nothing is written: it returns when the parent has ended
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _forwarding_signals() -> Iterator[_Children]:
    children = _Children()

    def forward(number: int, _frame: Any) -> None:
        children.is_ending = True
        for pid in tuple(children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    with handled_by(forward):
        yield children


@contextlib.contextmanager
def _metrics_folder() -> Iterator[None]:
    folder, previous = tempfile.mkdtemp(prefix="anyllm-metrics-"), os.environ.get(_FOLDER_VAR)
    os.environ[_FOLDER_VAR] = folder
    try:
        yield
    finally:
        if previous is None:
            del os.environ[_FOLDER_VAR]
        else:
            os.environ[_FOLDER_VAR] = previous
        shutil.rmtree(folder, ignore_errors=True)
