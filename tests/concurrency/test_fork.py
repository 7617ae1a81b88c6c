"""
Forks of a process that has used providers: a child starts with fresh connections, no ghosts, and harms nothing.

The scripts are processes of their own, and the server is not among them, so that a child inherits only the client.
"""

from __future__ import annotations

import os
import textwrap
import threading

import loopback
import pytest
from conftest import TIMEOUT, under_gevent

from anyllm.testing import Reply, Signal, Stall, chat_events, serve

pytestmark = [
    pytest.mark.fork,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
]

HEAD = """
import faulthandler, gc, os, queue, signal, sys, threading, warnings
import anyllm

# The guard that the fixture sets has a thread, which a child that exits would wait for: alarms do the same.
faulthandler.cancel_dump_traceback_later()
faulthandler.register(signal.SIGALRM, chain=True)
signal.alarm(50)

warnings.simplefilter("ignore")  # newer Pythons warn of any fork with threads
PARAMS = {{"model": "m", "messages": [{{"role": "user", "content": "Say something."}}]}}
options = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
host = anyllm.provider("compatible", base_url={url!r}, options=options, verify={verify!r})

def ask(key=None, ctx=None):
    return host.completion_stream(ctx or anyllm.Context(timeout=20), PARAMS, api_key=key)

def in_child(work, end=os._exit):
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.alarm(20)  # a child that hangs says where
        work()
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    end(0)

def ends_well(pid):
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
"""


def by_key(sent: threading.Event, go_on: threading.Event):
    """The reply that the key asks for: a short answer, one that waits for `go_on`, or one that never ends."""

    def reply(request) -> Reply:
        key = request.headers.get("authorization", "")
        if key.endswith("slow"):
            return Reply.sse(
                [*chat_events(["one "], finish_reason=None), Signal(sent), Stall(go_on), *chat_events("two")]
            )
        if key.endswith("silent"):
            return loopback.silent_after(sent)
        return Reply.sse(chat_events("Hello"), framing="length")

    return reply


@pytest.fixture(params=["http", "https"])
def server(request):
    sent, go_on = threading.Event(), threading.Event()
    tls = loopback.tls() if request.param == "https" else None
    with serve(by_key(sent, go_on), tls=tls and tls.server) as server:
        server.go_on = go_on
        server.script = HEAD.format(url=server.url, verify=tls and tls.bundle)
        yield server


PARENT = """
assert ask().collect().content == "Hello"
stream = ask("slow")
assert stream.chunks.get().content == ""
assert stream.chunks.get().content == "one "

def work():
    {work}

ends_well(in_child(work, {end}))
assert anyllm.active_streams() == 1
print("go on", flush=True)
assert stream.collect().content == "one two"
assert ask().collect().content == "Hello"
print("done", anyllm.active_streams())
"""

IN_CHILD = {
    "leaves at once": "pass",
    "drops its copy": """
    global stream
    del stream
    gc.collect()
    """,
    "cancels its copy": "stream.cancel()",
    "its copy is over": """
    assert anyllm.active_streams() == 0
    try:
        stream.collect()
    except anyllm.Cancelled as exc:
        assert "fork" in str(exc), exc
    else:
        raise AssertionError
    """,
    "streams": """
    assert ask().collect().content == "Hello"
    assert anyllm.active_streams() == 0
    """,
    "cancels": """
    ctx = anyllm.Context()
    chunks, errors = ask("silent", ctx)
    chunks.get()
    assert anyllm.active_streams() == 1
    ctx.cancel("child")
    assert errors.get().cause == "child"
    chunks, errors = ask("silent", anyllm.Context(timeout=0.1))
    assert isinstance(errors.get(), anyllm.DeadlineExceeded)
    """,
    "abandons": """
    chunks, errors = ask("silent")
    chunks.get()
    del chunks
    assert errors.get().cause == "abandoned"
    """,
    "closes the provider": "host.close()",
    "forks again": """
    ends_well(in_child(lambda: ask().collect()))
    assert ask().collect().content == "Hello"
    """,
}


@pytest.mark.parametrize("end", ["os._exit", "sys.exit"])
@pytest.mark.parametrize("what", IN_CHILD)
def test_a_child(what, end, server, script):
    """The parent's live stream goes on unharmed, whatever the child does to its copy, and however it ends."""
    process = script(server.script + PARENT.format(work=IN_CHILD[what].strip(), end=end))
    try:
        line = process.stdout.readline()
        server.go_on.set()
        output, _ = process.communicate(timeout=TIMEOUT * 2)
    finally:
        process.kill()
    assert line.strip() == "go on", line + output
    assert output.strip() == "done 0"
    assert process.returncode == 0


def test_a_child_opens_connections_of_its_own(server, run_script):
    """The idle one is the parent's; using it from both would mix two answers."""
    source = """
    assert ask().collect().content == "Hello"
    pids = [in_child(lambda: [ask().collect() for _ in range(3)]) for _ in range(3)]
    for pid in pids:
        ends_well(pid)
    assert ask().collect().content == "Hello"
    """
    run_script(server.script + textwrap.dedent(source))
    assert 4 <= server.connections <= 8  # one each, and one more where a worker had not given its own back


def test_forks_under_load(server, run_script):
    """Whatever the workers hold at that moment: the pool's locks, the channel's, the timer's."""
    source = """
    ask().collect()  # imports what is imported on first use: a fork in the middle of an import hangs any Python
    stop = threading.Event()
    def load():
        while not stop.is_set():
            assert ask().collect().content == "Hello"
    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()

    def work():
        ctx = anyllm.Context(timeout=60)
        assert ask(ctx=ctx).collect().content == "Hello"
        assert anyllm.active_streams() == 0

    try:
        for _ in range(50):
            ends_well(in_child(work))
    finally:
        stop.set()
    for thread in threads:
        thread.join(20)
    print("done", anyllm.active_streams())
    """
    assert "done 0" in run_script(server.script + textwrap.dedent(source))


@pytest.mark.skipif(under_gevent(), reason="multiprocessing's pools hang under gevent, with or without us")
def test_a_pool_of_forked_processes(server, run_script):
    """As Celery and gunicorn do: use, then fork workers that stay."""
    source = """
    import multiprocessing

    def content(number):
        return ask().collect().content

    assert content(0) == "Hello"
    live = ask("silent")
    live.chunks.get()
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(content, range(30)) == ["Hello"] * 30
    assert anyllm.active_streams() == 1
    live.cancel()
    assert isinstance(live.errors.get(), anyllm.Cancelled)
    print("done", anyllm.active_streams())
    """
    assert "done 0" in run_script(server.script + textwrap.dedent(source))


def test_a_child_closes_its_copies_of_idle_connections(server, run_script):
    """Also those of a pool which a worker uses that does not exist there, and so never lets go of."""
    source = """
    from anyllm._transport import connections

    def idle():
        pools = [pool.pool for pool in tuple(connections._pools) if pool.pool]
        return [conn for queue in pools for conn in queue.queue if conn is not None and conn.sock is not None]

    stream = ask("silent")
    stream.chunks.get()
    assert ask().collect().content == "Hello"
    while not idle():
        threading.Event().wait(0.001)

    def work():
        assert idle() == []

    ends_well(in_child(work))
    assert idle()
    stream.cancel()
    """
    run_script(server.script + textwrap.dedent(source))


def test_a_child_that_stays_does_not_keep_connections_open(server, script):
    """The host sees that the parent has closed its own, though the child had copies of the descriptors."""
    source = """
    assert ask().collect().content == "Hello"
    stream = ask("silent")
    stream.chunks.get()
    other = ask("silent")
    other.chunks.get()
    pid = in_child(signal.pause)
    stream.cancel()
    del other
    host.close()
    print("closed", flush=True)
    signal.pause()
    """
    process = script(server.script + textwrap.dedent(source))
    try:
        assert process.stdout.readline().strip() == "closed"
        assert server.wait_closed(TIMEOUT)
    finally:
        process.kill()
        process.wait(TIMEOUT)
        process.stdout.close()
