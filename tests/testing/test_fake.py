"""The fake provider: the real pump and dialect over scripted answers."""

from __future__ import annotations

import re
import socket
import threading
from typing import Any

import pytest

import anyllm
from anyllm.testing import Stall, chat_events, fake, tool_call

ASK = {"model": "any", "messages": [{"role": "user", "content": "Hi"}]}


def test_text_is_streamed_word_by_word():
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


def test_each_call_gets_the_next_answer_and_the_last_one_is_repeated():
    provider = fake("one", "two")
    contents = [provider.completion(anyllm.Context(), ASK).content for _ in range(3)]
    assert contents == ["one", "two", "two"]
    assert [request["model"] for request in provider.requests] == ["any"] * 3


def test_error_is_raised_and_a_retryable_one_is_retried():
    with pytest.raises(anyllm.RateLimitError, match="slow"):
        fake(anyllm.RateLimitError("slow", is_retryable=False)).completion(anyllm.Context(), ASK)
    without_backoff = anyllm.StreamingOptions(retry=anyllm.Retry(backoff=0))
    provider = fake(anyllm.ServerError("oops"), "fine")
    assert provider.completion(anyllm.Context(), ASK, options=without_backoff).content == "fine"
    assert len(provider.requests) == 2


@pytest.mark.parametrize("error", [anyllm.ServerError("gone"), anyllm.ServerError])
def test_error_after_content_has_the_partial_answer(error: Any):
    stream = fake(["Hel", error]).completion_stream(anyllm.Context(), ASK)
    with pytest.raises(anyllm.ServerError) as caught:
        stream.collect()
    assert caught.value.partial is not None
    assert caught.value.partial.content == "Hel"


@pytest.mark.parametrize("event", [None, threading.Event()])
def test_stall_can_be_cancelled(event):
    ctx = anyllm.Context()
    chunks, errors = fake(["Hel", Stall(event)]).completion_stream(ctx, ASK)
    while not chunks.get().content:
        pass
    ctx.cancel("enough")
    error = errors.get(timeout=10)
    assert isinstance(error, anyllm.Cancelled)
    assert error.cause == "enough"


def test_stall_continues_when_its_event_is_set():
    event = threading.Event()
    chunks, errors = fake(["Hel", Stall(event), "lo"]).completion_stream(anyllm.Context(), ASK)
    while not chunks.get().content:
        pass
    event.set()
    assert "".join(chunk.content for chunk in chunks) == "lo"
    assert errors.get() is None


def test_chunks_are_accepted_in_openais_shape():
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
def test_timeout_during_a_stall_ends_the_call(clock: str):
    """The call fails, instead of continuing to the script's proper end."""
    script = [Stall()] if clock == "first_content" else ["one", Stall()]
    options = anyllm.StreamingOptions(timeouts=anyllm.Timeouts(**{clock: 0.01}), retry=anyllm.Retry(attempts=1))
    stream = fake(script).completion_stream(anyllm.Context(), ASK, options=options)
    list(stream.chunks)
    error = stream.errors.get()
    assert isinstance(error, anyllm.StreamTimeoutError)
    assert error.clock == clock


# -- shapes of answers -------------------------------------------------------------------------------------------------

PARIS = {"city": "Paris"}


def collected(*answers: Any) -> anyllm.ChatCompletion:
    """The answer, after comparing the streamed and the whole one."""
    streamed = fake(*answers).completion_stream(anyllm.Context(), ASK).collect()
    whole = fake(*answers).completion(anyllm.Context(), ASK)
    assert (whole.content, whole.tool_calls) == (streamed.content, streamed.tool_calls)
    assert whole.finish_reason == streamed.finish_reason
    return streamed


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
SEVERAL = ["Let me look. ", tool_call("a"), tool_call("b", '{"broken'), tool_call("c", id="mine")]


@pytest.mark.parametrize(
    ("answer", "content", "calls"),
    [
        (tool_call("weather", PARIS), "", [("call_1", "weather", '{"city": "Paris"}')]),
        (SEVERAL, "Let me look. ", [("call_1", "a", ""), ("call_2", "b", '{"broken'), ("mine", "c", "")]),
        ({"content": None, "tool_calls": [CALL]}, "", [("c1", "f", '{"x": 1}')]),
    ],
    ids=["call", "texts and calls", "dict"],
)
def test_tool_calls_are_an_answer(answer: Any, content: str, calls: Any):
    completion = collected(answer)
    assert completion.content == content
    assert [(call.id, call.name, call.arguments) for call in completion.tool_calls] == calls
    assert [call.index for call in completion.tool_calls] == [*range(len(calls))]
    assert [call.is_complete for call in completion.tool_calls] == [call[2] != '{"broken' for call in calls]
    assert completion.finish_reason == "tool_calls"


def test_tool_call_is_streamed_in_fragments():
    stream = fake(tool_call("weather", PARIS, id="w1")).completion_stream(anyllm.Context(), ASK)
    parts = [part for chunk in stream.chunks for part in chunk.tool_calls]
    assert (parts[0].id, parts[0].name, parts[0].arguments) == ("w1", "weather", "")
    assert len(parts) > 2
    assert all((part.id, part.name, part.index) == (None, None, 0) for part in parts[1:])


def test_calls_of_several_turns_have_different_ids():
    provider = fake(tool_call("f"), [tool_call("f"), tool_call("g")], anyllm.Message.assistant(tool_calls=[{}]))
    turns = [provider.completion(anyllm.Context(), ASK) for _ in range(3)]
    assert [call.id for turn in turns for call in turn.tool_calls] == ["call_1", "call_2", "call_3", "call_4"]


MESSAGE = {"role": "assistant", "content": "Hi there"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}
OPENAI = {
    "id": "chatcmpl-9",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt",
    "choices": [{"index": 0, "message": {**MESSAGE, "annotations": []}, "finish_reason": "length"}],
    "usage": USAGE,
}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"content": "Hi there"}, "stop"),
        (MESSAGE, "stop"),
        (anyllm.Message.assistant("Hi there"), "stop"),
        ({"choices": [{"message": MESSAGE}]}, "stop"),
        (OPENAI, "length"),
        (anyllm.ChatCompletion.from_dict({"choices": [{"message": MESSAGE, "finish_reason": "length"}]}), "length"),
        (("Hi", " there"), "stop"),
        ((piece for piece in ["Hi", " there"]), "stop"),
    ],
    ids=["content", "message-dict", "Message", "choices", "openai", "ChatCompletion", "tuple", "generator"],
)
def test_whole_answer_of_any_shape_is_streamed_and_returned_whole(answer: Any, reason: str):
    provider = fake(answer)
    streamed = provider.completion_stream(anyllm.Context(), ASK).collect()
    whole = provider.completion(anyllm.Context(), ASK)
    assert streamed.content == whole.content == "Hi there"
    assert streamed.finish_reason == whole.finish_reason == reason


def test_answers_dict_is_an_answer():
    """In both shapes, ours and OpenAI's."""
    answer = collected(OPENAI)
    again = collected(answer.to_dict())
    assert (again.content, again.finish_reason, again.usage) == (answer.content, answer.finish_reason, answer.usage)


def test_usage_of_a_whole_answer_is_reported():
    usage = collected(OPENAI).usage
    assert usage is not None
    assert (usage.total_tokens, usage.cache_read_tokens) == (3, 1)


def test_chunks_are_sent_unchanged():
    event = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    chunk = anyllm.ChatCompletionChunk.from_dict(event)
    for answer in (event, [event], chunk, [chunk]):
        assert fake(answer).completion_stream(anyllm.Context(), ASK).collect().content == "Hi"


def test_error_class_is_an_answer():
    options = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
    with pytest.raises(anyllm.RateLimitError, match="a faked RateLimitError"):
        fake(anyllm.RateLimitError).completion(anyllm.Context(), ASK, options=options)


@pytest.mark.parametrize("answer", [Stall, Stall(), ["Hel", Stall]])
def test_stall_class_is_an_answer(answer: Any):
    ctx = anyllm.Context(timeout=30)
    stream = fake(answer).completion_stream(ctx, ASK)
    ctx.cancel()
    with pytest.raises(anyllm.Cancelled):
        stream.collect()


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ((5,), "answer 1 of fake() is of type int: an answer is a text; a ToolCall;"),
        (("fine", None), "answer 2 of fake() is of type NoneType: an answer is"),
        ((b"bytes",), "is of type bytes"),
        ((int,), "is the class int"),
        ((["a", 5],), "piece 2 of answer 1 of fake() is of type int"),
        (
            (ValueError("x"),),
            "is of type ValueError: an error is one of anyllm's, as anyllm.RateLimitError('slow down')",
        ),
        ((["a", ValueError],), "piece 2 of answer 1 of fake() is the class ValueError: an error is one of anyllm's"),
        ((anyllm.StreamTimeoutError,), "StreamTimeoutError needs more than a message; give an instance of it"),
        (({},), "a dict without 'choices'"),
        (({"text": "x"},), "a dict without 'choices'"),
        (({"choices": [{"message": {"role": "assistant", "content": 5}}]},), "answer 1 of fake(): "),
    ],
)
def test_wrong_answers_are_refused_by_fake(answers: Any, message: str):
    """And not later by a call, where it would look like a bug in anyllm."""
    with pytest.raises(TypeError, match=re.escape(message)):
        fake(*answers)
