"""Both directions of Google's format undo each other: requests, answers in a stream, and whole answers."""

from __future__ import annotations

import json
from typing import Any

from formats_of import chunks_in, together
from hypothesis import given
from hypothesis import strategies as st
from params_strategies import SCHEMAS, TEXTS, TOOLS, answers, conversations, params, text_part, thoughts

from anyllm.types import ChatCompletion, CompletionParams, ContentPart
from anyllm.types._replay import replayed
from anyllm.wire.gemini.dialect import GeminiDialect
from anyllm.wire.gemini.server.request_reader import read_generate
from anyllm.wire.gemini.server.writer import Gemini

DIALECT = GeminiDialect(provider="p")
MODEL = "gemini-3-pro"  # which thinks by levels
_IMAGE = ContentPart("image_url", image_url={"url": "data:image/png;base64,iVBORw0KGgo="})
USERS = TEXTS | TEXTS.map(lambda text: (text_part(text), _IMAGE))
FORMATS = st.just({"type": "json_object"}) | SCHEMAS.map(
    lambda schema: {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
)
#: Functions; Google has no ``strict``.
FUNCTIONS = TOOLS.filter(lambda tools: not any("strict" in tool["function"] for tool in tools))
CHOICES = st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "f"}}])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0, 1),
    "max_tokens": st.integers(1, 10**6),
    "stop": st.lists(TEXTS, min_size=1, max_size=3),
    "n": st.integers(2, 8),
    "seed": st.integers(0, 2**31),
    "logprobs": st.just(True),
    "top_logprobs": st.integers(1, 5),
    "response_format": FORMATS,
    "tools": FUNCTIONS,
    "tool_choice": CHOICES,
}


def read(asked: CompletionParams) -> CompletionParams:
    """The parameters of the request for *asked*."""
    request = DIALECT.request(asked, model=MODEL, stream=False)
    found = read_generate(json.loads(request.body), model=MODEL, stream=False)
    assert not found.unknown_fields
    return found.params


def ordered(asked: CompletionParams) -> CompletionParams:
    """*asked* with the results in the order of their calls, which is how Google tells them apart, and for its model."""
    order = {call.id: at for message in asked.messages for at, call in enumerate(message.tool_calls)}
    messages: list[Any] = []
    for message in asked.messages:
        at = len(messages)
        while message.role == "tool" and messages[at - 1].role == "tool":
            if order[messages[at - 1].tool_call_id] < order[message.tool_call_id]:
                break
            at -= 1
        messages.insert(at, message)
    return asked.evolve(messages=messages, model=MODEL)


@given(params(conversations(users=USERS), **FIELDS, thinking_budget=st.integers(0, 32000)))
def test_a_request_reads_as_its_parameters(asked: CompletionParams) -> None:
    assert read(asked) == ordered(asked)


@given(params(conversations(), reasoning_effort=st.sampled_from(("low", "medium", "high"))))
def test_an_effort_reads_as_itself(asked: CompletionParams) -> None:
    """Without a budget, which says exactly what the effort says roughly."""
    assert read(asked) == ordered(asked)


def facts(answer: ChatCompletion) -> list[Any]:
    """All that the format expresses; reasoning gets the format's own origin."""
    choices = [
        (
            choice.message.text,
            choice.message.reasoning and choice.message.reasoning.content,
            [(call.id, call.name, call.parse()) for call in choice.message.tool_calls],
            choice.finish_reason,
        )
        for choice in answer.choices
    ]
    return [answer.id, answer.model, answer.usage, *choices]


@given(answers(reasoning=thoughts("reasoning"), choices=2))
def test_a_written_stream_reads_as_its_answer(answer: ChatCompletion) -> None:
    writer = Gemini().writer()
    written = b"".join([*map(writer.chunk, replayed(answer)), writer.end()])
    assert facts(together(chunks_in(DIALECT, written))) == facts(answer)


@given(answers(reasoning=thoughts("reasoning"), choices=2))
def test_a_written_whole_answer_reads_as_itself(answer: ChatCompletion) -> None:
    assert facts(DIALECT.response(Gemini().whole(answer))) == facts(answer)
