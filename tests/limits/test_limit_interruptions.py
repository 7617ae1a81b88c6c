"""Limits under signals, finalizers and forks: an interruption at any line loses nothing and blocks nothing."""

from __future__ import annotations

import pytest
from storm import AT_LINE, BOMB, STORM

HARNESS = """
import gc, os, signal, sys, threading
from anyllm._concurrency import permits, waiters
from anyllm.context import Context
from anyllm.errors import AnyLLMError, ServerError
from anyllm.limits import *
from anyllm.limits import _circuit_breaker, _once, _rate_limit, _stream_limit

MODULES = (permits, waiters, _circuit_breaker, _once, _rate_limit, _stream_limit)
FILES = {module.__file__ for module in MODULES}
"""
HARNESS += (
    AT_LINE
    + '''
def attempt(call):
    try:
        return call()
    except AnyLLMError as exc:
        return exc

def when_over(ctx, act):
    """Have *act* called when it ends, maybe by another thread; a function that waits until that is done."""
    done = threading.Event()
    ctx.on_done(lambda: (act(), done.set()))
    return lambda: done.wait(20)

def slot_at_once(ctx):
    limit, found = StreamLimit(1), []
    yield lambda: found.append(attempt(lambda: limit.acquire(ctx)))
    assert limit.active == (0 if isinstance(found[0], AnyLLMError) else 1), found
    found.clear()
    assert limit.active == 0

def slot_after_a_wait(ctx):
    """What frees it is the cancelling, or the slot that is given back beside it, in whatever order."""
    limit, found = StreamLimit(1), []
    slot = limit.acquire(Context())
    over = when_over(ctx, slot.release)
    yield lambda: found.append(attempt(lambda: limit.acquire(ctx)))
    assert over()
    assert limit.active == (0 if isinstance(found[0], AnyLLMError) else 1), found
    found.clear()
    assert limit.active == 0 and not limit._slots().line

def slot_given_back(ctx):
    limit = StreamLimit(2)
    slot, other = limit.acquire(Context()), limit.acquire(Context())
    over = when_over(ctx, slot.release)
    yield slot.release
    assert over()
    assert limit.active == 1

def rate_at_once(ctx):
    limit, found = RateLimit(2), []
    yield lambda: found.append(attempt(lambda: limit.acquire(ctx)))
    ledger = limit._ledger()
    assert not ledger.line and not ledger.lock.locked()
    left = 2 - ledger._requests
    for _ in range(left):
        limit.acquire(Context(timeout=5))
    assert isinstance(attempt(lambda: limit.acquire(Context(timeout=5))), WaitTooLongError)

def rate_after_a_wait(ctx):
    limit, found = RateLimit(None, 100), []
    reservation = limit.acquire(Context(), 100)
    over = when_over(ctx, lambda: reservation.settle(0))
    yield lambda: found.append(attempt(lambda: limit.acquire(ctx, 100)))
    assert over()
    ledger = limit._ledger()
    assert not ledger.line and not ledger.lock.locked()
    again = attempt(lambda: limit.acquire(Context(timeout=5), 100))
    assert isinstance(again, WaitTooLongError) != isinstance(found[0], AnyLLMError), (again, found)

def settle(ctx):
    limit = RateLimit(None, 100)
    reservation = limit.acquire(Context(), 100)
    over = when_over(ctx, lambda: reservation.settle(50))
    yield lambda: reservation.settle(50)
    assert over()
    limit.acquire(Context(timeout=5), 50)
    assert isinstance(attempt(lambda: limit.acquire(Context(timeout=5), 1)), WaitTooLongError)

def probe(ctx):
    breaker, found = CircuitBreaker(failures=1, cooldown=0), []
    breaker.before(Context()).failed(ServerError("down"))
    yield lambda: found.append(attempt(lambda: breaker.before(ctx)))
    found.clear()
    breaker.before(Context()).succeeded()
    assert breaker.state == "closed"

def report(ctx):
    breaker = CircuitBreaker(failures=2)
    one, other = breaker.before(Context()), breaker.before(Context())
    over = when_over(ctx, lambda: other.failed(ServerError("down")))
    yield lambda: one.failed(ServerError("down"))
    assert over()
    assert breaker.state == "open"

OPERATIONS = [slot_at_once, slot_after_a_wait, slot_given_back, rate_at_once, rate_after_a_wait, settle, probe, report]

def finish(ctx, body):
    ctx.cancel()
    next(body, None)
'''
)


def test_cancelling_may_interrupt_every_line(run_script):
    """A signal handler, or a finalizer, runs between any two lines of a wait, and ends it."""
    output = run_script(
        HARNESS
        + """
def prepare(operation):
    ctx = Context()
    body = operation(ctx)
    operate = next(body)
    if "after_a_wait" not in operation.__name__:
        return ctx.cancel, operate, lambda: finish(ctx, body)
    timer = threading.Timer(0.02, ctx.cancel)  # when no such line comes before it waits: from outside
    timer.start()
    return ctx.cancel, operate, lambda: (timer.cancel(), finish(ctx, body))

print(sum(at_every_line(lambda: prepare(operation)) for operation in OPERATIONS))
"""
    )
    assert int(output) > 150, output


def test_giving_back_may_interrupt_every_line(run_script):
    """Without a cancel: a waiting thread gets what is given back at any line."""
    output = run_script(
        HARNESS
        + """
def for_a_slot():
    limit = StreamLimit(1)
    slot = limit.acquire(Context())
    return slot.release, lambda: limit.acquire(Context(timeout=5)).release()

def for_the_rate():
    limit = RateLimit(None, 100)
    reservation = limit.acquire(Context(), 100)
    return lambda: reservation.settle(0), lambda: limit.acquire(Context(), 100)

def prepare(case):
    give_back, acquire = case()
    timer = threading.Timer(0.02, give_back)  # when no such line comes before it waits: from outside
    timer.start()
    return give_back, acquire, timer.cancel

print(sum(at_every_line(lambda: prepare(case)) for case in (for_a_slot, for_the_rate)))
"""
    )
    assert int(output) > 60, output


def test_a_thread_that_joins_the_line_while_a_slot_is_given_back_gets_it(run_script):
    """Another thread joins the line at any line of giving a slot back."""
    output = run_script(
        HARNESS
        + """
def prepare():
    limit, got, tasks = StreamLimit(1), [], []
    slot = limit.acquire(Context())
    def come():
        task = threading.Thread(target=lambda: got.append(attempt(lambda: limit.acquire(Context(timeout=5)))))
        task.start()
        tasks.append(task)
        while not limit._slots().line and not got and limit.active:
            threading.Event().wait(0.001)
        threading.Event().wait(0.002)  # it looks once more before it waits
    def check():
        for task in tasks:
            task.join(20)
            assert isinstance(got[0], Slot), got
    return come, slot.release, check

print(at_every_line(prepare))
"""
    )
    assert int(output) > 10, output


def test_cancel_in_a_finalizer_never_deadlocks(run_script):
    """The collector runs finalizers in the middle of any allocation, also while `acquire` holds its lock."""
    output = run_script(
        HARNESS
        + BOMB
        + """
def work(first):
    for number in range(6):
        for operation in OPERATIONS:
            ctx = Context(timeout=0.02)
            body = operation(ctx)
            operate = next(body)
            for _ in range(number % 5 + 1):
                Bomb(ctx)
            operate()
            finish(ctx, body)
"""
        + STORM
    )
    assert int(output.split()[-1]) > 100, output


@pytest.mark.fork
def test_a_child_has_no_ghosts(run_script):
    """Whoever held a lock, a slot or the probe in the parent does not exist in the child; what was used is used."""
    output = run_script(
        HARNESS
        + """
import faulthandler, warnings
faulthandler.cancel_dump_traceback_later()
warnings.simplefilter("ignore")
rate, streams = RateLimit(3, 100), StreamLimit(1)
breaker = CircuitBreaker(failures=1, cooldown=0)
breaker.before(Context()).failed(ServerError("down"))
probe = breaker.before(Context())
slot = streams.acquire(Context())
reservation = rate.acquire(Context(), 90)
ctx = Context()
threads = [threading.Thread(target=attempt, args=(lambda: limit.acquire(ctx, *more),), daemon=True)
           for limit, *more in [(rate, 100), (streams,)] * 20]
for thread in threads:
    thread.start()
while len(rate._ledger().line) + len(streams._slots().line) < 40:
    threading.Event().wait(0.001)
rate._ledger().lock.acquire()  # another thread's, at that moment

pid = os.fork()
if not pid:
    signal.alarm(20)
    status = 1
    try:
        with streams.acquire(Context(timeout=5)):
            assert streams.active == 1
            slot.release()  # the parent's
            assert streams.active == 1
        assert streams.active == 0
        assert isinstance(attempt(lambda: rate.acquire(Context(timeout=1), 11)), WaitTooLongError)
        rate.acquire(Context(timeout=1), 10)
        reservation.settle(50)
        rate.acquire(Context(timeout=1), 40)
        assert isinstance(attempt(lambda: rate.acquire(Context(timeout=1))), WaitTooLongError)  # the fourth
        breaker.before(Context()).succeeded()
        assert breaker.state == "closed"
        status = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        os._exit(status)
assert os.waitpid(pid, 0)[1] == 0
rate._ledger().lock.release()
assert breaker.state == "half_open" and streams.active == 1
ctx.cancel()
for thread in threads:
    thread.join(20)
    assert not thread.is_alive()
print("done")
"""
    )
    assert output.strip() == "done"
