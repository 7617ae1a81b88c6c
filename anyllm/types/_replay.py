"""Replays a whole answer as a stream of chunks, for cached and fake answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
    text_chunk,
)

#: The pieces of replayed text: about a word, and at most 16 characters without spaces.
_pieces = re.compile(r"\S{1,16}\s{0,16}|\s{1,16}").findall


def replayed(completion: ChatCompletion) -> Iterator[ChatCompletionChunk]:
    """
    The chunks of *completion* as a stream, choice after choice, with usage at the end.

    `Assembler` makes the same answer from them, except for fields that chunks do not have (``cost``, ``parsed``), for
    "" beside tool calls or a refusal (which becomes None), and for content parts other than text.
    """

    def chunk(*choices: ChunkChoice, **fields: Any) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            completion.id,
            choices,
            completion.created,
            completion.model,
            system_fingerprint=completion.system_fingerprint,
            service_tier=completion.service_tier,
            provider=completion.provider,
            **fields,
        )

    def text_of_first(text: str) -> ChatCompletionChunk:
        return text_chunk(
            completion.id,
            text,
            completion.created,
            completion.model,
            completion.system_fingerprint,
            completion.service_tier,
            completion.provider,
            None,
        )

    for retry in completion.retries:
        yield chunk(retry=retry)
    for choice in completion.choices:
        for delta in _deltas(choice.message):
            is_text_alone = choice.index == 0 and delta.content and delta.role is None
            yield text_of_first(delta.content or "") if is_text_alone else chunk(ChunkChoice(choice.index, delta))
        end = (choice.finish_reason, choice.raw_finish_reason, choice.logprobs)
        yield chunk(ChunkChoice(choice.index, ChunkDelta(), *end))
    if completion.usage is not None or not completion.choices:
        yield chunk(usage=completion.usage)


def _deltas(message: Message) -> Iterator[ChunkDelta]:
    yield ChunkDelta("assistant", "" if message.content == "" else None)
    if message.reasoning is not None:
        yield from (ChunkDelta(reasoning=part) for part in _reasoning(message.reasoning))
    for text in _pieces(message.text):
        yield ChunkDelta(content=text)
    for text in _pieces(message.refusal or ""):
        yield ChunkDelta(refusal=text)
    for place, call in enumerate(message.tool_calls):
        yield from (ChunkDelta(tool_calls=(part,)) for part in fragments(call, place))
    if message.audio is not None:
        yield ChunkDelta(audio=message.audio)


def _reasoning(reasoning: Reasoning) -> Iterator[Reasoning]:
    """The text in pieces, then the signature and the details."""
    for text in _pieces(reasoning.content or ""):
        yield Reasoning(text, field=reasoning.field)
    if reasoning.signature is not None or reasoning.details is not None:
        yield Reasoning(signature=reasoning.signature, field=reasoning.field, details=reasoning.details)


def fragments(call: ToolCall, place: int) -> Iterator[ToolCall]:
    """The fragments of a call: the first has id and name, the others only arguments."""
    yield ToolCall(call.id, FunctionCall(call.name), call.type, place, call.extra_content)
    for text in _pieces(call.arguments):
        yield ToolCall(function=FunctionCall(arguments=text), index=place)
