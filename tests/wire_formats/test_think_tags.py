"""Reasoning between tags in the text: split at every cut, and only where a model would put it."""

from __future__ import annotations

import json
from typing import Any, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import anyllm
from anyllm._framing.body_events import JSONEvent
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.think_tags import ThinkTags
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect

CASES = [
    ("<think>hm</think>Yes", "hm", "Yes"),
    ("<think>\nhm\n</think>\n\nYes", "hm", "Yes"),
    (" \n<think>hm</think>Yes", "hm", "Yes"),
    ("<think>\n\n\nhm\n\n\n</think>Yes", "hm\n", "Yes"),
    ("<think>a\nb\n", "a\nb\n", ""),
    ("Yes", "", "Yes"),
    ("", "", ""),
    ("<thin", "", "<thin"),
    ("<thinking> is a word", "", "<thinking> is a word"),
    ("Say <think> and </think>", "", "Say <think> and </think>"),
    ("<think>cut", "cut", ""),
    ("<think>cut</thi", "cut</thi", ""),
    ("<think>a < b</think>c </think>", "a < b", "c </think>"),
    ("<think></think>Yes", "", "Yes"),
    ("  Yes", "", "  Yes"),
]


def split(pieces: List[str]) -> Tuple[str, str]:
    think = ThinkTags()
    found = [*map(think.feed, pieces), think.finish()]
    return "".join(thought for thought, _ in found), "".join(text for _, text in found)


@pytest.mark.parametrize(("text", "thought", "answer"), CASES)
def test_every_cut_gives_the_same(text: str, thought: str, answer: str):
    assert split([text]) == split(list(text)) == (thought, answer)
    for at in range(len(text)):
        assert split([text[:at], text[at:]]) == (thought, answer)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "think>", "\n", "a", " "]), max_size=8), st.data())
def test_no_cut_changes_anything(words: List[str], data: Any):
    text = "".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)])]
    assert split(pieces) == split([text])


def answer_to(pieces: List[str], think_tags: str) -> anyllm.ChatCompletion:
    decoder, assembler = OpenAIChatDialect(think_tags=think_tags).decoder(), Assembler()
    deltas: List[Any] = [{"delta": {"content": piece}} for piece in pieces]
    for choice in [*deltas, {"delta": {}, "finish_reason": "stop"}]:
        for chunk in decoder.feed(JSONEvent(json.dumps({"choices": [{"index": 0, **choice}]}))):
            assert chunk.raw["choices"][0].items() >= choice.items()
            assembler.add(chunk)
    decoder.finish()
    return assembler.snapshot()


@pytest.mark.parametrize(("text", "thought", "answer"), CASES)
def test_a_row_says_whether_tags_are_split(text: str, thought: str, answer: str):
    for pieces in ([text], list(text)):
        split_up, unsplit = answer_to(pieces, "split"), answer_to(pieces, "keep")
        assert (split_up.reasoning, split_up.content) == (thought, answer)
        assert (unsplit.reasoning, unsplit.content) == ("", text)


def test_a_whole_answer_is_split_too():
    body = {"choices": [{"message": {"role": "assistant", "content": "<think>hm</think>Yes"}, "finish_reason": "stop"}]}
    answer = OpenAIChatDialect(think_tags="split").response(json.dumps(body).encode())
    assert (answer.reasoning, answer.content) == ("hm", "Yes")


def test_reasoning_goes_back_where_it_stood():
    turn = answer_to(["<think>hm</think>Yes"], "split").to_message()
    params = anyllm.CompletionParams("m", [anyllm.Message.user("?"), turn])
    body = json.loads(OpenAIChatDialect(think_tags="split").request(params, model="m", stream=True).body)
    assert body["messages"][1] == {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes"}


@pytest.mark.parametrize("fields", [{"reasoning_effort": "none"}, {"thinking_budget": 0}])
def test_thinking_is_turned_off_as_the_host_wants_it(fields: Any):
    params = anyllm.CompletionParams("m", [anyllm.Message.user("?")], **fields)
    dialect = OpenAIChatDialect(no_thinking={"enable_thinking": False}, thinking_budget_key="thinking_budget")
    body = json.loads(dialect.request(params, model="m", stream=False).body)
    assert body.keys() == {"model", "messages", "enable_thinking"}
    assert body["enable_thinking"] is False


def test_a_budget_goes_under_the_hosts_key():
    params = anyllm.CompletionParams("m", [anyllm.Message.user("?")], thinking_budget=5)
    dialect = OpenAIChatDialect(no_thinking={"enable_thinking": False}, thinking_budget_key="reasoning.max_tokens")
    assert json.loads(dialect.request(params, model="m", stream=False).body)["reasoning"] == {"max_tokens": 5}
