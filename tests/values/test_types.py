"""Values: their dicts, copies, shortcuts and checks, text chunks, and media."""

from __future__ import annotations

import base64
import copy
import gc
import json
import pathlib
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
from anyllm.types import text_alone, text_chunk

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
def test_from_dict_reverses_to_dict(value: Any):
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
    assert (again, type(again)) == (value, type(value))
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


def _text_chunk(text: str = "Hi", raw: Any = '{"a": 1}') -> ChatCompletionChunk:
    return text_chunk("c1", text, 7, "m", "fp", "default", "openai", raw)


def _same_in_full(text: str = "Hi") -> ChatCompletionChunk:
    choices = (ChunkChoice(0, ChunkDelta(None, text)),)
    return ChatCompletionChunk(
        "c1", choices, 7, "m", "chat.completion.chunk", None, "fp", "default", "openai", {"a": 1}
    )


@pytest.mark.parametrize(
    "see",
    [
        repr,
        lambda chunk: chunk,
        lambda chunk: chunk.choices,
        lambda chunk: chunk.to_dict(raw=True),
        lambda chunk: (chunk.content, chunk.reasoning, chunk.tool_calls, chunk.finish_reason, chunk.raw_finish_reason),
        lambda chunk: (chunk.raw, chunk.id, chunk.created, chunk.model, chunk.object, chunk.usage, chunk.provider),
        lambda chunk: pickle.loads(pickle.dumps(chunk)),
        lambda chunk: (copy.copy(chunk), copy.deepcopy(chunk).raw),
        lambda chunk: attrs.evolve(chunk, id="other"),
        attrs.asdict,
    ],
)
def test_a_text_chunk_is_a_chunk_whatever_is_looked_at(see: Any):
    """Its fields are made when they are read; nobody can tell."""
    assert see(_text_chunk()) == see(_same_in_full())
    read = _text_chunk()
    assert read.choices[0].delta.content == "Hi"
    assert see(read) == see(_same_in_full())


def test_a_text_chunks_choices_are_the_same_each_time_and_can_be_changed():
    chunk = _text_chunk()
    assert chunk.choices is chunk.choices
    chunk.choices[0].delta.content = "Ho"
    assert chunk.content == "Ho"
    chunk.choices = ()
    assert chunk.content == ""
    chunk.raw = None
    assert chunk.raw is None


def test_an_event_that_is_a_string_is_the_same_each_time():
    chunk = _text_chunk(raw='"{}"')
    assert [chunk.raw, chunk.raw, chunk.to_dict(raw=True)["raw"]] == ["{}"] * 3


def test_a_text_chunk_is_small():
    """One object beside its two texts: what makes a full channel cheap to keep and to hand on."""
    gc.collect()
    before = len(gc.get_objects())
    chunks = [_text_chunk() for _ in range(100)]
    assert len(gc.get_objects()) - before <= len(chunks) + 5
    assert [text_alone(chunk) for chunk in chunks] == ["Hi"] * 100
    assert chunks[0].choices
    assert text_alone(chunks[0]) is None


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
    assert (call.parse(), call.is_complete) == (parsed, True)


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


def test_an_unknown_parameter_is_answered_with_the_nearest():
    with pytest.raises(TypeError, match=r"CompletionParams has no 'temprature'; did you mean 'temperature'\?"):
        CompletionParams("m", [], temprature=1)  # type: ignore[call-arg]
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
        response_format structured reasoning_effort thinking_budget logprobs top_logprobs stream stream_options
        functions function_call extra_body extra_headers"""
    assert {field.name for field in attrs.fields(CompletionParams)} == set(names.split())


def test_headers_are_not_shown():
    """One of them may be a key."""
    params = CompletionParams(model="m", messages=[], extra_headers={"Authorization": "Bearer sk-1"})
    assert "sk-1" not in repr(params)
    assert anyllm.CompletionParams.from_dict(params.to_dict()).extra_headers == {"Authorization": "Bearer sk-1"}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n..", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
def test_an_image_comes_from_a_url_a_file_or_bytes(data: bytes, kind: str, tmp_path: pathlib.Path):
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    path = tmp_path / "picture"
    path.write_bytes(data)
    for source in (url, data, path, str(path)):
        assert ContentPart.from_image(source).image_url == {"url": url}
    remote = "https://host/cat.png"
    assert ContentPart.from_image(remote, detail="low").image_url == {"url": remote, "detail": "low"}
    assert ContentPart.from_file(path).file == {"filename": "picture", "file_data": url}
    assert ContentPart.from_file(data).file == {"file_data": url}


def test_an_unknown_media_type_is_an_error(tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match="pass media_type="):
        ContentPart.from_image(b"?")
    assert ContentPart.from_image(b"?", media_type="image/avif").image_url == {"url": "data:image/avif;base64,Pw=="}
    notes = tmp_path / "notes.txt"
    notes.write_bytes(b"?")
    assert ContentPart.from_file(notes).file == {"filename": "notes.txt", "file_data": "data:text/plain;base64,Pw=="}
    with pytest.raises(FileNotFoundError):
        ContentPart.from_image(tmp_path / "absent.png")


def test_a_sound_says_its_format():
    assert ContentPart.from_audio(b"RIFF\0\0\0\0WAVE").input_audio == {"data": "UklGRgAAAABXQVZF", "format": "wav"}
    assert ContentPart.from_audio(b"ID3").input_audio == {"data": "SUQz", "format": "mp3"}
    assert ContentPart.from_audio(b"ID3", format="mpga").input_audio == {"data": "SUQz", "format": "mpga"}
    with pytest.raises(ValueError, match="pass format="):
        ContentPart.from_audio(b"\x89PNG\r\n\x1a\n")


def test_a_message_that_openais_client_dumps_can_be_put_back():
    """It has keys that say nothing, more than we know; one that says something is still a mistake."""
    dumped = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": [], "audio": None}
    dumped.update(function_call=None, tool_calls=None)
    (message,) = CompletionParams("m", [dumped]).messages
    assert message == Message.assistant("Hi")
    with pytest.raises(TypeError, match="annotations"):
        CompletionParams("m", [{**dumped, "annotations": [{"type": "url_citation"}]}])


def test_the_deprecated_name_of_a_retry_notice_is_the_same_class() -> None:
    assert anyllm.Retried is anyllm.types.Retried is anyllm.RetryNotice
