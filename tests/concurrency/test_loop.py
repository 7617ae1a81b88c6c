"""The loop: its thread starts and ends as often as it must, serves every caller, and holds nothing that is over."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import weakref
from typing import Any, Callable, Iterator, List

import loopback
import pytest
from conftest import TIMEOUT, join
from loopback import until, wait_for

from anyllm._concurrency import background, loop
from anyllm._concurrency.loop import Loop


@pytest.fixture
def looped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    """A loop of the test's own; at its end the thread must be gone."""
    monkeypatch.setattr(loop, "_LINGER", 0.01)
    made = Loop()
    yield made
    until(lambda: made._thread is None)


@pytest.fixture
def pair() -> Iterator[Any]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def run(looped: Loop, call: Callable[[], Any]) -> Any:
    """Call *call* on the loop's thread, between `start` and `finish`, and return what it returned."""
    results: List[Any] = []
    is_over = threading.Event()

    def work() -> None:
        try:
            results.append(call())
        finally:
            looped.finish()
            is_over.set()

    looped.start(work)
    wait_for(is_over)
    return results[0]


class Page:
    itself: Any = None  # a cycle, which only the collector ends


def fail(*args: Any) -> Any:
    raise RuntimeError("can't start new thread")


# Its thread.


def test_the_thread_ends_after_the_last_user_and_starts_again(looped: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_LINGER", 1.0)
    first = run(looped, threading.current_thread)
    assert run(looped, threading.current_thread) is first, "it stays a moment"
    assert run(looped, looped.is_current)
    assert not looped.is_current()
    until(lambda: looped._thread is None)
    first.join(TIMEOUT)
    assert run(looped, threading.current_thread) is not first


def test_the_thread_stays_while_one_user_is_left(looped: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_LINGER", 0.0)
    looped.start(int)
    looped.start(int)
    thread = looped._thread
    is_one_left = threading.Event()
    looped.call_soon(looped.finish)
    looped.call_soon(is_one_left.set)
    wait_for(is_one_left)
    for _ in range(20):  # turns without work
        has_run = threading.Event()
        looped.call_soon(has_run.set)
        wait_for(has_run)
    assert looped._thread is thread
    looped.call_soon(looped.finish)


@pytest.mark.usefixtures("fast_switches")
def test_no_call_is_lost_while_the_thread_ends_and_starts(
    looped: Loop, monkeypatch: pytest.MonkeyPatch, spawn: Any
) -> None:
    monkeypatch.setattr(loop, "_LINGER", 0.0)

    def use() -> int:
        return sum(run(looped, lambda: 1) for _ in range(300))

    assert sum(join([spawn(use) for _ in range(4)])) == 1200
    assert looped._users == 0


@loopback.needs_proc
@pytest.mark.parametrize("at", ["socketpair", "selector", "thread"])
def test_a_start_that_fails_leaves_nothing_behind(looped: Loop, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no descriptor or no thread to be had: the next start finds everything as it was."""
    gc.collect()
    before = loopback.descriptors()
    with monkeypatch.context() as patch:
        if at == "thread":
            patch.setattr(threading.Thread, "start", fail)
        else:
            shortage = OSError(errno.EMFILE, "too many open files")

            def refuse(*args: Any) -> Any:
                raise shortage

            patch.setattr(*((socket, "socketpair") if at == "socketpair" else (selectors, "DefaultSelector")), refuse)
        with pytest.raises((OSError, RuntimeError)):
            looped.start(int)
    assert loopback.descriptors() <= before
    assert (looped._users, looped._thread, list(looped._soon)) == (0, None, [])
    assert run(looped, lambda: "works again") == "works again"
    until(lambda: looped._thread is None and loopback.descriptors() <= before)


# Its calls.


def test_a_function_that_fails_is_logged_and_harms_no_other(
    looped: Loop, pair: Any, caplog: pytest.LogCaptureFixture
) -> None:
    left, right = pair
    has_run = threading.Event()

    def fail_once() -> None:
        looped.unwatch(left)
        raise SystemExit("stop")

    looped.start(lambda: looped.watch(left, fail_once))
    looped.call_soon(fail)
    right.send(b"x")
    until(lambda: background.flush_log() or len(caplog.records) == 2)
    looped.call_soon(has_run.set)
    wait_for(has_run)
    looped.call_soon(looped.finish)
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_a_closed_socket_cannot_be_watched(looped: Loop) -> None:
    closed = socket.socket()
    closed.close()

    def watch() -> bool:
        with pytest.raises(ValueError, match="descriptor"):
            looped.watch(closed, int)
        return True

    assert run(looped, watch)


def test_it_survives_sockets_that_cannot_be_waited_for(
    looped: Loop, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows select() takes 512 sockets. Without its thread every call of the process would hang."""

    class Limited(selectors.SelectSelector):
        def select(self, timeout: Any = None) -> Any:
            if len(self.get_map()) > 1:
                raise ValueError("too many file descriptors in select()")
            return super().select(timeout)

    monkeypatch.setattr(selectors, "DefaultSelector", Limited)
    left, right = pair
    left.setblocking(False)
    received: List[bytes] = []
    got = threading.Event()

    def receive() -> None:
        with contextlib.suppress(BlockingIOError):
            received.append(left.recv(10))
            looped.unwatch(left)
            got.set()

    looped.start(lambda: looped.watch(left, receive))
    thread = looped._thread
    right.send(b"x")
    wait_for(got)
    assert received == [b"x"]
    assert run(looped, threading.current_thread) is thread
    looped.call_soon(looped.finish)


def test_calls_come_in_order_and_from_anywhere(looped: Loop, spawn: Any) -> None:
    looped.start(int)
    called: List[Any] = []

    def call(number: int) -> None:
        for at in range(500):
            looped.call_soon(functools.partial(called.append, (number, at)))

    def call_from_finalizers() -> None:
        for at in range(500):
            page = Page()
            page.itself = page
            weakref.finalize(page, looped.call_soon, functools.partial(called.append, ("finalizer", at)))
            del page
            gc.collect(0)
        gc.collect()

    join([spawn(call, 1), spawn(call, 2), spawn(call_from_finalizers)])
    until(lambda: len(called) == 1500)
    for number in (1, 2):
        assert [at for who, at in called if who == number] == [*range(500)]
    looped.call_soon(looped.finish)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer")
def test_calls_from_a_signal_handler_that_interrupts_others(looped: Loop) -> None:
    looped.start(int)
    called: List[str] = []
    before = signal.signal(signal.SIGALRM, lambda *_: looped.call_soon(lambda: called.append("signal")))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        while len(called) < 30:
            looped.call_soon(int)
            run(looped, int)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        looped.call_soon(looped.finish)


def test_a_full_wake_pipe_blocks_nobody(looped: Loop) -> None:
    looped.start(int)
    end = looped._wake_end
    assert end is not None
    go_on, is_held = threading.Event(), threading.Event()
    looped.call_soon(lambda: (is_held.set(), go_on.wait(TIMEOUT)))
    wait_for(is_held)
    with contextlib.suppress(BlockingIOError):
        while True:
            end.send(b"\0" * 65536)
    looped._asleep.append(None)  # as if it slept: the call writes
    has_run = threading.Event()
    looped.call_soon(has_run.set)
    go_on.set()
    wait_for(has_run)
    looped.call_soon(looped.finish)


def test_calls_without_a_rest_give_sockets_their_turn(looped: Loop, pair: Any) -> None:
    """A call that adds itself again and again is one call a turn."""
    left, right = pair
    right.send(b"x")
    turns: List[None] = []
    readable = threading.Event()

    def again() -> None:
        turns.append(None)
        if not readable.is_set() and len(turns) < 10000:
            looped.call_soon(again)

    def on_readable() -> None:
        looped.unwatch(left)
        readable.set()

    def begin() -> None:
        looped.watch(left, on_readable)
        again()

    looped.start(begin)
    wait_for(readable)
    looped.call_soon(looped.finish)
    assert len(turns) < 5


def test_the_sleeping_thread_holds_nothing_that_is_over(looped: Loop, pair: Any) -> None:
    """A loop that waits for a silent stream may sleep for minutes."""
    left, right = pair

    class Reader:
        def read(self) -> None:
            looped.unwatch(left)
            looped.finish()

    reader = Reader()
    is_gone = weakref.ref(reader)
    looped.start(int)  # another one, which stays
    looped.start(lambda read=reader.read: looped.watch(left, read))  # type: ignore[misc]
    del reader
    right.send(b"x")
    until(lambda: looped._users == 1)
    until(lambda: is_gone() is None)
    looped.call_soon(looped.finish)


# A fork.


@pytest.mark.fork
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_a_child_has_no_descriptor_of_the_loop_and_the_parents_goes_on(run_script: Callable[..., str]) -> None:
    source = """
    import os, socket, threading
    from anyllm._concurrency import loop

    def descriptors():
        return {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in map(int, os.listdir("/proc/self/fd"))
                if os.path.exists(f"/proc/self/fd/{fd}")}

    before = set(descriptors().values())
    left, right = socket.socketpair()
    mine = set(descriptors().values())
    received = []
    got = threading.Event()
    shared = loop.shared
    shared.start(lambda: shared.watch(left, lambda: (received.append(left.recv(10)), got.set())))
    right.send(b"one")
    assert got.wait(20)
    got.clear()
    assert len(set(descriptors().values()) - mine) == 3
    pid = os.fork()
    if not pid:
        try:
            assert loop.shared is not shared
            assert set(descriptors().values()) <= mine, descriptors()
            ran = threading.Event()
            loop.shared.start(lambda: (loop.shared.finish(), ran.set()))
            assert ran.wait(20)
            shared.call_soon(int)  # of a call that the parent made
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    right.send(b"two")
    assert got.wait(20)
    assert received == [b"one", b"two"]
    print("done")
    """
    assert "done" in run_script(source)
