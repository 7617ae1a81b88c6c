"""The Anthropic Messages dialect beside the conformance suite: chunks, fallbacks, other clouds, models."""

from __future__ import annotations

import json
from typing import Any

import choice_streams
import pytest
from choice_streams import Result
from conftest import ROOT

from anyllm._framing.body_events import JSONEvent
from anyllm.errors import IncompleteStreamError, InvalidRequestError
from anyllm.types import CompletionParams, Message
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect

TRANSCRIPTS = ROOT / "tests" / "transcripts" / "anthropic_messages"
VERTEX = AnthropicMessagesDialect(
    provider="vertex",
    path="/models/{model}:rawPredict",
    stream_path="/models/{model}:streamRawPredict",
    version_in_body="vertex-2023-10-16",
)


def decode(reads: list[bytes]) -> Result:
    return choice_streams.decode(AnthropicMessagesDialect(), reads)


def sse(*bodies: Any) -> list[bytes]:
    return [f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode() for body in bodies]


def start(**message: Any) -> dict[str, Any]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    return {"type": "message_start", "message": {"id": "m1", "model": "c", "content": [], "usage": usage, **message}}


def delta(kind: str, at: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": at, "delta": {"type": kind, **fields}}


def end(reason: str = "end_turn") -> tuple[dict[str, Any], dict[str, Any]]:
    usage = {"output_tokens": 2}
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}, {"type": "message_stop"}


# -- streams -----------------------------------------------------------------------------------------------------------


def test_what_has_no_place_in_a_chunk_is_in_raw() -> None:
    citation = delta("citations_delta", citation={"cited_text": "Grass"})
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    query = delta("input_json_delta", 1, partial_json='{"query": "x"}')
    block = {"type": "content_block_start", "index": 1, "content_block": search}
    chunks, answer, _ = decode(sse(start(), citation, block, query, *end()))
    assert [chunk.raw for chunk in chunks[1:4]] == [citation, block, query]
    assert [chunk.choices for chunk in chunks[1:4]] == [(), (), ()]
    assert answer.tool_calls == ()


def test_events_without_text_bring_nothing() -> None:
    decoder = AnthropicMessagesDialect().decoder()
    assert [list(decoder.feed(JSONEvent(data))) for data in ("", " \n", '{"type": "ping"}', "{}")] == [[], [], [], []]
    assert not decoder.complete


def test_end_comes_once_and_last() -> None:
    """Arguments that were held back come before it, and it knows of the calls."""
    tool = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}
    block = {"type": "content_block_start", "index": 0, "content_block": tool}
    message_delta, message_stop = end()
    chunks, _, error = decode(sse(start(), block, message_delta, message_delta, message_stop))
    assert error is None
    assert [(chunk.finish_reason, chunk.raw_finish_reason) for chunk in chunks[2:]] == [
        (None, None),
        ("tool_calls", "end_turn"),
        (None, None),
    ]
    assert chunks[2].tool_calls[0].arguments == '{"x":1}'
    assert chunks[4].usage is not None


def test_half_of_a_character_outside_of_text_brings_no_chunk_of_its_own() -> None:
    citation = delta("citations_delta", citation={"cited_text": "a\ud83d"})
    chunks, _, _ = decode(sse(start(), citation, *end()))
    assert len(chunks) == 3
    assert chunks[1].raw["delta"]["citation"]["cited_text"] == "a"


def test_usage_is_there_before_the_end() -> None:
    """A caller that stops early learns what the prompt cost."""
    chunks, answer, error = decode(sse(start(), delta("text_delta", text="a")))
    assert isinstance(error, IncompleteStreamError)
    assert chunks[0].usage is not None
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 1


# -- whole answers -----------------------------------------------------------------------------------------------------


def test_whole_answer_without_words_is_one() -> None:
    answer = AnthropicMessagesDialect().response(b'{"id": "m", "content": [], "stop_reason": "end_turn"}')
    assert (answer.id, answer.content, answer.finish_reason, answer.usage) == ("m", "", "stop", None)


# -- requests: parameters ----------------------------------------------------------------------------------------------


def params(*messages: Any, **fields: Any) -> CompletionParams:
    return CompletionParams(model="anthropic/m", messages=messages or ({"role": "user", "content": "Hi"},), **fields)


def test_effort_falls_back_to_the_words_of_newer_models() -> None:
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    given = params(reasoning_effort="minimal", response_format=schema, extra_body={"top_k": 5})
    request = AnthropicMessagesDialect().request(given, model="m", stream=True)
    ((named, fallback),) = request.fallbacks.items()
    message = (
        '"thinking.type.enabled" is not supported for this model. '
        'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
    )
    error = AnthropicMessagesDialect().error(400, {}, json.dumps({"error": {"message": message}}).encode())
    assert isinstance(error, InvalidRequestError)
    assert named in str(error)
    body = json.loads(request.body)
    assert json.loads(fallback) == {
        **body,
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {**body["output_config"], "effort": "low"},
    }
    assert body["top_k"] == 5


@pytest.mark.parametrize(
    "given",
    [
        {"thinking_budget": 2000},
        {"thinking_budget": 2000, "reasoning_effort": "high"},
        {"reasoning_effort": "none"},
        {"reasoning_effort": "high", "extra_body": {"thinking": {"type": "adaptive"}}},
    ],
)
def test_exact_budget_has_no_fallback(given: dict[str, Any]) -> None:
    assert AnthropicMessagesDialect().request(params(**given), model="m", stream=True).fallbacks == {}


def test_other_clouds_have_the_version_in_the_body_and_the_model_in_the_path() -> None:
    request = VERTEX.request(params(), model="claude-x@2025 1/2", stream=True)
    assert request.path == "/models/claude-x@2025%201%2F2:streamRawPredict"
    assert VERTEX.request(params(), model="c", stream=False).path == "/models/c:rawPredict"
    assert "anthropic-version" not in request.headers
    assert json.loads(request.body) == {
        "anthropic_version": "vertex-2023-10-16",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 4096,
        "stream": True,
    }


# -- requests: messages ------------------------------------------------------------------------------------------------


def test_answer_goes_back_as_it_came() -> None:
    _, answer, _ = decode([(TRANSCRIPTS / "thinking_interleaved.sse").read_bytes()])
    message = Message.from_dict(json.loads(json.dumps(answer.to_message().to_dict())))
    request = AnthropicMessagesDialect().request(
        params(message, Message.tool("42", "toolu_1")), model="m", stream=False
    )
    assert json.loads(request.body)["messages"][0]["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "s1"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "thinking", "thinking": "Ah.", "signature": "s2"},
        {"type": "text", "text": "Wait. "},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
    ]


# -- models ------------------------------------------------------------------------------------------------------------


def test_models_are_listed() -> None:
    request = AnthropicMessagesDialect().models_request()
    assert (request.method, request.path) == ("GET", "/v1/models?limit=1000")
    assert request.headers["anthropic-version"] == "2023-06-01"
    dates = ("2025-02-19T00:00:00Z", "2025-02-19T00:00:00.250+00:00", "1970-01-02T00:00:00", "soon", 7)
    listed = [{"type": "model", "id": f"m{at}", "created_at": date} for at, date in enumerate(dates)]
    body = json.dumps({"data": listed, "has_more": False}).encode()
    found = AnthropicMessagesDialect(provider="host").models(body)
    assert [(model.id, model.created) for model in found] == [
        ("m0", 1739923200),
        ("m1", 1739923200),
        ("m2", 86400),
        ("m3", 0),
        ("m4", 0),
    ]
    assert {model.provider for model in found} == {"host"}
    assert found[0].raw == listed[0]


# -- errors ------------------------------------------------------------------------------------------------------------


def test_error_has_the_type_and_the_id_in_the_body() -> None:
    body = {"type": "error", "error": {"type": "timeout_error", "message": "late"}, "request_id": "req_1"}
    error = AnthropicMessagesDialect().error(504, {}, json.dumps(body).encode())
    assert (error.type, error.message, error.request_id) == ("timeout_error", "late", "req_1")
