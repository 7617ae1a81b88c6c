"""Requests in OpenAI's Responses, read: what becomes of each key, and that nothing is lost on the way through."""

from __future__ import annotations

import base64
import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from params_strategies import NONE, TEXTS, answers
from server_openai_responses import PROFILE, REPLAYED, SCHEMA

from anyllm.errors import InvalidRequestError
from anyllm.types import ChatCompletion, Choice, CompletionParams, FunctionCall, Message, Reasoning, ToolCall
from anyllm.wire._base.chat_request import ChatRequest
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect as Dialect
from anyllm.wire.openai_responses.replay_items import sealed
from anyllm.wire.openai_responses.server.request_reader import read_responses
from anyllm.wire.openai_responses.server.writer import OpenAIResponses


def request(**body: Any) -> ChatRequest:
    return read_responses({"model": "m", "input": "Hi", **body})


def conversation(*items: Any) -> list[Message]:
    return list(request(input=list(items)).params.messages)


def passed_on(body: dict[str, Any]) -> Any:
    """What a provider of this format is sent, as the gateway sends it."""
    return PROFILE.sent(read_responses(body))


# -- what we send ourselves comes back ---------------------------------------------------------------------------------

CALL = ToolCall("call_1", FunctionCall("f", '{"x":1}'))
RESULT = Message.tool("1", "call_1")


def answer(content: str | None, items: Any, *calls: ToolCall) -> Message:
    """An answer of a provider of this format, which wants its items back."""
    return Message.assistant(content, tool_calls=calls, reasoning=Reasoning("hm", None, "output_items", items))


CONVERSATIONS: dict[str, list[Message]] = {
    "texts in a row": [Message.user("Hi"), Message.assistant("One"), Message.assistant("Two")],
    "items": [Message.user("Hi"), answer("Wait", REPLAYED, CALL), RESULT, Message.user("Go on")],
    "reasoning": [answer(None, REPLAYED[::3], CALL), RESULT],
    "a phase": [answer("Wait", REPLAYED[2:3])],
    "items, rewritten": [Message.user("Hi"), answer("Another", REPLAYED, CALL), RESULT],
    "items, before a new text": [answer("Wait", REPLAYED[:3]), Message.assistant("New")],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_comes_through_unchanged(name: str) -> None:
    """Read and written again it is the same request, byte for byte."""
    body = json.loads(Dialect().request(CompletionParams("m", CONVERSATIONS[name]), model="m", stream=True).body)
    assert passed_on(body) == body


def test_tools_are_in_our_shape() -> None:
    """So that a provider of any other format can be asked the same."""
    plain = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": None}
    tools = request(tools=[plain], tool_choice={"type": "function", "name": "f"}).params
    assert tools.tool_choice == {"type": "function", "function": {"name": "f"}}
    assert tools.tools == [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    params = request(tools=[{"type": "custom", "name": "c"}]).params
    body = json.loads(OpenAIChatDialect().request(params, model="m", stream=True).body)
    assert body["tools"] == [{"type": "custom", "custom": {"name": "c"}}]


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
    (message,) = conversation(*REPLAYED)
    assert (message.content, message.tool_calls) == ("Wait", (CALL,))
    assert message.reasoning == Reasoning("hm", None, "output_items", REPLAYED)
    params = CompletionParams("m", [Message.user("Hi"), message])
    chat = json.loads(OpenAIChatDialect().request(params, model="m", stream=True).body)["messages"][1]
    assert (chat["content"], len(chat["tool_calls"])) == ("Wait", 1)


def test_thoughts_that_nothing_followed_are_left_out() -> None:
    """No provider takes them; a client that was cut off may send them."""
    assert [message.role for message in conversation({"role": "user", "content": "Hi"}, REPLAYED[0])] == ["user"]


def test_another_providers_reasoning_goes_back_to_it_signed() -> None:
    """A client keeps the output items and sends them back, as it does for OpenAI: the signature is in there, sealed."""
    block = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    answer = Message.assistant("Wait", tool_calls=[CALL], reasoning=Reasoning("hm", "sig", "thinking", [block]))
    response = OpenAIResponses("m").whole(ChatCompletion("a", (Choice(0, answer),)))
    items = json.loads(response)["output"]
    (message,) = conversation(*items)
    assert message == answer
    params = CompletionParams("m", [Message.user("Hi"), message, Message.tool("1", "call_1")])
    sent = json.loads(AnthropicMessagesDialect().request(params, model="m", stream=True).body)["messages"][1]["content"]
    assert sent[0] == block


def test_what_was_sealed_is_of_no_use_to_providers_of_this_format() -> None:
    """They would refuse what they have not encrypted."""
    seal = sealed(Reasoning(None, "sig", "thinking"))
    items = [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal}, REPLAYED[3]]
    sent = passed_on({"model": "m", "input": items})["input"]
    assert [item["type"] for item in sent] == ["function_call"]


def test_a_seal_with_anything_else_in_it_is_refused() -> None:
    for value in ({"role": "system"}, [1], {"details": 1}, {"signature": 1}, {"details": [1]}):
        seal = "anyllm:" + base64.b64encode(json.dumps(value).encode()).decode()
        with pytest.raises(InvalidRequestError):
            conversation({"type": "reasoning", "summary": [], "encrypted_content": seal}, REPLAYED[3])


# -- what a client sends back ------------------------------------------------------------------------------------------

DIALECT = Dialect(provider="p")
BLOCKS = [{"type": "thinking", "thinking": "hm", "signature": "sig"}]
REASONING = st.builds(Reasoning, TEXTS, NONE | st.just("sig"), st.just("thinking"), NONE | st.just(BLOCKS))
ANSWERS = answers(reasoning=NONE | REASONING)


@settings(max_examples=200)
@given(ANSWERS, st.sampled_from([None, {"google": {"thought_signature": "s"}}]))
def test_an_answer_that_a_client_sends_back_is_the_same_message(answer: ChatCompletion, extra: Any) -> None:
    """With its signatures, whichever provider they are from: by itself, and through our own client."""
    (choice,) = answer.choices
    calls = [attrs.evolve(call, extra_content=extra) for call in choice.message.tool_calls]
    message = attrs.evolve(choice.message, tool_calls=calls)
    if not (message.content or calls):
        return  # reasoning that nothing follows goes nowhere
    answer = attrs.evolve(answer, choices=(attrs.evolve(choice, message=message),))
    output = json.loads(OpenAIResponses().whole(answer))["output"]
    expected = attrs.evolve(message, tool_calls=[attrs.evolve(call, index=0) for call in calls])
    if message.reasoning is not None and message.reasoning.signature is None and message.reasoning.details is None:
        expected = attrs.evolve(expected, reasoning=Reasoning(message.reasoning.content, None, "output_items", output))
    (found,) = read_responses({"model": "m", "input": output}).params.messages
    assert found == expected
    params = CompletionParams("m", [DIALECT.response(OpenAIResponses().whole(answer)).to_message()])
    (found,) = read_responses(json.loads(DIALECT.request(params, model="m", stream=False).body)).params.messages
    assert (found.content, found.tool_calls) == (expected.content, expected.tool_calls)
    if message.reasoning is not None and message.reasoning.signature:
        assert found.reasoning == expected.reasoning
