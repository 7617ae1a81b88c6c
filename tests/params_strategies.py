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
#: Texts that are more than white space.
WORDS = TEXTS.filter(str.strip)
NAMES = st.sampled_from(["f", "g", "look_up", "X-9"])
#: Values of ``cache_control``.
CACHE = st.sampled_from([None, {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])
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
    system_contents: st.SearchStrategy[Any] = TEXTS,
    users: st.SearchStrategy[Any] = TEXTS,
    answers: st.SearchStrategy[Any] = TEXTS,
    beside_calls: st.SearchStrategy[Any] = TEXTS,
    results: st.SearchStrategy[Any] = TEXTS,
    reasoning: st.SearchStrategy[Any] = NONE,
    marks: st.SearchStrategy[Any] = NONE,
) -> list[Message]:
    """
    Conversations in which every result follows its call.

    Args:
        systems, system_contents: The roles of a message before the first turn, and its contents.
        users, answers, results: Contents of turns: of the user, of the model, of tools.
        beside_calls: Contents of the model's turns with calls.
        reasoning: The reasoning of the model's turns.
        marks: The ``cache_control`` of turns with calls, and of results.
    """
    messages = [Message(draw(st.sampled_from(systems)), draw(system_contents))] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(1, 3))):
        messages.append(Message.user(draw(users)))
        functions = [FunctionCall(draw(NAMES), draw(ARGUMENTS)) for _ in range(draw(st.integers(0, 2)))]
        calls = [ToolCall(f"call_{turn}_{place}", function) for place, function in enumerate(functions)]
        content, mark = (draw(beside_calls), draw(marks)) if calls else (draw(answers), None)
        message = Message.assistant(content, tool_calls=calls, reasoning=draw(reasoning), cache_control=mark)
        messages.append(message)
        messages += [
            Message.tool(draw(results), call.id, cache_control=draw(marks)) for call in draw(st.permutations(calls))
        ]
    return [*messages, *([Message.user(draw(users))] if draw(st.booleans()) else [])]


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
