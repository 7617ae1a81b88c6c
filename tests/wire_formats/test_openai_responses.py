"""The dialect of OpenAI's Responses, beside what the conformance suite holds all formats to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import ROOT
from recordings import Ours

from anyllm.errors import AnyLLMError
from anyllm.types import ChatCompletion, ChatCompletionChunk, CompletionParams, Message
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect

TRANSCRIPTS = ROOT / "tests" / "transcripts" / "openai_responses"


def decode(reads: list[bytes]) -> tuple[list[ChatCompletionChunk], ChatCompletion, AnyLLMError | None]:
    """All chunks, what they make together, and the error that ended them."""
    ours = Ours(OpenAIResponsesDialect(), reads)
    return ours.chunks, ours.answer, ours.error


def sse(*bodies: Any) -> list[bytes]:
    return [b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies]


def ended(**response: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed", **response}}


# -- streams ---------------------------------------------------------------------------------------------------------


def test_events_that_show_nothing_are_chunks_without_choices() -> None:
    chunks, _, _ = decode([(TRANSCRIPTS / "server_tool.sse").read_bytes()])
    silent = [chunk.raw["type"] for chunk in chunks if not chunk.choices]
    assert "response.web_search_call.searching" in silent
    assert "response.output_text.annotation.added" in silent


def test_id_and_model_are_on_every_chunk() -> None:
    chunks, _, _ = decode([(TRANSCRIPTS / "end_without_status.sse").read_bytes()])
    assert {(chunk.id, chunk.model, chunk.created) for chunk in chunks} == {("resp_1", "m-1", 1700000000)}


def test_tier_and_time_are_the_providers() -> None:
    first = {"type": "response.created", "response": {"id": "r", "created_at": 5.0, "service_tier": "auto"}}
    chunks, answer, _ = decode(sse(first, ended(service_tier="flex")))
    assert (chunks[0].created, chunks[0].service_tier) == (5, "auto")
    assert (answer.created, answer.service_tier, answer.id) == (5, "flex", "r")


# -- the whole response ------------------------------------------------------------------------------------------------


def test_whole_response_does_not_invent_an_end() -> None:
    answer = OpenAIResponsesDialect().response(b'{"output": [], "model": "m"}')
    assert (answer.finish_reason, answer.raw_finish_reason) == (None, None)


# -- requests ----------------------------------------------------------------------------------------------------------


def body_of(messages: Any = ({"role": "user", "content": "Hi"},), *, stream: bool = False, **params: Any) -> Any:
    request = OpenAIResponsesDialect().request(
        CompletionParams("x/m", list(messages), **params), model="m", stream=stream
    )
    return json.loads(request.body)


def input_of(*messages: Any, **params: Any) -> Any:
    return body_of(messages, **params)["input"]


def test_stream_options_are_sent_without_usage() -> None:
    options = {"include_usage": True, "include_obfuscation": False}
    assert body_of(stream=True, stream_options=options)["stream_options"] == {"include_obfuscation": False}


# -- the next turn -----------------------------------------------------------------------------------------------------


def turn_of(case: str) -> Message:
    _, answer, error = decode([(TRANSCRIPTS / f"{case}.sse").read_bytes()])
    assert error is None
    return answer.to_message()


@pytest.mark.parametrize("case", ["two_reasonings", "phase", "server_tool", "reasoning_text", "summary_in_two_parts"])
def test_items_go_back_unchanged_and_in_order(case: str) -> None:
    message = turn_of(case)
    assert message.reasoning is not None
    assert input_of(message) == message.reasoning.details
    assert input_of(Message.from_dict(message.to_dict())) == message.reasoning.details


def test_answers_that_their_text_says_go_back_as_text() -> None:
    assert input_of(turn_of("plain")) == [
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello, world"}]}
    ]
    assert input_of(turn_of("parallel_calls")) == [
        {"type": "function_call", "call_id": "k1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "k2", "name": "g", "arguments": '{"b":2}'},
    ]


def test_rewritten_turn_says_what_was_written() -> None:
    """Text, calls and arguments that somebody changed stand, the reasoning before them stays."""
    message = turn_of("two_reasonings").to_dict()
    first, second = message["tool_calls"]
    changed = {**first, "function": {"name": "f", "arguments": "{}"}}
    sent = input_of({**message, "content": "Changed.", "tool_calls": [changed]})
    kinds = [item.get("type") for item in sent]
    assert kinds == ["reasoning", None, "function_call"]
    assert sent[1] == {"role": "assistant", "content": [{"type": "output_text", "text": "Changed."}]}
    assert (sent[2]["id"], sent[2]["arguments"]) == ("fc_1", "{}")
    added = input_of({**message, "tool_calls": [first, second, {**second, "id": "k3"}]})
    assert [item.get("call_id") for item in added if "call_id" in item] == ["k1", "k2", "k3"]


def test_rewritten_message_is_said_once() -> None:
    message = turn_of("phase").to_dict()
    sent = input_of({**message, "content": "Changed."})
    assert sent[0] == {"role": "assistant", "content": [{"type": "output_text", "text": "Changed."}]}
    assert [item["call_id"] for item in sent[1:]] == ["k1"]
    sent = input_of({**turn_of("server_tool").to_dict(), "content": "Changed."})
    assert [item.get("type") for item in sent] == ["web_search_call", None]


def test_reasoning_that_nothing_follows_stays_here() -> None:
    message = turn_of("summary_in_two_parts").to_dict()
    assert input_of({**message, "tool_calls": []}) == []


def test_programs_caller_goes_back_with_call_and_result() -> None:
    caller = {"type": "program", "caller_id": "p"}
    item = {"type": "function_call", "id": "fc", "call_id": "k", "name": "f", "arguments": "{}", "caller": caller}
    _, answer, _ = decode(sse(ended(output=[item])))
    sent = input_of(answer.to_message(), Message.tool("1", "k"))
    assert sent == [item, {"type": "function_call_output", "call_id": "k", "output": "1", "caller": caller}]
