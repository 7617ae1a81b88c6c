"""
Answers in Anthropic's Messages: streams from ``message_start`` to ``message_stop``, whole messages, errors.

Strategy: a block is opened by the first chunk that belongs into it, and closed by the first that does not. Of a
provider of this format the blocks keep their borders, and what chunks do not hold (its own tools, citations, stop
details) is passed on with new block numbers. Of others, stop reason and usage are written at the end, since either may
come last. What must be sent back with a call (Gemini's signatures) stands beside its input, as ``extra_content``.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar, Optional

import attrs

from anyllm.errors import AnyLLMError, InvalidRequestError, MalformedStreamError
from anyllm.types import ChatCompletion, ChatCompletionChunk, ChunkDelta, Reasoning, ToolCall, Usage, text_alone
from anyllm.wire._base.block_decoder import CALL
from anyllm.wire._base.block_turns import Block
from anyllm.wire._base.json_values import json_object
from anyllm.wire._base.writer import Writer, event, json_bytes
from anyllm.wire.anthropic_messages import fields
from anyllm.wire.anthropic_messages.content import answer_blocks, call_block, check_audio, new_id, own_details
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect as Dialect
from anyllm.wire.anthropic_messages.errors import error_object
from anyllm.wire.anthropic_messages.fields import REDACTED, TEXT, THINKING, stop_reason, usage_object
from anyllm.wire.anthropic_messages.server.content_blocks import BlockKey, BlockWriter

__all__ = ["AnthropicMessages"]

#: The kind of blocks that are passed on as they are.
_FOREIGN = "foreign"
_EMPTY_TEXT = {"type": TEXT, "text": ""}
_EMPTY_THINKING = {"type": THINKING, "thinking": "", "signature": ""}
_STOP = event({"type": "message_stop"}, "message_stop")
#: The fields of a whole message that a stream has in the delta with the stop reason.
_STOP_FIELDS = ("stop_sequence", "stop_details", "container")


@attrs.define(frozen=True)
class AnthropicMessages:
    """
    Events from ``message_start`` to ``message_stop``, and ``message``.

    Attributes:
        model: The model of answers whose provider does not name it.
    """

    content_type: ClassVar[str] = "text/event-stream"
    whole_type: ClassVar[str] = "application/json"
    keep_alive: ClassVar[bytes] = event({"type": "ping"}, "ping")

    model: str = ""

    def writer(self) -> Writer:
        """A fresh writer for one answer."""
        return _MessageWriter(self.model)

    def whole(self, completion: ChatCompletion) -> bytes:
        """
        A whole answer: a ``message``.

        Raises:
            InvalidRequestError: there are several choices, or there is audio.
        """
        for choice in completion.choices:
            _check_index(choice.index)
        native, message = _native_body(completion), completion.to_message()
        body = _message(
            native or {"content": answer_blocks(message)},
            completion.id or new_id("msg"),
            completion.model or self.model,
            stop_reason(completion, native is not None, has_calls=bool(message.tool_calls)),
            usage_object(completion.usage, native is not None),
        )
        return json_bytes(body)

    def problem(self, error: BaseException, status: int) -> bytes:
        """An error: ``{"type": "error", "error": {"type": ..., "message": ...}, "request_id": ...}``."""
        return json_bytes(error_object(error))


class _MessageWriter(Writer):
    def __init__(self, model: str) -> None:
        self._model = model
        self._provider: Optional[str] = None
        self._is_native = False  # whether this provider speaks the format
        self._has_started = False
        self._blocks = BlockWriter()
        self._has_calls = False
        self._unnamed: dict[int, ToolCall] = {}
        self._thinking: Optional[BlockKey] = None  # the block that a signature belongs to
        self._thinking_count = 0  # of such blocks that are over
        self._foreign: Optional[list[Block]] = None  # those of a native whole answer that are not written yet
        self._stop: Optional[ChatCompletionChunk] = None  # the chunk with the finish reason
        self._usage: Optional[Usage] = None  # the latest
        self._is_stop_due = False  # whether these two are still to be written

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        if chunk.provider != self._provider:
            kind = json_object(chunk.raw).get("type")
            self._provider, self._is_native = chunk.provider, isinstance(kind, str) and kind in fields.EVENTS
        text = text_alone(chunk)
        if text and self._blocks.is_open((TEXT, self._place(chunk), 0)):
            before, after = self._blocks.around
            return b"%b%b%b" % (before, json_bytes(text), after)
        return self._events(chunk)

    def end(self) -> bytes:
        if self._unnamed:
            raise MalformedStreamError("a tool call has no name")
        written = b"" if self._has_started else self._message_start(ChatCompletionChunk())
        written += self._blocks.close_all()
        return written + (self._message_delta() if self._is_stop_due else b"") + _STOP

    def error(self, error: BaseException) -> bytes:
        try:
            written = self._blocks.release(always=True)
        except MalformedStreamError:  # a piece whose block is closed; the answer has failed anyway
            written = b""
        if self._is_stop_due and self._stop is not None:  # the answer had ended before the error
            written += self._blocks.close_all() + self._message_delta()
        return written + event(error_object(error), "error")

    # -- one chunk -----------------------------------------------------------------------------------------------------

    def _events(self, chunk: ChatCompletionChunk) -> bytes:
        usage, written = chunk.usage, b""
        if not self._has_started:
            if not chunk.choices and not self._is_native:
                self._usage = usage or self._usage
                return b""  # what comes before the answer may lack its id and its model
            written = self._message_start(chunk)
            usage = None if self._is_native else usage
        for choice in chunk.choices:
            _check_index(choice.index)
            written += self._delta(choice.delta, chunk)
        if usage is not None or chunk.finish_reason is not None:
            written += self._stop_events(chunk)
        elif self._is_native and not any(_has_content(choice.delta) for choice in chunk.choices):
            written += self._foreign_events(chunk)
        return written

    def _message_start(self, chunk: ChatCompletionChunk) -> bytes:
        self._has_started = True
        self._is_stop_due = not self._is_native
        self._usage = chunk.usage or self._usage
        raw, message_id, model = self._raw(chunk), chunk.id, chunk.model
        if not self._is_native:
            message_id, model = message_id or new_id("msg"), model or self._model
        body = raw if raw.get("type") == "message" else json_object(raw.get("message"))
        body = {key: value for key, value in body.items() if key not in ("stop_details", "stop_sequence")}
        usage = usage_object(self._usage, self._is_native)
        message = _message({**body, "content": []}, message_id, model, None, usage)
        return event({"type": "message_start", "message": message}, "message_start")

    def _delta(self, delta: ChunkDelta, chunk: ChatCompletionChunk) -> bytes:
        check_audio(delta.audio)
        written = b"" if delta.reasoning is None else self._reasoning(delta.reasoning, chunk)
        for text in (delta.content, delta.refusal):
            if text:
                key = (TEXT, self._place(chunk), 0)
                written += self._blocks.add(key, _EMPTY_TEXT, {"type": "text_delta", "text": text})
        for call in delta.tool_calls or ():
            written += self._call(call, chunk)
        return written

    def _reasoning(self, reasoning: Reasoning, chunk: ChatCompletionChunk) -> bytes:
        written = self._thinking_delta(reasoning.content, chunk) if reasoning.content else b""
        details = own_details(reasoning) if reasoning.details else ()
        for detail in details:
            if detail["type"] == REDACTED:
                written += self._whole_block(detail)
                continue
            if self._thinking is None and isinstance(detail.get("thinking"), str):
                written += self._thinking_delta(detail["thinking"], chunk)
            written += self._signature(detail.get("signature"), chunk)
        return written if details or not reasoning.signature else written + self._signature(reasoning.signature, chunk)

    def _thinking_delta(self, text: str, chunk: ChatCompletionChunk) -> bytes:
        self._thinking = (THINKING, self._place(chunk), self._thinking_count)
        raw = json_object(self._raw(chunk).get("delta"))
        raw = raw if raw.get("type") == "thinking_delta" else {}
        delta = {**raw, "type": "thinking_delta", "thinking": text}
        return self._blocks.add(self._thinking, _EMPTY_THINKING, delta)

    def _signature(self, signature: Any, chunk: ChatCompletionChunk) -> bytes:
        """The end of a thinking block, whether it is signed or not."""
        key, self._thinking = self._thinking or (THINKING, self._place(chunk), self._thinking_count), None
        self._thinking_count += 1
        if not isinstance(signature, str) or not signature:
            return b""
        return self._blocks.add(key, _EMPTY_THINKING, {"type": "signature_delta", "signature": signature})

    def _call(self, call: ToolCall, chunk: ChatCompletionChunk) -> bytes:
        key, start = (CALL, call.index, 0), None
        if not self._blocks.has(key):
            call = _joined(self._unnamed.pop(call.index, None), call)
            if not call.name:
                self._unnamed[call.index] = call  # some providers send the name late
                return b""
            self._has_calls = True
            raw = json_object(self._raw(chunk).get("content_block"))
            start = {**(raw if raw.get("id") == call.id else {}), **call_block(call, {})}
        delta = {"type": "input_json_delta", "partial_json": call.arguments} if call.arguments else None
        return self._blocks.add(key, start, delta)

    def _stop_events(self, chunk: ChatCompletionChunk) -> bytes:
        self._usage = chunk.usage or self._usage
        if chunk.finish_reason is not None:
            self._stop = chunk
        raw = self._raw(chunk)
        if raw.get("type") == "message":
            raw = {"delta": {key: value for key, value in raw.items() if key in _STOP_FIELDS}}
        elif raw.get("type") != "message_delta":
            self._is_stop_due = True
            return b""
        return self._blocks.close_all() + self._message_delta(raw)

    def _message_delta(self, raw: Mapping[str, Any] = {}) -> bytes:
        """The stop reason and the usage; *raw* is a native provider's own event."""
        self._is_stop_due = False
        delta, usage, reason = json_object(raw.get("delta")), json_object(raw.get("usage")), None
        if self._stop is not None or not self._is_native:
            reason = stop_reason(self._stop or ChatCompletionChunk(), self._is_native, has_calls=self._has_calls)
        body = {
            "type": "message_delta",
            **raw,
            "delta": {**delta, "stop_reason": reason, "stop_sequence": delta.get("stop_sequence")},
            "usage": {"output_tokens": 0, **(usage or usage_object(self._usage, self._is_native))},
        }
        return event(body, "message_delta")

    # -- what only a provider of this format sends ---------------------------------------------------------------------

    def _foreign_events(self, chunk: ChatCompletionChunk) -> bytes:
        raw = self._raw(chunk)
        kind, place = raw.get("type"), self._place(chunk)
        block, delta = json_object(raw.get("content_block")), json_object(raw.get("delta"))
        if kind == "content_block_start" and block:
            return self._blocks.add((_FOREIGN, place, 0), dict(block), None)
        if kind == fields.DELTA and delta:
            return self._foreign_delta(place, delta)
        if kind == "message" and not chunk.choices:
            if self._foreign is None:
                content = raw.get("content")
                blocks = map(json_object, content if isinstance(content, list) else ())
                self._foreign = [dict(block) for block in blocks if block.get("type") not in fields.KNOWN_BLOCKS]
            return self._whole_block(self._foreign.pop(0)) if self._foreign else b""
        return b""

    def _foreign_delta(self, place: Optional[int], delta: Mapping[str, Any]) -> bytes:
        """A delta that chunks do not hold. Of those that begin a block, only citations show the block's type."""
        key = self._blocks.open_at(place) or (_FOREIGN, place, 0)
        if self._blocks.has(key):
            return self._blocks.add(key, None, delta)
        if delta.get("type") == "citations_delta":
            return self._blocks.add((TEXT, place, 0), {**_EMPTY_TEXT, "citations": []}, delta)
        return b""

    def _whole_block(self, block: Block) -> bytes:
        return self._blocks.add((_FOREIGN, uuid.uuid4().hex, 0), block, None)

    def _raw(self, chunk: ChatCompletionChunk) -> Mapping[str, Any]:
        """The provider's event, if it is one of this format."""
        return json_object(chunk.raw) if self._is_native else {}

    def _place(self, chunk: ChatCompletionChunk) -> Optional[int]:
        """The number of the block at a native provider."""
        if not self._is_native:
            return None
        raw = chunk.raw
        place = raw.get("index") if type(raw) is dict else None  # faster than isinstance(raw, Mapping)
        return place if isinstance(place, int) else None


# -- what a stream and a whole answer share ----------------------------------------------------------------------------


def _message(
    body: Mapping[str, Any], message_id: str, model: str, reason: Optional[str], usage: Mapping[str, Any]
) -> dict[str, Any]:
    """A message; *body* has its content, and all that a native provider said."""
    head = {"id": message_id, "type": "message", "role": "assistant", "model": model}
    stop = {"stop_reason": reason, "stop_sequence": body.get("stop_sequence")}
    return {**head, **body, **head, **stop, "usage": {**fields.ZERO_USAGE, **usage}}


def _joined(before: Optional[ToolCall], call: ToolCall) -> ToolCall:
    if before is None:
        return call
    function = attrs.evolve(call.function, arguments=before.arguments + call.arguments)
    return ToolCall(before.id or call.id, function, call.type, call.index, call.extra_content or before.extra_content)


def _native_body(completion: ChatCompletion) -> Optional[Block]:
    """A provider's own answer in this format, if *completion* was not changed since; None otherwise."""
    raw = json_object(completion.raw)
    if raw.get("type") != "message":
        return None
    try:
        read = Dialect(provider=completion.provider).response(json_bytes(raw))
    except AnyLLMError:
        return None
    return dict(raw) if read.choices == completion.choices else None


def _has_content(delta: ChunkDelta) -> bool:
    return bool(delta.content or delta.refusal or delta.reasoning is not None or delta.tool_calls)


def _check_index(index: int) -> None:
    if index != 0:
        raise InvalidRequestError("Anthropic's format has one answer: n must be 1", param="n")
