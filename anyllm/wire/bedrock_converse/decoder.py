"""
The stream: events to chunks.

Strategy: nearly every event adds text to a block, and is told from all others by three look-ups. Of the rest, each
type has a method. A whole answer is read as the events that a stream would have brought.

The answer is whole at ``messageStop``; what it cost comes after that, with ``metadata``, which ends the stream. Tools
of the host's own, citations, and whatever else has no place in a chunk, make chunks that say nothing but their ``raw``.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.decode_json import as_it_is, event_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.encode_json import put
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.getters import json_type, whole_number
from anyllm.wire._base.surrogate_joiner import REPLACEMENT
from anyllm.wire.bedrock_converse.open_block import CALL, OTHER, THOUGHT, OpenBlock
from anyllm.wire.bedrock_converse.reasoning import REASONING, thought
from anyllm.wire.bedrock_converse.usage import read_usage

_Chunks = Sequence[ChatCompletionChunk]

_DELTA = "contentBlockDelta"
#: The texts that grow from event to event, by their place in ``delta``.
_GROWING = {("text",), (REASONING, "text"), ("toolUse", "input")}
#: The host runs it itself: nobody else is asked to.
_OWN_TOOL = "server_tool_use"


class ConverseDecoder(BaseDecoder):
    """
    Turns one response's events into chunks. Used by one thread, for one response.

    Args:
        provider: Stands in every chunk and error.
    """

    __slots__ = (*("_began", "_calls", "_counted", "_latest", "_open", "_stop_reason", "_stopped", "_tier"),)

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._open: dict[int, OpenBlock] = {}
        self._latest = 0
        self._calls = 0
        self._stop_reason: str | None = None
        self._tier: str | None = None
        self._began = self._stopped = self._counted = False

    @property
    def done(self) -> bool:
        """Whether ``metadata`` was seen, after ``messageStop``: nothing after it is read."""
        return self._stopped and self._counted

    @property
    def complete(self) -> bool:
        """Whether ``messageStop`` was seen."""
        return self._stopped

    def feed(self, event: Event) -> _Chunks:
        """
        The chunks that *event* brings.

        Raises:
            APIError: the event is the provider's error.
            MalformedStreamError: the event cannot be read.
        """
        name = event.event
        if self.done or not event.data.strip():
            return ()
        body, raw = event_object(event, self._provider, as_it_is)
        self._events += 1
        if self._waiting or raw is body:
            return self._with_halves(name, body)
        if name == _DELTA and self._began:
            delta = body.get("delta")
            text = delta.get("text") if type(delta) is dict and len(delta) == 1 else None
            if type(text) is str and text:
                return (text_chunk("", text, 0, "", None, None, self._provider, raw),)
        return self._read(name, body, raw)

    def feed_whole(self, body: dict[str, Any]) -> _Chunks:
        """
        The chunks of a whole, decoded answer.

        Raises:
            APIError, MalformedStreamError: as `feed`.
        """
        body = self._repaired(body, "the answer")
        self._events += 1
        return [chunk for name, event in self._told(body) for chunk in _READERS[name](self, event, body)]

    # -- halves of characters ----------------------------------------------------------------------------

    def _with_halves(self, name: str, body: dict[str, Any]) -> _Chunks:
        """The chunks of an event that continues, or may hold, half a character: deltas of a block continue."""
        before = [] if name == _DELTA else self._left_over()
        repaired: dict[str, Any] = self._repaired(body)
        if name == _DELTA and isinstance(body.get("delta"), dict):
            repaired["delta"] = self._halves.mend(body["delta"], (whole_number(body.get("contentBlockIndex")),))
        return (*before, *self._read(name, repaired, repaired))

    def _left_over(self) -> list[ChatCompletionChunk]:
        """Chunks for the halves that nothing came to join."""
        chunks: list[ChatCompletionChunk] = []
        for place, *steps in self._halves.take():
            if tuple(steps) in _GROWING:
                event: dict[str, Any] = {"contentBlockIndex": place}
                put(event, ".".join(("delta", *steps)), REPLACEMENT)
                chunks += self._block_delta(event, event)
        return chunks

    # -- events ------------------------------------------------------------------------------------------

    def _read(self, name: str, body: dict[str, Any], raw: Any) -> _Chunks:
        reader = _READERS.get(name)
        if reader is not None:
            return reader(self, body, raw)
        return self._unknown(name, body, raw)

    def _unknown(self, name: str, body: dict[str, Any], raw: Any) -> _Chunks:
        """An error, a whole answer (from a gateway that knows no streams), or what newer versions bring."""
        error = bedrock_errors.error_in(name, body, self._provider)
        if error is not None:
            raise error
        if isinstance(body.get("output"), dict):
            return self.feed_whole(body)
        return ()

    def _message_start(self, body: dict[str, Any], raw: Any) -> _Chunks:
        return () if self._began else (self._chunk(raw, ChunkDelta()),)

    def _block_start(self, body: dict[str, Any], raw: Any) -> _Chunks:
        place, start = self._place(body), body.get("start")
        if start is None:
            return ()
        if not isinstance(start, dict):
            raise self._malformed(f"start is {json_type(start)}")
        before = self._close(place, raw)
        call = start.get("toolUse")
        if call is None or (isinstance(call, dict) and call.get("type") == _OWN_TOOL):
            self._open[place] = OpenBlock(OTHER)
            return (*before, self._chunk(raw))
        if not isinstance(call, dict):
            raise self._malformed(f"toolUse is {json_type(call)}")
        return (*before, self._called(place, call, raw))

    def _block_delta(self, body: dict[str, Any], raw: Any) -> _Chunks:
        place, delta = self._place(body), body.get("delta")
        if not isinstance(delta, dict):
            raise self._malformed(f"delta is {json_type(delta)}")
        chunks: list[ChatCompletionChunk] = []
        if (text := self._text(delta, "text")) != "":
            chunks.append(self._chunk(raw, ChunkDelta(None, text)))
        if (thinking := delta.get(REASONING)) is not None:
            chunks += self._thought(place, thinking, raw)
        if (call := delta.get("toolUse")) is not None:
            chunks += self._arguments(place, call, raw)
        if not delta.keys() <= {"text", REASONING, "toolUse"}:
            chunks.append(self._chunk(raw))
        return chunks

    def _block_stop(self, body: dict[str, Any], raw: Any) -> _Chunks:
        return self._close(self._place(body), raw)

    def _message_stop(self, body: dict[str, Any], raw: Any) -> _Chunks:
        reason = body.get("stopReason")
        if not isinstance(reason, str) or not reason:
            raise self._malformed(f"stopReason is {repr(reason) if reason == '' else json_type(reason)}")
        chunks = self._close_all(raw)
        self._stopped = True
        if reason == self._stop_reason:
            return chunks
        self._stop_reason = reason
        chunk = self._chunk(raw, ChunkDelta())
        chunk.choices[0].raw_finish_reason = reason
        chunk.choices[0].finish_reason = finish_reason(reason, has_tool_calls=self._calls > 0)
        return (*chunks, chunk)

    def _metadata(self, body: dict[str, Any], raw: Any) -> _Chunks:
        self._counted = True
        tier = body.get("serviceTier")
        name = tier.get("type") if isinstance(tier, dict) else None
        self._tier = name if isinstance(name, str) else None
        return (self._chunk(raw, None, read_usage(body.get("usage"))),)

    # -- blocks ------------------------------------------------------------------------------------------

    def _called(self, place: int, call: Mapping[str, Any], raw: Any) -> ChatCompletionChunk:
        name = self._text(call, "name")
        if not name:
            raise self._malformed("a toolUse block has no name")
        block = self._open[place] = OpenBlock(CALL, self._calls)
        self._calls += 1
        call_id = self._text(call, "toolUseId") or f"call_{block.call}"
        return self._chunk(raw, _calling(ToolCall(call_id, FunctionCall(name, ""), "function", block.call)))

    def _arguments(self, place: int, call: Any, raw: Any) -> _Chunks:
        if not isinstance(call, dict):
            raise self._malformed(f"toolUse is {json_type(call)}")
        block = self._open.get(place)
        if block is None:
            raise self._malformed("arguments came for a tool call that never began")
        if block.kind != CALL:
            return (self._chunk(raw),)  # for a tool of the host's own
        text = self._text(call, "input")
        if not text:
            return ()
        block.has_arguments = True
        return (self._chunk(raw, _calling(ToolCall(None, FunctionCall(None, text), "function", block.call))),)

    def _thought(self, place: int, piece: Any, raw: Any) -> _Chunks:
        """A piece of a thought. Nothing announces these blocks: the first piece opens one."""
        if not isinstance(piece, dict):
            raise self._malformed(f"{REASONING} is {json_type(piece)}")
        block = self._open.get(place)
        if block is None or block.kind != THOUGHT:
            block = self._open[place] = OpenBlock(THOUGHT)
        text = self._text(piece, "text")
        for kept, new in (
            (block.texts, text),
            (block.signatures, self._text(piece, "signature")),
            (block.hidden, self._text(piece, "redactedContent")),
        ):
            if new:
                kept.append(new)
        return (self._chunk(raw, ChunkDelta(reasoning=thought(text))),) if text else ()

    def _close(self, place: int, raw: Any) -> _Chunks:
        """The end of a block: a thought is whole, and a call has its arguments; "{}" if none came."""
        block = self._open.pop(place, None)
        if block is None:
            return ()
        if block.kind == CALL and not block.has_arguments:
            return (self._chunk(raw, _calling(ToolCall(None, FunctionCall(None, "{}"), "function", block.call))),)
        try:
            return [self._chunk(raw, ChunkDelta(reasoning=reasoning)) for reasoning in block.reasoning()]
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc

    def _close_all(self, raw: Any) -> _Chunks:
        return [chunk for place in tuple(self._open) for chunk in self._close(place, raw)]

    # -- a whole answer ----------------------------------------------------------------------------------

    def _told(self, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events that a stream would have brought, by name."""
        message = self._object(body, "output").get("message")
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            raise self._malformed(f"output.message.content is {json_type(content)}")
        yield "messageStart", {}
        for place, block in enumerate(content):
            if not isinstance(block, dict):
                raise self._malformed(f"a content block is {json_type(block)}")
            for name, part in self._told_block(block):
                yield name, {"contentBlockIndex": place, **part}
        yield "messageStop", body
        yield "metadata", body

    def _told_block(self, block: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for delta in self._deltas(block):
            yield _DELTA, {"delta": delta}
        call = block.get("toolUse")
        if call is not None:
            yield "contentBlockStart", {"start": {"toolUse": call}}
            given = call.get("input") if isinstance(call, dict) else None
            if given:
                yield _DELTA, {"delta": {"toolUse": {"input": self._json(given)}}}
        yield "contentBlockStop", {}

    def _deltas(self, block: dict[str, Any]) -> Iterable[dict[str, Any]]:
        if "text" in block:
            yield {"text": block["text"]}
        thinking = block.get(REASONING)
        if isinstance(thinking, dict):
            if "redactedContent" in thinking:
                yield {REASONING: {"redactedContent": thinking["redactedContent"]}}
            if isinstance(thinking.get("reasoningText"), dict):
                yield {REASONING: thinking["reasoningText"]}
        cited = block.get("citationsContent")
        for part in (cited.get("content") or ()) if isinstance(cited, dict) else ():
            if isinstance(part, dict) and "text" in part:
                yield {"text": part["text"]}

    def _json(self, value: Any) -> str:
        try:
            return value if isinstance(value, str) else _convert.dumps(value).decode()
        except (RecursionError, ValueError) as exc:
            raise self._malformed("the arguments of a tool call are nested too deeply") from exc

    # -- chunks and types --------------------------------------------------------------------------------

    def _missing_end(self) -> str:
        if not self._began:
            return f"the stream ended before any answer came ({self._events} events)"
        return f"the stream ended before messageStop ({self._events} events)"

    def _chunk(self, raw: Any, delta: ChunkDelta | None = None, usage: Usage | None = None) -> ChatCompletionChunk:
        if not self._began:
            self._began = True
            delta = delta or ChunkDelta()
            delta.role = "assistant"
        choices = () if delta is None else (ChunkChoice(0, delta),)
        return ChatCompletionChunk(
            "", choices, 0, "", "chat.completion.chunk", usage, None, self._tier, self._provider, raw
        )

    def _place(self, body: Mapping[str, Any]) -> int:
        """Which block is meant: the latest one, where a host does not say."""
        index = body.get("contentBlockIndex")
        if type(index) is not int:
            number = whole_number(index)
            if number is None and index is not None:
                raise self._malformed(f"contentBlockIndex is {json_type(index)}")
            index = self._latest if number is None else number
        self._latest = index
        return index


def _calling(fragment: ToolCall) -> ChunkDelta:
    return ChunkDelta(tool_calls=(fragment,))


_READERS: dict[str, Callable[[ConverseDecoder, dict[str, Any], Any], _Chunks]] = {
    "messageStart": ConverseDecoder._message_start,
    "contentBlockStart": ConverseDecoder._block_start,
    _DELTA: ConverseDecoder._block_delta,
    "contentBlockStop": ConverseDecoder._block_stop,
    "messageStop": ConverseDecoder._message_stop,
    "metadata": ConverseDecoder._metadata,
}
