"""The provider without a socket: the real pump and dialect over a script."""

from __future__ import annotations

import socket
import threading

import pytest

import anyllm
from anyllm.testing import Stall, chat_events, fake

ASK = {"model": "any", "messages": [{"role": "user", "content": "Hi"}]}


def test_a_text_is_streamed_word_by_word():
    chunks, errors = fake("Hello big world").completion_stream(anyllm.Context(), ASK)
    assert [chunk.content for chunk in chunks if chunk.content] == ["Hello", " big", " world"]
    assert errors.get() is None


def test_whole_answers_and_streams_agree():
    provider = fake(["Hel", "lo"])
    streamed = provider.completion_stream(anyllm.Context(), ASK).collect()
    whole = provider.completion(anyllm.Context(), ASK)
    assert whole.content == streamed.content == "Hello"
    assert whole.finish_reason == streamed.finish_reason == "stop"
    assert whole.usage == streamed.usage


def test_each_call_takes_the_next_answer_and_the_last_one_stays():
    provider = fake("one", "two")
    said = [provider.completion(anyllm.Context(), ASK).content for _ in range(3)]
    assert said == ["one", "two", "two"]
    assert [request["model"] for request in provider.requests] == ["any"] * 3


def test_an_error_is_raised_and_a_retryable_one_tried_again():
    with pytest.raises(anyllm.RateLimitError, match="slow"):
        fake(anyllm.RateLimitError("slow", is_retryable=False)).completion(anyllm.Context(), ASK)
    quickly = anyllm.StreamingOptions(retry=anyllm.Retry(backoff=0))
    provider = fake(anyllm.ServerError("oops"), "fine")
    assert provider.completion(anyllm.Context(), ASK, options=quickly).content == "fine"
    assert len(provider.requests) == 2


def test_an_error_after_content_carries_the_partial_answer():
    stream = fake(["Hel", anyllm.ServerError("gone")]).completion_stream(anyllm.Context(), ASK)
    with pytest.raises(anyllm.ServerError) as caught:
        stream.collect()
    assert caught.value.partial is not None
    assert caught.value.partial.content == "Hel"


@pytest.mark.parametrize("event", [None, threading.Event()])
def test_a_stalled_answer_can_be_cancelled(event):
    ctx = anyllm.Context()
    chunks, errors = fake(["Hel", Stall(event)]).completion_stream(ctx, ASK)
    while not chunks.get().content:
        pass
    ctx.cancel("enough")
    error = errors.get(timeout=10)
    assert isinstance(error, anyllm.Cancelled)
    assert error.cause == "enough"


def test_a_stall_whose_event_is_set_goes_on():
    event = threading.Event()
    chunks, errors = fake(["Hel", Stall(event), "lo"]).completion_stream(anyllm.Context(), ASK)
    while not chunks.get().content:
        pass
    event.set()
    assert "".join(chunk.content for chunk in chunks) == "lo"
    assert errors.get() is None


def test_chunks_can_be_scripted_as_they_come_from_the_wire():
    call = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}
    script = [
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    ]
    answer = fake(script).completion_stream(anyllm.Context(), ASK).collect()
    assert answer.tool_calls[0].name == "f"
    with pytest.raises(anyllm.IncompleteStreamError):
        fake(script[:1]).completion_stream(anyllm.Context(), ASK).collect()
    assert fake(chat_events("Hi there")).completion(anyllm.Context(), ASK).content == "Hi there"


def test_no_socket_is_opened(monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    assert fake("Hi").completion(anyllm.Context(), ASK).content == "Hi"


@pytest.mark.parametrize("clock", ["first_content", "idle"])
def test_a_clock_that_runs_out_in_a_stall_ends_the_call(clock: str):
    """Not the script with its good end."""
    script = [Stall()] if clock == "first_content" else ["one", Stall()]
    options = anyllm.StreamingOptions(timeouts=anyllm.Timeouts(**{clock: 0.01}), retry=anyllm.Retry(attempts=1))
    stream = fake(script).completion_stream(anyllm.Context(), ASK, options=options)
    list(stream.chunks)
    error = stream.errors.get()
    assert isinstance(error, anyllm.StreamTimeoutError)
    assert error.clock == clock
