"""Requests in OpenAI's Responses, read: what becomes of each key, and that nothing is lost on the way through."""

from __future__ import annotations

import base64
import json
from typing import Any, Dict, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_mutations import JSON, places, replaced

from anyllm.errors import InvalidRequestError
from anyllm.types import (
    ChatCompletion,
    Choice,
    CompletionParams,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
)
from anyllm.wire._base.chat_request import ChatRequest
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect as Dialect
from anyllm.wire.openai_responses.replay_items import sealed
from anyllm.wire.openai_responses.server import writer as written
from anyllm.wire.openai_responses.server.request_reader import read_responses

PNG = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def request(**body: Any) -> ChatRequest:
    return read_responses({"model": "m", "input": "Hi", **body})


def conversation(*items: Any) -> List[Message]:
    return list(request(input=list(items)).params.messages)


def passed_on(body: Dict[str, Any]) -> Any:
    """What a provider of this format is sent, as the gateway sends it."""
    found = read_responses(body)
    params = found.params.evolve(extra_body=found.native_fields)
    return json.loads(Dialect().request(params, model=body["model"], stream=found.stream).body)


# -- what we send ourselves comes back ---------------------------------------------------------------------------------

CALL = ToolCall("call_1", FunctionCall("f", '{"x":1}'))
KEPT = [
    {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "x"},
    {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "phase": "commentary",
        "content": [{"type": "output_text", "text": "Wait", "annotations": [], "logprobs": []}],
    },
    {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"x":1}'},
]
CONVERSATIONS: Dict[str, List[Message]] = {
    "texts in a row": [Message.user("Hi"), Message.assistant("One"), Message.assistant("Two")],
    "kept items": [
        Message.user("Hi"),
        Message.assistant("Wait", tool_calls=[CALL], reasoning=Reasoning("hm", None, "output_items", KEPT)),
        Message.tool("1", "call_1"),
        Message.user("Go on"),
    ],
    "kept reasoning": [
        Message.assistant(None, tool_calls=[CALL], reasoning=Reasoning("hm", None, "output_items", KEPT[::3])),
        Message.tool("1", "call_1"),
    ],
    "a kept phase": [Message.assistant("Wait", reasoning=Reasoning(None, None, "output_items", KEPT[2:3]))],
    "kept items, rewritten": [
        Message.user("Hi"),
        Message.assistant("Another", tool_calls=[CALL], reasoning=Reasoning("hm", None, "output_items", KEPT)),
        Message.tool("1", "call_1"),
    ],
    "kept items, before a new text": [
        Message.assistant("Wait", reasoning=Reasoning("hm", None, "output_items", KEPT[:3])),
        Message.assistant("New"),
    ],
}
#: Keys that no parameter of ours stands for, beside those of ours that share an object or a list with them.
FURTHER = {
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_object"}, "verbosity": "low"},
    "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    "store": False,
    "truncation": "auto",
    "service_tier": "flex",
    "metadata": {"a": "b"},
    "prompt_cache_key": "k",
    "max_tool_calls": 3,
    "previous_response_id": "resp_1",
    "stream_options": {"include_obfuscation": True},
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_comes_through_unchanged(name: str) -> None:
    """Read and written again it is the same request, byte for byte."""
    body = json.loads(Dialect().request(CompletionParams("m", CONVERSATIONS[name]), model="m", stream=True).body)
    assert passed_on(body) == body


def test_keys_without_a_parameter_come_through_unchanged() -> None:
    body = {"model": "m", "input": [{"role": "user", "content": "Hi"}], **FURTHER}
    assert passed_on(body) == body


def test_tools_are_in_our_shape() -> None:
    """So that a provider of any other format can be asked the same."""
    plain = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": None}
    tools = request(tools=[plain], tool_choice={"type": "function", "name": "f"}).params
    assert tools.tool_choice == {"type": "function", "function": {"name": "f"}}
    assert tools.tools == [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    body = json.loads(
        OpenAIChatDialect()
        .request(request(tools=[{"type": "custom", "name": "c"}]).params, model="m", stream=True)
        .body
    )
    assert body["tools"] == [{"type": "custom", "custom": {"name": "c"}}]


def test_a_function_that_asks_for_more_than_we_have_words_for_stays_as_it_is() -> None:
    tool = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True, "defer_loading": True}
    assert passed_on({"model": "m", "input": "Hi", "tools": [tool]})["tools"] == [tool]


# -- the rest of a request ---------------------------------------------------------------------------------------------


def test_instructions_come_first() -> None:
    found = request(instructions="Be brief", input=[{"role": "user", "content": "Hi"}])
    assert [(message.role, message.content) for message in found.params.messages] == [
        ("system", "Be brief"),
        ("user", "Hi"),
    ]


def test_a_response_says_what_was_asked_for_and_that_nothing_is_kept() -> None:
    fields = {"instructions": "Be brief", "temperature": 0.5, "metadata": {"a": "b"}, "tools": [{"type": "web_search"}]}
    found = request(**fields, store=True, text={"verbosity": "low"}, reasoning={"effort": "low"})
    response = json.loads(found.format.whole(ChatCompletion("resp_1", (Choice(),))))
    assert {name: response[name] for name in fields} == fields
    assert response["store"] is False
    assert response["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert response["reasoning"] == {"effort": "low", "summary": None}
    assert response["model"] == "m"
    assert "store" not in found.native_fields


def test_what_is_so_anyway_is_no_request() -> None:
    """Clients send defaults, which no other provider needs to be told of."""
    found = request(store=True, background=False, truncation="disabled", service_tier="auto", include=[], metadata={})
    assert found.native_fields == {}
    assert found.stream is False
    assert request(stream=True).stream


def test_nobody_is_told_to_keep_what_was_not_to_be_kept() -> None:
    assert passed_on({"model": "m", "input": "Hi", "store": False})["store"] is False


def test_the_newer_name_of_a_user_is_a_user() -> None:
    assert request(safety_identifier="s").params.user == "s"
    both = request(safety_identifier="s", user="u")
    assert (both.params.user, both.ignorable_fields) == ("u", {"safety_identifier": "s"})


def test_what_says_nothing_of_the_answer_is_a_hint() -> None:
    """Codex sends all of these; a provider that has no such thing answers all the same."""
    ignorable_fields = {
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "reasoning": {"summary": "auto"},
    }
    found = request(**{**ignorable_fields, "reasoning": {"effort": "low", "summary": "auto"}})
    assert (found.ignorable_fields, found.unknown_fields) == (ignorable_fields, {})
    asks = {"reasoning": {"mode": "deep"}, "text": {"verbosity": "low"}, "max_tool_calls": 3, "prompt": {"id": "p"}}
    assert (request(**asks).unknown_fields, request(**asks).ignorable_fields) == (asks, {})


def test_what_others_keep_is_left_to_them() -> None:
    found = read_responses({"model": "m", "previous_response_id": "resp_1"})
    assert dict(found.unknown_fields) == {"previous_response_id": "resp_1"}
    assert found.native == (Dialect,)
    assert request(conversation="conv_1").unknown_fields == {"conversation": "conv_1"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "Hi"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": 1, "input": "Hi"}, "model"),
        ({"model": "m", "input": {}}, "input"),
        ({"model": "m", "input": "Hi", "background": True}, "background"),
        ({"model": "m", "input": "Hi", "temperature": "hot"}, "temperature"),
        ({"model": "m", "input": "Hi", "text": []}, "text"),
        ({"model": "m", "input": "Hi", "text": {"format": "json"}}, "text.format"),
        ({"model": "m", "input": "Hi", "reasoning": {"effort": 1}}, "reasoning.effort"),
        ({"model": "m", "input": "Hi", "tools": [1]}, "tools[0]"),
        ({"model": "m", "input": "Hi", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"model": "m", "input": "Hi", "tool_choice": 1}, "tool_choice"),
        ({"model": "m", "input": [1]}, "input[0]"),
        ({"model": "m", "input": [{"type": "item_reference", "id": "rs_1"}]}, "input[0]"),
        ({"model": "m", "input": [{"role": "alien", "content": "Hi"}]}, "input[0]"),
        ({"model": "m", "input": [{"role": "user"}]}, "input[0].content"),
        ({"model": "m", "input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"model": "m", "input": [{"type": "function_call", "name": "f", "arguments": ""}]}, "input[0].call_id"),
        ({"model": "m", "input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"model": "m", "input": [{"type": "reasoning", "encrypted_content": "anyllm:?"}]}, "input[0]"),
    ],
)
def test_what_cannot_be_understood_is_named(body: Any, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_responses(body)
    assert caught.value.status_code == 400
    assert caught.value.param == param


# -- items -------------------------------------------------------------------------------------------------------------


def test_texts_and_the_calls_behind_them_are_one_message() -> None:
    first, second, third = conversation(
        {"role": "assistant", "content": "One"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Two", "annotations": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
    )
    assert (first.content, first.tool_calls) == ("One", ())
    assert (second.content, second.tool_calls) == ("Two", (ToolCall("c", FunctionCall("f", "{}")),))
    assert (third.role, third.tool_call_id, third.content) == ("tool", "c", "1")


def test_a_turn_with_reasoning_is_one_message_for_any_provider() -> None:
    """A provider of another format gets its text and calls; one of this format, its items."""
    (message,) = conversation(*KEPT)
    assert (message.content, message.tool_calls) == ("Wait", (CALL,))
    assert message.reasoning == Reasoning("hm", None, "output_items", KEPT)
    params = CompletionParams("m", [Message.user("Hi"), message])
    chat = json.loads(OpenAIChatDialect().request(params, model="m", stream=True).body)["messages"][1]
    assert (chat["content"], len(chat["tool_calls"])) == ("Wait", 1)


def test_thoughts_that_nothing_followed_are_left_out() -> None:
    """No provider takes them; a client that was cut off may send them."""
    assert [message.role for message in conversation({"role": "user", "content": "Hi"}, KEPT[0])] == ["user"]


def test_another_providers_reasoning_goes_back_to_it_signed() -> None:
    """A client keeps the output items and sends them back, as it does for OpenAI: the signature is in there, sealed."""
    block = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    answer = Message.assistant("Wait", tool_calls=[CALL], reasoning=Reasoning("hm", "sig", "thinking", [block]))
    response = written.OpenAIResponses("m").whole(ChatCompletion("a", (Choice(0, answer),)))
    items = json.loads(response)["output"]
    (message,) = conversation(*items)
    assert message == answer
    params = CompletionParams("m", [Message.user("Hi"), message, Message.tool("1", "call_1")])
    sent = json.loads(AnthropicMessagesDialect().request(params, model="m", stream=True).body)["messages"][1]["content"]
    assert sent[0] == block


def test_what_was_sealed_is_of_no_use_to_providers_of_this_format() -> None:
    """They would refuse what they have not encrypted."""
    seal = sealed(Reasoning(None, "sig", "thinking"))
    items = [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal}, KEPT[3]]
    sent = passed_on({"model": "m", "input": items})["input"]
    assert [item["type"] for item in sent] == ["function_call"]


def test_a_seal_with_anything_else_in_it_is_refused() -> None:
    for value in ({"role": "system"}, [1], {"details": 1}, {"signature": 1}, {"details": [1]}):
        seal = "anyllm:" + base64.b64encode(json.dumps(value).encode()).decode()
        with pytest.raises(InvalidRequestError):
            conversation({"type": "reasoning", "summary": [], "encrypted_content": seal}, KEPT[3])


# -- hostile input -----------------------------------------------------------------------------------------------------

FULL: Dict[str, Any] = {
    "model": "m",
    "stream": True,
    "instructions": "Be brief",
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    "tools": [
        {"type": "function", "name": "f", "parameters": {}, "strict": True, "description": "d"},
        {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "include": ["message.output_text.logprobs"],
    "input": [
        {"role": "user", "content": [{"type": "input_image", "image_url": PNG, "detail": "low"}]},
        {"role": "user", "content": [{"type": "input_file", "file_data": PNG, "filename": "f"}]},
        *KEPT,
        {"type": "reasoning", "summary": [], "encrypted_content": sealed(Reasoning(None, "s", "f", [{"type": "x"}]))},
        {"type": "custom_tool_call", "call_id": "c", "name": "c", "input": "i", "extra_content": {"google": {}}},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
    ],
}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(places(FULL))), JSON)
def test_any_json_in_any_place_is_read_or_refused(path: Any, new: Any) -> None:
    try:
        read_responses(replaced(FULL, path, new))
    except InvalidRequestError as exc:
        status = exc.status_code
    else:
        status = 400
    assert status == 400


@settings(max_examples=50, deadline=None)
@given(JSON)
def test_any_json_is_read_or_refused(body: Any) -> None:
    with pytest.raises(InvalidRequestError):
        read_responses(body)


def test_the_whole_of_it_is_read() -> None:
    """So that the test above breaks what would have been good."""
    assert len(read_responses(FULL).params.messages) == 5
