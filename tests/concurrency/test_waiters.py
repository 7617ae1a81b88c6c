"""Waiters and lines of waiters, and the end of a context or channel that interrupts every line of the machinery."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest
from conftest import TIMEOUT, join
from storm import AT_LINE, BOMB, STORM

from anyllm._concurrency import waiters


def test_a_waiter_is_released_once():
    """A waiter stands in several lines: only one of those who find it there may count it as woken."""
    waiter = waiters.new_waiter()
    assert waiters.release(waiter)
    assert not waiters.release(waiter)
    assert waiters.wait(waiter, time.monotonic())  # at once: its release was faster


def test_wake_skips_waiters_that_were_woken_elsewhere():
    """Otherwise the wake-up for this line would be spent on a thread that is awake."""
    woken, asleep = waiters.new_waiter(), waiters.new_waiter()
    waiters.release(woken)
    line = deque([woken, asleep])
    assert waiters.wake(line)
    assert asleep.acquire(blocking=False)
    assert not waiters.wake(line)


def test_leave_returns_whether_the_waiter_was_taken_out():
    """On the answer depends whether the wake-up must be passed on: a wrong one loses it."""
    waiter, other = waiters.new_waiter(), waiters.new_waiter()
    line = deque([other, waiter])
    assert waiters.leave(line, waiter)
    assert list(line) == [other]
    assert not waiters.leave(line, waiter)
    assert waiters.wake(line)
    assert not waiters.leave(line, other)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.01])
def test_wait_ends_at_the_deadline(seconds):
    """Also one that has passed already, as for a time-out of 0."""
    assert not waiters.wait(waiters.new_waiter(), time.monotonic() + seconds)


@pytest.mark.parametrize("seconds", [1e9, 1e300, float("inf"), None])
def test_wait_accepts_any_deadline(spawn, seconds):
    """A lock refuses time-outs beyond threading.TIMEOUT_MAX with OverflowError."""
    deadline = waiters.deadline_after(seconds)
    assert (deadline is None) == (seconds is None)
    waiter = waiters.new_waiter()
    task = spawn(waiters.wait, waiter, deadline)
    waiters.release(waiter)
    assert task.join()


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan"), float("-inf")])
def test_deadline_after_refuses_negative_times_and_nan(seconds):
    """NaN compares false with everything, so a wait with it would spin for ever."""
    with pytest.raises(ValueError, match="negative or NaN"):
        waiters.deadline_after(seconds)


@pytest.mark.usefixtures("fast_switches")
def test_a_line_gives_each_waiter_to_one_waker(spawn):
    """Each of many waiters is either woken or leaves by itself; never both, never neither."""
    rounds, wakers = 400, 3
    line: deque = deque()
    start = threading.Barrier(wakers + 1)
    over = threading.Event()
    woken = []

    def wake():
        start.wait(TIMEOUT)
        while not over.is_set():
            if waiters.wake(line):
                woken.append(None)
            time.sleep(0)

    tasks = [spawn(wake) for _ in range(wakers)]
    left = 0
    start.wait(TIMEOUT)
    for _ in range(rounds):
        four = [waiters.new_waiter() for _ in range(4)]
        line.extend(four)
        for waiter in reversed(four):
            if waiters.leave(line, waiter):
                left += 1
            else:
                assert waiters.wait(waiter, time.monotonic() + TIMEOUT)
    over.set()
    join(tasks)
    assert left + len(woken) == 4 * rounds


HARNESS = """
import gc, queue, signal, sys, threading, time
from anyllm import channel, context
from anyllm._concurrency import pipe, timer, waiters
from anyllm.channel import merge, open_channel, select
from anyllm.context import Context

FILES = {module.__file__ for module in (pipe, timer, waiters, channel, context)}
"""
HARNESS += (
    AT_LINE
    + '''
SOON = 0.0005  # seconds; for what blocks unless the interruption frees it

def made(calls, count):
    """*calls*, when there are *count* of them: another thread may have taken a callback and not have run it yet."""
    deadline = time.monotonic() + 10
    while len(calls) < count and time.monotonic() < deadline:
        time.sleep(0)
    return sorted(calls)

def drained(chan):
    items = list(chan)
    assert chan.get() is None and chan.closed
    return items

def put(ctx):
    sender, chan = open_channel(2)
    ctx.on_done(sender.close)
    done = []
    yield lambda: done.append(sender.put("item"))
    assert drained(chan) == (["item"] if done == [True] else [])

def put_after_end_was_seen(ctx):
    sender, chan = open_channel(2)
    received = []
    ctx.on_done(lambda: (sender.close(), received.append(chan.get())))
    done = []
    yield lambda: done.append(sender.put("item"))
    # The other order is this thread's own: it drained while another was between the close and its get.
    found = received, drained(chan)
    assert sum(found, []) in (["item"], [None], [None, None], [None, "item"]), (found, done)
    assert ("item" in received or chan.get() == "item") <= (done == [True])

def put_full(ctx):
    sender, chan = open_channel(1)
    sender.put("first")
    ctx.on_done(sender.close)
    done = []
    def operate():
        try:
            done.append(sender.put("second", timeout=SOON))
        except queue.Full:
            done.append(None)
    yield operate
    assert done in ([False], [None]) and drained(chan) == ["first"]
    assert not chan._pipe.senders

def put_many(ctx):
    sender, chan = open_channel(8)
    ctx.on_done(lambda: sender.close("last"))
    done = []
    yield lambda: done.append(sender.put_many("abc"))
    items = drained(chan)
    assert items.pop() == "last"
    assert items == list("abc") if done == [True] else items == list("abc")[: len(items)]

def close_with_last(ctx):
    sender, chan = open_channel(1)
    ctx.on_done(lambda: sender.close("cancelled"))
    yield lambda: sender.close("finished")
    assert drained(chan) in (["cancelled"], ["finished"])

def get(ctx):
    sender, chan = open_channel(1)
    ctx.on_done(sender.close)
    done = []
    def operate():
        try:
            done.append(chan.get(timeout=SOON))
        except queue.Empty:
            pass
    yield operate
    assert done in ([], [None]) and drained(chan) == []
    assert not chan._pipe.receivers

def get_last_items(ctx):
    sender, chan = open_channel(4)
    sender.put_many("ab")
    ctx.on_done(lambda: sender.close("last"))
    got = []
    yield lambda: got.extend(chan.get() for _ in range(2))
    assert got + drained(chan) == ["a", "b", "last"]

def iterate(ctx):
    sender, chan = open_channel(4)
    sender.put_many("ab")
    sender.close("last")
    ctx.on_done(sender.close)
    got = []
    yield lambda: got.extend(chan)
    assert got == ["a", "b", "last"] and drained(chan) == []

def select_two(ctx):
    sender, chan = open_channel(1)
    done = ctx.done()
    got = []
    def operate():
        try:
            got.append(select(chan, done, timeout=SOON)[0])
        except queue.Empty:
            pass
    yield operate
    assert got in ([], [done])
    assert not chan._pipe.receivers and not done._pipe.receivers

def merged(ctx):
    (one, first), (two, second) = open_channel(2), open_channel(2)
    one.put("a"); two.put("b")
    ctx.on_done(one.close); ctx.on_done(two.close)
    both = merge(first, second)
    got = []
    yield lambda: got.extend(both.get() for _ in range(2))
    assert sorted(got) == ["a", "b"] and drained(both) == []

def on_done(ctx):
    calls = []
    yield lambda: ctx.on_done(lambda: calls.append("call"))
    assert made(calls, 1) == ["call"]

def take_back(ctx):
    calls, taken = [], []
    def operate():
        taken.append(ctx.on_done(lambda: calls.append("call"))())
    yield operate
    expected = [] if taken == [True] else ["call"]
    assert made(calls, len(expected)) == expected, (calls, taken)

def take_one_of_two_back(ctx):
    calls, taken = [], []
    ctx.on_done(lambda: calls.append("kept"))
    stop = ctx.on_done(lambda: calls.append("taken back"))
    yield lambda: taken.append(stop())
    expected = ["kept"] if taken == [True] else ["kept", "taken back"]
    assert made(calls, len(expected)) == expected, (calls, taken)

def wait(ctx):
    yield lambda: ctx.wait(SOON)
    assert ctx.wait(10)

def done_and_let_go(ctx):
    def operate():
        chan = ctx.done()
        del chan
    yield operate

def child(ctx):
    below = []
    def operate():
        new = ctx.child(1000)
        below.append((new, new.done()))
    yield operate
    [(new, chan)] = below
    assert chan.get(timeout=10) is None and new.error is ctx.error

def cancel(ctx):
    calls = []
    for name in "abc":
        ctx.on_done(lambda name=name: calls.append(name))
    yield ctx.cancel
    assert made(calls, 3) == ["a", "b", "c"]

def ask(ctx):
    yield lambda: (ctx.error, ctx.cause, ctx.cancelled, ctx.remaining(), repr(ctx))

def schedule(ctx):
    entries = []
    ctx.on_done(lambda: [entry.cancel() for entry in entries])
    def operate():
        for _ in range(2):
            entries.append(timer.shared.call_at(waiters.deadline_after(1000), print))
    yield operate
    for entry in entries:
        entry.cancel()

OPERATIONS = (
    put, put_after_end_was_seen, put_full, put_many, close_with_last, get, get_last_items, iterate, select_two, merged,
    on_done, take_back, take_one_of_two_back, wait, done_and_let_go, child, cancel, ask, schedule,
)

def kinds():
    root = Context()
    return (root, root), (root.child(1000), root), (Context(1000), None), (Context(1000).child(2000), None)

def finish(act, body):
    """After an operation that *act* may have interrupted."""
    act()
    assert next(body, None) is None
    with timer.shared._lock:  # it was not left taken
        pass
'''
)


@pytest.fixture
def run_harness(run_script):
    return lambda source: run_script(HARNESS + source)


def test_cancel_may_interrupt_every_line(run_harness):
    """A signal handler runs between any two lines of this package, in the thread that holds its locks."""
    output = run_harness("""
points = 0
for operation in OPERATIONS:
    for kind in range(4):
        number, more = 0, True
        while more:
            number += 1
            ctx, top = kinds()[kind]
            act = (top or ctx).cancel
            body = operation(ctx)
            more = at_line(number, act, next(body))
            finish(act, body)
            points += more
assert not timer.shared._live
print(points)
""")
    assert int(output) > 1000, output


def test_dropping_a_channel_may_interrupt_every_line(run_harness):
    """The collector runs a channel's finalizer between any two lines, which takes back what the channel waits for."""
    output = run_harness("""
points = 0
for operation in OPERATIONS:
    number, more = 0, True
    while more:
        number += 1
        ctx = Context(1000, parent=Context())
        held = [ctx.done(), ctx.child(500).done()]
        body = operation(ctx)
        more = at_line(number, held.clear, next(body))
        finish(ctx.cancel, body)
        points += more
assert not timer.shared._live
print(points)
""")
    assert int(output) > 500, output


def test_a_keyboard_interrupt_at_any_line_of_a_receive_leaves_no_ghost_in_the_line(run_harness):
    """A waiter left behind would swallow the wake-up of the next receiver. Stepping out itself cannot be guarded."""
    output = run_harness("""
def interrupt():
    raise KeyboardInterrupt

points = 0
for receive in (lambda chan: chan.get(timeout=SOON), lambda chan: select(chan, timeout=SOON)):
    number, more = 0, True
    while more:
        number += 1
        sender, chan = open_channel(1)
        try:
            more = at_line(number, interrupt, lambda: receive(chan), spare=("_leave_queues", "leave", "_first_ready"))
        except queue.Empty:
            more = False
        except KeyboardInterrupt:
            pass
        assert not chan._pipe.receivers, number
        assert sender.put("item") and chan.get(timeout=10) == "item"
        points += more
print(points)
""")
    # The last line: an interruption may also fall into a finalizer, of which Python only says that it ignored it.
    assert int(output.splitlines()[-1]) > 15, output


def test_cancel_in_a_signal_handler_never_deadlocks(run_harness):
    """The real thing: a timer signal that cancels whatever the main thread is doing, thousands of times."""
    output = run_harness("""
current, fired, over = None, 0, False
def handler(number, frame):
    global fired
    fired += 1
    if current is not None:
        current.cancel()
    if not over:
        signal.setitimer(signal.ITIMER_REAL, 0.00002 + fired % 37 * 0.00001)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001)
runs = 0
while fired < 1500:
    for operation in OPERATIONS:
        current = ctx = kinds()[runs % 4][0]
        runs += 1
        body = operation(ctx)
        next(body)()
        finish(ctx.cancel, body)
over = True  # first: a handler that is due already must not start it again
signal.setitimer(signal.ITIMER_REAL, 0)
print(fired)
""")
    assert int(output) >= 1500, output


def test_cancel_in_a_finalizer_never_deadlocks(run_harness):
    """The collector runs finalizers in the middle of any allocation, in any thread, whatever locks that holds."""
    output = run_harness(
        BOMB
        + """
def work(first):
    for number in range(25):
        for operation in OPERATIONS:
            ctx = kinds()[(first + number) % 4][0]
            body = operation(ctx)
            operate = next(body)
            for _ in range(number % 5 + 1):
                Bomb(ctx)
            operate()
            finish(ctx.cancel, body)

"""
        + STORM
    )
    assert int(output.split()[-1]) > 1000, output
