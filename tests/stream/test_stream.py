"""The pair of channels, and what one would write around it as methods."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
from typing import Any, List

import pytest
from conftest import TIMEOUT

import anyllm
from anyllm.errors import Cancelled, IncompleteStreamError, InvalidRequestError
from anyllm.testing import Reply, Stall, chat_events, serve

PARAMS = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def ask(url: str, ctx: Any = None) -> anyllm.Stream:
    return anyllm.completion_stream(ctx or anyllm.Context(timeout=60), PARAMS, provider="compatible", base_url=url)


def test_it_unpacks_and_has_attributes():
    with serve(Reply.sse(chat_events("hi"))) as server:
        stream = ask(server.url)
        chunks, errors = stream
        assert chunks is stream.chunks is stream[0]
        assert errors is stream.errors is stream[1]
        assert "".join(chunk.content for chunk in chunks) == "hi"
        assert errors.get() is None


@pytest.mark.parametrize("read_before", [0, 1, 3, 99])
def test_collect_gives_the_whole_whatever_was_read_before(read_before: int):
    with serve(Reply.sse(chat_events("one two three"))) as server:
        stream = ask(server.url)
        for _ in range(read_before):
            stream.chunks.get()
        answer = stream.collect()
    assert answer.content == "one two three"
    assert answer.finish_reason == answer.raw_finish_reason == "stop"
    assert answer.usage.total_tokens == 4
    assert answer == stream.collect() == stream.partial


def test_collect_raises_what_ended_the_stream():
    with serve(Reply.sse(chat_events("so far", finish_reason=None, usage=False), done=False)) as server:
        stream = ask(server.url)
        for _ in range(2):
            with pytest.raises(IncompleteStreamError) as caught:
                stream.collect()
            assert caught.value.partial.content == "so far"
        assert stream.errors.get() is None  # received, by collect


def test_collect_and_completion_raise_an_error_that_was_received_before():
    with serve(Reply.error(400, "no")) as server:
        stream = ask(server.url)
        error = stream.errors.get()
        for read in (stream.collect, lambda: stream.completion):
            with pytest.raises(InvalidRequestError) as caught:
                read()
            assert caught.value is error


def test_completion_raises_an_error_that_nobody_received():
    with serve(Reply.error(400, "no")) as server:
        stream = ask(server.url)
        assert list(stream.chunks) == []
        with pytest.raises(InvalidRequestError):
            _ = stream.completion


def test_text_stream_gives_strings_and_raises_at_the_end():
    with serve(Reply.sse(chat_events("one two")), Reply.sse(chat_events("one two", finish_reason=None))) as server:
        assert list(ask(server.url).text_stream) == ["one", " two"]
        received: List[str] = []
        with pytest.raises(IncompleteStreamError):
            received.extend(ask(server.url).text_stream)
    assert received == ["one", " two"]


def test_partial_grows_with_what_came():
    go = threading.Event()
    with serve(
        Reply.sse([*chat_events("one", finish_reason=None, usage=False), Stall(go), *chat_events(" two", role=False)])
    ) as server:
        stream = ask(server.url)
        assert stream.partial.content == "" or stream.partial.content == "one"
        assert [stream.chunks.get().content for _ in range(2)] == ["", "one"]
        before = stream.partial
        assert (before.content, before.finish_reason) == ("one", None)
        go.set()
        assert stream.collect().content == "one two"
        assert before.content == "one"  # a snapshot


@pytest.mark.parametrize("manage", [lambda stream: stream, contextlib.closing], ids=["with", "close"])
def test_with_and_close_cancel(manage: Any):
    with serve(Reply.sse([*chat_events("one", finish_reason=None), Stall()])) as server:
        stream = ask(server.url)
        with manage(stream):
            assert [stream.chunks.get().content for _ in range(2)] == ["", "one"]
        error = stream.errors.get(timeout=TIMEOUT)
        assert isinstance(error, Cancelled)
        assert error.partial.content == "one"
        assert server.wait_closed()


def test_with_does_nothing_to_a_stream_that_is_over():
    with serve(Reply.sse(chat_events("one"))) as server:
        with ask(server.url) as stream:
            assert stream.collect().content == "one"
        assert stream.errors.get() is None
        stream.cancel()
        assert stream.collect().content == "one"


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_stream_cannot_be_copied(copying: Any):
    """Two owners of one pair of channels would each see half."""
    with serve(Reply.sse(chat_events("hi"))) as server:
        stream = ask(server.url)
        with pytest.raises(TypeError, match="collect"):
            copying(stream)
        stream.collect()


def test_completion_needs_a_stream_that_was_read_to_its_end():
    held = threading.Event()
    with serve(Reply.sse([*chat_events("hi")[:2], Stall(held), *chat_events("hi")[2:]])) as server:
        stream = ask(server.url)
        with pytest.raises(RuntimeError, match=r"collect\(\)"):
            _ = stream.completion
        held.set()
        for _ in stream.chunks:
            pass
        assert stream.completion.content == "hi"
        assert stream.completion == stream.collect()


def test_request_id_is_there_once_the_provider_has_answered():
    held = threading.Event()
    reply = Reply.sse(chat_events("hi"), headers={"x-request-id": "req_1"}, before_headers=[Stall(held)])
    with serve(reply) as server:
        stream = ask(server.url)
        assert stream.request_id is None
        held.set()
        stream.collect()
        assert stream.request_id == "req_1"


PUBLIC = {"chunks", "errors", "collect", "completion", "partial", "text_stream", "request_id", "cancel", "close"}


def test_stream_and_chat_stream_have_the_same_members():
    """What one has and the other cannot have is answered with what to write instead."""
    pair = {name for name in dir(anyllm.Stream) if not name.startswith("_")} - {"count", "index"}  # a tuple's
    chat = {name for name in dir(anyllm.ChatStream) if not name.startswith("_")}
    assert pair == PUBLIC
    assert chat == PUBLIC - {"errors"} | {"events", "timing"}
    with serve(Reply.sse(chat_events("hi"))) as server:
        stream = ask(server.url)
        for name in ("events", "timing"):
            with pytest.raises(AttributeError, match=rf"a Stream has no '{name}': .*chat_stream"):
                getattr(stream, name)
        stream.collect()
    for name in ("content", "usage", "choices", "get_json"):
        with pytest.raises(AttributeError, match=r"stream\.collect\(\)"):
            getattr(stream, name)
    with pytest.raises(AttributeError, match=r"chunks\.get\(\)"):
        _ = stream.get
    with pytest.raises(AttributeError, match="a Stream has no 'colect'"):
        _ = stream.colect
