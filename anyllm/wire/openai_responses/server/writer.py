"""
OpenAI's Responses: typed events that tell of output items as they grow, and the response they are part of.

Strategy: what is shown (text, reasoning, calls) is written from the chunks, whoever sent them, and an event that only
adds text is put together from bytes that were made once. A host that speaks Responses itself says further where items
and parts begin and end, and what they are called; what it says beside them (its own tools' work, citations) is passed
on under our numbers. Another provider's thoughts become a summary, as that is what most clients show.

An error is told twice, as OpenAI does: as an ``error`` event, with the error both inside, where the official client
looks for it and raises, and flat, as it is documented; and as ``response.failed``, for clients that wait for that.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from anyllm.errors import AnyLLMError
from anyllm.types import ChatCompletion, ChatCompletionChunk, Choice, ChunkChoice, ChunkDelta
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.client_errors import openai_error
from anyllm.wire._base.reasoning_origins import OUTPUT_ITEMS
from anyllm.wire._base.writer import Writer, json_bytes
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect as Dialect
from anyllm.wire.openai_responses.server.events import ResponseWriter
from anyllm.wire.openai_responses.server.native_events import told_by

__all__ = ["OpenAIResponses"]


@attrs.define(frozen=True)
class OpenAIResponses:
    """
    Events of a response, and ``response``.

    Attributes:
        model: What the answer says of its model where the provider did not say.
        request: What of the request a response echoes: instructions, tools, temperature.
    """

    content_type: ClassVar[str] = "text/event-stream"
    whole_type: ClassVar[str] = "application/json"
    keep_alive: ClassVar[bytes] = b": keep-alive\n\n"

    model: str = ""
    request: Mapping[str, Any] = attrs.field(factory=dict)

    def writer(self) -> Writer:
        """A fresh writer for one answer."""
        return ResponseWriter(self.model, self.request)

    def whole(self, completion: ChatCompletion) -> bytes:
        """
        A whole answer: a ``response``.

        Raises:
            InvalidRequestError: there are several answers, or a sound, for which there is no place.
        """
        writer = ResponseWriter(self.model, self.request)
        writer.write(_as_chunk(completion))
        own = _own_items(completion)
        writer.end(own if _says_the_same(own, completion) else None)
        return json_bytes(writer.response)

    def problem(self, error: BaseException, status: int) -> bytes:
        """An error: ``{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}``."""
        return json_bytes({"error": openai_error(error)})


def _as_chunk(completion: ChatCompletion) -> ChatCompletionChunk:
    """All of it as one chunk."""
    return ChatCompletionChunk(
        completion.id,
        tuple(map(_as_piece, completion.choices)),
        completion.created,
        completion.model,
        usage=completion.usage,
        service_tier=completion.service_tier,
        raw=completion.raw,
    )


def _as_piece(choice: Choice) -> ChunkChoice:
    message = choice.message
    calls = tuple(attrs.evolve(call, index=place) for place, call in enumerate(message.tool_calls))
    delta = ChunkDelta("assistant", message.text, message.refusal, calls, message.reasoning, message.audio)
    return ChunkChoice(choice.index, delta, choice.finish_reason, choice.raw_finish_reason, choice.logprobs)


def _own_items(completion: ChatCompletion) -> list[Any]:
    """The items that a host of this format sent, in their order: all of them, or those that it wants back."""
    told = told_by(completion.raw)
    if told is not None and not told.kind:
        return [*told.event["output"]]
    reasoning = completion.to_message().reasoning
    return [*(reasoning.details or ())] if reasoning is not None and reasoning.field == OUTPUT_ITEMS else []


def _says_the_same(items: list[Any], completion: ChatCompletion) -> bool:
    """Whether a host's own items, read again, say what the answer says: nobody has changed it."""
    raw = completion.raw if isinstance(completion.raw, Mapping) else {}
    read = Assembler()
    try:
        for chunk in Dialect().decoder().feed_whole({**raw, "status": "completed", "error": None, "output": items}):
            read.add(chunk)
    except AnyLLMError:
        return False
    return bool(items) and _said(read.snapshot()) == _said(completion)


def _said(completion: ChatCompletion) -> tuple[Any, ...]:
    calls = [(call.id, call.name, call.arguments) for call in completion.tool_calls]
    return completion.content, completion.refusal, completion.reasoning, calls
