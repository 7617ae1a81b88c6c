"""
The stream: events to chunks.

Strategy: nearly every event adds text to a text block, and is told from all others by four look-ups. Of the rest, each
type has a method. A whole answer is read as the same message started, with all its blocks, and stopped.

Blocks that tools of the host's own bring, citations, and whatever else has no place in a chunk, make chunks that say
nothing but their ``raw``.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anyllm._framing.detect import Event
from anyllm.types import (
    ChatCompletionChunk,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    ToolCall,
    Usage,
    _convert,
    text_chunk,
)
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.decode_json import no_json, no_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.getters import json_type, whole_number
from anyllm.wire._base.surrogate_joiner import REPLACEMENT, mend
from anyllm.wire.anthropic_messages.open_block import REDACTED, TEXT, THINKING, TOOL_USE, OpenBlock
from anyllm.wire.anthropic_messages.reasoning import hidden, signed, thought
from anyllm.wire.anthropic_messages.usage import Counted

_loads_strictly = _convert.loads_strictly

_Chunks = Sequence[ChatCompletionChunk]

_DELTA = "content_block_delta"
#: The texts that grow from event to event, and the type of the deltas that bring them.
_GROWING = {"text": "text_delta", "thinking": "thinking_delta", "partial_json": "input_json_delta"}


class MessagesDecoder(BaseDecoder):
    """
    Turns one response's events into chunks. Used by one thread, for one response.

    Args:
        provider: Stands in every chunk and error.
    """

    __slots__ = (
        *("_began", "_calls", "_counted", "_done", "_id", "_latest", "_model", "_open"),
        *("_stop_reason", "_thoughts", "_tier"),
    )

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._id = self._model = ""
        self._tier: str | None = None
        self._open: dict[int, OpenBlock] = {}
        self._latest = 0
        self._calls = self._thoughts = 0
        self._counted = Counted()
        self._stop_reason: str | None = None
        self._began = self._done = False

    @property
    def done(self) -> bool:
        """Whether ``message_stop`` was seen: nothing after it is read."""
        return self._done

    @property
    def complete(self) -> bool:
        """Whether ``message_stop`` was seen, after a message."""
        return self._done and self._began

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """
        The chunks that *event* brings.

        Raises:
            APIError: the event is the provider's error.
            MalformedStreamError: the event cannot be read.
        """
        if self._done:
            return ()
        raw: Any = event.data
        try:
            body = _loads_strictly(raw)
        except _convert.NOT_JSON as exc:
            if not raw.strip() or raw.strip() == "[DONE]":
                return ()  # alive, but no word of Anthropic's
            try:
                body = raw = _convert.loads(raw)
            except ValueError:
                raise no_json(event, self._provider) from exc
        if type(body) is not dict:
            raise no_object(body, event, self._provider)
        self._events += 1
        if self._waiting or raw is body:
            body = raw = self._mended(body)
        elif self._began:
            delta = body.get("delta")
            if type(delta) is dict and delta.get("type") == "text_delta" and "error" not in body:
                text = delta.get("text")
                if type(text) is str and text and body.get("type") == _DELTA:
                    return (text_chunk(self._id, text, 0, self._model, None, self._tier, self._provider, raw),)
        return self._read(body, raw, event.event)

    def feed_whole(self, body: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        """
        The chunks of a whole, decoded answer.

        Raises:
            APIError, MalformedStreamError: as `feed`.
        """
        body = self._mended(body)
        return self._message(body, body)

    # -- one event ---------------------------------------------------------------------------------------

    def _read(self, body: dict[str, Any], raw: Any, name: str) -> _Chunks:
        kind = body.get("type") or name
        if kind == "error" or name == "error" or body.get("error"):
            raise api_errors.from_body(self._provider, body)
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        if reader is None or (kind == "message" and "content" not in body):  # it is also the name of unnamed events
            if error_body.looks_like_error(body):
                raise api_errors.from_body(self._provider, body)
            return ()  # a ping, or what newer versions of the format bring
        if self._waiting and kind != _DELTA:
            return (*self._left_over(raw), *reader(self, body, raw))
        return reader(self, body, raw)

    def _message_start(self, body: dict[str, Any], raw: Any) -> _Chunks:
        message = self._object(body, "message")
        self._id = self._text(message, "id")
        self._model = self._text(message, "model")
        usage = message.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        tier = message.get("service_tier") or usage.get("service_tier")
        self._tier = tier if isinstance(tier, str) else None
        chunks = [self._chunk(raw, ChunkDelta(), self._counted.add(usage))]
        content = message.get("content") or ()
        if not isinstance(content, (list, tuple)):
            raise self._malformed(f"content is {json_type(content)}")
        for place, block in enumerate(content):
            chunks += self._start(place, block, raw)
            chunks += self._close(place, raw)
        return [*chunks, *self._stop(message, None, raw)]

    def _block_start(self, body: dict[str, Any], raw: Any) -> _Chunks:
        return self._start(self._place(body), body.get("content_block"), raw)

    def _block_delta(self, body: dict[str, Any], raw: Any) -> _Chunks:
        place, delta = self._place(body), self._object(body, "delta")
        kind = delta.get("type")
        if kind == "text_delta":
            return self._text_chunks(self._text(delta, "text"), raw)
        if kind == "thinking_delta":
            text = self._text(delta, "thinking")
            self._thinking_at(place).texts.append(text)
            return self._thought(text, raw)
        if kind == "signature_delta":
            self._thinking_at(place).signatures.append(self._text(delta, "signature"))
            return ()
        if kind == "input_json_delta":
            return self._arguments(place, self._text(delta, "partial_json"), raw)
        return (self._chunk(raw),)

    def _block_stop(self, body: dict[str, Any], raw: Any) -> _Chunks:
        return self._close(self._place(body), raw)

    def _message_delta(self, body: dict[str, Any], raw: Any) -> _Chunks:
        delta = self._object(body, "delta") if body.get("delta") is not None else {}
        return (*self._close_all(raw), *self._stop(delta, self._counted.add(body.get("usage")), raw))

    def _message_stop(self, body: dict[str, Any], raw: Any) -> _Chunks:
        chunks = self._close_all(raw)
        self._done = True
        return chunks

    def _message(self, body: dict[str, Any], raw: Any) -> _Chunks:
        """A whole answer, which is also what hosts send that know no streams."""
        chunks = self._message_start({"message": body}, raw)
        self._done = True
        return chunks

    # -- blocks ------------------------------------------------------------------------------------------

    def _start(self, place: int, start: Any, raw: Any) -> _Chunks:
        if not isinstance(start, dict):
            raise self._malformed(f"a content block is {json_type(start)}")
        before = self._close(place, raw) if place in self._open else ()
        kind = start.get("type")
        block = self._opened(place, kind if isinstance(kind, str) else "", start)
        if kind == TEXT:
            return (*before, *self._text_chunks(self._text(start, "text"), raw))
        if kind == THINKING:
            text = self._text(start, "thinking")
            block.texts.append(text)
            block.signatures.append(self._text(start, "signature"))
            return (*before, *self._thought(text, raw))
        if kind == REDACTED:
            return (*before, self._chunk(raw, ChunkDelta(reasoning=hidden(start))))
        if kind == TOOL_USE:
            return (*before, self._called(block, raw))
        return (*before, self._chunk(raw))

    def _opened(self, place: int, kind: str, start: Mapping[str, Any]) -> OpenBlock:
        self._latest = place
        block = self._open[place] = OpenBlock(kind, start)
        if kind == THINKING:
            block.place = self._thoughts
            self._thoughts += 1
        return block

    def _thinking_at(self, place: int) -> OpenBlock:
        """The thinking block there; it is opened by its first delta where a host forgot to announce it."""
        block = self._open.get(place)
        return block if block is not None and block.kind == THINKING else self._opened(place, THINKING, {})

    def _text_chunks(self, text: str, raw: Any) -> _Chunks:
        return (self._chunk(raw, ChunkDelta(None, text)),) if text else ()

    def _thought(self, text: str, raw: Any) -> _Chunks:
        return (self._chunk(raw, ChunkDelta(reasoning=thought(text))),) if text else ()

    def _called(self, block: OpenBlock, raw: Any) -> ChatCompletionChunk:
        name = self._text(block.start, "name")
        if not name:
            raise self._malformed("a tool_use block has no name")
        block.call = self._calls
        self._calls += 1
        call_id = self._text(block.start, "id") or f"call_{block.call}"
        return self._chunk(raw, _calling(ToolCall(call_id, FunctionCall(name, ""), "function", block.call)))

    def _arguments(self, place: int, text: str, raw: Any) -> _Chunks:
        block = self._open.get(place)
        if block is None:
            raise self._malformed("arguments came for a tool call that never began")
        if block.kind != TOOL_USE:
            return (self._chunk(raw),)  # for a tool of the host's own
        if not text:
            return ()
        block.has_arguments = True
        return (self._chunk(raw, _calling(ToolCall(None, FunctionCall(None, text), "function", block.call))),)

    def _close(self, place: int, raw: Any) -> _Chunks:
        """
        The end of a block: a thinking block is whole, and a call has its arguments.

        Whole answers, and some hosts' streams, give them with the start. A call without any gets "{}", so that what
        is there can always be parsed.
        """
        block = self._open.pop(place, None)
        if block is None:
            return ()
        if block.kind == THINKING:
            text, signature = "".join(block.texts), "".join(block.signatures)
            if text or signature:
                return (self._chunk(raw, ChunkDelta(reasoning=signed(block.start, text, signature, block.place))),)
        elif block.kind == TOOL_USE and not block.has_arguments:
            return self._arguments_at_once(block, raw)
        return ()

    def _arguments_at_once(self, block: OpenBlock, raw: Any) -> _Chunks:
        given = block.start.get("input")
        try:
            text = given if isinstance(given, str) and given else _convert.dumps(given or {}).decode()
        except (RecursionError, ValueError) as exc:
            raise self._malformed("the arguments of a tool call are nested too deeply") from exc
        return (self._chunk(raw, _calling(ToolCall(None, FunctionCall(None, text), "function", block.call))),)

    def _close_all(self, raw: Any) -> _Chunks:
        return [chunk for place in tuple(self._open) for chunk in self._close(place, raw)]

    # -- the end -----------------------------------------------------------------------------------------

    def _stop(self, said: Mapping[str, Any], usage: Usage | None, raw: Any) -> _Chunks:
        """The end that a message or a delta says, if it says one, and what was counted."""
        reason = said.get("stop_reason")
        if reason is not None and not isinstance(reason, str):
            raise self._malformed(f"stop_reason is {json_type(reason)}")
        if not reason or reason == self._stop_reason:
            return (self._chunk(raw, None, usage),) if usage is not None else ()
        self._stop_reason = reason
        chunk = self._chunk(raw, ChunkDelta(), usage)
        choice = chunk.choices[0]
        choice.raw_finish_reason = reason
        choice.finish_reason = finish_reason(reason, has_tool_calls=self._calls > 0)
        return (chunk,)

    def _missing_end(self) -> str:
        if not self._began:
            return f"the stream ended before any answer came ({self._events} events)"
        said = f", though after stop_reason {self._stop_reason!r}" if self._stop_reason else ""
        return mend(f"the stream ended before message_stop{said} ({self._events} events)")

    # -- chunks and types --------------------------------------------------------------------------------

    def _chunk(self, raw: Any, delta: ChunkDelta | None = None, usage: Usage | None = None) -> ChatCompletionChunk:
        if not self._began:
            self._began = True
            delta = delta or ChunkDelta()
            delta.role = "assistant"
        choices = () if delta is None else (ChunkChoice(0, delta),)
        return ChatCompletionChunk(
            self._id, choices, 0, self._model, "chat.completion.chunk", usage, None, self._tier, self._provider, raw
        )

    def _place(self, body: Mapping[str, Any]) -> int:
        """Which block is meant: the latest one, where a host does not say."""
        index = body.get("index")
        if type(index) is int:
            return index
        number = whole_number(index)
        if number is None and index is not None:
            raise self._malformed(f"the index of a content block is {json_type(index)}")
        return self._latest if number is None else number

    # -- halves of characters ----------------------------------------------------------------------------

    def _mended(self, body: dict[str, Any]) -> dict[str, Any]:
        """*body* without halves of surrogate pairs: those in deltas continue from one event to the next."""
        repaired: dict[str, Any] = self._repaired(body)
        if body.get("type") == _DELTA and isinstance(body.get("delta"), dict):
            repaired["delta"] = self._halves.mend(body["delta"], (whole_number(body.get("index")),))
        return repaired

    def _left_over(self, raw: Any) -> _Chunks:
        """Chunks for the halves that nothing came to join."""
        chunks: list[ChatCompletionChunk] = []
        for place, *steps in self._halves.take():
            kind = _GROWING.get(steps[0]) if len(steps) == 1 else None
            if kind is not None:
                chunks += self._block_delta({"index": place, "delta": {"type": kind, steps[0]: REPLACEMENT}}, raw)
        return chunks


def _calling(fragment: ToolCall) -> ChunkDelta:
    return ChunkDelta(tool_calls=(fragment,))


_READERS: dict[str, Callable[[MessagesDecoder, dict[str, Any], Any], _Chunks]] = {
    "message_start": MessagesDecoder._message_start,
    "content_block_start": MessagesDecoder._block_start,
    _DELTA: MessagesDecoder._block_delta,
    "content_block_stop": MessagesDecoder._block_stop,
    "message_delta": MessagesDecoder._message_delta,
    "message_stop": MessagesDecoder._message_stop,
    "message": MessagesDecoder._message,
}
