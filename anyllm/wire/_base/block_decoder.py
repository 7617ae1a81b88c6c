"""
Streams of content blocks: what the decoders of Anthropic's Messages and of Bedrock's Converse share.

Strategy: a format's decoder reads its own events and calls the methods here: a block opens, grows, and closes. Text is
passed on as it comes. A signature is given when its block closes, which is when it is whole. A block that has no place
in a chunk makes a chunk that holds nothing but its ``raw``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from anyllm.types import (
    ChatCompletionChunk,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Reasoning,
    ToolCall,
    Usage,
    _convert,
)
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.encode_json import put
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.json_values import count, json_type, whole_number
from anyllm.wire._base.surrogate_joiner import REPLACEMENT, mend

__all__ = ["CALL", "OTHER", "REASONING", "BlockDecoder", "Chunks", "OpenBlock", "usage_of"]

Chunks = Sequence[ChatCompletionChunk]

#: The kinds of blocks; `OTHER` are passed on as they are.
CALL, REASONING, OTHER = "call", "reasoning", "other"


class OpenBlock:
    """
    A content block that has not closed. Used by one decoder, on one thread.

    Attributes:
        kind: `CALL`, `REASONING` or `OTHER`.
        start: As it was announced; empty where nothing announced it.
        number: How many blocks of its kind came before it.
        texts: The pieces of its reasoning.
        signatures: The pieces of its signature.
        hidden: The pieces of reasoning that only the provider can read.
        has_arguments: Whether pieces of a call's arguments came.
    """

    __slots__ = ("has_arguments", "hidden", "kind", "number", "signatures", "start", "texts")

    def __init__(self, kind: str, start: Mapping[str, Any], number: int) -> None:
        self.kind = kind
        self.start = start
        self.number = number
        self.texts: list[str] = []
        self.signatures: list[str] = []
        self.hidden: list[str] = []
        self.has_arguments = False


class BlockDecoder(BaseDecoder):
    """
    Used by one thread, for one response. A format's decoder sets the names below and defines `_block_delta` and
    `_whole_reasoning`.
    """

    #: The key of a block's place in an event.
    _index_key: ClassVar[str]
    #: The event that ends the answer, for the error when it is missing.
    _end_event: ClassVar[str]
    #: `Reasoning.field` of this format.
    _reasoning_field: ClassVar[str]
    #: The texts that grow from event to event, by their path in a delta; and what else such a delta holds.
    _growing: ClassVar[Mapping[tuple[str, ...], Mapping[str, Any]]]

    __slots__ = ("_began", "_id", "_latest", "_model", "_numbers", "_open", "_stop_reason", "_tier")

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._id = self._model = ""
        self._tier: str | None = None
        self._open: dict[int, OpenBlock] = {}
        self._numbers: dict[str, int] = {}  # of blocks, by kind
        self._latest = 0
        self._stop_reason: str | None = None
        self._began = False

    def _block_delta(self, body: dict[str, Any], raw: Any) -> Chunks:
        """The chunks of a delta."""
        raise NotImplementedError

    def _block_stop(self, body: dict[str, Any], raw: Any) -> Chunks:
        return self._close(self._place(body), raw)

    def _whole_reasoning(self, block: OpenBlock) -> Iterable[Reasoning]:
        """What a block of reasoning adds when it closes: signatures, and blocks to be sent back."""
        raise NotImplementedError

    # -- blocks --------------------------------------------------------------------------------------------------------

    def _place(self, body: Mapping[str, Any]) -> int:
        """The place of the block that an event belongs to: the latest one, where the provider does not say."""
        index = body.get(self._index_key)
        if type(index) is not int:
            number = whole_number(index)
            if number is None and index is not None:
                raise self._malformed(f"the index of a content block is {json_type(index)}")
            index = self._latest if number is None else number
        self._latest = index
        return index

    def _open_block(self, place: int, kind: str, start: Mapping[str, Any]) -> OpenBlock:
        number = self._numbers.get(kind, 0)
        self._numbers[kind] = number + 1
        self._latest = place
        block = self._open[place] = OpenBlock(kind, start, number)
        return block

    def _reasoning_at(self, place: int) -> OpenBlock:
        """The block of reasoning there; its first piece opens it where nothing announced it."""
        block = self._open.get(place)
        return block if block is not None and block.kind == REASONING else self._open_block(place, REASONING, {})

    def _open_call(self, place: int, start: Mapping[str, Any], id_key: str, raw: Any) -> ChatCompletionChunk:
        """Open the block of a tool call, whose first fragment has its id and its name."""
        name = self._text(start, "name")
        if not name:
            raise self._malformed("a tool call has no name")
        block = self._open_block(place, CALL, start)
        extra = start.get("extra_content")
        return self._chunk(
            raw,
            ChunkDelta(
                tool_calls=(
                    ToolCall(
                        self._text(start, id_key) or f"call_{block.number}",
                        FunctionCall(name, ""),
                        "function",
                        block.number,
                        extra if isinstance(extra, dict) and extra else None,
                    ),
                )
            ),
        )

    def _arguments(self, place: int, piece: Mapping[str, Any], key: str, raw: Any) -> Chunks:
        """A piece of a call's arguments, the text under *key*."""
        block = self._open.get(place)
        if block is None:
            raise self._malformed("arguments came for a tool call that never began")
        if block.kind != CALL:
            return (self._chunk(raw),)  # for a tool that the provider runs
        text = self._text(piece, key)
        if not text:
            return ()
        block.has_arguments = True
        call = ToolCall(None, FunctionCall(None, text), "function", block.number)
        return (self._chunk(raw, ChunkDelta(tool_calls=(call,))),)

    def _close(self, place: int, raw: Any) -> Chunks:
        """
        The end of a block: reasoning is whole, and a call has its arguments.

        Whole answers, and some providers' streams, give them with the start. A call without any gets "{}", so that its
        arguments can always be parsed.
        """
        block = self._open.pop(place, None)
        if block is None:
            return ()
        if block.kind == REASONING:
            return [self._chunk(raw, ChunkDelta(reasoning=reasoning)) for reasoning in self._whole_reasoning(block)]
        if block.kind == CALL and not block.has_arguments:
            text = self._json_text(block.start.get("input"))
            call = ToolCall(None, FunctionCall(None, text), "function", block.number)
            return (self._chunk(raw, ChunkDelta(tool_calls=(call,))),)
        return ()

    def _close_all(self, raw: Any) -> Chunks:
        return [chunk for place in tuple(self._open) for chunk in self._close(place, raw)]

    def _json_text(self, arguments: Any) -> str:
        if isinstance(arguments, str) and arguments:
            return arguments
        try:
            return _convert.dumps(arguments or {}).decode()
        except (RecursionError, ValueError) as exc:
            raise self._malformed("the arguments of a tool call are nested too deeply") from exc

    # -- chunks --------------------------------------------------------------------------------------------------------

    def _chunk(self, raw: Any, delta: ChunkDelta | None = None, usage: Usage | None = None) -> ChatCompletionChunk:
        if not self._began:
            self._began = True
            delta = delta or ChunkDelta()
            delta.role = "assistant"
        choices = () if delta is None else (ChunkChoice(0, delta),)
        return ChatCompletionChunk(
            self._id, choices, 0, self._model, "chat.completion.chunk", usage, None, self._tier, self._provider, raw
        )

    def _text_chunks(self, text: str, raw: Any) -> Chunks:
        return (self._chunk(raw, ChunkDelta(None, text)),) if text else ()

    def _reasoning_chunks(self, text: str, raw: Any) -> Chunks:
        return (self._chunk(raw, ChunkDelta(reasoning=Reasoning(text, None, self._reasoning_field))),) if text else ()

    def _stop_chunk(self, reason: str, raw: Any, usage: Usage | None = None) -> ChatCompletionChunk:
        """The chunk that says why the answer ended."""
        self._stop_reason = reason
        chunk = self._chunk(raw, ChunkDelta(), usage)
        choice = chunk.choices[0]
        choice.raw_finish_reason = reason
        choice.finish_reason = finish_reason(reason, has_tool_calls=CALL in self._numbers)
        return chunk

    def _missing_end(self) -> str:
        if not self._began:
            return f"the stream ended before any answer came ({self._events} events)"
        after = f", though after stop_reason {self._stop_reason!r}" if self._stop_reason else ""
        return mend(f"the stream ended before {self._end_event}{after} ({self._events} events)")

    # -- halves of surrogate pairs -------------------------------------------------------------------------------------

    def _joined(self, body: dict[str, Any], *, is_delta: bool) -> dict[str, Any]:
        """*body* without halves of surrogate pairs: those in deltas continue from one event to the next."""
        repaired: dict[str, Any] = self._repaired(body)
        if is_delta and isinstance(body.get("delta"), dict):
            repaired["delta"] = self._halves.mend(body["delta"], (whole_number(body.get(self._index_key)),))
        return repaired

    def _lone_halves(self, raw: Any) -> list[ChatCompletionChunk]:
        """Chunks for the halves that no other half followed."""
        chunks: list[ChatCompletionChunk] = []
        for place, *path in self._halves.take():
            rest = self._growing.get(tuple(path))
            if rest is not None:
                delta = dict(rest)
                put(delta, ".".join(path), REPLACEMENT)
                chunks += self._block_delta({self._index_key: place, "delta": delta}, raw)
        return chunks


def usage_of(raw: Any, keys: Sequence[str], reasoning: int | None = None) -> Usage | None:
    """
    Token counts of providers that count what was read from a cache, or written to one, beside the input; we include it.

    Args:
        raw: The provider's usage object.
        keys: Its keys for the input, the output, and what was read from and written to a cache.
        reasoning: The part of the output that was reasoning.

    Returns:
        None where neither input nor output was counted.
    """
    if not isinstance(raw, dict):
        return None
    prompt, completion, read, written = (count(raw, key) for key in keys)
    if prompt is None and completion is None:
        return None
    prompt, completion = (prompt or 0) + (read or 0) + (written or 0), completion or 0
    return Usage(prompt, completion, prompt + completion, reasoning, read, written, raw=raw)
