"""Threads and log records for finalizers and signal handlers, which may wait for no lock."""

from __future__ import annotations

import _thread
import logging
import os
import threading

import pytest
from conftest import TIMEOUT, join
from loopback import until

import anyllm
from anyllm._concurrency import background, clock, fork_guard, timer
from anyllm._concurrency.per_process import PerProcess
from anyllm._stream import active_calls

#: Drops a stream that ended with an error which nobody received, so that the collector is what finalizes it.
GARBAGE = """
import gc, logging, queue, sys, threading
import anyllm

class Holder:
    pass

def garbage():
    holder = Holder()
    holder.me = holder
    params = {"model": "nope/x", "messages": [{"role": "user", "content": "x"}]}
    holder.stream = anyllm.completion_stream(anyllm.Context(), params)
"""


def test_a_finalizer_inside_a_log_queue_does_not_wait_for_it(run_script):
    """QueueListener's thread is in `Queue.get` all day; a record made there is put into the same queue."""
    printed = run_script(
        GARBAGE
        + """
import logging.handlers

records = queue.Queue()
logging.getLogger("anyllm").addHandler(logging.handlers.QueueHandler(records))
logged = 0
gc.disable()
for offset in range(80):
    garbage()
    gc.set_threshold(gc.get_count()[0] + offset, 1, 1)
    gc.enable()
    try:
        records.get(timeout=0.001)
        logged += 1
    except queue.Empty:
        pass
    gc.disable()
    gc.collect()
while logged < 80:
    records.get(timeout=10)
    logged += 1
print("logged", logged)
"""
    )
    assert printed.endswith("logged 80\n")


def test_a_record_of_a_finalizer_is_logged_by_another_thread(caplog):
    ctx = anyllm.Context()
    ctx.on_done(lambda: 1 / 0)
    ctx.cancel()
    until(lambda: caplog.records)
    (record,) = caplog.records
    assert record.threadName == "anyllm-log"
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_records_at_exit_are_logged(run_script):
    """Python starts no more threads then, or freezes those that run."""
    printed = run_script(
        GARBAGE
        + """
import atexit
logging.basicConfig()
gc.disable()
garbage()
atexit.register(gc.collect)
"""
    )
    assert "a stream ended with an error that nobody received" in printed


@pytest.mark.usefixtures("fast_switches")
def test_every_record_is_logged_once_whoever_makes_it(caplog, spawn):
    def log(number):
        for count in range(50):
            background.log(logging.WARNING, "%s of %s", count, number)

    join([spawn(log, number) for number in range(8)])
    until(lambda: len(caplog.records) == 400)
    until(lambda: background._logger and background._dispatcher)
    assert len({record.getMessage() for record in caplog.records}) == 400


@pytest.mark.usefixtures("fast_switches")
def test_every_function_gets_a_thread_of_its_own(spawn):
    """One that blocks holds up no other; `threading` keeps no entry for the thread that starts them."""
    go_on, ran, lock = threading.Event(), [], threading.Lock()

    def work():
        with lock:
            ran.append(threading.current_thread())
        assert go_on.wait(TIMEOUT)

    def start():
        for _ in range(10):
            background.start_thread(work, "test-work")

    join([spawn(start) for _ in range(4)])
    until(lambda: len(ran) == 40)
    go_on.set()
    for thread in ran:
        assert (thread.name, thread.daemon) == ("test-work", True)
        threading.Thread.join(thread, TIMEOUT)
    assert len(set(ran)) == 40
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading._DummyThread)]


def refused(*_):
    raise RuntimeError("can't start new thread")


def test_without_threads_the_caller_gets_the_error(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", refused)
        with pytest.raises(RuntimeError):
            background.start_thread(print, "never")
        background.log(logging.WARNING, "later")
    assert not background._jobs
    background.start_thread(int, "works again")
    until(lambda: background._dispatcher)
    background.flush_log()
    assert not background._records


def test_a_function_without_a_thread_runs_where_it_can(monkeypatch):
    ran = []
    monkeypatch.setattr(threading.Thread, "start", refused)
    background.start_thread(lambda: ran.append(True), "no thread")
    until(lambda: ran)


@pytest.mark.fork
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_logs_nothing_of_its_parents(monkeypatch):
    """And can log what is its own, even if the parent was about to."""
    monkeypatch.setattr(background, "_logger", [])
    monkeypatch.setattr(background, "_dispatcher", [])
    background._records.append((logging.WARNING, "the parent's", (), None))
    try:
        pid = os.fork()
        if pid == 0:
            is_clean = not background._records and background._logger == background._dispatcher == [None]
            os._exit(0 if is_clean else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        background._records.clear()


def test_going_through_shared_state_survives_the_collector(run_script):
    """Allocating anything may run a finalizer that ends a call, and so changes what is being gone through."""
    printed = run_script(
        """
import gc
import anyllm
from anyllm._stream import active_calls
from anyllm.testing import Reply, Stall, chat_events, serve

class Holder:
    pass

reply = Reply.sse([*chat_events("a", finish_reason=None, usage=False), Stall()], done=False)
with serve(reply) as server:
    provider = anyllm.provider("compatible", base_url=server.url)

    def begin():
        params = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        stream = provider.completion_stream(anyllm.Context(), params)
        next(iter(stream.chunks))
        return stream

    for go_through in (anyllm.active_streams, active_calls.end_all, active_calls._after_fork):
        for offset in range(6):
            running = [begin() for _ in range(25)]
            gc.disable()
            holder = Holder()
            holder.me, holder.stream = holder, begin()
            del holder
            gc.set_threshold(gc.get_count()[0] + offset, 1000, 1000)
            gc.enable()
            go_through()
            gc.disable()
            gc.collect()
            for stream in running:
                stream.cancel()
print("whole")
"""
    )
    assert printed.endswith("whole\n")


def test_shared_state_is_gone_through_as_a_copy(monkeypatch):
    """Whatever the collector does just then: a `copy()` of a dict is one step."""

    class Shared(dict):
        def __iter__(self):
            raise AssertionError("gone through in place")

        keys = values = items = __iter__

        def copy(self):
            return dict(dict.items(self))

    monkeypatch.setattr(active_calls, "_active", Shared())
    anyllm.active_streams()
    active_calls.end_all()
    active_calls._after_fork()
    monkeypatch.setattr(fork_guard, "_running", Shared())
    fork_guard._before_fork()
    own_timer = timer.Timer()
    own_timer._live = Shared()
    own_timer._after_fork()
    own_clock = clock.Clock(lambda *_: None)
    own_clock._entries = Shared()
    own_clock.start("idle", 1000)
    own_clock.stop()
    of_process = PerProcess(lambda inherited: inherited)
    of_process._by_pid = Shared({-1: "inherited"})
    assert of_process() == "inherited"
