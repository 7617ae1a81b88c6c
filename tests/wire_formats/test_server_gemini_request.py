"""Requests in Google's format, read: what becomes of each key, and that conversations come back as they were."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from server_gemini import EVERYTHING_NATIVE, FULL, HI

from anyllm.types import CompletionParams, ContentPart, Message, Reasoning
from anyllm.wire._base.chat_request import ChatRequest
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect
from anyllm.wire.gemini.dialect import GeminiDialect as Dialect
from anyllm.wire.gemini.server.request_reader import read_generate
from anyllm.wire.gemini.server.writer import Gemini
from anyllm.wire.gemini.signatures import sealed

PNG = b"\x89PNG\r\n\x1a\n\xfb\xff\xfe"


def request_of(body: Any, **how: Any) -> ChatRequest:
    return read_generate(body, **{"model": "gemini-2.5-flash", "stream": True, **how})


def read(contents: Any, **more: Any) -> CompletionParams:
    return request_of({"contents": contents, **more}).params


def sent_again(body: Any, model: str = "gemini-2.5-flash") -> Any:
    """What a host of Google's gets of a request that went through us."""
    request = request_of(body, model=model)
    params = request.params.evolve(extra_body=request.native_fields)
    return json.loads(Dialect().request(params, model=model, stream=True).body)


# -- the whole request -------------------------------------------------------------------------------------------------


def test_model_and_streaming_come_from_the_url():
    request = request_of({"contents": HI, "model": "models/other"}, model="models/m", stream=False)
    assert (request.params.model, request.stream, request.native) == ("m", False, (Dialect,))
    assert request.format == Gemini("m", include_thoughts=False)
    assert request_of({"contents": HI}, array=True).format.content_type == "application/json"
    assert request.unknown_fields == {}
    assert request.params.messages == (Message.user("Hi"),)


def snake(value: Any) -> Any:
    """The same with keys as some clients write them."""
    if isinstance(value, list):
        return [snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key): snake(item)
        for key, item in value.items()
    }


def test_keys_may_be_written_in_snake_case():
    tools = [{"functionDeclarations": [{"name": "f_g", "parametersJsonSchema": {"type": "object"}}]}]
    parts = [{"functionCall": {"name": "f_g", "args": {"a_b": 1}}}, {"text": "x", "thoughtSignature": "QQ=="}]
    config = {**FULL["generationConfig"], "topK": 3, "thinkingConfig": {"thinkingBudget": 9, "includeThoughts": True}}
    body = {**FULL, "contents": [*FULL["contents"], {"role": "model", "parts": parts}], "tools": tools}
    body["generationConfig"] = config
    snake_body = snake(body)
    assert "function_declarations" in snake_body["tools"][0]
    assert request_of(snake_body) == request_of(body)
    assert sent_again(snake_body) == sent_again(body)


def test_what_no_parameter_says_stays_in_its_place():
    """Object in object, so that a host of Google's gets the request it would have got."""
    body = EVERYTHING_NATIVE
    request = request_of(body)
    assert request.unknown_fields == {
        "safetySettings": body["safetySettings"],
        "cachedContent": "cachedContents/1",
        "generationConfig": {"topK": 3, "thinkingConfig": {"ofItsOwn": 1, "includeThoughts": True}},
        "toolConfig": body["toolConfig"],
        "tools": body["tools"],
    }
    assert request.ignorable_fields == {"labels": {"a": "b"}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"functionCallingConfig": {"mode": "none"}}, "none"),
        ({"functionCallingConfig": {"mode": "MODE_UNSPECIFIED"}}, None),
        ({}, None),
    ],
)
def test_a_mode_is_a_tool_choice(value, expected):
    request = request_of({"contents": HI, "toolConfig": value})
    assert request.params.tool_choice == expected
    assert request.unknown_fields == {}


@pytest.mark.parametrize(
    ("config", "expected", "unknown_fields"),
    [
        ({"responseMimeType": "text/plain"}, None, {}),
        (
            {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}},
            None,
            {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}},
        ),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}},
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
            {},
        ),
    ],
)
def test_a_mime_type_and_a_schema_are_a_response_format(config, expected, unknown_fields):
    request = request_of({"contents": HI, "generationConfig": config})
    assert request.params.response_format == expected
    assert request.unknown_fields.get("generationConfig", {}) == unknown_fields


def test_a_schema_of_openapi_becomes_one_of_json():
    """Types in capitals, null as a flag, counts as text, references: what other hosts would refuse or overlook."""
    schema = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "nullable": True, "enum": ["A"]},
            "nullable": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1", "max_items": 3},
            "either": {"any_of": [{"type": "NUMBER"}, {"ref": "#/defs/T"}], "nullable": True},
        },
        "required": ["type"],
        "property_ordering": ["type", "nullable"],
        "additionalProperties": False,
        "defs": {"T": {"type": "TYPE_UNSPECIFIED", "title": "T"}},
    }
    params = read(HI, tools=[{"functionDeclarations": [{"name": "f", "description": "d", "parameters": schema}]}])
    assert params.tools is not None
    assert params.tools[0] == {
        "type": "function",
        "function": {
            "name": "f",
            "description": "d",
            "parameters": {
                "type": "object",
                "properties": {
                    "type": {"type": ["string", "null"], "enum": ["A", None]},
                    "nullable": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
                    "either": {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/T"}, {"type": "null"}]},
                },
                "required": ["type"],
                "propertyOrdering": ["type", "nullable"],
                "additionalProperties": False,
                "$defs": {"T": {"title": "T"}},
            },
        },
    }


@pytest.mark.parametrize(
    ("thinking", "fields", "native", "shows"),
    [
        ({"thinkingBudget": 0}, (0, None), {"thinkingBudget": 0}, False),
        ({"thinkingBudget": 9}, (9, None), {"thinkingBudget": 9, "includeThoughts": False}, False),
        (
            {"thinkingBudget": -1, "includeThoughts": True},
            (-1, None),
            {"thinkingBudget": -1, "includeThoughts": True},
            True,
        ),
        ({"thinkingLevel": "LOW"}, (None, "low"), {"thinkingLevel": "LOW", "includeThoughts": False}, False),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, (None, None), None, False),
        ({"includeThoughts": True}, (None, None), {"includeThoughts": True}, True),
    ],
)
def test_thinking_is_asked_for_and_told_as_the_client_wants(thinking, fields, native, shows):
    """Only Google's hosts need to be asked to tell it; an answer does, or does not, as it is written."""
    body = {"contents": HI, "generationConfig": {"thinkingConfig": thinking}}
    request = request_of(body, model="gemini-3-pro")
    assert (request.params.thinking_budget, request.params.reasoning_effort) == fields
    assert request.unknown_fields == {}
    assert request.format.include_thoughts is shows
    assert sent_again(body, "gemini-3-pro").get("generationConfig", {}).get("thinkingConfig") == native


# -- conversations -----------------------------------------------------------------------------------------------------


def test_what_a_function_returns_is_ignorable():
    """Google's client says it, and no other provider asks for it."""
    tools = [{"functionDeclarations": [{"name": "f", "parameters": {}, "response": {"type": "STRING"}}]}]
    request = request_of({"contents": HI, "tools": tools})
    assert (request.ignorable_fields, request.unknown_fields) == ({"tools": tools}, {})


def test_an_answer_in_several_pieces_is_one_answer():
    """As the official client keeps a stream's."""
    parts = [{"text": "hm", "thought": True}, {"text": "Let "}, {"text": "me"}, {"functionCall": {"name": "f"}}]
    contents = [*HI, *({"role": "model", "parts": [part]} for part in parts)]
    params = read([*contents, {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}])
    _, answer, result = params.messages
    assert (answer.text, answer.reasoning) == ("Let me", Reasoning("hm", None, "thought"))
    assert [made.name for made in answer.tool_calls] == ["f"]
    assert result.tool_call_id == answer.tool_calls[0].id


def test_calls_without_ids_are_told_apart_in_the_whole_conversation():
    """Other hosts want ids, each its own."""
    turn = [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": at}}} for at in range(2)]},
        {"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {"b": at}}} for at in range(2)]},
    ]
    messages = read([*HI, *turn, *turn]).messages
    ids = [made.id for message in messages for made in message.tool_calls]
    assert len(set(ids)) == 4
    assert [message.tool_call_id for message in messages if message.role == "tool"] == ids
    assert [message.name for message in messages if message.role == "tool"] == [None] * 4


def test_an_id_that_is_made_up_is_none_that_was_said():
    """Clients send back those that we told them."""
    parts = [{"functionCall": {"name": "f", "id": "call_0"}}, {"functionCall": {"name": "f"}}]
    (answer,) = read([{"role": "model", "parts": parts}]).messages
    assert [made.id for made in answer.tool_calls] == ["call_0", "call_1"]


def test_a_result_that_answers_no_call_names_its_function():
    body = {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"a": 1}}}]}]}
    assert request_of(body).params.messages[0].name == "f"
    assert sent_again(body)["contents"][0]["parts"] == body["contents"][0]["parts"]


def test_what_another_provider_wants_back_is_unsealed():
    """Wherever the client sent it: Anthropic's blocks go back as they were."""
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]
    seal = sealed(Reasoning("hm", "c2ln", "thinking", blocks))
    for part in ({"functionCall": {"name": "f", "id": "t1"}}, {"text": ""}):
        contents = [*HI, {"role": "model", "parts": [{"text": "ok"}, {**part, "thoughtSignature": seal}]}, *HI]
        message = read(contents).messages[1]
        assert message.reasoning == Reasoning(None, "c2ln", "thinking", blocks)
        assert [made.extra_content for made in message.tool_calls] == [None] * len(message.tool_calls)
        params = CompletionParams("m", [Message.user("a"), Message("assistant", "ok", reasoning=message.reasoning)])
        body = json.loads(AnthropicMessagesDialect().request(params, model="m", stream=True).body)
        assert body["messages"][1]["content"][0] == blocks[0]
        assert "c2ln" not in json.dumps(sent_again({"contents": contents})["contents"])


def test_base64_for_urls_is_read():
    """The official client sends it; others' hosts refuse it."""
    data = base64.urlsafe_b64encode(PNG).decode()
    assert set("-_") & set(data)
    params = read([{"parts": [{"inlineData": {"mimeType": "image/png", "data": data.rstrip("=")}}]}])
    assert params.messages[0].content == (ContentPart.from_image(PNG),)


# -- what cannot be understood -----------------------------------------------------------------------------------------


def test_a_whole_number_may_have_a_fraction_of_nothing():
    params = read(HI, generationConfig={"maxOutputTokens": 5.0})
    assert params.max_tokens == 5
    assert isinstance(params.max_tokens, int)
