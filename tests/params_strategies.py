"""Hypothesis strategies for the parameters of a completion and for answers, narrowed to what one format can express."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from anyllm.types import (
    ChatCompletionChunk,
    ChunkChoice,
    ChunkDelta,
    CompletionParams,
    FunctionCall,
    Reasoning,
    ToolCall,
    Usage,
    _convert,
)

#: Text that every format carries: no lone surrogates, which are no text.
texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
names = st.from_regex(r"[a-z][a-z0-9_]{0,15}", fullmatch=True)
ids = st.from_regex(r"id[A-Za-z0-9]{6,12}", fullmatch=True)
scalars = st.one_of(st.booleans(), st.integers(-(2**31), 2**31), texts)
arguments = st.dictionaries(names, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=3)

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_PNG = "data:image/png;base64,iVBORw0KGgo="
#: Parameters by name; a format's test picks those that it supports.
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.floats(0, 2).map(lambda value: round(value, 3)),
    "top_p": st.floats(0.01, 1).map(lambda value: round(value, 3)),
    "max_tokens": st.integers(1, 10**6),
    "stop": st.lists(texts, min_size=1, max_size=3),
    "n": st.integers(2, 8),
    "seed": st.integers(0, 2**31 - 1),
    "user": names,
    "logprobs": st.just(True),
    "top_logprobs": st.integers(1, 5),
    "parallel_tool_calls": st.booleans(),
    "reasoning_effort": st.sampled_from(("low", "medium", "high")),
    "thinking_budget": st.integers(1024, 32000),
    "response_format": st.one_of(
        st.just({"type": "json_object"}),
        st.just({"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}),
    ),
}


@st.composite
def conversations(draw: st.DrawFn, *, system: bool = True, media: Sequence[str] = ("image",)) -> list[dict[str, Any]]:
    """
    Messages that alternate as every provider wants them: a system message, then the user's and the model's turns, in
    which all results of an answer's calls follow it.
    """
    messages: list[dict[str, Any]] = []
    if system and draw(st.booleans()):
        messages.append({"role": "system", "content": draw(texts)})
    calls = 0
    for _ in range(draw(st.integers(0, 3))):
        messages.append(draw(_user(media)))
        answer: dict[str, Any] = {"role": "assistant"}
        if draw(st.booleans()):
            answer["content"] = draw(texts)
        made = [] if "content" in answer and draw(st.booleans()) else [*range(calls, calls + draw(st.integers(1, 3)))]
        calls += len(made)
        if made:
            answer["tool_calls"] = [
                {
                    "id": f"{draw(ids)}{number}",  # unique in the conversation
                    "type": "function",
                    "function": {"name": draw(names), "arguments": _convert.dumps(draw(arguments)).decode()},
                }
                for number in made
            ]
        messages.append(answer)
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": draw(texts)}
            for call in answer.get("tool_calls", ())
        ]
    messages.append(draw(_user(media)))
    return messages


def _user(media: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    text = texts.map(lambda text: {"role": "user", "content": text})
    if "image" not in media:
        return text
    image = {"type": "image_url", "image_url": {"url": _PNG}}
    shown = texts.map(lambda text: {"role": "user", "content": [{"type": "text", "text": text}, image]})
    return st.one_of(text, shown)


@st.composite
def completion_params(
    draw: st.DrawFn,
    *,
    settings: Sequence[str] = tuple(SETTINGS),
    system: bool = True,
    media: Sequence[str] = ("image",),
    choices: Sequence[Any] = ("auto", "none", "required", "named"),
) -> CompletionParams:
    """
    Parameters with some of *settings*, tools, and a conversation.

    Args:
        settings: Names of `SETTINGS` that the format supports.
        system: Whether it has system messages.
        media: What a user's message may show.
        choices: Values of ``tool_choice``; "named" stands for one that names a tool.
    """
    given = {name: draw(SETTINGS[name]) for name in draw(st.sets(st.sampled_from(sorted(settings))))}
    functions = draw(st.lists(names, unique=True, max_size=3))
    if functions:
        given["tools"] = [
            {"type": "function", "function": {"name": name, "description": draw(texts), "parameters": SCHEMA}}
            for name in functions
        ]
        choice = draw(st.one_of(st.none(), st.sampled_from(choices)))
        named = {"type": "function", "function": {"name": functions[0]}}
        given["tool_choice"] = named if choice == "named" else choice
    messages = draw(conversations(system=system, media=media))
    return CompletionParams(**{"model": "m", "messages": messages, **given})


@st.composite
def answers(draw: st.DrawFn, *, reasoning: bool = True) -> list[ChatCompletionChunk]:
    """The chunks of a whole answer of a provider: reasoning, text and calls in pieces, an end, and token counts."""
    deltas: list[ChunkDelta] = []
    if reasoning:
        deltas += [ChunkDelta(reasoning=Reasoning(text)) for text in draw(st.lists(texts, max_size=3))]
    deltas += [ChunkDelta(content=text) for text in draw(st.lists(texts, max_size=4))]
    count = draw(st.integers(0, 3))
    for index in range(count):
        text = _convert.dumps(draw(arguments)).decode()
        cut = draw(st.integers(0, len(text)))
        name, call_id = draw(names), f"{draw(ids)}{index}"
        deltas.append(ChunkDelta(tool_calls=(ToolCall(call_id, FunctionCall(name, text[:cut]), index=index),)))
        deltas.append(ChunkDelta(tool_calls=(ToolCall(None, FunctionCall(None, text[cut:]), index=index),)))
    finish = "tool_calls" if count else draw(st.sampled_from(("stop", "length")))
    choices = [ChunkChoice(0, delta) for delta in [ChunkDelta("assistant"), *deltas]]
    choices.append(ChunkChoice(0, ChunkDelta(), finish, finish))
    prompt, completion = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
    chunks = [ChatCompletionChunk("answer_1", (choice,), 1, "m", provider="other") for choice in choices]
    usage = Usage(prompt, completion, prompt + completion)
    return [*chunks, ChatCompletionChunk("answer_1", (), 1, "m", usage=usage, provider="other")]
