"""Hypothesis strategies for requests and answers, for the round trips of every wire format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from anyllm.types import (
    ChatCompletion,
    Choice,
    CompletionParams,
    ContentPart,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
    Usage,
)

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
NAMES = st.sampled_from(["f", "g", "look_up"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
#: The arguments of calls, as compact JSON.
ARGUMENTS = st.dictionaries(TEXTS, _VALUES, max_size=3).map(
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
)
SCHEMAS = st.fixed_dictionaries(
    {"type": st.just("object")}, optional={"properties": st.dictionaries(NAMES, st.just({"type": "string"}))}
)
#: Functions in OpenAI's shape.
TOOLS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES}, optional={"description": TEXTS, "parameters": SCHEMAS, "strict": st.booleans()}
    ).map(lambda function: {"type": "function", "function": function}),
    min_size=1,
    max_size=2,
)
TOKENS = st.integers(0, 10**6)
USAGES = st.builds(lambda prompt, completion: Usage(prompt, completion, prompt + completion), TOKENS, TOKENS)
NONE = st.none()


def text_part(text: str) -> ContentPart:
    return ContentPart(text=text)


@st.composite
def conversations(
    draw: Any,
    *,
    systems: Sequence[str] = ("system",),
    users: st.SearchStrategy[Any] = TEXTS,
    answers: st.SearchStrategy[Any] = TEXTS,
    results: st.SearchStrategy[Any] = TEXTS,
    reasoning: st.SearchStrategy[Any] = NONE,
) -> list[Message]:
    """
    Conversations in which every result follows its call.

    Args:
        systems: The roles of a message before the first turn.
        users, answers, results: Contents of turns: of the user, of the model, of tools.
        reasoning: The reasoning of the model's turns.
    """
    messages = [Message(draw(st.sampled_from(systems)), draw(TEXTS))] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(1, 3))):
        messages.append(Message.user(draw(users)))
        functions = [FunctionCall(draw(NAMES), draw(ARGUMENTS)) for _ in range(draw(st.integers(0, 2)))]
        calls = [ToolCall(f"call_{turn}_{place}", function) for place, function in enumerate(functions)]
        messages.append(Message.assistant(draw(answers), tool_calls=calls, reasoning=draw(reasoning)))
        messages += [Message.tool(draw(results), call.id) for call in draw(st.permutations(calls))]
    return messages


def params(messages: st.SearchStrategy[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[CompletionParams]:
    """Parameters with some of *fields*."""
    return st.builds(
        lambda messages, fields: CompletionParams("m", messages, **fields),
        messages,
        st.fixed_dictionaries({}, optional=fields),
    )


@st.composite
def answers(
    draw: Any,
    *,
    reasoning: st.SearchStrategy[Any] = NONE,
    finish_reasons: Sequence[tuple[str, str]] = (("stop", "stop"), ("length", "length")),
    usage: st.SearchStrategy[Any] = USAGES,
    choices: int = 1,
) -> ChatCompletion:
    """
    Whole answers: text, reasoning, calls or several of these.

    Args:
        reasoning: The reasoning of an answer.
        finish_reasons: Ours and the provider's, of answers without calls.
        usage: Of the answer.
        choices: How many there are at most.
    """
    made = []
    for index in range(draw(st.integers(1, choices))):
        functions = [FunctionCall(draw(NAMES), draw(ARGUMENTS)) for _ in range(draw(st.integers(0, 3)))]
        calls = [ToolCall(f"call_{index}_{place}", item, index=place) for place, item in enumerate(functions)]
        text = draw(st.none() | TEXTS) if calls else draw(TEXTS)
        ours, raw = ("tool_calls", "tool_calls") if calls else draw(st.sampled_from(finish_reasons))
        message = Message.assistant(text, reasoning=draw(reasoning), tool_calls=calls)
        made.append(Choice(index, message, ours, raw))
    return ChatCompletion("id", tuple(made), 1_700_000_000, "m", usage=draw(usage), provider="p")


def thoughts(field: str) -> st.SearchStrategy[Any]:
    """Reasoning that a provider has under *field*."""
    return st.none() | st.builds(Reasoning, TEXTS, field=st.just(field))
