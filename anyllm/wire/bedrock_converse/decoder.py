"""
The stream of Bedrock's Converse: events to chunks.

Strategy: nearly every event adds text to a block; three look-ups tell it from all others. Each other type of event has
a method. The answer is whole at ``messageStop``; its token counts come after that, with ``metadata``, which ends the
stream. The provider's own tools, citations, and all else that has no place in a chunk, make chunks that hold nothing
but their ``raw``.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from anyllm._framing.body_events import Event
from anyllm.types import ChatCompletionChunk, ChunkDelta, Reasoning, text_chunk
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.block_decoder import OTHER, BlockDecoder, Chunks, OpenBlock, usage_of
from anyllm.wire._base.decode_json import as_it_is, event_object
from anyllm.wire._base.json_values import json_type, text_or_none
from anyllm.wire.bedrock_converse.reasoning import REASONING, whole_reasoning

__all__ = ["ConverseDecoder"]

_DELTA = "contentBlockDelta"
#: The type of tools that the provider runs.
_OWN_TOOL = "server_tool_use"
#: The keys of token counts. Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html
_COUNTS = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")


class ConverseDecoder(BlockDecoder):
    """Turns one response's events into chunks. Used by one thread, for one response."""

    _index_key = "contentBlockIndex"
    _end_event = "messageStop"
    _reasoning_field = REASONING
    _growing: ClassVar[Mapping[tuple[str, ...], Mapping[str, Any]]] = {
        ("text",): {},
        (REASONING, "text"): {},
        ("toolUse", "input"): {},
    }

    __slots__ = ("_counted", "_stopped")

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._stopped = self._counted = False

    @property
    def done(self) -> bool:
        """Whether ``metadata`` was seen, after ``messageStop``: nothing after it is read."""
        return self._stopped and self._counted

    @property
    def complete(self) -> bool:
        """Whether ``messageStop`` was seen."""
        return self._stopped

    def feed(self, event: Event) -> Chunks:
        """The chunks that *event* brings; errors as `Decoder.feed` has them."""
        name = event.event
        if self.done or not event.data.strip():
            return ()
        body, raw = event_object(event, self._provider, as_it_is)
        self._events += 1
        if self._waiting or raw is body:
            return self._read_halves(name, body)
        if name == _DELTA and self._began:
            delta = body.get("delta")
            text = delta.get("text") if type(delta) is dict and len(delta) == 1 else None
            if type(text) is str and text:
                return (text_chunk("", text, 0, "", None, None, self._provider, raw),)
        return self._read(name, body, raw)

    def feed_whole(self, body: dict[str, Any]) -> Chunks:
        """The chunks of a whole, decoded answer; errors as `feed` has them."""
        body = self._repaired(body, "the answer")
        self._events += 1
        message = self._object(body, "output").get("message")
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            raise self._malformed(f"output.message.content is {json_type(content)}")
        chunks = [*self._message_start({}, body)]
        for place, block in enumerate(content):
            if not isinstance(block, dict):
                raise self._malformed(f"a content block is {json_type(block)}")
            for delta in self._deltas(block):
                chunks += self._delta(place, delta, body)
            if block.get("toolUse") is not None:
                chunks += self._start(place, block, body)
            chunks += self._close(place, body)
        return [*chunks, *self._message_stop(body, body), *self._metadata(body, body)]

    # -- events --------------------------------------------------------------------------------------------------------

    def _read_halves(self, name: str, body: dict[str, Any]) -> Chunks:
        """An event that continues, or may hold, half of a surrogate pair."""
        repaired = self._joined(body, is_delta=name == _DELTA)
        before = [] if name == _DELTA else self._lone_halves(repaired)
        return (*before, *self._read(name, repaired, repaired))

    def _read(self, name: str, body: dict[str, Any], raw: Any) -> Chunks:
        reader = _READERS.get(name)
        if reader is not None:
            return reader(self, body, raw)
        return self._unknown(name, body, raw)

    def _unknown(self, name: str, body: dict[str, Any], raw: Any) -> Chunks:
        """An error, a whole answer (from a gateway without streams), or an event of a newer version of the format."""
        error = bedrock_errors.error_in(name, body, self._provider)
        if error is not None:
            raise error
        if isinstance(body.get("output"), dict):
            return self.feed_whole(body)
        return ()

    def _message_start(self, body: dict[str, Any], raw: Any) -> Chunks:
        return () if self._began else (self._chunk(raw, ChunkDelta()),)

    def _block_start(self, body: dict[str, Any], raw: Any) -> Chunks:
        place, start = self._place(body), body.get("start")
        if start is None:
            return ()
        if not isinstance(start, dict):
            raise self._malformed(f"start is {json_type(start)}")
        return self._start(place, start, raw)

    def _block_delta(self, body: dict[str, Any], raw: Any) -> Chunks:
        return self._delta(self._place(body), self._object(body, "delta"), raw)

    def _message_stop(self, body: dict[str, Any], raw: Any) -> Chunks:
        reason = body.get("stopReason")
        if not isinstance(reason, str) or not reason:
            raise self._malformed(f"stopReason is {repr(reason) if reason == '' else json_type(reason)}")
        chunks = self._close_all(raw)
        self._stopped = True
        return chunks if reason == self._stop_reason else (*chunks, self._stop_chunk(reason, raw))

    def _metadata(self, body: dict[str, Any], raw: Any) -> Chunks:
        self._counted = True
        tier = body.get("serviceTier")
        self._tier = text_or_none(tier.get("type")) if isinstance(tier, dict) else None
        return (self._chunk(raw, None, usage_of(body.get("usage"), _COUNTS)),)

    # -- what they hold ------------------------------------------------------------------------------------------------

    def _start(self, place: int, start: Mapping[str, Any], raw: Any) -> Chunks:
        before, call = self._close(place, raw), start.get("toolUse")
        if call is None or (isinstance(call, dict) and call.get("type") == _OWN_TOOL):
            self._open_block(place, OTHER, start)
            return (*before, self._chunk(raw))
        return (*before, self._open_call(place, self._object(start, "toolUse"), "toolUseId", raw))

    def _delta(self, place: int, delta: Mapping[str, Any], raw: Any) -> Chunks:
        chunks: list[ChatCompletionChunk] = []
        if delta.get("text") is not None:
            chunks += self._text_chunks(self._text(delta, "text"), raw)
        if delta.get(REASONING) is not None:
            chunks += self._reasoning(place, self._object(delta, REASONING), raw)
        if delta.get("toolUse") is not None:
            chunks += self._arguments(place, self._object(delta, "toolUse"), "input", raw)
        if not delta.keys() <= {"text", REASONING, "toolUse"}:
            chunks.append(self._chunk(raw))
        return chunks

    def _reasoning(self, place: int, piece: Mapping[str, Any], raw: Any) -> Chunks:
        block, text = self._reasoning_at(place), self._text(piece, "text")
        block.texts.append(text)
        block.signatures.append(self._text(piece, "signature"))
        if hidden := self._text(piece, "redactedContent"):
            block.hidden.append(hidden)
        return self._reasoning_chunks(text, raw)

    def _whole_reasoning(self, block: OpenBlock) -> Iterable[Reasoning]:
        try:
            return whole_reasoning("".join(block.texts), "".join(block.signatures), block.hidden)
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc

    def _deltas(self, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The deltas that a stream would have sent for a block of a whole answer; a tool call has none."""
        if "text" in block:
            yield {"text": block["text"]}
        reasoning = block.get(REASONING)
        if isinstance(reasoning, dict):
            if "redactedContent" in reasoning:
                yield {REASONING: {"redactedContent": reasoning["redactedContent"]}}
            if isinstance(reasoning.get("reasoningText"), dict):
                yield {REASONING: reasoning["reasoningText"]}
        cited = block.get("citationsContent")
        parts = cited.get("content") if isinstance(cited, dict) else None
        if parts is not None and not isinstance(parts, list):
            raise self._malformed(f"citationsContent.content is {json_type(parts)}")
        for part in parts or ():
            if isinstance(part, dict) and "text" in part:
                yield {"text": part["text"]}


_READERS: dict[str, Callable[[ConverseDecoder, dict[str, Any], Any], Chunks]] = {
    "messageStart": ConverseDecoder._message_start,
    "contentBlockStart": ConverseDecoder._block_start,
    _DELTA: ConverseDecoder._block_delta,
    "contentBlockStop": ConverseDecoder._block_stop,
    "messageStop": ConverseDecoder._message_stop,
    "metadata": ConverseDecoder._metadata,
}
