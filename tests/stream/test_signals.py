"""
Cancels that interrupt: from a signal handler and from a finalizer, while the main thread is anywhere in the package.

In processes of their own: what fails here hangs.
"""

from __future__ import annotations

import signal
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="only where timers send signals")

HEAD = """
import gc, queue, signal, threading
import anyllm
from anyllm.testing import Reply, Stall, chat_events, serve

PARAMS = {"model": "m", "messages": [{"role": "user", "content": "Say something."}]}
silent = Reply.sse([*chat_events("one two", finish_reason=None), Stall()], done=False)
talking = Reply.sse([{"choices": [{"index": 0, "delta": {"content": "x"}}]}] * 20000)

def provider(server):
    options = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
    return anyllm.provider("compatible", base_url=server.url, options=options)

def check(error):
    # The alarm's, unless the answer of `talking` was over before, which has no good end.
    if not isinstance(error, (anyllm.IncompleteStreamError, anyllm.MalformedStreamError)):
        assert error.cause == "alarm", repr(error)

def alarm(handler, seconds):
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
"""

READING = """
        chunks, errors = host.completion_stream(ctx, PARAMS)
        {}
        check(errors.get())
"""
RAISING = """
        try:
            {}
        except anyllm.AnyLLMError as exc:
            check(exc)
"""
AROUND = """
with serve({reply}) as server:
    host = provider(server)
    for turn in range(25):
        ctx = anyllm.Context()
        alarm(lambda *_: ctx.cancel("alarm"), 0.004 + turn * 0.0007)
        {body}
print("done", anyllm.active_streams())
"""

BODIES = {
    "get": READING.format("while chunks.get() is not None: pass"),
    "iterating": READING.format("for chunk in chunks: pass"),
    "errors": READING.format("pass"),
    "collect": RAISING.format("host.completion_stream(ctx, PARAMS).collect()"),
    "completion": RAISING.format("host.completion(ctx, PARAMS)"),
    "starting": """
        while not ctx.cancelled:
            with host.completion_stream(ctx, PARAMS) as stream:
                stream.partial
    """,
    "context": """
        while not ctx.cancelled:
            child = ctx.child(timeout=100)
            take_back = child.on_done(lambda: None)
            child.wait(0)
            take_back()
            child.cancel()
    """,
    "partial": """
        stream = host.completion_stream(ctx, PARAMS)
        while not ctx.cancelled:
            stream.partial
        stream.errors.get()
    """,
}


@pytest.mark.parametrize("reply", ["silent", "talking"])
@pytest.mark.parametrize("name", BODIES)
def test_a_signal_handler_cancels(name, reply, run_script):
    source = HEAD + AROUND.format(reply=reply, body=BODIES[name].strip())
    assert "done 0" in run_script(source)


def test_a_finalizer_cancels(run_script):
    """The collector runs in the middle of any line: in the worker's, in the consumer's, in the timer's."""
    source = """
    class Holder:
        def __init__(self, ctx):
            self.ctx, self.itself = ctx, self
        def __del__(self):
            self.ctx.cancel("finalizer")

    gc.set_threshold(50, 2, 2)
    with serve(talking) as server:
        host = provider(server)
        for turn in range(60):
            ctx = anyllm.Context(timeout=1000)
            stream = host.completion_stream(ctx, PARAMS)
            Holder(ctx)
            stream.chunks.get()
            while stream.chunks.get() is not None:
                [{} for _ in range(20)]
            stream.errors.get()
    print("done", anyllm.active_streams())
    """
    assert "done 0" in run_script(HEAD + textwrap.dedent(source))


@pytest.mark.parametrize(
    "call", ["for _ in chunks: pass", "chunks.get()", "errors.get()", "host.completion(ctx, PARAMS)"]
)
def test_ctrl_c_interrupts_a_blocked_receive(call, run_script):
    source = f"""
with serve(Reply(before_headers=[Stall()])) as server:
    host = provider(server)
    for turn in range(10):
        ctx = anyllm.Context()
        chunks, errors = host.completion_stream(ctx, PARAMS)
        alarm(signal.default_int_handler, 0.003 * (turn + 1))
        try:
            {call}
        except KeyboardInterrupt:
            ctx.cancel()
        else:
            raise SystemExit("not interrupted")
        assert isinstance(errors.get(), anyllm.Cancelled)
    assert server.wait_closed()
print("done", anyllm.active_streams())
"""
    assert "done 0" in run_script(HEAD + source)


def test_a_signal_just_before_the_wait_is_not_lost(run_script):
    """Python looks for signals before it blocks, and one that comes after that look does not wake it."""
    source = """
    with serve(silent) as server:
        host = provider(server)
        ctx = anyllm.Context()
        signal.signal(signal.SIGUSR1, lambda *_: ctx.cancel("signal"))
        # Blocked in this thread, the signal goes to another one, which leaves this one in its wait.
        chunks, errors = stream = host.completion_stream(ctx, PARAMS)

        def send():
            while stream.partial.content != "one two" or not stream.chunks._pipe.receivers:
                threading.Event().wait(0.01)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        other = threading.Thread(target=send)
        other.start()
        while chunks.get() is not None:
            pass
        assert errors.get().cause == "signal"
        other.join()
    print("done", anyllm.active_streams())
    """
    assert "done 0" in run_script(HEAD + textwrap.dedent(source), seconds=20)
