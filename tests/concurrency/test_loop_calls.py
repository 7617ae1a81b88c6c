"""Answers that the loop reads: in order, whatever the socket, the receiver and the end of the call do to it."""

from __future__ import annotations

import errno
from typing import Any

import loopback
import pytest
from conftest import TIMEOUT
from loopback import until

import anyllm
from anyllm._concurrency import loop
from anyllm.testing import Reply, Stall, chat_events, serve


def stream(url: str, **options: Any) -> anyllm.Stream:
    """A stream that the loop reads."""
    verify = loopback.tls().bundle if url.startswith("https") else None
    provider = loopback.provider(url, options=loopback.PLAIN.evolve(driver="loop", **options), verify=verify)
    return provider.completion_stream(anyllm.Context(), loopback.PARAMS)


def users_are_gone() -> None:
    """The loop has finished every part of every call."""
    until(lambda: not loop.shared._users)


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


def _raises(exc: BaseException) -> Any:
    def fail(*args: Any) -> None:
        raise exc

    return fail
