"""Answers that the loop reads: in order, whatever the socket, the receiver and the end of the call do to it."""

from __future__ import annotations

import errno
import os
import socket
import textwrap
import threading
from typing import Any, Iterator, List

import loopback
import pytest
from conftest import TIMEOUT
from loopback import until

import anyllm
from anyllm._concurrency import loop
from anyllm._stream.polled_reader import LoopTask, Wait
from anyllm._transport.response import Response
from anyllm.channel import open_channel
from anyllm.testing import Cut, Reply, Stall, chat_events, serve


def stream(url: str, **options: Any) -> anyllm.Stream:
    """A stream that the loop reads."""
    verify = loopback.tls().bundle if url.startswith("https") else None
    provider = loopback.provider(url, options=loopback.PLAIN.evolve(**{"driver": "loop", **options}), verify=verify)
    return provider.completion_stream(anyllm.Context(), loopback.PARAMS)


def users_are_gone() -> None:
    """The loop has finished every part of every call."""
    until(lambda: not loop.shared._users)


# Sockets.


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The tasks that the loop has gone on with, one entry for each time."""
    made: List[Any] = []
    step = LoopTask._step
    monkeypatch.setattr(LoopTask, "_step", lambda task: (made.append(task), step(task)))
    return made


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_each_event_is_one_step(secure: bool, steps: List[Any]) -> None:
    """Not another one to find that nothing follows, or that nothing is left of what came with the headers."""
    gates = [threading.Event() for _ in range(40)]
    events: List[Any] = []
    for gate in gates:
        events += [Stall(gate), *chat_events("x", role=False, finish_reason=None, usage=False)]
    reply = Reply.sse([*events, *chat_events("end", role=False)])
    with serve(reply, tls=loopback.tls().server if secure else None) as server:
        answer = stream(server.url)
        for gate in gates:
            gate.set()
            assert answer.chunks.get(timeout=TIMEOUT) is not None
        assert answer.collect().content == "x" * len(gates) + "end"
        users_are_gone()
    assert len(steps) < 1.5 * len(gates)


@pytest.mark.parametrize("buffer", [1, 2, 64])
def test_a_call_that_waits_for_room_takes_no_step(buffer: int, steps: List[Any]) -> None:
    with serve(Reply.sse(chat_events(["word "] * 1000))) as server:
        answer = stream(server.url, buffer=buffer)
        until(lambda: answer._pump._chunks_pipe.senders)
        turns(50)
        before = len(steps)
        turns(50)
        assert len(steps) == before
        assert not answer._pump._chunks_pipe.end
        assert len(loop.shared._selector.get_map()) == 1, "its socket is watched"  # type: ignore[union-attr]
        answer.cancel()
        users_are_gone()


def turns(count: int) -> None:
    """Let the loop, on which a call runs, go round *count* times."""
    for _ in range(count):
        has_run = threading.Event()
        loop.shared.call_soon(has_run.set)
        loopback.wait_for(has_run)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_flood_is_read_once_a_step(secure: bool, steps: List[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of it has come: after each read the others have their turn."""
    reads: List[int] = []  # the number of the step
    receive = Response.receive

    def count(response: Response) -> Any:
        data = receive(response)
        if data:
            reads.append(len(steps))
        return data

    monkeypatch.setattr(Response, "receive", count)
    flood = Reply.sse(chat_events(["x" * 5000] * 1000), event_per_write=False)
    with serve(flood, tls=loopback.tls().server if secure else None) as server:
        assert stream(server.url, buffer=10**6).collect().content == "x" * 5_000_000
        users_are_gone()
    assert len(reads) > 50
    assert len(set(reads)) == len(reads)


def test_a_task_that_only_needs_turns_takes_one_at_a_time() -> None:
    """Between two steps of a task whose socket can be read."""
    order: List[str] = []
    ours, theirs = socket.socketpair()
    are_over = threading.Semaphore(0)
    sender, channel = open_channel(1)

    def busy() -> Iterator[Wait]:
        while order.count("reads") < 20 and len(order) < 10_000:
            order.append("turn")
            yield Wait.TURN

    def reads() -> Iterator[Wait]:
        for _ in range(20):
            yield Wait.DATA
            ours.recv(1)
            order.append("reads")

    with ours, theirs:
        theirs.send(b"x" * 20)
        for waits in (busy(), reads()):
            LoopTask(waits, ours, sender, []).start(are_over.release)  # type: ignore[arg-type]
        for _ in range(2):
            assert are_over.acquire(timeout=TIMEOUT)
    users_are_gone()
    first = order.index("reads")
    assert order[first:].count("turn") <= 2 * 20
    assert channel.empty()


# A call that goes on in another process, or ends with this one.

PROGRAM = """
import faulthandler, gc, os, sys, threading, warnings
import anyllm
from anyllm._concurrency import loop

faulthandler.cancel_dump_traceback_later()
warnings.simplefilter("ignore")  # newer Pythons warn of any fork with threads
options = anyllm.StreamingOptions(driver="loop", retry=anyllm.Retry(attempts=1))
host = anyllm.provider("compatible", base_url={url!r}, api_key="k", options=options, verify={verify!r})

def ask(model):
    params = {{"model": model, "messages": [{{"role": "user", "content": "Say something."}}]}}
    return host.completion_stream(anyllm.Context(timeout=20), params)

def until_first_text(stream):
    while not stream.chunks.get().content:
        pass
"""


@pytest.fixture(params=["plain", "TLS"])
def host(request: pytest.FixtureRequest) -> Iterator[Any]:
    go_on = threading.Event()
    first = chat_events("one ", finish_reason=None, usage=False)
    replies = {
        "hello": Reply.sse(chat_events("Hello")),
        "slow": Reply.sse([*first, Stall(go_on), *chat_events("two", role=False)]),
        "flood": Reply.sse(chat_events(["word "] * 10_000)),
    }
    tls = loopback.tls() if request.param == "TLS" else None
    with serve(lambda asked: replies[asked.json()["model"]], tls=tls and tls.server) as server:
        server.program = PROGRAM.format(url=server.url, verify=tls and tls.bundle)
        server.go_on = go_on
        yield server


@pytest.mark.fork
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(
    "in_child",
    ["pass", "del stream, full; gc.collect()", "stream.cancel()", "assert ask('hello').collect().content == 'Hello'"],
)
def test_a_fork_leaves_the_parents_streams_alone(in_child: str, host: Any, script: Any) -> None:
    """One waits for data and one for room. The child's copies are over, and its own calls have a loop of their own."""
    source = f"""
    stream, full = ask("slow"), ask("flood")
    until_first_text(stream)
    while not full._pump._chunks_pipe.senders:
        threading.Event().wait(0.001)
    pid = os.fork()
    if not pid:
        try:
            assert anyllm.active_streams() == 0
            assert isinstance(stream.errors.get(), anyllm.Cancelled)
            {in_child}
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert anyllm.active_streams() == 2
    print("go on", flush=True)
    assert stream.collect().content == "one two"
    assert full.collect().content == "word " * 10_000
    print("done", loop.shared._users if stream._pump.join(5) or full._pump.join(5) else 0)
    """
    process = script(host.program + textwrap.dedent(source))
    try:
        line = process.stdout.readline()
        host.go_on.set()
        output, _ = process.communicate(timeout=TIMEOUT * 2)
    finally:
        process.kill()
    assert line.strip() == "go on", line + output
    assert output.strip() == "done 0"


@pytest.mark.parametrize(
    "before",
    [
        "",
        "threading.Thread(target=list, args=(stream.chunks,), daemon=True).start()",
        "threading.Thread(target=stream.chunks.forward, args=(lambda take: True,), daemon=True).start()",
        "stream.cancel()",
        "del stream, full",
    ],
)
def test_an_exit_with_running_streams_is_quiet_and_closes_them(before: str, host: Any, run_script: Any) -> None:
    source = f"""
    stream, full = ask("slow"), ask("flood")
    until_first_text(stream)
    while not full._pump._chunks_pipe.senders:
        threading.Event().wait(0.001)
    {before}
    print("the end")
    """
    assert run_script(host.program + textwrap.dedent(source)).strip() == "the end"
    assert host.wait_closed(TIMEOUT)


# Shortages.


def test_a_socket_that_cannot_be_watched_ends_its_call_only(monkeypatch: pytest.MonkeyPatch):
    """The system limits how many sockets can be watched. The caller must not wait for ever."""
    with serve(Reply.sse([*chat_events("a b"), Stall()], done=False)) as server:
        with monkeypatch.context() as patch:
            patch.setattr(loop.Loop, "watch", _raises(OSError(errno.ENOSPC, "no space for watches")))
            failed = stream(server.url)
            error = failed.errors.get(timeout=TIMEOUT)
        assert isinstance(error, anyllm.AnyLLMError)
        assert "no space for watches" in str(error)
        users_are_gone()
        other = stream(server.url)
        assert other.chunks.get(timeout=TIMEOUT) is not None
        other.cancel()
        users_are_gone()


@pytest.mark.parametrize("driver", ["thread", "loop"])
def test_without_a_thread_for_the_next_attempt_the_error_is_that_of_the_last(
    driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not that there is no thread, which says nothing about the answer."""
    go_on = threading.Event()
    events = [*chat_events("one", finish_reason=None, usage=False), Stall(go_on), Cut("eof")]
    with serve(Reply.sse(events, done=False)) as server:
        answer = stream(server.url, driver=driver)
        while not answer.partial.content:
            assert answer.chunks.get(timeout=TIMEOUT) is not None
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", _raises(RuntimeError("can't start new thread")))
            go_on.set()
            error = answer.errors.get(timeout=TIMEOUT)
        assert isinstance(error, anyllm.IncompleteStreamError)
        assert error.partial.content == "one"
        users_are_gone()


def test_without_a_thread_for_the_loop_the_call_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "shared", loop.Loop())
    with serve(Reply.sse(chat_events("one"))) as server:
        with monkeypatch.context() as patch:
            patch.setattr(loop.Loop, "_start_thread", _raises(OSError(errno.EMFILE, "too many open files")))
            answer = stream(server.url)
            assert "too many open files" in str(answer.errors.get(timeout=TIMEOUT))
            assert answer.chunks.get(timeout=TIMEOUT) is None
        assert server.wait_closed(TIMEOUT)
        assert stream(server.url).collect().content == "one"
        users_are_gone()


def _raises(exc: BaseException) -> Any:
    def fail(*args: Any) -> None:
        raise exc

    return fail
