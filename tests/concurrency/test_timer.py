"""The one thread behind every deadline: order, growth, failures, its end, and forks."""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import queue
import signal
import threading
import time

import pytest
from conftest import TIMEOUT, join
from loopback import until

from anyllm._concurrency import timer as _timer
from anyllm.channel import open_channel
from anyllm.context import Context

LATER = 1000.0  # seconds; a deadline that does not come


@pytest.fixture
def timer():
    """A timer of the test's own, whose thread is gone at the end."""
    timer = _timer.Timer()
    yield timer
    for entry in tuple(timer._live):
        entry.cancel()
    thread = timer._thread
    if thread is not None:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@contextlib.contextmanager
def held(timer):
    """Its thread calls nothing meanwhile, however slow the machine is."""
    is_held, go_on = threading.Event(), threading.Event()
    timer.call_at(0.0, lambda: (is_held.set(), go_on.wait(TIMEOUT)))
    assert is_held.wait(TIMEOUT)
    yield
    go_on.set()


def test_calls_come_in_the_order_of_their_instants(timer):
    """Whatever the order in which they were added; equal instants as added."""
    called: queue.Queue[object] = queue.Queue()
    start = time.monotonic()
    entries = [(0.003, "d"), (0.001, "b"), (0.002, "c"), (0.0, "a"), (0.003, "e")]
    with held(timer):
        for seconds, name in entries:
            timer.call_at(start + seconds, lambda name=name: called.put(name))
    assert [called.get(timeout=TIMEOUT) for _ in entries] == list("abcde")


def test_an_earlier_deadline_overtakes_a_later_one(timer):
    """The thread sleeps until the later one, and must be woken for the earlier."""
    called: queue.Queue[object] = queue.Queue()
    timer.call_at(time.monotonic() + LATER, lambda: called.put("later"))
    for number in range(3):
        timer.call_at(time.monotonic(), lambda number=number: called.put(number))
        assert called.get(timeout=TIMEOUT) == number


def test_an_entry_added_between_the_look_and_the_sleep_is_seen(timer, monkeypatch):
    """The thread has looked, and found only what is due much later: it must not sleep that long."""
    called, looks = threading.Event(), []

    def look():
        found = _timer.Timer._due(timer)
        if not looks:
            looks.append(found)
            timer.call_at(time.monotonic(), called.set)
        return found

    monkeypatch.setattr(timer, "_due", look)
    timer.call_at(time.monotonic() + LATER, print)
    assert called.wait(TIMEOUT)


def test_a_cancelled_call_does_not_come(timer):
    """Nor does the entry keep what the call referred to."""
    called: queue.Queue[object] = queue.Queue()
    with held(timer):
        entry = timer.call_at(time.monotonic(), lambda: called.put("cancelled"))
        timer.call_at(time.monotonic(), lambda: called.put("next"))
        entry.cancel()
        entry.cancel()
        assert entry.call is None
    assert called.get(timeout=TIMEOUT) == "next"
    assert called.empty()


def test_ten_thousand_deadlines_share_one_thread():
    """A thread for each would be the end of a busy server."""
    before = threading.active_count()
    count = 10_000
    contexts = [Context(0.05 + number / count / 20) for number in range(count)]
    ends = [ctx.done() for ctx in contexts]
    assert threading.active_count() <= before + 1
    for end in ends:
        assert end.get(timeout=TIMEOUT) is None
    assert not _timer.shared._live


def test_cancelled_entries_do_not_grow_the_heap(timer):
    """Streams come and go for weeks, each with a deadline of minutes."""
    live = [timer.call_at(time.monotonic() + LATER, print) for _ in range(10)]
    for number in range(10_000):
        timer.call_at(time.monotonic() + LATER + number, print).cancel()
        assert len(timer._heap) <= 2 * (len(live) + 1) + _timer._MAX_CANCELLED + 1
    assert len(timer._live) == len(live)


def test_a_raising_call_is_logged_and_the_next_one_comes(timer, caplog):
    """SystemExit too: the thread belongs to every deadline of the process."""
    called = threading.Event()

    def fail(kind):
        raise kind("broken call")

    with caplog.at_level(logging.ERROR, "anyllm"):
        for kind in (LookupError, SystemExit, KeyboardInterrupt):
            timer.call_at(time.monotonic(), lambda kind=kind: fail(kind))
        timer.call_at(time.monotonic() + 0.01, called.set)
        assert called.wait(TIMEOUT)
    until(lambda: len(caplog.records) == 3)
    assert caplog.text.count("broken call") >= 3


def test_a_callback_that_exits_does_not_stop_the_deadlines(caplog):
    """sys.exit() in a function given to on_done runs on the shared thread."""
    first, second = Context(0.01), Context(0.05)
    with contextlib.suppress(SystemExit):  # on a slow machine the time is over by now, and it runs here
        first.on_done(lambda: (_ for _ in ()).throw(SystemExit))
    assert second.wait(TIMEOUT)
    assert first.cancelled


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_the_thread_ends_after_the_last_entry_and_starts_again(timer, is_cancelled):
    """No thread without work, also when the deadline is far; and work after that is done all the same."""
    for _ in range(2):
        called = threading.Event()
        entries = [timer.call_at(time.monotonic() + LATER * is_cancelled, called.set) for _ in range(3)]
        thread = timer._thread
        for entry in entries if is_cancelled else ():
            entry.cancel()
        assert is_cancelled or called.wait(TIMEOUT)
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        assert timer._thread is None
        assert not timer._heap


def test_a_thread_that_cannot_start_spoils_nothing(timer, monkeypatch):
    """At the limit of threads one deadline fails, and only that one; the next try starts the thread."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            timer.call_at(time.monotonic(), print)
    assert not timer._live
    assert not timer._heap
    called = threading.Event()
    timer.call_at(time.monotonic(), called.set)
    assert called.wait(TIMEOUT)


@pytest.mark.usefixtures("fast_switches")
def test_adding_firing_and_cancelling_race_without_loss(spawn, timer):
    """From many threads: what was not cancelled comes exactly once, also while the thread is about to retire."""
    counts, lock = {}, threading.Lock()

    def ran(key):
        with lock:
            counts[key] = counts.get(key, 0) + 1

    def work(who):
        for number in range(150):
            key = (who, number)
            timer.call_at(time.monotonic() + number % 3 * 0.001, lambda key=key: ran(key))
            timer.call_at(time.monotonic() + LATER, lambda: ran("never")).cancel()

    join([spawn(work, who) for who in range(4)])
    last = threading.Event()
    timer.call_at(time.monotonic() + 0.05, last.set)
    assert last.wait(TIMEOUT)
    assert set(counts) == {(who, number) for who in range(4) for number in range(150)}
    assert set(counts.values()) == {1}
    assert not timer._live


def test_the_heap_is_made_anew_in_a_child(monkeypatch):
    """The fork may have come in the middle of a change: what is live is the truth, in whatever order."""
    timer = _timer.Timer()
    monkeypatch.setattr(timer, "_ensure_thread", lambda: None)
    entries = [timer.call_at(time.monotonic() + LATER + number, print) for number in range(20)]
    entries[3].cancel()
    parents_lock = timer._lock
    timer._heap = [entries[7], entries[3], entries[7]]  # half done, as another thread left it
    timer._after_fork()
    assert timer._lock is not parents_lock
    assert sorted(timer._heap) == [entry for entry in entries if entry is not entries[3]]
    assert timer._heap[0] is entries[0]
    heap = list(timer._heap)
    assert [heapq.heappop(heap) for _ in range(19)] == sorted(timer._live)


def forks(test):
    """Mark a test that forks this process."""
    ignore = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    return pytest.mark.fork(pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")(ignore(test)))


def in_child(work):
    """The exit code of a forked child that runs *work*: 0 when it returned true; killed when it hangs."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            signal.alarm(int(TIMEOUT))
            code = 0 if work() else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return -(status & 127) or status >> 8


@forks
def test_a_child_has_working_deadlines_and_channels():
    """gunicorn and Celery fork after the parent has used the timer; threads do not survive that."""
    inherited, later = Context(0.3), Context(LATER)
    done, _kept = inherited.done(), later.done()

    def work():
        sender, channel = open_channel(1)
        task = threading.Thread(target=lambda: [sender.put(number) for number in range(10)], daemon=True)
        task.start()
        items = [channel.get(timeout=5) for _ in range(10)]
        task.join(5)
        mine = Context(0.02)
        return items == list(range(10)) and mine.wait(5) and done.get(timeout=5) is None and not later.cancelled

    assert in_child(work) == 0
    assert done.get(timeout=TIMEOUT) is None
    assert not later.cancelled


@forks
def test_a_child_forked_while_the_lock_was_held_has_working_deadlines():
    """The thread that would release it does not exist there."""
    done = Context(LATER).done()
    with _timer.shared._lock:
        code = in_child(lambda: Context(0.02).wait(5))
    assert code == 0
    assert not done.closed


@forks
def test_a_child_without_inherited_deadlines_starts_no_thread():
    """A fork that only wants to exec must not pay for us."""
    thread = _timer.shared._thread
    if thread is not None:
        thread.join(TIMEOUT)
    assert in_child(lambda: _timer.shared._thread is None) == 0
