"""
Decoder of Cohere's version 2 streams: events to chunks.

Strategy: nearly every event only adds text; a few look-ups recognize it. Every other type of event has a method. A
whole answer is read as one event that starts the message, with all its content, and one that ends it.

A chunk has no field for citations: their chunks have only ``raw``.

Sources: https://docs.cohere.com/v2/docs/streaming, https://docs.cohere.com/docs/tool-use-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from anyllm._framing.detect import Event
from anyllm.types import ChatCompletionChunk, ChunkDelta, ToolCall, text_chunk
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.cohere.errors import failure, is_error, refine_error
from anyllm.wire._base.cohere.stream import CohereStream
from anyllm.wire._base.cohere.usage import read_usage
from anyllm.wire._base.decode_json import as_it_is, event_object
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.json_values import json_type, whole_number
from anyllm.wire.cohere_v2.reasoning import THINKING, TOOL_PLAN, ReasoningBuffer
from anyllm.wire.cohere_v2.surrogate_events import replacement_events
from anyllm.wire.cohere_v2.tool_calls import CohereV2ToolCalls

_Chunks = Sequence[ChatCompletionChunk]

_DONE = "[DONE]"
_DELTA = "content-delta"
_CITATIONS = "citation-"


class CohereV2Decoder(CohereStream):
    """
    Turns one response's events into chunks. Used by one thread, for one response.

    Args:
        provider: The provider's name, in every chunk and error.
    """

    __slots__ = ("_calls", "_done", "_reasoning")

    _last = "message-end"

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._done = False
        self._calls = CohereV2ToolCalls()
        self._reasoning = ReasoningBuffer()

    @property
    def done(self) -> bool:
        """Whether ``[DONE]`` came; later events are ignored."""
        return self._done

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """
        The chunks of *event*.

        Raises:
            APIError: the event is the provider's error, or ends an answer that failed.
            MalformedStreamError: the event is malformed.
        """
        if self._done:
            return ()
        if event.data[:1] != "{" and (data := event.data.strip()) in ("", _DONE):
            self._done = bool(data)
            return ()
        body, raw = event_object(event, self._provider, as_it_is)
        self._events += 1
        if self._waiting or raw is body:
            return self._read_surrogates(body, event.event)
        if self._began and not self._ended and event.event != "error":
            text = _text_only(body)
            if text:
                return (text_chunk(self._id, text, 0, "", None, None, self._provider, raw),)
        return self._read(body, raw, event.event)

    # -- one event ---------------------------------------------------------------------------------------

    def _read(self, body: dict[str, Any], raw: Any, name: str) -> _Chunks:
        kind = body.get("type")
        if name == "error" or kind == "error" or is_error(body):
            raise refine_error(api_errors.from_body(self._provider, body))
        if self._ended:
            return ()
        if kind is None and not self._began and isinstance(body.get("message"), dict):
            return self._whole(body, raw)  # from a provider or proxy that does not stream
        kind = kind if isinstance(kind, str) else name
        handler = _HANDLERS.get(kind)
        if handler is not None:
            return handler(self, body, raw)
        if error_body.looks_like_error(body):
            raise refine_error(api_errors.from_body(self._provider, body))
        return (self._chunk(raw),) if kind.startswith(_CITATIONS) else ()

    def _whole(self, body: dict[str, Any], raw: Any) -> _Chunks:
        start = {"id": body.get("id"), "logprobs": body.get("logprobs"), "delta": {"message": body["message"]}}
        return (*self._message_start(start, raw), *self._message_end({"delta": body}, raw))

    def _message_start(self, body: dict[str, Any], raw: Any) -> _Chunks:
        self._id = self._text(body, "id") or self._id
        message = self._message(body)
        chunks = [self._chunk(raw, ChunkDelta(), logprobs=_logprobs(body))]
        chunks += self._content(message.get("content"), raw)
        chunks += self._reasoning_chunks(self._text(message, TOOL_PLAN), TOOL_PLAN, raw)
        for index, call in enumerate(_as_list(message.get("tool_calls"))):
            chunks += self._begin_call(index, call, raw)
        return chunks

    def _content_event(self, body: dict[str, Any], raw: Any) -> _Chunks:
        return self._content(self._message(body).get("content"), raw, _logprobs(body))

    def _plan_event(self, body: dict[str, Any], raw: Any) -> _Chunks:
        return self._reasoning_chunks(self._text(self._message(body), TOOL_PLAN), TOOL_PLAN, raw)

    def _call_start(self, body: dict[str, Any], raw: Any) -> _Chunks:
        chunks: list[ChatCompletionChunk] = []
        for call in _as_list(self._message(body).get("tool_calls")):
            chunks += self._begin_call(body.get("index"), call, raw)
        return chunks

    def _call_delta(self, body: dict[str, Any], raw: Any) -> _Chunks:
        chunks: list[ChatCompletionChunk] = []
        for call in _as_list(self._message(body).get("tool_calls")):
            try:
                chunks += self._call_chunks(self._calls.add_arguments(body.get("index"), call), raw)
            except ValueError as exc:
                raise self._malformed(str(exc)) from exc
        return chunks

    def _call_end(self, body: dict[str, Any], raw: Any) -> _Chunks:
        try:
            return self._call_chunks(self._calls.end(body.get("index")), raw)
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc

    def _message_end(self, body: dict[str, Any], raw: Any) -> _Chunks:
        delta = self._optional_object(body, "delta")
        failed = failure(delta, self._provider)
        if failed is not None:
            raise failed
        reason = self._text(delta, "finish_reason")
        finish = finish_reason(reason, has_tool_calls=bool(self._calls)) if reason else None
        chunks: list[ChatCompletionChunk] = []
        if finish != "length":  # else the limit may have cut the arguments of the last call
            chunks += [chunk for call in self._calls.end_all() for chunk in self._call_chunks(call, raw)]
        self._ended = self._began  # an end without a beginning belongs to another answer
        last = self._chunk(raw, ChunkDelta(), usage=read_usage(delta.get("usage")))
        last.choices[0].finish_reason, last.choices[0].raw_finish_reason = finish, reason or None
        return [*chunks, last]

    # -- the content of a message ------------------------------------------------------------------------

    def _content(self, content: Any, raw: Any, logprobs: dict[str, Any] | None = None) -> _Chunks:
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
        if logprobs:
            if not chunks:
                chunks.append(self._chunk(raw, ChunkDelta()))
            chunks[0].choices[0].logprobs = logprobs
        return chunks

    def _reasoning_chunks(self, text: str, field: str, raw: Any) -> _Chunks:
        return (self._chunk(raw, ChunkDelta(reasoning=self._reasoning.add(text, field))),) if text else ()

    def _begin_call(self, index: Any, call: Any, raw: Any) -> _Chunks:
        try:
            return self._call_chunks(self._calls.begin(index, call), raw)
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc

    def _call_chunks(self, call: ToolCall | None, raw: Any) -> _Chunks:
        return () if call is None else (self._chunk(raw, ChunkDelta(tool_calls=(call,))),)

    def _message(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._optional_object(self._optional_object(body, "delta"), "message")

    def _missing_end(self, came: str = "the stream ended") -> str:
        return super()._missing_end(f"{_DONE} came" if self._done and self._began else came)

    # -- surrogate pairs in two events -------------------------------------------------------------------

    def _read_surrogates(self, body: dict[str, Any], name: str) -> _Chunks:
        """The chunks of an event that may begin or end with half a surrogate pair."""
        kind = body.get("type")
        place = (kind if isinstance(kind, str) else name, whole_number(body.get("index")))
        before = [] if place == self._place else [*self._replacements()]
        self._place = place
        repaired: dict[str, Any] = self._repaired(body)
        if isinstance(body.get("delta"), dict):
            repaired["delta"] = self._halves.mend(body["delta"], place)
        return (*before, *self._read(repaired, repaired, name))

    def _replacements(self) -> Iterator[ChatCompletionChunk]:
        """Chunks with U+FFFD in place of the halves that found no partner."""
        for body in replacement_events(self._halves):
            yield from self._read(body, body, "")


def _text_only(body: dict[str, Any]) -> str | None:
    """The text of an event that only adds text, as most do; None for other events."""
    if body.get("type") != _DELTA or "logprobs" in body or "error" in body:
        return None
    try:
        content = body["delta"]["message"]["content"]
        text = content["text"]
    except (KeyError, TypeError):
        return None
    return text if type(text) is str and len(content) == 1 else None


def _as_list(value: Any) -> list[Any]:
    """*value* if it is a list, nothing for None, else a list of *value* alone."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _logprobs(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    The log probabilities of an event or of a whole answer.

    Source: https://docs.cohere.com/reference/chat-stream (logprobs)
    """
    items = [item for item in _as_list(body.get("logprobs")) if isinstance(item, dict)]
    return {"content": items} if items else None


_HANDLERS: dict[str, Callable[[CohereV2Decoder, dict[str, Any], Any], _Chunks]] = {
    "message-start": CohereV2Decoder._message_start,
    "content-start": CohereV2Decoder._content_event,
    _DELTA: CohereV2Decoder._content_event,
    "tool-plan-delta": CohereV2Decoder._plan_event,
    "tool-call-start": CohereV2Decoder._call_start,
    "tool-call-delta": CohereV2Decoder._call_delta,
    "tool-call-end": CohereV2Decoder._call_end,
    "message-end": CohereV2Decoder._message_end,
}
