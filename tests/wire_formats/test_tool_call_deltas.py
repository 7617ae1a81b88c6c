"""Fragments of tool calls, as providers send them: put together, they are the calls."""

from __future__ import annotations

from typing import Any

import pytest

from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.tool_call_deltas import ToolCallDeltas


def fragment(index: Any = None, call_id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    return {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}


def calls_in(*deltas: Any, unique_ids: bool = False) -> list[tuple[Any, ...]]:
    reader, answer = ToolCallDeltas(unique_ids=unique_ids), Assembler()
    for delta in deltas:
        answer.add(ChatCompletionChunk(choices=(ChunkChoice(0, ChunkDelta(tool_calls=reader.read(delta) or ())),)))
    return [(call.id, call.name, call.arguments) for call in answer.snapshot().tool_calls]


F, G = ("a", "f", '{"x":1}'), ("b", "g", "{}")
#: Streams of the same two calls, each as a list of deltas.
SAME: dict[str, list[Any]] = {
    "OpenAI": [
        [fragment(0, "a", "f", "")],
        [fragment(0, None, None, '{"x"')],
        [fragment(0, None, None, ":1}")],
        [fragment(1, "b", "g", "{}")],
    ],
    "whole, in one delta": [[fragment(0, *F), fragment(1, *G)]],
    "whole, without an index": [[fragment(None, *F)], [fragment(None, *G)]],
    "all with index 0": [[fragment(0, *F), fragment(0, *G)]],
    "ids and names repeated": [[fragment(0, "a", "f", '{"x"')], [fragment(0, "a", "f", ":1}")], [fragment(1, *G)]],
    "empty texts for what came before": [
        [fragment(0, "a", "f", '{"x"')],
        [fragment(0, "", "", ":1}")],
        [fragment(1, *G)],
    ],
    "the text null for no id": [[fragment(0, "a", "f", '{"x"')], [fragment(0, "null", "", ":1}")], [fragment(1, *G)]],
    "another id later": [[fragment(0, "a", "f", '{"x"')], [fragment(0, "z", None, ":1}")], [fragment(1, *G)]],
    "the id later": [[fragment(0, None, "f", '{"x"')], [fragment(0, "a", None, ":1}")], [fragment(1, *G)]],
    "the name later": [[fragment(None, "a")], [fragment(None, None, "f", '{"x":1}')], [fragment(None, *G)]],
    "interleaved": [
        [fragment(0, "a", "f", '{"x"'), fragment(1, "b", "g")],
        [fragment(1, None, None, "{}"), fragment(0, None, None, ":1}")],
    ],
    "arguments as objects": [[fragment(0, "a", "f", {"x": 1}), fragment(1, "b", "g", {})]],
    "floats and texts as indexes": [[fragment(0.0, *F), fragment("1", *G)]],
    "nothing between": [[fragment(0, *F)], [None, fragment(0), fragment(1)], [fragment(1, *G)]],
    "no list": [fragment(0, *F), fragment(1, *G)],
}


@pytest.mark.parametrize("unique_ids", [False, True])
@pytest.mark.parametrize("name", SAME)
def test_calls_are_the_same_however_they_are_sent(name, unique_ids):
    expected = [F, G]
    if name == "the id later" and unique_ids:
        expected = [("call_0", *F[1:]), G]  # which was given already
    assert calls_in(*SAME[name], unique_ids=unique_ids) == expected


def test_an_id_at_another_index_is_one_call_where_ids_are_unique():
    deltas = [[fragment(0, "a", "f", '{"x"')], [fragment(1, "a", None, ":1}")]]
    assert calls_in(*deltas, unique_ids=True) == [F]
    assert calls_in(*deltas) == [("a", "f", '{"x"'), ("a", None, ":1}")]


def test_calls_without_ids_are_given_some_where_ids_are_unique():
    whole = [[fragment(None, None, "f", "{}")], [fragment(None, None, "f", "{}")]]
    assert calls_in(*whole, unique_ids=True) == [("call_0", "f", "{}"), ("call_1", "f", "{}")]
    assert calls_in(*whole) == [(None, "f", "{}"), (None, "f", "{}")]


@pytest.mark.parametrize("raw", ["x", 7, [7], [{"function": 7}], [{"index": []}]], ids=str)
def test_what_is_no_fragment_is_an_error(raw):
    with pytest.raises(ValueError, match="tool"):
        ToolCallDeltas().read(raw)


def test_arguments_that_are_no_object_stay_visible():
    """The caller sees them where the call is made; the rest of the answer is not lost."""
    assert calls_in([fragment(0, "a", "f", [1])]) == [("a", "f", "[1]")]
