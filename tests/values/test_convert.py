"""The border between JSON and values."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import anyllm
from anyllm import types
from anyllm.types import _convert

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@given(JSON)
def test_json_goes_out_and_comes_back(value: Any):
    assert _convert.loads(_convert.dumps(value)) == value
    assert _convert.loads(json.dumps(value)) == value


@pytest.mark.parametrize(
    "text", ["", "{", "nul", "'a'", "{}x", b"\xff", '{"a":}', "\ufeff{}", "[" * 100_000, '{"a":' * 100_000]
)
def test_what_is_no_json_is_a_value_error(text: Any):
    """And nothing else: a decoder catches one class only. Nesting is no way out."""
    with pytest.raises(ValueError):  # noqa: PT011
        _convert.loads(text)
    assert not _convert.is_json(text)


def test_lone_surrogates_are_kept():
    """Some hosts send an emoji in two halves, which msgspec refuses and the standard library does not."""
    assert _convert.loads(r'{"a": "\ud83d"}') == {"a": "\ud83d"}


def test_what_json_cannot_hold_is_a_type_error():
    for value in (object(), {1, object()}, {"a": [lambda: 0]}):
        with pytest.raises(TypeError):
            _convert.dumps(value)


def test_our_classes_go_out_as_json_without_nones():
    assert json.loads(_convert.dumps([anyllm.ToolCall(id="x", function={"name": "f"})])) == [  # type: ignore[arg-type]
        {"id": "x", "function": {"name": "f", "arguments": ""}, "type": "function", "index": 0}
    ]


STRICT = [
    ({"model": 5}, "must be str, not int @ $.model"),
    ({"temperature": "0.5"}, "must be float, not str @ $.temperature"),
    ({"temperature": True}, "must be float, not bool @ $.temperature"),
    ({"max_tokens": "7"}, "must be int, not str @ $.max_tokens"),
    ({"max_tokens": 7.0}, "must be int, not float @ $.max_tokens"),
    ({"max_tokens": True}, "must be int, not bool @ $.max_tokens"),
    ({"logprobs": "no"}, "must be bool, not str @ $.logprobs"),
    ({"logprobs": 0}, "must be bool, not int @ $.logprobs"),
    ({"extra_headers": {"A": 1}}, r"must be str, not int @ $.extra_headers['A']"),
    ({"stop": 5}, "$.stop"),
    ({"tool_choice": 5}, "$.tool_choice"),
    ({"response_format": [1]}, "$.response_format"),
    ({"messages": "hello"}, "messages must be a list"),
    ({"messages": [{"role": 7}]}, "must be str, not int"),
    ({"messages": [{"role": "user", "content": 5}]}, "content must be a str or a list of parts, not int"),
    ({"messages": [{"rol": "user"}]}, "Message has no 'rol'; did you mean 'role'?"),
    ({"messages": [5]}, "expected Message or a dict, not int"),
    ({"messages": None}, "messages must be a list"),
    ({"messages": anyllm.Message.user("x")}, "messages must be a list"),
    ({"messages": {"role": "user"}}, "messages must be a list"),
    ({"model": None}, "must be str, not NoneType @ $.model"),
    ({"user": 5}, "must be str, not int @ $.user"),
    ({"n": "2"}, "must be int, not str @ $.n"),
    ({"reasoning_effort": 1}, "$.reasoning_effort"),
    ({"response_format": "json"}, "$.response_format"),
    ({"extra_body": []}, "$.extra_body"),
    ({"extra_headers": "x"}, "$.extra_headers"),
    ({"mesages": []}, "CompletionParams has no 'mesages'; did you mean 'messages'?"),
    ({1: 2}, "CompletionParams has no 1"),
]


@pytest.mark.parametrize(("change", "words"), STRICT)
def test_a_dict_is_no_more_forgiving_than_the_constructor(change: Any, words: str):
    """No "0.5" for 0.5, no 1 for True, and no "no" for True either: an unknown value never becomes a known one."""
    values = {"model": "openai/m", "messages": [{"role": "user", "content": "x"}], **change}
    with pytest.raises(TypeError) as caught:
        anyllm.CompletionParams.from_dict(values)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


UNCHECKED = {"extra_headers": {"A": 1}}


@pytest.mark.parametrize("change", [{"tools": {}}, *(change for change, _ in STRICT if change != UNCHECKED)], ids=repr)
def test_wrong_types_raise_at_construction(change: Any):
    with pytest.raises(TypeError):
        anyllm.CompletionParams(**{"model": "m", "messages": [anyllm.Message.user("x")], **change})


def test_an_int_is_a_good_float():
    params = {"model": "m", "messages": [], "temperature": 1, "top_p": 0.5}
    assert anyllm.CompletionParams.from_dict(params).temperature == 1


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_field_is_named(missing: str):
    values = {"model": "m", "messages": []}
    del values[missing]
    with pytest.raises(TypeError, match=rf"required field missing @ \$\.{missing}"):
        anyllm.CompletionParams.from_dict(values)


@pytest.mark.parametrize("value", [None, 5, "x", [1], b"{}"])
def test_only_mappings_are_structured(value: Any):
    with pytest.raises(TypeError, match=r"expected Message or a dict, not"):
        _convert.structure(anyllm.Message, value)


def test_an_instance_is_given_back_as_it_is():
    message = anyllm.Message.user("x")
    assert _convert.structure(anyllm.Message, message) is message


# -- cattrs does it ----------------------------------------------------------------------------------------------------


class NoCattrs:
    def structure(self, *_: Any) -> Any:
        raise ZeroDivisionError("no cattrs here")


SAMPLES = {
    "FunctionCall": {"name": "f"},
    "ToolCall": {"id": "x"},
    "Reasoning": {"content": "x"},
    "RetryNotice": {"policy": "restart"},
    "Usage": {"prompt_tokens": 1},
    "Cost": {"total_usd": 1.0, "input_usd": 0.5, "output_usd": 0.5},
    "ContentPart": {"text": "x"},
    "Message": {"role": "user"},
    "CompletionParams": {"model": "m", "messages": []},
    "EmbeddingParams": {"model": "m", "input": ["x"]},
    "Embeddings": {"model": "m"},
    "Model": {"id": "x"},
    "ChunkDelta": {"content": "x"},
    "ChunkChoice": {"index": 0},
    "ChatCompletionChunk": {"id": "x"},
    "Choice": {"index": 0},
    "ChatCompletion": {"id": "x"},
}


def test_every_class_has_a_sample():
    classes = {cls.__name__ for cls in vars(types).values() if isinstance(cls, type) and attrs.has(cls)}
    assert classes == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_no_dict_is_structured_without_cattrs(name: str, monkeypatch: pytest.MonkeyPatch):
    """It is the machinery, not an ornament."""
    cls = getattr(types, name)
    assert isinstance(cls.from_dict(SAMPLES[name]), cls)
    monkeypatch.setattr(_convert, "_converter", lambda *_: NoCattrs())
    with pytest.raises(ZeroDivisionError):
        cls.from_dict(SAMPLES[name])


@pytest.mark.parametrize(
    "give",
    [
        lambda: anyllm.completion_stream(anyllm.Context(), {"model": "x", "messages": []}),
        lambda: anyllm.completion(anyllm.Context(), {"model": "x", "messages": []}),
        lambda: anyllm.CompletionParams(model="x", messages=[{"role": "user"}]),  # type: ignore[arg-type]
        lambda: anyllm.Message("user", [{"type": "text", "text": "x"}]),  # type: ignore[arg-type]
        lambda: anyllm.Message("assistant", tool_calls=[{"id": "x"}]),  # type: ignore[arg-type]
        lambda: anyllm.Message("assistant", reasoning={"content": "x"}),  # type: ignore[arg-type]
        lambda: anyllm.ToolCall(function={"name": "x"}),  # type: ignore[arg-type]
        lambda: anyllm.StreamingOptions(timeouts={"idle": 1}),  # type: ignore[arg-type]
    ],
)
def test_no_dict_anywhere_is_taken_without_cattrs(give: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_convert, "_converter", lambda *_: NoCattrs())
    with pytest.raises(ZeroDivisionError):
        give()


def test_the_converter_is_cattrs_own(monkeypatch: pytest.MonkeyPatch):
    import cattrs

    def refuse(*_: Any) -> Any:
        raise ZeroDivisionError("no cattrs here")

    monkeypatch.setattr(cattrs.BaseConverter, "structure", refuse)
    with pytest.raises(ZeroDivisionError):
        anyllm.Message.from_dict({"role": "user"})


def test_converters_are_made_once():
    """Making one takes milliseconds, and a call uses several."""
    chunk = anyllm.ChatCompletionChunk("1")
    misses = []
    for _ in range(4):
        _convert.structure(anyllm.Message, {"role": "user", "content": "Hi"})
        _convert.dumps(chunk)
        chunk.to_dict()
        chunk.to_dict(raw=True)
        misses.append(_convert._converter.cache_info().misses)
    assert misses == [misses[0]] * 4
