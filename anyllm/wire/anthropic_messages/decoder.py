"""
The stream of Anthropic's Messages: events to chunks.

Strategy: nearly every event adds text to a text block; four look-ups tell it from all others. Each other type of event
has a method. A whole answer is read as the same message started, with all its blocks, and stopped.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from anyllm._framing.body_events import Event
from anyllm.types import ChunkDelta, Reasoning, Usage, _convert, text_chunk
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.block_decoder import OTHER, REASONING, BlockDecoder, Chunks, OpenBlock
from anyllm.wire._base.decode_json import no_json, no_object
from anyllm.wire._base.json_values import json_object, json_type, text_or_none
from anyllm.wire.anthropic_messages.fields import DELTA, NUMBER, REDACTED, TEXT, THINKING, TOOL_USE, read_usage

__all__ = ["MessagesDecoder"]

_loads_strictly = _convert.loads_strictly


class MessagesDecoder(BlockDecoder):
    """Turns one response's events into chunks. Used by one thread, for one response."""

    _index_key = "index"
    _end_event = "message_stop"
    _reasoning_field = THINKING
    _growing: ClassVar[Mapping[tuple[str, ...], Mapping[str, Any]]] = {
        ("text",): {"type": "text_delta"},
        ("thinking",): {"type": "thinking_delta"},
        ("partial_json",): {"type": "input_json_delta"},
    }

    __slots__ = ("_done", "_usage")

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._usage: dict[str, Any] = {}
        self._done = False

    @property
    def done(self) -> bool:
        """Whether ``message_stop`` was seen: nothing after it is read."""
        return self._done

    @property
    def complete(self) -> bool:
        """Whether ``message_stop`` was seen, after a message."""
        return self._done and self._began

    def feed(self, event: Event) -> Chunks:
        """The chunks that *event* brings; errors as `Decoder.feed` has them."""
        if self._done:
            return ()
        raw: Any = event.data
        try:
            body = _loads_strictly(raw)
        except _convert.NOT_JSON as exc:
            if not raw.strip() or raw.strip() == "[DONE]":
                return ()  # a sign of life that is not in Anthropic's format
            try:
                body = raw = _convert.loads(raw)
            except ValueError:
                raise no_json(event, self._provider) from exc
        if type(body) is not dict:
            raise no_object(body, event, self._provider)
        self._events += 1
        if self._waiting or raw is body:
            body = raw = self._joined(body, is_delta=body.get("type") == DELTA)
        elif self._began:
            delta = body.get("delta")
            if type(delta) is dict and delta.get("type") == "text_delta" and "error" not in body:
                text = delta.get("text")
                if type(text) is str and text and body.get("type") == DELTA:
                    return (text_chunk(self._id, text, 0, self._model, None, self._tier, self._provider, raw),)
        return self._read(body, raw, event.event)

    def feed_whole(self, body: dict[str, Any]) -> Chunks:
        """The chunks of a whole, decoded answer; errors as `feed` has them."""
        body = self._repaired(body, "the answer")
        return self._message(body, body)

    # -- events --------------------------------------------------------------------------------------------------------

    def _read(self, body: dict[str, Any], raw: Any, name: str) -> Chunks:
        kind = body.get("type") or name
        if kind == "error" or name == "error" or body.get("error"):
            raise api_errors.from_body(self._provider, body)
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        if reader is None or (kind == "message" and "content" not in body):  # "message" is also SSE's default name
            if error_body.looks_like_error(body):
                raise api_errors.from_body(self._provider, body)
            return ()  # a ping, or an event of a newer version of the format
        if self._waiting and kind != DELTA:
            return (*self._lone_halves(raw), *reader(self, body, raw))
        return reader(self, body, raw)

    def _message_start(self, body: dict[str, Any], raw: Any) -> Chunks:
        message = self._object(body, "message")
        self._id = self._text(message, "id")
        self._model = self._text(message, "model")
        usage = json_object(message.get("usage"))
        self._tier = text_or_none(message.get("service_tier") or usage.get("service_tier"))
        chunks = [self._chunk(raw, ChunkDelta(), self._count(usage))]
        content = message.get("content") or ()
        if not isinstance(content, (list, tuple)):
            raise self._malformed(f"content is {json_type(content)}")
        for place, block in enumerate(content):
            chunks += self._start(place, block, raw)
            chunks += self._close(place, raw)
        return [*chunks, *self._stop(message, None, raw)]

    def _block_start(self, body: dict[str, Any], raw: Any) -> Chunks:
        return self._start(self._place(body), body.get("content_block"), raw)

    def _block_delta(self, body: dict[str, Any], raw: Any) -> Chunks:
        place, delta = self._place(body), self._object(body, "delta")
        kind = delta.get("type")
        if kind == "text_delta":
            return self._text_chunks(self._text(delta, "text"), raw)
        if kind == "thinking_delta":
            text = self._text(delta, "thinking")
            self._reasoning_at(place).texts.append(text)
            return self._reasoning_chunks(text, raw)
        if kind == "signature_delta":
            self._reasoning_at(place).signatures.append(self._text(delta, "signature"))
            return ()
        if kind == "input_json_delta":
            return self._arguments(place, delta, "partial_json", raw)
        return (self._chunk(raw),)

    def _message_delta(self, body: dict[str, Any], raw: Any) -> Chunks:
        delta = self._optional_object(body, "delta")
        return (*self._close_all(raw), *self._stop(delta, self._count(body.get("usage")), raw))

    def _message_stop(self, body: dict[str, Any], raw: Any) -> Chunks:
        chunks = self._close_all(raw)
        self._done = True
        return chunks

    def _message(self, body: dict[str, Any], raw: Any) -> Chunks:
        """A whole answer; providers without streams send it as an event."""
        chunks = self._message_start({"message": body}, raw)
        self._done = True
        return chunks

    # -- what they hold ------------------------------------------------------------------------------------------------

    def _start(self, place: int, start: Any, raw: Any) -> Chunks:
        if not isinstance(start, dict):
            raise self._malformed(f"a content block is {json_type(start)}")
        before = self._close(place, raw)
        kind = start.get("type")
        if kind == TOOL_USE:
            return (*before, self._open_call(place, start, "id", raw))
        if kind == THINKING:
            block, text = self._open_block(place, REASONING, start), self._text(start, "thinking")
            block.texts.append(text)
            block.signatures.append(self._text(start, "signature"))
            return (*before, *self._reasoning_chunks(text, raw))
        self._open_block(place, OTHER, start)
        if kind == TEXT:
            return (*before, *self._text_chunks(self._text(start, "text"), raw))
        if kind == REDACTED:  # only its provider can read it
            return (*before, self._chunk(raw, ChunkDelta(reasoning=Reasoning(None, None, THINKING, [dict(start)]))))
        return (*before, self._chunk(raw))

    def _whole_reasoning(self, block: OpenBlock) -> Iterable[Reasoning]:
        text, signature = "".join(block.texts), "".join(block.signatures)
        if not text and not signature:
            return ()
        detail = {**block.start, "type": THINKING, "thinking": text, "signature": signature}
        if not signature:
            del detail["signature"]
        if block.number:
            detail[NUMBER] = block.number
        return (Reasoning(None, signature or None, THINKING, [detail]),)

    def _count(self, usage: Any) -> Usage | None:
        """
        All counts, with those of *usage*; None where it is no object, or nothing was counted.

        Later counts are totals and replace earlier ones; the others stay.
        """
        if not isinstance(usage, dict):
            return None
        for key, value in usage.items():
            if value is not None or key not in self._usage:
                self._usage[key] = value
        return read_usage(self._usage.copy())

    def _stop(self, body: Mapping[str, Any], usage: Usage | None, raw: Any) -> Chunks:
        """The chunk of a stop reason, if there is a new one, or of the usage alone."""
        reason = self._text(body, "stop_reason")
        if reason and reason != self._stop_reason:
            return (self._stop_chunk(reason, raw, usage),)
        return (self._chunk(raw, None, usage),) if usage is not None else ()


_READERS: dict[str, Callable[[MessagesDecoder, dict[str, Any], Any], Chunks]] = {
    "message_start": MessagesDecoder._message_start,
    "content_block_start": MessagesDecoder._block_start,
    DELTA: MessagesDecoder._block_delta,
    "content_block_stop": MessagesDecoder._block_stop,
    "message_delta": MessagesDecoder._message_delta,
    "message_stop": MessagesDecoder._message_stop,
    "message": MessagesDecoder._message,
}
