"""
Decoder of Cohere's version 2 streams: events to chunks.

Strategy: a whole answer is read as one event that starts the message, with all its content, and one that ends it. A
chunk has no field for citations: their chunks have only ``raw``.

Sources: https://docs.cohere.com/v2/docs/streaming, https://docs.cohere.com/docs/tool-use-streaming
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from anyllm.types import ChatCompletionChunk, ChunkDelta, ToolCall
from anyllm.wire._base.cohere.errors import raise_failure
from anyllm.wire._base.cohere.stream import Chunks, CohereStream
from anyllm.wire._base.json_values import json_type
from anyllm.wire.cohere_v2.reasoning import THINKING, TOOL_PLAN, ReasoningBuffer

_DELTA = "content-delta"
_TEXTS = ("delta.message.content", "delta.message.content.text", "delta.message.content.thinking")
_ARGUMENTS = ("delta.message.tool_calls.function.arguments",)


class CohereV2Decoder(CohereStream):
    """Turns one response's events into chunks. Used by one thread, for one response."""

    __slots__ = ("_reasoning",)

    _type_key = "type"
    _error_type = "error"
    _last = "message-end"
    _done_ends = True
    _raw_only = ("citation-",)
    _streamed_texts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "content-start": _TEXTS,
        _DELTA: _TEXTS,
        "tool-plan-delta": ("delta.message.tool_plan",),
        "tool-call-start": _ARGUMENTS,
        "tool-call-delta": _ARGUMENTS,
    }

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._reasoning = ReasoningBuffer()

    @staticmethod
    def _text_only(body: dict[str, Any]) -> str | None:
        if body.get("type") != _DELTA or "logprobs" in body or "error" in body:
            return None
        try:
            content = body["delta"]["message"]["content"]
            text = content["text"]
        except (KeyError, TypeError):
            return None
        return text if type(text) is str and len(content) == 1 else None

    def _is_whole(self, body: dict[str, Any]) -> bool:
        return isinstance(body.get("message"), dict)

    def _whole(self, body: dict[str, Any], raw: Any) -> Chunks:
        start = {"id": body.get("id"), "logprobs": body.get("logprobs"), "delta": {"message": body["message"]}}
        return (*self._message_start(start, raw), *self._message_end({"delta": body}, raw))

    # -- events ----------------------------------------------------------------------------------------------

    def _message_start(self, body: dict[str, Any], raw: Any) -> Chunks:
        self._id = self._text(body, "id") or self._id
        message = self._message(body)
        first = self._chunk(raw, ChunkDelta())
        first.choices[0].logprobs = _logprobs(body)
        calls = enumerate(_as_list(message.get("tool_calls")))
        return [
            first,
            *self._content(message.get("content"), raw),
            *self._reasoning_chunks(self._text(message, TOOL_PLAN), TOOL_PLAN, raw),
            *self._call_chunks((self._begin_call(index, call) for index, call in calls), raw),
        ]

    def _content_event(self, body: dict[str, Any], raw: Any) -> Chunks:
        chunks = self._content(self._message(body).get("content"), raw)
        if logprobs := _logprobs(body):
            chunks = chunks or [self._chunk(raw, ChunkDelta())]
            chunks[0].choices[0].logprobs = logprobs
        return chunks

    def _plan_event(self, body: dict[str, Any], raw: Any) -> Chunks:
        return self._reasoning_chunks(self._text(self._message(body), TOOL_PLAN), TOOL_PLAN, raw)

    def _call_start(self, body: dict[str, Any], raw: Any) -> Chunks:
        calls = _as_list(self._message(body).get("tool_calls"))
        return self._call_chunks((self._begin_call(body.get("index"), call) for call in calls), raw)

    def _call_delta(self, body: dict[str, Any], raw: Any) -> Chunks:
        functions = map(_function_of, _as_list(self._message(body).get("tool_calls")))
        return self._call_chunks((self._calls.add(body.get("index"), item.get("arguments")) for item in functions), raw)

    def _call_end(self, body: dict[str, Any], raw: Any) -> Chunks:
        return self._call_chunks(map(self._calls.end, (body.get("index"),)), raw)

    def _message_end(self, body: dict[str, Any], raw: Any) -> Chunks:
        delta = self._optional_object(body, "delta")
        raise_failure(delta, self._provider)
        return self._end(self._text(delta, "finish_reason"), delta.get("usage"), raw)

    # -- the content of a message ----------------------------------------------------------------------------

    def _content(self, content: Any, raw: Any) -> list[ChatCompletionChunk]:
        """The text and the reasoning of one block, or of a list of blocks."""
        chunks: list[ChatCompletionChunk] = []
        for block in _as_list(content):
            if isinstance(block, str):
                block = {"text": block}
            if not isinstance(block, dict):
                raise self._malformed(f"content is {json_type(block)}")
            chunks += self._reasoning_chunks(self._text(block, THINKING), THINKING, raw)
            if block.get("text") is not None:
                chunks.append(self._chunk(raw, ChunkDelta(None, self._text(block, "text"))))
        return chunks

    def _reasoning_chunks(self, text: str, field: str, raw: Any) -> Chunks:
        return (self._chunk(raw, ChunkDelta(reasoning=self._reasoning.add(text, field))),) if text else ()

    def _begin_call(self, position: Any, call: Any) -> ToolCall:
        function = _function_of(call)
        return self._calls.begin(position, function.get("name"), function.get("arguments"), call.get("id"))

    def _message(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._optional_object(self._optional_object(body, "delta"), "message")

    _handlers: ClassVar = {
        "message-start": _message_start,
        "content-start": _content_event,
        _DELTA: _content_event,
        "tool-plan-delta": _plan_event,
        "tool-call-start": _call_start,
        "tool-call-delta": _call_delta,
        "tool-call-end": _call_end,
        "message-end": _message_end,
    }


def _as_list(value: Any) -> list[Any]:
    """*value* if it is a list, nothing for None, else a list of *value* alone."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _function_of(call: Any) -> Mapping[str, Any]:
    if not isinstance(call, dict):
        raise ValueError(f"a tool call is {json_type(call)}")
    function = call.get("function")
    if function is not None and not isinstance(function, dict):
        raise ValueError(f"a tool call's function is {json_type(function)}")
    return function or {}


def _logprobs(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    The log probabilities of an event or of a whole answer.

    Source: https://docs.cohere.com/reference/chat-stream (logprobs)
    """
    items = [item for item in _as_list(body.get("logprobs")) if isinstance(item, dict)]
    return {"content": items} if items else None
