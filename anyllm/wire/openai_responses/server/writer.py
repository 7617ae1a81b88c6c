"""
OpenAI's Responses as a format for clients: streams, whole answers, and errors.

Source: https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from anyllm.errors import AnyLLMError
from anyllm.types import ChatCompletion, ChatCompletionChunk, Choice, ChunkChoice, ChunkDelta
from anyllm.types._accumulate import accumulate
from anyllm.wire._base.json_values import json_object
from anyllm.wire._base.writer import Writer, json_bytes
from anyllm.wire._base.written_errors import openai_error
from anyllm.wire.openai_responses.decoder import ResponsesDecoder
from anyllm.wire.openai_responses.replay_items import output_items
from anyllm.wire.openai_responses.server.native_event import native_event
from anyllm.wire.openai_responses.server.response_writer import ResponseWriter

__all__ = ["OpenAIResponses"]


@attrs.define(frozen=True)
class OpenAIResponses:
    """
    Events of a response, and ``response``.

    Attributes:
        model: The model of the response where the provider did not say.
        request: The keys of the request that a response repeats: instructions, tools, temperature.
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
        A whole answer: the ``response`` at the end of a stream of one chunk.

        Raises:
            InvalidRequestError: there are several answers, or a sound, for which there is no place.
        """
        writer = ResponseWriter(self.model, self.request)
        writer.write(_as_chunk(completion))
        items = _native_items(completion)
        writer.end(items if _are_answer(items, completion) else None)
        return json_bytes(writer.response)

    def problem(self, error: BaseException, status: int) -> bytes:
        """An error: ``{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}``."""
        return json_bytes({"error": openai_error(error)})


def _as_chunk(answer: ChatCompletion) -> ChatCompletionChunk:
    choices = tuple(map(_as_piece, answer.choices))
    tier = answer.service_tier
    return ChatCompletionChunk(
        answer.id, choices, answer.created, answer.model, usage=answer.usage, service_tier=tier, raw=answer.raw
    )


def _as_piece(choice: Choice) -> ChunkChoice:
    message = choice.message
    calls = tuple(attrs.evolve(call, index=place) for place, call in enumerate(message.tool_calls))
    delta = ChunkDelta("assistant", message.text, message.refusal, calls, message.reasoning, message.audio)
    return ChunkChoice(choice.index, delta, choice.finish_reason, choice.raw_finish_reason, choice.logprobs)


def _native_items(completion: ChatCompletion) -> list[Any]:
    """The items that a provider of this format sent, in their order: all of them, or those that it wants back."""
    native = native_event(completion.raw)
    if native is not None and not native.type:
        return [*native.event["output"]]
    return [*output_items(completion.to_message().reasoning)]


def _are_answer(items: list[Any], completion: ChatCompletion) -> bool:
    """Whether a provider's own items, read again, are the answer: nobody has changed it."""
    response = {**json_object(completion.raw), "status": "completed", "error": None, "output": items}
    try:
        answer = accumulate(ResponsesDecoder(provider="").feed_whole(response))
    except AnyLLMError:
        return False
    return bool(items) and _shown(answer) == _shown(completion)


def _shown(completion: ChatCompletion) -> tuple[Any, ...]:
    calls = [(call.id, call.name, call.arguments) for call in completion.tool_calls]
    return completion.content, completion.refusal, completion.reasoning, calls
