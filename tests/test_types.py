"""What goes in and what comes out."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any, List

import attrs
import pytest

import anyllm
from anyllm import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    CompletionParams,
    ContentPart,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
    Usage,
)

SCHEMA = {"type": "json_schema", "json_schema": {"properties": {"raw": {"type": "string"}}}}
CALL = ToolCall(id="call_1", function=FunctionCall("f", '{"raw": 1}'), index=1, extra_content={"raw": "signature"})
THOUGHT = Reasoning("hm", "sig", "reasoning", [{"type": "reasoning.text", "text": "hm", "raw": 1}])
USAGE = Usage(3, 4, 7, 2, 1, 0, raw={"prompt_tokens": 3})
TURN = Message("assistant", None, tool_calls=(CALL,), reasoning=THOUGHT, refusal="no")
PARTS = Message.user([ContentPart("image_url", image_url={"url": "data:,"}), {"type": "video", "video": {"raw": 1}}])
VALUES: List[Any] = [
    FunctionCall("f", "{}"),
    CALL,
    THOUGHT,
    USAGE,
    ContentPart("file", file={"file_id": "x"}, cache_control={"type": "ephemeral"}, extra={"raw": 1}),
    TURN,
    PARTS,
    Message.tool("42", "call_1"),
    CompletionParams(
        model="openai/m",
        messages=[Message.system("s"), PARTS, TURN],
        temperature=0.5,
        stop=("a",),
        n=2,
        tools=({"raw": 1},),
        tool_choice={"raw": 1},
        response_format=SCHEMA,
        logprobs=True,
        extra_body={"raw": 1},
        extra_headers={"raw": "1"},
    ),
    ChunkDelta("assistant", "x", "no", (CALL,), THOUGHT),
    ChunkChoice(1, ChunkDelta(content="x"), "stop", "eos", {"content": [{"raw": 1}]}),
    ChatCompletionChunk(
        "id", (ChunkChoice(0, ChunkDelta(content="x")),), 7, "m", usage=USAGE, provider="p", raw={"x": 1}
    ),
    Choice(0, TURN, "tool_calls", "stop", {"content": []}),
    ChatCompletion("id", (Choice(0, TURN, "tool_calls", "stop"),), 7, "m", usage=USAGE, provider="p", raw={"x": 1}),
]


def name(value: Any) -> str:
    return type(value).__name__


@pytest.mark.parametrize("value", VALUES, ids=name)
def test_to_dict_and_from_dict_are_each_others_way_back(value: Any):
    plain = value.to_dict()
    json.dumps(plain)
    assert type(value).from_dict(plain) == value
    assert type(value).from_dict(json.loads(json.dumps(plain))) == value
    with_raw = value.to_dict(raw=True)
    again = type(value).from_dict(json.loads(json.dumps(with_raw)))
    assert again == value
    assert again.to_dict(raw=True) == with_raw
    assert getattr(again, "raw", None) == getattr(value, "raw", None)


@pytest.mark.parametrize("value", VALUES, ids=name)
def test_only_our_own_raw_is_left_out(value: Any):
    """A schema may well have a property of that name."""
    text = json.dumps(value.to_dict())
    assert text.count('"raw"') == json.dumps(value.to_dict(raw=True)).count('"raw"') - ours(value)


def ours(value: Any) -> int:
    if isinstance(value, (tuple, list)):
        return sum(ours(item) for item in value)
    if not attrs.has(type(value)):
        return 0
    fields = [(field.name, getattr(value, field.name)) for field in attrs.fields(type(value))]
    return sum(key == "raw" and item is not None for key, item in fields) + sum(ours(item) for key, item in fields)


@pytest.mark.parametrize("value", VALUES, ids=name)
@pytest.mark.parametrize("carry", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_values_survive_pickle_and_copy(value: Any, carry: Any):
    again = carry(value)
    assert again == value
    assert type(again) is type(value)
    assert getattr(again, "raw", None) == getattr(value, "raw", None)


def test_to_dict_leaves_out_what_is_none():
    assert Message.user("x").to_dict() == {"role": "user", "content": "x", "tool_calls": []}
    assert ChunkDelta().to_dict() == {}


@pytest.mark.parametrize(
    "value", [FunctionCall(), ToolCall(), Reasoning(), Usage(), ContentPart(), Message("user")], ids=name
)
def test_what_a_user_builds_is_frozen(value: Any):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, attrs.fields(type(value))[0].name, None)


def chunk(*choices: ChunkChoice) -> ChatCompletionChunk:
    return ChatCompletionChunk(choices=choices)


def test_a_chunk_without_choices_has_shortcuts_all_the_same():
    empty = chunk()
    assert (empty.content, empty.reasoning, empty.tool_calls) == ("", "", ())
    assert (empty.finish_reason, empty.raw_finish_reason) == (None, None)


def test_shortcuts_read_the_choice_whose_index_is_0():
    """Hosts send choices in any order."""
    other = ChunkChoice(1, ChunkDelta(content="no", reasoning=Reasoning("no"), tool_calls=(CALL,)), "length", "max")
    first = ChunkChoice(0, ChunkDelta(content="yes", reasoning=Reasoning("hm"), tool_calls=(CALL, CALL)), "stop", "eos")
    both = chunk(other, first)
    assert (both.content, both.reasoning, len(both.tool_calls)) == ("yes", "hm", 2)
    assert (both.finish_reason, both.raw_finish_reason) == ("stop", "eos")
    assert (chunk(other).content, chunk(other).finish_reason, chunk(other).tool_calls) == ("", None, ())


def test_deltas_keep_none_and_shortcuts_do_not():
    for absent in (None, ""):
        delta = chunk(ChunkChoice(0, ChunkDelta(content=absent, reasoning=Reasoning(absent))))
        assert (delta.content, delta.reasoning) == ("", "")
        assert delta.choices[0].delta.content is absent


def test_an_answer_has_the_same_shortcuts():
    answer = ChatCompletion(choices=(Choice(1, Message.assistant("no")), Choice(0, TURN, "tool_calls", "stop")))
    assert (answer.content, answer.reasoning, answer.refusal) == ("", "hm", "no")
    assert answer.tool_calls == (CALL,)
    assert (answer.finish_reason, answer.raw_finish_reason) == ("tool_calls", "stop")
    assert answer.to_message() is TURN
    empty = ChatCompletion()
    assert (empty.content, empty.reasoning, empty.refusal, empty.tool_calls) == ("", "", "", ())
    assert empty.finish_reason is None
    assert empty.to_message() == Message.assistant()


@pytest.mark.parametrize(
    ("arguments", "parsed"), [("", {}), (" ", {}), ("{}", {}), ('{"a": [1]}', {"a": [1]}), (' {"a":1}\n', {"a": 1})]
)
def test_arguments_are_parsed(arguments: str, parsed: Any):
    call = ToolCall("x", FunctionCall("f", arguments))
    assert call.parse() == parsed
    assert call.is_complete


@pytest.mark.parametrize("arguments", ["{", '{"a"', "[]", "null", "5", '"x"', "{}{}", '{"a":' * 100_000])
def test_arguments_that_are_no_object_are_a_value_error(arguments: str):
    call = ToolCall("x", FunctionCall("f", arguments))
    with pytest.raises(ValueError):  # noqa: PT011
        call.parse()
    assert not call.is_complete
    assert not ToolCall("x", FunctionCall(None, "{}")).is_complete


def test_messages_have_short_forms():
    assert Message.system("a") == Message("system", "a")
    assert Message.user("a", name="n") == Message("user", "a", name="n")
    assert Message.assistant() == Message("assistant", None)
    assert Message.tool("a", "id") == Message(role="tool", content="a", tool_call_id="id")
    assert Message.assistant("a", reasoning="hm").reasoning == Reasoning("hm")


def test_content_parts_may_be_text_dicts_or_a_hosts_own():
    message = Message.user(["a", {"type": "text", "text": "b"}, {"type": "video", "video": {"url": "x"}}])
    assert message.text == "ab"
    assert message.content[2].extra == {"video": {"url": "x"}}
    assert Message.user(part for part in ["a", "b"]).text == "ab"
    assert Message.user(None).text == ""


@pytest.mark.parametrize("content", [5, b"x", {"type": "text"}, [5], [None]])
def test_content_of_a_wrong_type_is_refused(content: Any):
    with pytest.raises(TypeError):
        Message.user(content)


GOOD = {"model": "m", "messages": [Message.user("x")]}


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"model": 5},
            {"model": None},
            {"messages": "x"},
            {"messages": Message.user("x")},
            {"messages": {"role": "user"}},
        ),
        *({"messages": [5]}, {"messages": None}, {"temperature": "1"}, {"temperature": True}, {"max_tokens": 1.5}),
        *({"max_tokens": True}, {"stop": 5}, {"n": "2"}, {"tools": {}}, {"tool_choice": 1}, {"logprobs": 1}),
        *(
            {"response_format": "json"},
            {"extra_body": []},
            {"extra_headers": "x"},
            {"user": 5},
            {"reasoning_effort": 1},
        ),
    ],
    ids=repr,
)
def test_wrong_types_raise_at_construction(wrong: Any):
    with pytest.raises(TypeError):
        CompletionParams(**{**GOOD, **wrong})


def test_an_unknown_parameter_is_answered_with_the_nearest():
    with pytest.raises(TypeError, match=r"CompletionParams has no 'temprature'; did you mean 'temperature'\?"):
        CompletionParams(**GOOD, temprature=1)  # type: ignore[arg-type,call-arg]
    with pytest.raises(TypeError, match="did you mean 'content'"):
        Message("user", contents="x")  # type: ignore[call-arg]


def test_params_are_never_changed():
    messages = [{"role": "user", "content": "x"}]
    params = CompletionParams(model="m", messages=messages)  # type: ignore[arg-type]
    messages.append({"role": "user", "content": "y"})
    assert len(params.messages) == 1
    assert messages[0] == {"role": "user", "content": "x"}
    changed = params.evolve(temperature=1)
    assert (params.temperature, changed.temperature) == (None, 1)
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        params.evolve(temprature=1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        params.model = "other"  # type: ignore[misc]


def test_every_parameter_of_the_contract_is_there():
    names = """model messages temperature top_p max_tokens stop n seed user tools tool_choice parallel_tool_calls
        response_format reasoning_effort thinking_budget logprobs top_logprobs stream stream_options functions
        function_call extra_body extra_headers"""
    assert {field.name for field in attrs.fields(CompletionParams)} == set(names.split())


def test_headers_are_not_shown():
    """One of them may be a key."""
    params = CompletionParams(model="m", messages=[], extra_headers={"Authorization": "Bearer sk-1"})
    assert "sk-1" not in repr(params)
    assert anyllm.CompletionParams.from_dict(params.to_dict()).extra_headers == {"Authorization": "Bearer sk-1"}
