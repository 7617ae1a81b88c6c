"""Cohere's older dialect: chunks, the schemas of tools, and conversations; test_cohere.py has both versions' tests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from choice_streams import decode
from cohere_requests import CALL, HI, function
from cohere_requests import sent as sent_by
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from anyllm.errors import UnsupportedParameterError
from anyllm.types import ChatCompletion, ChatCompletionChunk, FunctionCall, Message, ToolCall
from anyllm.wire.cohere_v1.dialect import CohereV1Dialect

TRANSCRIPTS = ROOT / "tests" / "transcripts" / "cohere_v1"


def read(case: str) -> tuple[list[ChatCompletionChunk], ChatCompletion]:
    chunks, answer, _ = decode(CohereV1Dialect(), [(TRANSCRIPTS / f"{case}.ndjson").read_bytes()])
    return chunks, answer


def sent(messages: list[Message], **params: Any) -> dict[str, Any]:
    return sent_by(1, messages, **params)


def test_chunks_keep_what_the_host_said() -> None:
    chunks, _ = read("search_and_citations")
    kinds = [(chunk.raw["event_type"], bool(chunk.choices)) for chunk in chunks]
    assert kinds == [
        ("stream-start", True),
        ("search-queries-generation", False),
        ("search-results", False),
        ("text-generation", True),
        ("citation-generation", False),
        ("text-generation", True),
        ("debug", False),
        ("stream-end", True),
    ]
    assert chunks[4].raw["citations"][0]["text"] == "Paris"


# -- tools -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "description": "said nowhere"},
        {"type": "object", "properties": ["x"]},
        {"type": "object", "properties": {"x": {"type": "string", "enum": ["a", "b"]}}},
        {"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}}},
        {"type": "object", "properties": {"x": {"type": ["string", "null"]}}},
        {"type": "object", "properties": {"x": {"anyOf": [{"type": "string"}]}}},
        {"type": "object", "properties": {"x": {"type": "object", "properties": {"y": {"type": "string"}}}}},
        {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string", "pattern": "a"}}}},
        {"type": "object", "properties": {"x": {"type": "string", "items": {"type": "string"}}}},
        {"type": "object", "properties": {"x": {}}},
        {"type": "object", "properties": {"x": True}},
        {"type": "object", "properties": {}, "required": "x"},
    ],
)
def test_schema_that_says_more_is_refused(schema: Any) -> None:
    """A model that is not told what a schema asks for would not keep to it."""
    with pytest.raises(UnsupportedParameterError, match="version 2") as caught:
        sent(HI, tools=[function(schema)])
    assert caught.value.param == "tools"


# -- the conversation --------------------------------------------------------------------------------------------------


def test_first_system_messages_are_the_preamble_and_later_ones_stay_in_the_history() -> None:
    first = [Message.system("Be brief."), Message("developer", ["Be ", "kind."])]
    body = sent([*first, *HI, Message.assistant("Hello"), Message.system("Be rude."), Message.user("So?")])
    assert body["preamble"] == "Be brief.\n\nBe kind."
    assert body["chat_history"] == [
        {"role": "USER", "message": "Hi"},
        {"role": "CHATBOT", "message": "Hello"},
        {"role": "SYSTEM", "message": "Be rude."},
    ]
    assert body["message"] == "So?"


def test_earlier_turns_are_the_history() -> None:
    turns = [Message.user("a"), Message.user("b"), Message.assistant(None, refusal="No."), Message.user(["c", "d"])]
    body = sent(turns)
    assert [turn["message"] for turn in body["chat_history"]] == ["a", "b", "No."]
    assert body["message"] == "cd"


def test_results_of_tools_are_answered_beside_an_empty_message() -> None:
    calls = [CALL, ToolCall("c2", FunctionCall("g", ""))]
    called = [*HI, Message.assistant("Let me see.", tool_calls=calls)]
    body = sent([*called, Message.tool("22", "c2"), Message.tool('{"y": 2}', "c1")])
    f, g = {"name": "f", "parameters": {"x": 1}}, {"name": "g", "parameters": {}}
    assert body["message"] == ""
    assert body["chat_history"] == [
        {"role": "USER", "message": "Hi"},
        {"role": "CHATBOT", "message": "Let me see.", "tool_calls": [f, g]},
    ]
    results = [{"call": g, "outputs": [{"output": "22"}]}, {"call": f, "outputs": [{"y": 2}]}]
    assert body["tool_results"] == results
    body = sent([*called, Message.tool("22", "c2"), Message.tool('{"y": 2}', "c1"), Message.user("And now?")])
    assert body["message"] == "And now?"
    assert body["chat_history"][2] == {"role": "TOOL", "tool_results": results}
    assert "tool_results" not in body


@pytest.mark.parametrize(
    ("result", "outputs"),
    [
        ("22", [{"output": "22"}]),
        ("", [{"output": ""}]),
        ('{"a": 1}', [{"a": 1}]),
        ('[{"a": 1}, {"b": 2}]', [{"a": 1}, {"b": 2}]),
        ("[]", [{"output": "[]"}]),
        ("[1]", [{"output": "[1]"}]),
        ("{oops", [{"output": "{oops"}]),
    ],
)
def test_results_are_objects(result: str, outputs: list[Any]) -> None:
    body = sent([*HI, Message.assistant(tool_calls=[CALL]), Message.tool(result, "c1")])
    assert body["tool_results"][0]["outputs"] == outputs


def test_made_up_ids_that_come_again_mean_the_latest_call() -> None:
    """Each answer's first call is "call_0"."""
    one, two = ToolCall("call_0", FunctionCall("f", "{}")), ToolCall("call_0", FunctionCall("g", "{}"))
    turns = [*HI, Message.assistant(tool_calls=[one]), Message.tool("1", "call_0")]
    body = sent([*turns, Message.assistant(tool_calls=[two]), Message.tool("2", "call_0")])
    assert body["chat_history"][2]["tool_results"][0]["call"]["name"] == "f"
    assert body["tool_results"][0]["call"]["name"] == "g"


def test_results_of_the_older_form_find_their_calls_by_name() -> None:
    call = ToolCall(None, FunctionCall("f", '{"x": 1}'))
    body = sent([*HI, Message.assistant(tool_calls=[call]), Message("function", "2", name="f")])
    assert body["tool_results"] == [{"call": {"name": "f", "parameters": {"x": 1}}, "outputs": [{"output": "2"}]}]


@pytest.mark.parametrize("case", ["calls_in_pieces", "calls_whole", "call_without_parameters", "text"])
def test_answer_goes_back_as_it_came(case: str) -> None:
    body = sent([*HI, read(case)[1].to_message(), Message.user("Go on.")])
    end = json.loads((TRANSCRIPTS / f"{case}.ndjson").read_text("utf-8").splitlines()[-1])["response"]
    expected = {"role": "CHATBOT", "message": end.get("text") or "", "tool_calls": end.get("tool_calls")}
    if case == "call_without_parameters":
        expected["tool_calls"] = [{"name": "now", "parameters": {}}]
    assert body["chat_history"][1] == {key: value for key, value in expected.items() if value is not None}


@settings(max_examples=150)
@given(st.text(max_size=40))
def test_random_results_can_be_sent(text: str) -> None:
    sent([*HI, Message.assistant(tool_calls=[CALL]), Message.tool(text, "c1")])
