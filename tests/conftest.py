"""What every test file shares: threads that report their exceptions, and the proof that none is left behind."""

from __future__ import annotations

import gc
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any, Callable, Iterator, List, Optional

import pytest
from hypothesis import settings
from marks_report import MarksReport

from anyllm import _timer

ROOT = pathlib.Path(__file__).parents[1]
#: Seconds for what should happen at once, so that a bug fails a test and does not hang it.
TIMEOUT = 15
#: Threads that may outlive a test: the shared timer stays half a second after its last entry.
LINGERING = ("anyllm-timer",)


def under_gevent() -> bool:
    """Whether `threading` is gevent's."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class Task(threading.Thread):
    """A daemon thread whose `join` has a limit, raises what the function raised, and gives what it returned."""

    def __init__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(daemon=True)
        self._call = lambda: fn(*args, **kwargs)
        self._result: Any = None
        self._error: Optional[BaseException] = None

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as exc:
            self._error = exc
        finally:
            del self._call  # and with it whatever it referred to

    def join(self, timeout: Optional[float] = TIMEOUT) -> Any:
        """Wait for the end; AssertionError when it does not come in *timeout* seconds."""
        super().join(timeout)
        assert not self.is_alive(), f"{self.name} is still running"
        if self._error is not None:
            raise self._error
        return self._result


def join(tasks: List[Task]) -> List[Any]:
    """The results of all *tasks*, in order; raises the first exception."""
    return [task.join() for task in tasks]


@pytest.fixture
def spawn() -> Callable[..., Task]:
    """``spawn(fn, *args)`` starts a `Task`; whoever forgets to join it fails the no-thread-left test."""

    def start(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Task:
        task = Task(fn, *args, **kwargs)
        task.start()
        return task

    return start


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = _left_behind(before)
    if left:
        gc.collect()  # a failed test's traceback, or a cycle, may hold the channel that keeps a worker alive
    until = time.monotonic() + 5
    for thread in left:
        threading.Thread.join(thread, max(0.0, until - time.monotonic()))
    assert [thread.name for thread in _left_behind(before)] == []
    while _timer.shared._live and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    assert [_described(entry) for entry in _timer.shared._live] == [], "a deadline is left behind"


def _left_behind(before: Any) -> List[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before
        and thread.name not in LINGERING
        and not isinstance(thread, threading._DummyThread)  # gevent's name for greenlets which it did not start
    ]


@pytest.fixture
def fast_switches() -> Iterator[None]:
    """The interpreter changes threads as often as it can, so that races happen in a test and not in production."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def script(tmp_path: pathlib.Path) -> Callable[..., subprocess.Popen[str]]:
    """
    Start a script in a process of its own, for what could hang or needs the main thread to itself.

    It inherits gevent's patching, if any, and is killed with every thread's traceback when it takes too long.
    """

    def start(source: str, seconds: float = 60) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        guard = f"import faulthandler; faulthandler.dump_traceback_later({seconds}, exit=True)\n"
        path.write_text(guard + textwrap.dedent(source))
        patched = ["-m", "gevent.monkey"] if under_gevent() else []
        return subprocess.Popen(
            [sys.executable, *patched, str(path)],
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture
def run_script(script: Callable[..., subprocess.Popen[str]]) -> Callable[..., str]:
    """Run a script to its end and give what it said; AssertionError, with that, when it fails."""

    def run(source: str, seconds: float = 60) -> str:
        process = script(source, seconds)
        said, _ = process.communicate(timeout=seconds + 30)
        assert process.returncode == 0, said
        return said

    return run


#: Files whose tests read and write data, and neither wait nor talk to anybody: what the oldest Python does with them,
#: the newest does too.
PLAIN = re.compile(
    r"test_(formats_\w+|gateway_(anthropic|gemini|ollama|responses)|anthropic_messages|bedrock_\w+|cohere_v\d|dashscope"
    r"|gemini|hunyuan|ollama_chat|openai_chat|openai_responses)\.py"
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Let hypothesis think of a share of its examples only: for checks that repeat those of another Python."""
    for item in items:
        if PLAIN.fullmatch(item.path.name):
            item.add_marker("plain")
    share = float(os.environ.get("ANYLLM_EXAMPLES", "1"))
    for item in items if share < 1 else ():
        test = getattr(item, "obj", None)
        test = getattr(test, "__func__", test)
        if getattr(test, "is_hypothesis_test", False):
            chosen = getattr(test, "_hypothesis_internal_use_settings", None) or settings()
            fewer = max(5, int(chosen.max_examples * share))
            test._hypothesis_internal_use_settings = settings(chosen, max_examples=fewer)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts background jobs so, and every process that a test starts would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(MarksReport(), "marks-report")


def _described(entry: Any) -> str:
    held = [cell.cell_contents for cell in getattr(entry.call, "__closure__", None) or ()]
    return f"{entry.call} over {held} in {entry.when - time.monotonic():.1f} s"
