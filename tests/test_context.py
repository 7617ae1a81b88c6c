"""The context: ends and their errors, callbacks, waiting, and what contexts cost."""

from __future__ import annotations

import datetime
import gc
import logging
import queue
import threading
import time
import weakref

import pytest
from conftest import TIMEOUT, join
from loopback import until

from anyllm import context
from anyllm._concurrency import timer
from anyllm.channel import select
from anyllm.context import (
    Context,
    after_func,
    background,
    cause,
    with_cancel,
    with_deadline,
    with_timeout,
    with_value,
    without_cancel,
)
from anyllm.errors import Cancelled, DeadlineExceeded

LATER = 1000.0  # seconds; a deadline that does not come

# Ending.


def test_a_new_context_is_open():
    ctx = Context()
    assert ctx.error is None
    assert ctx.cause is None
    assert not ctx.cancelled
    assert ctx.remaining() is None
    assert repr(ctx) == "<Context open>"


def test_cancel_ends_with_its_cause_and_the_first_wins():
    """The cause is any object; an exception becomes the error's __cause__ too."""
    ctx = Context()
    why = LookupError("gone")
    ctx.cancel(why)
    error = ctx.error
    ctx.cancel("second")
    assert ctx.error is error
    assert isinstance(error, Cancelled)
    assert error.__cause__ is why
    assert ctx.cause is why
    assert ctx.cancelled
    assert "gone" in repr(ctx)


def test_without_a_cause_the_error_is_the_cause():
    """As Go's Cause has it."""
    ctx = Context()
    ctx.cancel()
    assert ctx.cause is ctx.error


@pytest.mark.usefixtures("fast_switches")
def test_of_many_cancels_one_wins_and_all_see_the_same_error(spawn):
    """Threads that race to end a context must not disagree on why."""
    for _ in range(50):
        ctx = Context(LATER)
        calls = []
        ctx.on_done(lambda calls=calls: calls.append(None))
        start = threading.Barrier(4)

        def cancel(number, start=start, ctx=ctx):
            start.wait(TIMEOUT)
            ctx.cancel(number)
            return ctx.error

        errors = join([spawn(cancel, number) for number in range(4)])
        assert len({id(error) for error in errors}) == 1
        assert len(calls) == 1


def test_a_context_manager_cancels_on_exit():
    with Context() as ctx:
        assert not ctx.cancelled
    assert isinstance(ctx.error, Cancelled)
    failed = Context()
    with pytest.raises(LookupError), failed:
        raise LookupError
    assert failed.cancelled


def test_a_deadline_ends_a_context():
    """Whether it is asked, waited for, called back or selected; it is a TimeoutError."""
    over = Context(0)
    assert isinstance(over.error, DeadlineExceeded)
    assert isinstance(over.error, TimeoutError)
    assert over.remaining() == 0
    ctx = Context(0.01)
    assert ctx.wait(TIMEOUT)
    assert isinstance(ctx.error, DeadlineExceeded)
    called: queue.Queue[object] = queue.Queue()
    observed = Context(0.01)
    observed.on_done(lambda: called.put(observed.error))
    assert isinstance(called.get(timeout=TIMEOUT), DeadlineExceeded)
    done = Context(0.01).done()
    gc.collect()  # nothing else holds its context
    assert select(done, timeout=TIMEOUT) == (done, None)


@pytest.mark.parametrize(
    ("timeout", "error", "message"),
    [
        *[(number, ValueError, "negative or NaN") for number in (-1, -0.001, float("nan"), float("-inf"))],
        *[(value, TypeError, "seconds") for value in ("1", True, [1], datetime.timedelta(seconds=1))],
    ],
)
def test_a_timeout_is_a_number_and_not_negative(timeout, error, message):
    """NaN would never compare as over."""
    for make in (Context, Context().child, lambda seconds: with_timeout(Context(), seconds)):
        with pytest.raises(error, match=message):
            make(timeout)


@pytest.mark.parametrize("timeout", [1e9, 1e300, float("inf")])
def test_a_timeout_may_be_any_length(timeout):
    """A lock refuses more than threading.TIMEOUT_MAX; a context must not."""
    ctx = Context(timeout)
    assert not ctx.wait(0)
    done = ctx.done()
    with pytest.raises(queue.Empty):
        done.get(timeout=0.001)
    ctx.cancel()
    assert done.get(timeout=TIMEOUT) is None


@pytest.mark.parametrize(
    "derive",
    [
        with_cancel,
        lambda wrong: with_timeout(wrong, 1),
        lambda wrong: with_value(wrong, 1, 1),
        cause,
        without_cancel,
        lambda wrong: after_func(wrong, print),
    ],
)
def test_a_parent_is_a_context(derive):
    with pytest.raises(TypeError, match="expected a Context"):
        derive(None)
    with pytest.raises(TypeError, match="parent must be a Context"):
        Context(parent=1)


# Families.


@pytest.mark.parametrize("watched", [False, True])
def test_a_parent_ends_everything_below_with_its_own_error(watched):
    """The very same error, whether somebody waits below or only asks."""
    parent = Context()
    child = parent.child()
    grandchild = with_value(child, "key", "value")
    errors = []
    if watched:
        grandchild.on_done(lambda: errors.append(grandchild.error))
    parent.cancel("why")
    assert child.error is parent.error
    assert grandchild.error is parent.error
    assert grandchild.cause == "why"
    assert errors == ([parent.error] if watched else [])


def test_a_child_ends_neither_parent_nor_siblings_and_keeps_its_own_end():
    parent = Context()
    one, two = parent.child(), parent.child(0)
    other = parent.child()
    one.cancel("own")
    assert isinstance(two.error, DeadlineExceeded)
    assert parent.error is None
    assert other.error is None
    parent.cancel("parent's")
    assert one.cause == "own"


def test_a_child_inherits_the_earlier_deadline():
    parent = Context(LATER)
    assert parent.child().remaining() == pytest.approx(LATER, abs=100)
    assert parent.child(2 * LATER).remaining() <= LATER
    assert parent.child(1).remaining() <= 1
    first = Context(0)
    over = first.child(LATER)
    assert isinstance(over.error, DeadlineExceeded)
    assert over.error is first.error


def test_a_parents_deadline_ends_a_waiting_grandchild():
    """Through a context in the middle which has none of its own."""
    parent = Context(0.01)
    grandchild = parent.child().child(LATER)
    assert grandchild.wait(TIMEOUT)
    assert grandchild.error is parent.error
    assert isinstance(parent.error, DeadlineExceeded)


def line_of(count, timeout=None):
    """*count* contexts, each the child of the one before."""
    line = [Context(timeout)]
    while len(line) < count:
        line.append(line[-1].child())
    return line


def is_forgotten(line):
    """Whether no context of *line* is registered anywhere."""
    return not any(ctx._registrations or ctx._children or ctx._callbacks for ctx in line)


@pytest.mark.parametrize("is_watched", [False, True])
def test_the_end_reaches_any_depth(is_watched):
    """An agent that derives each turn's context from the last one's goes far below Python's recursion limit."""
    line, calls = line_of(5000), []
    if is_watched:
        line[-1].on_done(lambda: calls.append(line[-1].error))
    line[0].cancel("enough")
    assert line[-1].cause == "enough"
    assert calls == [line[0].error] * is_watched
    assert is_forgotten(line)


def test_a_deadline_reaches_any_depth_and_a_callback_is_taken_back_from_any_depth():
    line = line_of(5000, timeout=LATER)
    assert line[-1].on_done(int)()
    assert is_forgotten(line)
    line = line_of(5000, timeout=0.01)
    assert line[-1].wait(TIMEOUT)
    assert isinstance(line[-1].error, DeadlineExceeded)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_a_callback_goes_on_after_the_other_callbacks_here_and_below(kind):
    """In the middle of a cancel it must neither be swallowed nor leave streams that never hear of the end."""
    line, calls = line_of(6), []

    def interrupt():
        raise kind

    for ctx in line:
        for _ in range(2):
            ctx.on_done(interrupt)
            ctx.on_done(lambda: calls.append(True))
    with pytest.raises(kind):
        line[0].cancel()
    assert len(calls) == 2 * len(line)
    assert line[0].cancelled
    assert is_forgotten(line)


def test_values_are_inherited_and_shadowed():
    one = with_value(background(), "key", 1)
    two = with_value(one, "key", 2)
    three = with_value(two, "other", None)
    assert [ctx.value("key") for ctx in (one, two, three, three.child())] == [1, 2, 2, 2]
    assert background().value("key") is None
    with pytest.raises(TypeError):
        with_value(one, [], 1)


def test_without_cancel_keeps_values_only():
    parent = with_value(Context(0), "key", 1)
    free = without_cancel(parent)
    assert free.value("key") == 1
    assert free.error is None
    assert free.remaining() is None


# Callbacks.


@pytest.mark.parametrize("derive", [lambda ctx: ctx, Context.child], ids=["itself", "a child"])
def test_on_done_runs_once_and_at_once_when_over(derive):
    ctx = Context()
    calls = []
    stop = ctx.on_done(lambda: calls.append("before"))
    assert calls == []
    ctx.cancel()
    ctx.cancel()
    assert calls == ["before"]
    assert not stop()
    late = derive(ctx)
    stop = late.on_done(lambda: calls.append("after"))
    assert calls == ["before", "after"]
    assert not stop()
    assert late.wait(0)
    assert is_forgotten([ctx, late])


def test_what_is_taken_back_never_runs():
    """True exactly once: it says that the function will not run."""
    ctx = Context(LATER)
    calls = []
    stop = ctx.on_done(lambda: calls.append(True))
    assert stop() is True
    assert stop() is False
    ctx.cancel()
    assert calls == []


def test_a_slow_function_holds_up_no_deadline():
    """The timer's thread serves every deadline of the process, so users' functions get their own threads."""
    go_on, over = threading.Event(), threading.Event()

    def slow():
        assert go_on.wait(TIMEOUT)
        over.set()

    first, second = Context(0.01), Context(0.05)
    started = threading.Event()
    first.on_done(started.set)
    first.child().on_done(slow)
    assert second.wait(TIMEOUT)
    assert started.wait(TIMEOUT)
    assert not over.is_set()
    go_on.set()
    assert over.wait(TIMEOUT)


def test_a_slow_function_holds_up_nobody_below():
    """Waiting threads are freed before the functions of users run, here and in every child."""
    ctx = Context()
    child = ctx.child()
    end = child.child().done()
    states = []
    for observed in (ctx, child):
        observed.on_done(lambda: states.append((child.cancelled, end.closed)))
    ctx.cancel()
    assert states == [(True, True)] * 2


def test_asking_whether_it_is_over_runs_no_function_of_a_user(monkeypatch):
    """It may be a worker of ours that asks, and finds the deadline over before the timer does."""
    monkeypatch.setattr(timer.Timer, "_ensure_thread", lambda self: None)  # it sees nothing
    ctx = Context(0.01)
    ran_on = queue.Queue()
    ctx.on_done(lambda: ran_on.put(threading.current_thread()))
    until(lambda: ctx.cancelled)
    assert ran_on.get(timeout=TIMEOUT) is not threading.current_thread()


def test_on_done_needs_a_function():
    """Otherwise the mistake, a function called instead of given, shows only when the context ends."""
    with pytest.raises(TypeError, match="expected a function"):
        Context().on_done(None)  # type: ignore[arg-type]


def test_a_raising_callback_is_logged_and_the_others_run(caplog):
    """One broken observer must not keep streams alive."""
    ctx = Context()
    calls = []

    def fail():
        raise LookupError("broken observer")

    for number in range(3):
        ctx.on_done(lambda number=number: calls.append(number))
        ctx.on_done(fail)
    with caplog.at_level(logging.ERROR, "anyllm"):
        ctx.cancel()
    assert sorted(calls) == [0, 1, 2]
    until(lambda: len(caplog.records) == 3)
    assert "broken observer" in caplog.text


def test_a_second_cancel_finishes_what_the_first_could_not():
    """Ctrl-C may also come between two callbacks; the `with` block's own cancel then reaches the rest."""
    ctx = Context()
    calls = []
    ctx.on_done(lambda: calls.append(True))
    ctx._end["error"] = Cancelled()  # as far as the first got
    ctx.cancel()
    assert calls == [True]


def test_a_callback_may_use_the_context():
    """It asks why, cancels again, registers and takes back."""
    ctx = Context()
    results = []

    def callback():
        ctx.cancel("again")
        ctx.on_done(lambda: results.append("nested"))
        results.append(stop())
        results.append(ctx.cause)

    stop = ctx.on_done(callback)
    ctx.cancel("why")
    assert results == ["nested", False, "why"]


@pytest.mark.parametrize("kind", ["root", "child", "deadline"])
@pytest.mark.usefixtures("fast_switches")
def test_races_of_on_done_take_back_and_cancel_lose_and_double_nothing(spawn, kind):
    """Each function either runs once or was taken back, whoever is first; from many threads at once."""
    for _ in range(30):
        top = Context(LATER if kind == "deadline" else None)
        ctx = top.child() if kind == "child" else top
        runs, lock = {}, threading.Lock()
        start = threading.Barrier(5)

        def register(who, start=start, ctx=ctx, runs=runs, lock=lock):
            def ran(key):
                with lock:
                    runs[key] = runs.get(key, 0) + 1

            start.wait(TIMEOUT)
            taken = set()
            for number in range(40):
                key = (who, number)
                stop = ctx.on_done(lambda key=key: ran(key))
                if number % 2 and stop():
                    taken.add(key)
            return taken

        def cancel(start=start, top=top):
            start.wait(TIMEOUT)
            time.sleep(0)
            top.cancel()

        tasks = [spawn(register, who) for who in range(4)]
        cancelling = spawn(cancel)
        taken = set().union(*join(tasks))
        cancelling.join()
        everything = {(who, number) for who in range(4) for number in range(40)}
        until(lambda ran=runs, expected=everything - taken: set(ran) == expected)  # some on threads of their own
        assert set(runs.values()) <= {1}
        assert is_forgotten([ctx, top])


@pytest.mark.usefixtures("fast_switches")
def test_a_link_is_never_lost_between_coming_and_going(spawn):
    """Somebody comes while the last leaves: the parent must still know the child, or nobody hears of the end."""
    parent = Context(LATER)
    child = parent.child(LATER / 2)
    over = threading.Event()

    def come_and_go():
        while not over.is_set():
            child.on_done(int)()
            time.sleep(0)

    tasks = [spawn(come_and_go) for _ in range(3)]
    for _ in range(400):
        stop = child.on_done(int)
        # Another thread may be putting one back just now.
        until(lambda: "parent" in child._registrations)
        until(lambda: "timer" in child._registrations)
        assert stop()
    over.set()
    join(tasks)
    assert is_forgotten([child, parent])


def test_taking_back_in_a_finalizer_starts_nothing(monkeypatch):
    """
    A callback is added at the moment when the last one leaves, maybe in a finalizer, which must not take the timer's
    lock: the link is put back, not made anew.
    """
    ctx = Context(LATER)
    stop = ctx.on_done(int)
    calls = []

    class Links(dict):  # type: ignore[type-arg]
        def pop(self, name, *default):
            if name == "timer" and "timer" in self:
                ctx._callbacks["newcomer"] = lambda: calls.append(True)  # has just seen the link in place
            return super().pop(name, *default)

    ctx._registrations = Links(ctx._registrations)
    with monkeypatch.context() as patch:
        patch.setattr(timer.shared, "call_at", lambda *args: pytest.fail("took the timer's lock"))
        assert stop()
    assert list(ctx._registrations) == ["timer"]
    ctx.cancel()
    assert calls == [True]
    assert not ctx._registrations


# Waiting.


def test_wait_returns_whether_it_ended(spawn):
    ctx = Context()
    assert not ctx.wait(0)
    assert not ctx.wait(0.001)
    with pytest.raises(ValueError, match="negative"):
        ctx.wait(-1)
    assert not ctx._callbacks
    tasks = [spawn(ctx.wait) for _ in range(3)] + [spawn(ctx.wait, LATER)]
    ctx.cancel()
    assert join(tasks) == [True] * 4
    assert ctx.wait(0)


def test_done_is_closed_when_the_context_ends(spawn):
    """Each call gives a channel of its own, so that several can wait."""
    ctx = Context()
    one, two = ctx.done(), ctx.done()
    assert not one.closed
    task = spawn(two.get)
    ctx.cancel()
    assert task.join() is None
    assert one.closed
    assert ctx.done().get(timeout=0) is None


def test_done_that_was_dropped_is_forgotten():
    """A select in a loop asks for it again each time."""
    parent = Context()
    ctx = parent.child(LATER)
    for _ in range(100):
        ctx.done()
    gc.collect()
    assert not ctx._callbacks
    assert not parent._children


# What it costs.


def timer_entries():
    return len(timer.shared._live)


def test_a_child_that_nobody_waits_for_is_not_registered():
    """A long-lived parent must not grow with each request, dropped or cancelled, nor may the timer."""
    parent, before = Context(LATER), timer_entries()
    children = [parent.child(LATER / 2) for _ in range(10_000)]
    assert timer_entries() == before
    refs = [weakref.ref(child) for child in children[:100]]
    for child in children[::2]:
        child.cancel()
    del child, children
    gc.collect()
    assert all(ref() is None for ref in refs)


def test_children_that_were_waited_for_leave_nothing():
    """However their waiting ended: cancelled, taken back, dropped."""
    parent, before, refs = Context(LATER), timer_entries(), []
    for number in range(10_000):
        child = parent.child(LATER / 2)
        refs.append(weakref.ref(child))
        stop = child.on_done(int)
        if number % 3 == 0:
            child.cancel()
        elif number % 3 == 1:
            stop()
        else:
            done = child.done()
            stop()
            del done
    del child, stop
    gc.collect()
    assert all(ref() is None for ref in refs)
    assert timer_entries() == before
    assert len(timer.shared._heap) < 1000


def test_a_child_that_is_waited_for_is_kept_by_its_parent():
    """Its own variable may be gone; whoever registered must be called."""
    parent = Context()
    calls = []
    parent.child().on_done(lambda: calls.append(True))
    gc.collect()
    parent.cancel()
    assert calls == [True]


# Go's spellings.


def test_the_go_spellings_do_what_go_does():
    root = background()
    ctx, cancel = with_cancel(root)
    cancel("why")
    cancel("again")
    assert cause(ctx) == "why"
    assert cause(root) is None
    ctx, cancel = with_timeout(root, 0)
    assert isinstance(ctx.error, DeadlineExceeded)
    ctx, cancel = with_timeout(root, LATER)
    cancel()
    assert isinstance(ctx.error, Cancelled)
    calls = []
    ctx, cancel = with_cancel(root)
    stop = after_func(ctx, lambda: calls.append("never"))
    assert stop()
    after_func(ctx, lambda: calls.append("once"))
    cancel()
    assert calls == ["once"]
    assert set(context.__all__) >= {"background", "with_cancel", "with_timeout", "with_deadline", "without_cancel"}


@pytest.mark.parametrize("zone", [None, datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=5))])
def test_with_deadline_takes_a_datetime_of_any_zone(zone):
    """Naive is local time, as everywhere in Python."""
    now = datetime.datetime.now(zone)
    ctx, cancel = with_deadline(background(), now + datetime.timedelta(seconds=LATER))
    assert LATER - 100 < ctx.remaining() <= LATER
    cancel()
    past, _cancel = with_deadline(background(), now - datetime.timedelta(seconds=LATER))
    assert isinstance(past.error, DeadlineExceeded)


def test_with_deadline_takes_unix_seconds():
    ctx, _cancel = with_deadline(background(), time.time() + LATER)
    assert LATER - 100 < ctx.remaining() <= LATER
    with pytest.raises(ValueError, match="NaN"):
        with_deadline(background(), float("nan"))
    with pytest.raises(TypeError):
        with_deadline(background(), "tomorrow")  # type: ignore[arg-type]
    never, _cancel = with_deadline(background(), float("inf"))
    assert never.remaining() is None
