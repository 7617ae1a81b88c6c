"""Chunks as the dialect of any provider makes them, for the tests of the formats that a server writes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Message,
    Reasoning,
    RetryNotice,
    ToolCall,
    Usage,
    text_chunk,
)

ID, CREATED, MODEL = "a-1", 1_700_000_000, "m"


def chunk(
    delta: ChunkDelta | None = None,
    finish: Any = None,
    raw_finish: Any = None,
    *,
    index: int = 0,
    logprobs: Any = None,
    **fields: Any,
) -> ChatCompletionChunk:
    """A chunk with one choice, or with none where there is no *delta*."""
    choices = () if delta is None else (ChunkChoice(index, delta, finish, raw_finish or finish, logprobs),)
    about = {"id": ID, "created": CREATED, "model": MODEL, "provider": "p"}
    return ChatCompletionChunk(**{**about, "choices": choices, **fields})


def text(content: str, *, created: int = CREATED, raw: Any = None) -> ChatCompletionChunk:
    """A chunk of text alone, which makes its objects only when they are read."""
    return text_chunk(ID, content, created, MODEL, None, None, "p", raw)


def thought(content: str | None = None, *signed: Any, **fields: Any) -> ChatCompletionChunk:
    """A chunk of reasoning: its text, signature, field and details."""
    return chunk(ChunkDelta(reasoning=Reasoning(content, *signed, **fields)))


def piece(index: int, arguments: str = "", name: str | None = None, **fields: Any) -> ToolCall:
    """A piece of a call; the first one has a name and the id "c<index>"."""
    return ToolCall(**{"id": name and f"c{index}", "function": FunctionCall(name, arguments), "index": index, **fields})


def calls(*pieces: ToolCall, **fields: Any) -> ChatCompletionChunk:
    return chunk(ChunkDelta(tool_calls=pieces), **fields)


def call(
    index: int, arguments: str = "", name: str | None = None, *, raw: Any = None, **fields: Any
) -> ChatCompletionChunk:
    """A chunk with one piece of a call."""
    return calls(piece(index, arguments, name, **fields), raw=raw)


def restart() -> ChatCompletionChunk:
    """The chunk that says that the answer begins anew."""
    return ChatCompletionChunk(retry=RetryNotice("restart", 2, "cut"))


#: An answer with reasoning, text, two calls whose pieces alternate, and two counts, of which the last one holds.
STREAM = [
    chunk(ChunkDelta("assistant", "")),
    thought("h"),
    thought("m"),
    text('He said "é\u2028'),
    text('\U0001f600"'),
    call(0, "", "f"),
    call(0, '{"x":'),
    call(1, "{", "g"),
    call(0, "1}"),
    call(1, "}"),
    chunk(usage=Usage(3, 1, 4)),
    chunk(ChunkDelta(), "tool_calls", "tool_use", usage=Usage(3, 2, 5, 1, 2)),
]

#: A whole answer with the same kinds of content.
WHOLE = ChatCompletion(
    ID,
    (
        Choice(
            0,
            Message.assistant(
                "Paris",
                reasoning=Reasoning("hm", None, "reasoning_content"),
                tool_calls=[ToolCall("c1", FunctionCall("f", '{"x":1}'))],
            ),
            "tool_calls",
            "tool_calls",
        ),
    ),
    CREATED,
    MODEL,
    usage=Usage(3, 2, 5),
    provider="p",
)

_ARGUMENTS = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5) | st.none(), max_size=3)
_COUNTS = st.none() | st.integers(0, 3)
_EXTRAS = st.sampled_from([None, {"google": {"thought_signature": "s"}}])


@st.composite
def _calls(draw: Any, index: int) -> list[ChatCompletionChunk]:
    """The pieces of a call, of which the first has its id and name."""
    arguments = draw(st.builds(_json, _ARGUMENTS) | st.just('{"a":"}{","b":[{}]}'))
    cuts = sorted(draw(st.lists(st.integers(0, len(arguments)), max_size=3)))
    first, *others = [arguments[start:end] for start, end in zip([0, *cuts], [*cuts, len(arguments)])]
    begin = call(index, first, "f", extra_content=draw(_EXTRAS))
    return [begin, *(call(index, other) for other in others)]


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


@st.composite
def streams(draw: Any) -> list[ChatCompletionChunk]:
    """Texts, reasoning and calls: the pieces of one kind in order, all together in any order."""
    words = st.lists(st.text(min_size=1, max_size=4), max_size=3)
    thoughts, signature = [thought(word) for word in draw(words)], draw(st.none() | st.just("sig"))
    lanes = [
        [(text if draw(st.booleans()) else slow_text)(word) for word in draw(words)],
        [*thoughts, *([thought(None, signature)] if thoughts and signature else [])],
        *(draw(_calls(index)) for index in range(draw(st.integers(0, 3)))),
    ]
    mixed = [chunk(ChunkDelta("assistant"))]
    while any(lanes):
        mixed.append(draw(st.sampled_from([lane for lane in lanes if lane])).pop(0))
    prompt, completion = draw(st.integers(6, 9)), draw(st.integers(3, 9))
    usage = Usage(prompt, completion, prompt + completion, draw(_COUNTS), draw(_COUNTS), draw(_COUNTS))
    return [*mixed, chunk(ChunkDelta(), draw(st.sampled_from(["stop", "length", "content_filter"])), usage=usage)]


def slow_text(content: str) -> ChatCompletionChunk:
    """A chunk of text as an ordinary chunk has it."""
    return chunk(ChunkDelta(None, content))
