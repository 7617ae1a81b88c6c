"""
Decoder of Cohere's version 1 streams: events to chunks.

Strategy: the last event repeats the whole answer, of which only the parts that have not come before are read. So a
whole answer is read as the last event of a stream without any other. Tool calls come as deltas, then all calls whole,
and whole again in the last event; a whole call and a delta belong together by their position in the answer.

The plan before tool calls is text, as the provider calls it and accepts it in later requests. A chunk has no fields for
searches, documents and citations: their chunks have only ``raw``.

Sources: https://docs.cohere.com/v1/docs/streaming, https://docs.cohere.com/v1/reference/chat-stream
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from anyllm.errors import APIError
from anyllm.types import ChunkDelta, ToolCall
from anyllm.wire._base.cohere.errors import raise_failure
from anyllm.wire._base.cohere.stream import Chunks, CohereStream
from anyllm.wire._base.cohere.tool_calls import call_name
from anyllm.wire._base.json_values import arguments_text, json_type

_TEXT, _CALL, _END = "text-generation", "tool-calls-chunk", "stream-end"


class CohereV1Decoder(CohereStream):
    """Turns one response's events into chunks. Used by one thread, for one response."""

    __slots__ = ()

    _type_key = "event_type"
    #: From a model without chat at Bedrock; its message is under "err".
    _error_type = "stream-error"
    _last = _END
    _raw_only = ("search-queries-generation", "search-results", "citation-generation", "debug")
    _index_parents = ("tool_call_delta",)
    _streamed_texts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        _TEXT: ("text",),
        _CALL: ("tool_call_delta.parameters",),
    }

    @staticmethod
    def _text_only(body: dict[str, Any]) -> str | None:
        if body.get("event_type") != _TEXT or "error" in body or "message" in body:
            return None
        text = body.get("text")
        return text if type(text) is str else None

    def _is_whole(self, body: dict[str, Any]) -> bool:
        return isinstance(body.get("text"), str) and "is_finished" not in body

    def _whole(self, body: dict[str, Any], raw: Any) -> Chunks:
        return self._stream_end({"finish_reason": body.get("finish_reason"), "response": body}, raw)

    def _error(self, body: dict[str, Any]) -> APIError:
        if body.get("event_type") == self._error_type:
            raise_failure({**body, "error": body.get("err") or "the stream ended with an error"}, self._provider)
        return super()._error(body)

    # -- events ----------------------------------------------------------------------------------------------

    def _stream_start(self, body: dict[str, Any], raw: Any) -> Chunks:
        self._id = self._text(body, "generation_id") or self._id
        return () if self._began else (self._chunk(raw, ChunkDelta()),)

    def _text_chunks(self, body: Mapping[str, Any], raw: Any) -> Chunks:
        text = self._text(body, "text")
        if not text:
            return ()
        self._has_text = True
        return (self._chunk(raw, ChunkDelta(None, text)),)

    def _calls_chunk(self, body: dict[str, Any], raw: Any) -> Chunks:
        """Part of the plan, of a tool call, or of both."""
        chunks = [*self._text_chunks(body, raw)]
        delta = body.get("tool_call_delta")
        if isinstance(delta, dict):
            chunks += self._text_chunks(delta, raw)
        return [*chunks, *self._call_chunks(self._call_delta(delta), raw)]

    def _call_delta(self, delta: Any) -> Iterator[ToolCall | None]:
        if delta is None:
            return
        if not isinstance(delta, dict):
            raise ValueError(f"tool_call_delta is {json_type(delta)}")
        position, name, text = delta.get("index"), call_name(delta.get("name")), arguments_text(delta.get("parameters"))
        if name and (position is None or not self._calls.is_open(position)):
            yield self._calls.begin(position, name, text)
        elif text or self._calls.is_open(position):
            yield self._calls.add(position, text)

    def _calls_whole(self, body: dict[str, Any], raw: Any) -> Chunks:
        """The plan and all tool calls: the parts that have not come as deltas."""
        chunks = [] if self._has_text else [*self._text_chunks(body, raw)]
        return [*chunks, *self._call_chunks(self._missing_calls(body.get("tool_calls")), raw)]

    def _missing_calls(self, calls: Any) -> Iterator[ToolCall | None]:
        if calls is not None and not isinstance(calls, list):
            raise ValueError(f"tool_calls is {json_type(calls)}")
        for index, call in enumerate(calls or ()):
            if not isinstance(call, dict):
                raise ValueError(f"a tool call is {json_type(call)}")
            yield self._calls.add_missing(index, call.get("name"), call.get("parameters"))

    def _stream_end(self, body: dict[str, Any], raw: Any) -> Chunks:
        answer = self._optional_object(body, "response")
        reason = self._text(body, "finish_reason") or self._text(answer, "finish_reason")
        raise_failure({"finish_reason": reason, "error": answer.get("error")}, self._provider)
        self._id = self._id or self._text(answer, "generation_id") or self._text(answer, "response_id")
        chunks = [] if self._began else [self._chunk(raw, ChunkDelta())]
        if not self._has_text and answer.get("text") is not None:
            chunks.append(self._chunk(raw, ChunkDelta(None, self._text(answer, "text"))))
        chunks += self._call_chunks(self._missing_calls(answer.get("tool_calls")), raw)
        self._done = True
        return [*chunks, *self._end(reason, answer.get("meta"), raw)]

    _handlers: ClassVar = {
        "stream-start": _stream_start,
        _TEXT: _text_chunks,
        _CALL: _calls_chunk,
        "tool-calls-generation": _calls_whole,
        _END: _stream_end,
    }
