"""Requests in Anthropic's Messages: read, and written again by our dialect, they are the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_anthropic import FORM, HI, PROFILE, RESULT, SCHEMA, USE, answer, body, text_block

from anyllm.testing import Reply, serve
from anyllm.types import CompletionParams, ContentPart, Reasoning
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect as Dialect
from anyllm.wire.anthropic_messages.server.request_reader import read_messages
from anyllm.wire.anthropic_messages.server.writer import AnthropicMessages

THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "s"}


def read(*messages: Any, **more: Any) -> CompletionParams:
    return read_messages(body(*messages, **more)).params


def sent_again(body: Any) -> Any:
    return PROFILE.sent(read_messages(body))


# -- what only Anthropic understands ---------------------------------------------------------------------------------


# -- what is read ------------------------------------------------------------------------------------------------------


def test_an_answer_is_wanted_in_the_format_with_the_model_that_was_asked():
    request = read_messages(body(stream=True))
    assert (request.params.model, request.stream, request.native) == ("m", True, (Dialect,))
    assert request.format == AnthropicMessages(model="m")


def test_results_come_before_the_words_that_follow_them():
    """As other hosts want them: each a message of its own, straight after the calls."""
    result = {"type": "tool_result", "tool_use_id": "a", "content": "1"}
    message = [result, {**result, "tool_use_id": "b"}, text_block("Go on"), text_block("please")]
    params = read(HI, {"role": "user", "content": message})
    assert [message.role for message in params.messages] == ["user", "tool", "tool", "user"]
    assert [message.tool_call_id for message in params.messages[1:3]] == ["a", "b"]
    assert params.messages[3].text == "Go onplease"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("no such file", "Error: no such file"),
        ("TypeError: x", "TypeError: x"),
        (None, "Error"),
        ([text_block("no such file")], "Error:no such file"),
        ([text_block("an error")], "an error"),
    ],
)
def test_a_result_that_failed_says_so_in_words(content: Any, expected: str):
    result = {"type": "tool_result", "tool_use_id": "a", "content": content, "is_error": True}
    (message,) = read({"role": "user", "content": [result]}).messages
    assert message.text == expected


def test_thoughts_without_a_signature_are_other_hosts_and_go_back_to_none_of_this_format():
    """Anthropic refuses them; a host that wants its reasoning back gets the text."""
    turn = answer({"type": "thinking", "thinking": "Hm.", "signature": ""}, text_block("A"))
    message = read(HI, turn, HI).messages[1]
    assert message.reasoning == Reasoning("Hm.")
    assert sent_again(body(HI, turn, HI))["messages"][1] == {"role": "assistant", "content": "A"}


def test_documents_are_files_for_other_hosts_with_their_titles_as_names():
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    message = {"role": "user", "content": [{"type": "document", "source": source, "title": "a.pdf"}]}
    (part,) = read(message).messages[0].content or ()
    assert part == ContentPart("file", file={"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="})


def test_what_must_go_back_with_a_call_is_read_from_beside_its_input():
    signed = {"google": {"thought_signature": "s"}}
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": [1]}, "extra_content": signed}
    (read_call,) = read(HI, answer({**call, "caller": {"type": "direct"}})).messages[1].tool_calls
    assert (read_call.id, read_call.name, read_call.parse(), read_call.extra_content) == ("a", "f", {"x": [1]}, signed)


def test_thoughts_after_a_call_do_not_part_it_from_its_result():
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    turn = answer(text_block("A"), call, {"type": "thinking", "thinking": "x", "signature": "s"}, {**call, "id": "b"})
    messages = read(HI, turn).messages
    assert [len(message.tool_calls) for message in messages] == [0, 2]


@pytest.mark.parametrize(
    ("thinking", "config", "expected"),
    [
        ({"type": "adaptive"}, None, ("high", None)),
        ({"type": "adaptive", "display": "summarized"}, {"effort": "low"}, ("low", None)),
        ({"type": "enabled", "budget_tokens": 9}, None, (None, 9)),
        ({"type": "disabled"}, None, (None, 0)),
        (None, None, (None, None)),
    ],
)
def test_how_much_to_think(thinking: Any, config: Any, expected: Any):
    request = read_messages(body(thinking=thinking, output_config=config))
    assert (request.params.reasoning_effort, request.params.thinking_budget) == expected
    assert request.unknown_fields == {}


def test_the_older_output_format_is_the_same():
    assert read(output_format=FORM).response_format == read(output_config={"format": FORM}).response_format


def test_how_finely_input_is_streamed_makes_a_function_no_tool_of_the_hosts():
    """Coding agents say it of all their tools, whichever host they ask."""
    (tool,) = read(tools=[{"name": "f", "input_schema": SCHEMA, "eager_input_streaming": True}]).tools or ()
    assert tool == {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}


# -- what cannot be understood -----------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(PROFILE.params, st.sampled_from(["low", "medium", "high", "xhigh", "max"]))
def test_the_request_for_newer_models_is_read_as_the_effort(params: CompletionParams, effort: str):
    params = params.evolve(thinking_budget=None, reasoning_effort=effort, max_tokens=40000)
    (body,) = Dialect().request(params, model="m", stream=False).fallbacks.values()
    assert read_messages(json.loads(body)).params == PROFILE.params_read(params)


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_what_the_official_client_sends_is_read_and_sent_again():
    """A conversation with the client's own classes in it, as its users send answers back."""
    anthropic = pytest.importorskip("anthropic")
    use = {**USE, "extra_content": {"g": 1}}
    content = [THOUGHT, text_block("B"), {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, use]
    reply = {"id": "i", "type": "message", "role": "assistant", "model": "m", "content": content}
    reply = {**reply, "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}}
    request: Any = {"model": "m", "max_tokens": 50, "tools": [{"name": "f", "input_schema": SCHEMA}]}
    with (
        serve(Reply.json(reply)) as server,
        anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client,
    ):
        first = client.messages.create(messages=[HI], **request)
        turns = [HI, {"role": "assistant", "content": first.content}, {"role": "user", "content": [RESULT]}]
        client.messages.create(messages=turns, system="S", **request)
        sent = server.requests[1].json()
    (call,) = read_messages(sent).params.messages[2].tool_calls
    assert (call.id, call.extra_content) == ("t", {"g": 1})
    del sent["messages"][1]["content"][3]["extra_content"]  # Anthropic would refuse it
    assert sent_again(sent) == sent
