"""Answers that the loop reads: in order, whatever the socket, the receiver and the end of the call do to it."""

from __future__ import annotations

import errno
import threading
from typing import Any, List

import loopback
import pytest
from conftest import TIMEOUT
from loopback import until

import anyllm
from anyllm._concurrency import loop
from anyllm._stream.polled_reader import LoopTask
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
