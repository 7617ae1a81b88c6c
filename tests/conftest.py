"""Fixtures and hooks of all tests: threads that report their exceptions, time, scripts, marks, leftover threads."""

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
from recordings import Recording, is_long, sampled_ids

from anyllm import context
from anyllm._concurrency import clock, timer
from anyllm._stream import pump

# A machine may be busy: no example fails because it took long.
settings.register_profile("anyllm", deadline=None)
settings.load_profile("anyllm")

ROOT = pathlib.Path(__file__).parents[1]
#: Seconds for what should happen at once, so that a bug fails a test and does not hang it.
TIMEOUT = 30
#: Threads that may outlive a test: the shared timer and the loop stay half a second after their last work.
LINGERING = ("anyllm-timer", "anyllm-loop")


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
    """``spawn(fn, *args)`` starts a `Task`; without its join, the check for leftover threads fails."""

    def start(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Task:
        task = Task(fn, *args, **kwargs)
        task.start()
        return task

    return start


#: Files of tests/stream about what happens before there is an answer to read, or in processes of their own.
ONE_DRIVER = ("test_errors_on_the_wire.py", "test_exit.py", "test_recovery.py", "test_retry.py", "test_signals.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is promised of a call holds whichever thread reads its answer: those tests run with both drivers."""
    path = metafunc.definition.path
    if path.parent.name == "stream" and path.name not in ONE_DRIVER and not under_gevent():
        marks = () if path.name == "test_polled_reader.py" else pytest.mark.once  # that one tests the loop itself
        looped = pytest.param("loop", marks=marks)
        metafunc.parametrize("driver", ["thread", looped], indirect=True)


@pytest.fixture(autouse=True)
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What reads the answers of a test's calls: "thread", "loop", or "" for what their options say."""
    name: str = getattr(request, "param", "")
    if name:
        monkeypatch.setattr(pump, "reads_on_loop", lambda options: name == "loop")
    return name


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 5
    while (left := _left_behind(before)) and time.monotonic() < until:  # one that was about to start may come yet
        gc.collect()  # a failed test's traceback, or a cycle, may hold the channel that keeps a worker alive
        for thread in left:
            threading.Thread.join(thread, max(0.0, until - time.monotonic()))
    assert [thread.name for thread in _left_behind(before)] == []
    while timer.shared._live and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    assert [_described(entry) for entry in timer.shared._live] == [], "a deadline is left behind"


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


class LaterTime:
    """A `time` module whose monotonic clock a test sets forward, so that deadlines come when the test is ready."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def forward(self, seconds: float = 1e6) -> None:
        """Let *seconds* pass; returns when everything that is due by then has happened on the timer's thread."""
        self.ahead += seconds
        wake_timer()


def wake_timer() -> None:
    """Wait until the shared timer has called everything that is due."""
    has_called = threading.Event()
    timer.shared.call_at(timer.time.monotonic(), has_called.set)  # the last of all that are due
    timer.shared.call_at(0.0, int)  # the first: it wakes the thread, which sleeps by the real time
    assert has_called.wait(TIMEOUT)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[LaterTime]:
    """The time of contexts, of the clocks of calls and of their timer; for one step forward, near the test's end."""
    made = LaterTime()
    with monkeypatch.context() as patch:
        for module in (context, timer, clock):
            patch.setattr(module, "time", made)
        yield made
    wake_timer()  # which may sleep until an instant that is far ahead


def hide_package(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make imports of a package fail, as if it were not installed."""
    for module in [name, *(loaded for loaded in sys.modules if loaded.startswith(f"{name}."))]:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.fixture
def script(tmp_path: pathlib.Path) -> Callable[..., subprocess.Popen[str]]:
    """
    Start a script in a process of its own, for what could hang or needs the main thread to itself.

    It inherits gevent's patching, if any, and is killed with every thread's traceback when it takes too long.
    """

    def start(source: str, seconds: float = 120) -> subprocess.Popen[str]:
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
    """Run a script to its end and return its output; AssertionError, with the output, when it fails."""

    def run(source: str, seconds: float = 120) -> str:
        process = script(source, seconds)
        output, _ = process.communicate(timeout=seconds + 30)
        assert process.returncode == 0, output
        return output

    return run


@pytest.fixture(scope="session")
def weights() -> pathlib.Path:
    """The file of the local model, downloaded at most once on a machine; skips the test where it cannot run."""
    from anyllm.errors import LocalUnavailableError
    from anyllm.providers.local import ensure_weights, llama_cpp

    try:
        llama_cpp.require()
        return ensure_weights()
    except LocalUnavailableError as exc:
        pytest.skip(str(exc))


#: Files whose tests read and write data, and neither wait nor talk to anybody: what the oldest Python does with them,
#: the newest does too.
PLAIN = re.compile(
    r"/wire_formats/test_(server_\w+|conformance_(transcripts|hostile|requests|servers)|anthropic_messages|bedrock_\w+"
    r"|cohere_v\d|dashscope|gemini|hunyuan|ollama|openai_chat|openai_responses)\.py$"
)


#: The share of its examples that hypothesis thinks of in the default run, and how many at least.
DEFAULT_SHARE, FEWEST = 0.05, 5


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="also run what takes long: every recording, all of hypothesis' examples, official clients, the local "
        "model, a browser (needs the extra test-long); with -m long nothing else. ANYLLM_LONG=1 does the same",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--long"):
        os.environ["ANYLLM_LONG"] = "1"  # for modules that are imported later, and for processes that tests start
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts background jobs so, and every process that a test starts would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(MarksReport(), "marks-report")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Optional[int]:
    """As many processes as processors; none for a single file, whose output is then easier to read."""
    paths = [arg for arg in config.args if not arg.startswith("-")]
    if len(paths) == 1 and ".py" in paths[0]:
        return 0
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Mark what the long run alone does, and leave it out of the default run."""
    for item in items:
        if PLAIN.search(item.path.as_posix()):
            item.add_marker("plain")
        if any(item.get_closest_marker(mark) for mark in ("model", "browser")):
            item.add_marker("long")
        if is_long() and _does_more_at_length(item):
            item.add_marker("long")
    items.sort(key=lambda item: item.path.name != "test_gevent.py")  # the longest ones first, so that none is the last
    if not is_long():
        _think_of_fewer_examples(items)
        left_out = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)


def at_length(number: int, *, default: int) -> int:
    """How many a test that is marked "partly" tries: *number* in the long run."""
    return number if is_long() else default


def _does_more_at_length(item: pytest.Item) -> bool:
    """Whether the default run does only a part of this: some of the examples, or of the recordings."""
    if _is_of_hypothesis(item) or item.get_closest_marker("partly"):
        return True
    if not item.get_closest_marker("recordings"):
        return False
    callspec = getattr(item, "callspec", None)
    recording = callspec.params.get("recording") if callspec else None
    return not isinstance(recording, Recording) or recording.id not in sampled_ids()


def _is_of_hypothesis(item: pytest.Item) -> bool:
    return bool(getattr(getattr(item, "obj", None), "is_hypothesis_test", False))


def _think_of_fewer_examples(items: List[pytest.Item]) -> None:
    tests = [item.obj for item in items if _is_of_hypothesis(item)]  # type: ignore[attr-defined]
    for test in {getattr(test, "__func__", test) for test in tests}:  # of several items once
        chosen = getattr(test, "_hypothesis_internal_use_settings", None) or settings()
        fewer = max(FEWEST, int(chosen.max_examples * DEFAULT_SHARE))
        test._hypothesis_internal_use_settings = settings(chosen, max_examples=min(fewer, chosen.max_examples))


def _described(entry: Any) -> str:
    held = [cell.cell_contents for cell in getattr(entry.call, "__closure__", None) or ()]
    return f"{entry.call} over {held} in {entry.when - time.monotonic():.1f} s"
