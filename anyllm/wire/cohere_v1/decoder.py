"""
Decoder of Cohere's version 1 streams: events to chunks.

Strategy: nearly every event only adds text; a few look-ups recognize it. Every other type of event has a method. The
last event repeats the whole answer, of which only the parts that have not come before are read. So a whole answer is
read as the last event of a stream without any other.

The plan before tool calls is text, as the provider calls it and accepts it in later requests. A chunk has no fields for
searches, documents and citations: their chunks have only ``raw``.

Sources: https://docs.cohere.com/v1/docs/streaming, https://docs.cohere.com/v1/reference/chat-stream
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from anyllm._framing.detect import Event
from anyllm.types import ChatCompletionChunk, ChunkDelta, ToolCall, text_chunk
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.cohere.errors import failure, is_error, refine_error
from anyllm.wire._base.cohere.stream import CohereStream
from anyllm.wire._base.cohere.usage import read_usage
from anyllm.wire._base.decode_json import as_it_is, event_object
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.json_values import whole_number
from anyllm.wire._base.surrogate_joiner import REPLACEMENT
from anyllm.wire.cohere_v1.tool_calls import CohereV1ToolCalls

_Chunks = Sequence[ChatCompletionChunk]

_DONE = "[DONE]"
_TEXT, _CALL, _END = "text-generation", "tool-calls-chunk", "stream-end"
#: From a model without chat at Bedrock; its message is under "err".
_ERROR = "stream-error"
#: Events whose chunks have only ``raw``.
_RAW_ONLY = ("search-queries-generation", "search-results", "citation-generation", "debug")


class CohereV1Decoder(CohereStream):
    """
    Turns one response's events into chunks. Used by one thread, for one response.

    Args:
        provider: The provider's name, in every chunk and error.
    """

    __slots__ = ("_calls", "_has_text")

    _last = _END

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._calls = CohereV1ToolCalls()
        self._has_text = False

    @property
    def done(self) -> bool:
        """Whether ``stream-end`` came; later events are ignored."""
        return self._ended

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """
        The chunks of *event*.

        Raises:
            APIError: the event is the provider's error, or ends an answer that failed.
            MalformedStreamError: the event is malformed.
        """
        if self._ended:
            return ()
        if event.data[:1] != "{" and event.data.strip() in ("", _DONE):
            return ()  # a keep-alive or an end marker of a gateway; Cohere sends neither
        body, raw = event_object(event, self._provider, as_it_is)
        self._events += 1
        if self._waiting or raw is body:
            return self._read_surrogates(body, event.event)
        if self._began and event.event != "error":
            text = _text_only(body)
            if text:
                self._has_text = True
                return (text_chunk(self._id, text, 0, "", None, None, self._provider, raw),)
        return self._read(body, raw, event.event)

    # -- one event ---------------------------------------------------------------------------------------

    def _read(self, body: dict[str, Any], raw: Any, name: str) -> _Chunks:
        kind = body.get("event_type")
        if kind == _ERROR:
            body = {**body, "error": body.get("err") or "the stream ended with an error"}
            failed = failure(body, self._provider)
            assert failed is not None  # it has a text
            raise failed
        if name == "error" or is_error(body):
            raise refine_error(api_errors.from_body(self._provider, body))
        if kind is None and not self._began and isinstance(body.get("text"), str) and "is_finished" not in body:
            return self._whole(body, raw)  # from a provider or proxy that does not stream
        kind = kind if isinstance(kind, str) else name
        handler = _HANDLERS.get(kind)
        if handler is not None:
            return handler(self, body, raw)
        if error_body.looks_like_error(body):
            raise refine_error(api_errors.from_body(self._provider, body))
        return (self._chunk(raw),) if kind in _RAW_ONLY else ()

    def _whole(self, body: dict[str, Any], raw: Any) -> _Chunks:
        return self._stream_end({"finish_reason": body.get("finish_reason"), "response": body}, raw)

    def _stream_start(self, body: dict[str, Any], raw: Any) -> _Chunks:
        self._id = self._text(body, "generation_id") or self._id
        return () if self._began else (self._chunk(raw, ChunkDelta()),)

    def _text_generation(self, body: dict[str, Any], raw: Any) -> _Chunks:
        return self._text_chunks(body, raw)

    def _calls_chunk(self, body: dict[str, Any], raw: Any) -> _Chunks:
        """Part of the plan, of a tool call, or of both."""
        chunks = [*self._text_chunks(body, raw)]
        delta = body.get("tool_call_delta")
        if isinstance(delta, dict):
            chunks += self._text_chunks(delta, raw)
        if delta is not None:
            try:
                call = self._calls.read_delta(delta)
            except ValueError as exc:
                raise self._malformed(str(exc)) from exc
            chunks += self._call_chunks(() if call is None else (call,), raw)
        return chunks

    def _calls_whole(self, body: dict[str, Any], raw: Any) -> _Chunks:
        """The plan and all tool calls: the parts that have not come as deltas."""
        chunks = [] if self._has_text else [*self._text_chunks(body, raw)]
        calls = body.get("tool_calls")
        if calls is not None:
            chunks += self._call_chunks(self._calls.read_whole(calls), raw)
        return chunks

    def _stream_end(self, body: dict[str, Any], raw: Any) -> _Chunks:
        answer = self._optional_object(body, "response")
        reason = self._text(body, "finish_reason") or self._text(answer, "finish_reason")
        failed = failure({"finish_reason": reason, "error": answer.get("error")}, self._provider)
        if failed is not None:
            raise failed
        self._id = self._id or self._text(answer, "generation_id") or self._text(answer, "response_id")
        chunks: list[ChatCompletionChunk] = []
        if not self._began:
            chunks.append(self._chunk(raw, ChunkDelta()))
        if not self._has_text and answer.get("text") is not None:
            chunks.append(self._chunk(raw, ChunkDelta(None, self._text(answer, "text"))))
        chunks += self._calls_whole({"tool_calls": answer.get("tool_calls")}, raw)
        finish = finish_reason(reason, has_tool_calls=bool(self._calls)) if reason else None
        if finish != "length":  # else the limit may have cut the arguments of the last call
            chunks += self._call_chunks(self._calls.end(), raw)
        self._ended = True
        last = self._chunk(raw, ChunkDelta(), usage=read_usage(answer.get("meta")))
        last.choices[0].finish_reason, last.choices[0].raw_finish_reason = finish, reason or None
        return [*chunks, last]

    # -- chunks ------------------------------------------------------------------------------------------

    def _text_chunks(self, body: Mapping[str, Any], raw: Any) -> _Chunks:
        text = self._text(body, "text")
        if not text:
            return ()
        self._has_text = True
        return (self._chunk(raw, ChunkDelta(None, text)),)

    def _call_chunks(self, calls: Iterable[ToolCall], raw: Any) -> list[ChatCompletionChunk]:
        try:
            return [self._chunk(raw, ChunkDelta(tool_calls=(call,))) for call in calls]
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc

    # -- surrogate pairs in two events -------------------------------------------------------------------

    def _read_surrogates(self, body: dict[str, Any], name: str) -> _Chunks:
        """The chunks of an event that may begin or end with half a surrogate pair."""
        kind, delta = body.get("event_type"), body.get("tool_call_delta")
        place = (kind, whole_number(delta.get("index")) if isinstance(delta, dict) else None)
        before = [] if place == self._place else [*self._replacements()]
        self._place = place
        repaired: dict[str, Any] = self._repaired(body)
        if kind == _TEXT:
            self._join(body, repaired, "text")
        elif kind == _CALL and isinstance(delta, dict):
            self._join(delta, repaired["tool_call_delta"], "parameters")
        return (*before, *self._read(repaired, repaired, name))

    def _join(self, body: Mapping[str, Any], repaired: dict[str, Any], name: str) -> None:
        """Set the text *name* of *repaired* to that of *body*, joined to the half that waits for it."""
        if isinstance(body.get(name), str):
            repaired[name] = self._halves.mend(body[name], (name,))

    def _replacements(self) -> Iterator[ChatCompletionChunk]:
        """A chunk with U+FFFD in place of the half that found no partner."""
        for (name,) in self._halves.take():
            body: dict[str, Any] = {"event_type": self._place[0], name: REPLACEMENT}
            if name != "text":
                body = {"event_type": _CALL, "tool_call_delta": {"index": self._place[1], name: REPLACEMENT}}
            yield from self._read(body, body, "")


def _text_only(body: dict[str, Any]) -> str | None:
    """The text of an event that only adds text, as most do; None for other events."""
    if body.get("event_type") != _TEXT or "error" in body or "message" in body:
        return None
    text = body.get("text")
    return text if type(text) is str else None


_HANDLERS: dict[str, Callable[[CohereV1Decoder, dict[str, Any], Any], _Chunks]] = {
    "stream-start": CohereV1Decoder._stream_start,
    _TEXT: CohereV1Decoder._text_generation,
    _CALL: CohereV1Decoder._calls_chunk,
    "tool-calls-generation": CohereV1Decoder._calls_whole,
    _END: CohereV1Decoder._stream_end,
}
