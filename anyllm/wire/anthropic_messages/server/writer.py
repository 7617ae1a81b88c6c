"""
Anthropic's Messages: a message that starts, content blocks one after another, and why it ended.

Strategy: a block is opened by the first chunk that belongs into it, and closed by the first that does not. Only one is
open at a time: deltas carry an index, but several clients (Anthropic's own for Go among them) add each to the latest
block. So what comes between the pieces of a call waits until its arguments are whole, or the answer is.

Of a host that speaks this format the blocks keep their borders, and what chunks have no words for (its own tools,
citations, stop details) is passed on with the blocks' new numbers. Of others, why it ended and how many tokens it took
are told at the end, since either may come last. What must be sent back with a call (Gemini's signatures) stands beside
its input, as `extra_content`.

Sources: https://platform.claude.com/docs/en/build-with-claude/streaming, https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar, Optional

import attrs

from anyllm.errors import AnyLLMError, InvalidRequestError, MalformedStreamError
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    ChunkDelta,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
    Usage,
    text_alone,
)
from anyllm.wire._base.writer import Writer, event, json_bytes
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect as Dialect
from anyllm.wire.anthropic_messages.server.content_blocks import CALL, TEXT, THINKING, Block, Blocks, Key
from anyllm.wire.anthropic_messages.server.errors import anthropic_error

__all__ = ["AnthropicMessages"]

_REDACTED, _TOOL_USE, _FOREIGN = "redacted_thinking", "tool_use", "foreign"
_KNOWN = (TEXT, THINKING, _REDACTED, _TOOL_USE)
_NO_THOUGHT = {"type": THINKING, "thinking": "", "signature": ""}
_EVENTS = frozenset(
    (
        *("message", "message_start", "message_delta", "message_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
    )
)
_STOP = event({"type": "message_stop"}, "message_stop")
#: Clients reckon with these two, whether anybody counted or not.
_UNCOUNTED = {"input_tokens": 0, "output_tokens": 0}

#: Anthropic's words for an end; what other hosts say in them is quoted.
_REASONS = frozenset(
    (
        *("end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"),
        "model_context_window_exceeded",
    )
)
_FINISH = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
#: What is said of the end beside the reason; in a whole answer it stands beside the content.
_OF_THE_END = ("stop_sequence", "stop_details", "container")


@attrs.define(frozen=True)
class AnthropicMessages:
    """
    Events from ``message_start`` to ``message_stop``, and ``message``.

    Attributes:
        model: What the answer says of its model where the provider did not say.
    """

    content_type: ClassVar[str] = "text/event-stream"
    whole_type: ClassVar[str] = "application/json"
    keep_alive: ClassVar[bytes] = event({"type": "ping"}, "ping")

    model: str = ""

    def writer(self) -> Writer:
        """A fresh writer for one answer."""
        return _MessageWriter(self)

    def whole(self, completion: ChatCompletion) -> bytes:
        """
        A whole answer: a ``message``.

        Raises:
            InvalidRequestError: there are several.
        """
        for choice in completion.choices:
            _check_index(choice.index)
        said = _whole_said(completion)
        message, native = completion.to_message(), said is not None
        reason = _reason(completion, native, has_calls=bool(message.tool_calls))
        usage = usage_object(completion.usage, native)
        body = {
            **(said or {}),
            "id": completion.id or _new_id(),
            "type": "message",
            "role": "assistant",
            "model": completion.model or self.model,
            "content": _content(message) if said is None else said["content"],
            "stop_reason": reason,
            "stop_sequence": said.get("stop_sequence") if said else None,
            "usage": {**_UNCOUNTED, **usage},
        }
        return json_bytes(body)

    def problem(self, error: BaseException, status: int) -> bytes:
        """An error: ``{"type": "error", "error": {"type": ..., "message": ...}, "request_id": ...}``."""
        return json_bytes(anthropic_error(error))


class _MessageWriter(Writer):
    def __init__(self, format: AnthropicMessages) -> None:
        self._format = format
        self._provider: Optional[str] = None
        self._native = False  # whether this provider speaks the format
        self._has_started = False
        self._blocks = Blocks()
        self._has_calls = False
        self._unnamed: dict[int, ToolCall] = {}
        self._thinking: Optional[Key] = None  # the block that a signature belongs to
        self._thoughts = 0  # how many such blocks are over
        self._foreign: Optional[list[Block]] = None  # what is left of a whole answer's
        self._end: Optional[ChatCompletionChunk] = None  # says why the answer ended
        self._usage: Optional[Usage] = None  # the latest
        self._is_due = False  # whether these two are still to be told

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        if chunk.provider != self._provider:
            self._provider, self._native = chunk.provider, _kind(chunk.raw) is not None
        text = text_alone(chunk)
        if text and self._blocks.is_open((TEXT, self._place(chunk), 0)):
            before, after = self._blocks.around
            return b"%b%b%b" % (before, json_bytes(text), after)
        return self._events(chunk)

    def end(self) -> bytes:
        if self._unnamed:
            raise MalformedStreamError("a tool call has no name")
        written = b"" if self._has_started else self._start(ChatCompletionChunk())
        written += self._blocks.close_all()
        if self._is_due:
            written += self._told({}, {}, usage_object(self._usage, self._native))
        return written + _STOP

    def error(self, error: BaseException) -> bytes:
        try:
            written = self._blocks.release_all()
        except MalformedStreamError:  # of a call that can no more be placed, now that there will be no end
            written = b""
        if self._is_due and self._end is not None:  # it had come to its end, which was kept for the last
            written += self._blocks.close_all() + self._told({}, {}, usage_object(self._usage, self._native))
        return written + event(anthropic_error(error), "error")

    # -- one chunk -----------------------------------------------------------------------------------------------------

    def _events(self, chunk: ChatCompletionChunk) -> bytes:
        usage, written = chunk.usage, b""
        if not self._has_started:
            if not chunk.choices and not self._native:
                self._usage = usage or self._usage
                return b""  # a word ahead, from which the answer may have neither its id nor its model
            written = self._start(chunk)
            usage = None if self._native else usage
        for choice in chunk.choices:
            _check_index(choice.index)
            written += self._said(choice.delta, chunk)
        if usage is not None or chunk.finish_reason is not None:
            written += self._ended(chunk)
        elif self._native and not any(_says(choice.delta) for choice in chunk.choices):
            written += self._passed_on(chunk)
        return written

    def _start(self, chunk: ChatCompletionChunk) -> bytes:
        self._has_started = True
        self._is_due = not self._native
        self._usage = chunk.usage or self._usage
        raw = self._raw(chunk)
        said = raw if raw.get("type") == "message" else _object(raw.get("message"))
        message = {
            **{key: value for key, value in said.items() if key != "stop_details"},
            "id": chunk.id if self._native else chunk.id or _new_id(),
            "type": "message",
            "role": "assistant",
            "model": chunk.model if self._native else chunk.model or self._format.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**_UNCOUNTED, **usage_object(self._usage, self._native)},
        }
        return event({"type": "message_start", "message": message}, "message_start")

    def _said(self, delta: ChunkDelta, chunk: ChatCompletionChunk) -> bytes:
        if delta.audio is not None:
            raise InvalidRequestError("Anthropic's format has no place for sounds", param="audio")
        written = b"" if delta.reasoning is None else self._thought(delta.reasoning, chunk)
        for text in (delta.content, delta.refusal):
            if text:
                said = {"type": "text_delta", "text": text}
                written += self._blocks.add((TEXT, self._place(chunk), 0), {"type": TEXT, "text": ""}, said)
        for call in delta.tool_calls or ():
            written += self._called(call, chunk)
        return written

    def _thought(self, reasoning: Reasoning, chunk: ChatCompletionChunk) -> bytes:
        written = b""
        if reasoning.content:
            written = self._thinking_delta(reasoning.content, chunk)
        details = [detail for detail in reasoning.details or () if detail.get("type") in (THINKING, _REDACTED)]
        for detail in details:
            if detail["type"] == _REDACTED:
                written += self._whole_block(_without_place(detail))
                continue
            if self._thinking is None and isinstance(detail.get("thinking"), str):
                written += self._thinking_delta(detail["thinking"], chunk)
            written += self._signed(detail.get("signature"), chunk)
        return written if details or not reasoning.signature else written + self._signed(reasoning.signature, chunk)

    def _thinking_delta(self, text: str, chunk: ChatCompletionChunk) -> bytes:
        self._thinking = (THINKING, self._place(chunk), self._thoughts)
        said = {**self._raw_delta(chunk, "thinking_delta"), "type": "thinking_delta", "thinking": text}
        return self._blocks.add(self._thinking, _NO_THOUGHT, said)

    def _signed(self, signature: Any, chunk: ChatCompletionChunk) -> bytes:
        """The end of a thinking block, whether it is signed or not."""
        key, self._thinking = self._thinking or (THINKING, self._place(chunk), self._thoughts), None
        self._thoughts += 1
        if not isinstance(signature, str) or not signature:
            return b""
        return self._blocks.add(key, _NO_THOUGHT, {"type": "signature_delta", "signature": signature})

    def _called(self, call: ToolCall, chunk: ChatCompletionChunk) -> bytes:
        key, start = (CALL, call.index, 0), None
        if not self._blocks.is_known(key):
            call = _joined(self._unnamed.pop(call.index, None), call)
            if not call.name:
                self._unnamed[call.index] = call  # some hosts tell it late
                return b""
            self._has_calls = True
            raw = _object(self._raw(chunk).get("content_block"))
            start = {**(raw if raw.get("id") == call.id else {}), **_call_block(call), "input": {}}
        said = {"type": "input_json_delta", "partial_json": call.arguments} if call.arguments else None
        return self._blocks.add(key, start, said)

    def _ended(self, chunk: ChatCompletionChunk) -> bytes:
        self._usage = chunk.usage or self._usage
        if chunk.finish_reason is not None:
            self._end = chunk
        raw = self._raw(chunk)
        kind = raw.get("type")
        if kind == "message_delta":
            unknown_fields = {key: value for key, value in raw.items() if key != "delta"}
            usage = _object(raw.get("usage")) or usage_object(self._usage, native=True)
            return self._blocks.close_all() + self._told(_object(raw.get("delta")), unknown_fields, usage)
        if kind == "message":
            said = {key: value for key, value in raw.items() if key in _OF_THE_END}
            return self._blocks.close_all() + self._told(said, {}, usage_object(self._usage, native=True))
        self._is_due = True
        return b""

    def _told(self, said: Mapping[str, Any], unknown_fields: Mapping[str, Any], usage: Mapping[str, Any]) -> bytes:
        """Why it ended, and how many tokens it took."""
        self._is_due = False
        reason = None if self._native and self._end is None else self._reason()
        delta = {**said, "stop_reason": reason, "stop_sequence": said.get("stop_sequence")}
        body = {**unknown_fields, "type": "message_delta", "delta": delta, "usage": {"output_tokens": 0, **usage}}
        return event(body, "message_delta")

    def _reason(self) -> Optional[str]:
        end = self._end or ChatCompletionChunk()
        return _reason(end, self._native, has_calls=self._has_calls)

    # -- what only a host of this format says --------------------------------------------------------------------------

    def _passed_on(self, chunk: ChatCompletionChunk) -> bytes:
        raw = self._raw(chunk)
        kind, place = raw.get("type"), self._place(chunk)
        block, delta = _object(raw.get("content_block")), _object(raw.get("delta"))
        if kind == "content_block_start" and block:
            return self._blocks.add((_FOREIGN, place, 0), dict(block), None)
        if kind == "content_block_delta" and delta:
            return self._further(place, delta)
        if kind == "message" and not chunk.choices:
            if self._foreign is None:
                content = raw.get("content")
                blocks = map(_object, content if isinstance(content, list) else ())
                self._foreign = [dict(block) for block in blocks if block.get("type") not in _KNOWN]
            return self._whole_block(self._foreign.pop(0)) if self._foreign else b""
        return b""

    def _further(self, place: Optional[int], delta: Mapping[str, Any]) -> bytes:
        """A delta of which chunks say nothing. The type of a block that it begins is known for citations alone."""
        key = self._blocks.at(place) or (_FOREIGN, place, 0)
        if self._blocks.is_known(key):
            return self._blocks.add(key, None, delta)
        if delta.get("type") == "citations_delta":
            return self._blocks.add((TEXT, place, 0), {"type": TEXT, "text": "", "citations": []}, delta)
        return b""

    def _whole_block(self, block: Block) -> bytes:
        return self._blocks.add((_FOREIGN, uuid.uuid4().hex, 0), block, None)

    def _raw(self, chunk: ChatCompletionChunk) -> Mapping[str, Any]:
        """The provider's event, if it is one of this format."""
        return _object(chunk.raw) if self._native else {}

    def _raw_delta(self, chunk: ChatCompletionChunk, kind: str) -> Mapping[str, Any]:
        said = _object(self._raw(chunk).get("delta"))
        return said if said.get("type") == kind else {}

    def _place(self, chunk: ChatCompletionChunk) -> Optional[int]:
        """The number of the block at the host; None where it speaks of none."""
        if not self._native:
            return None
        raw = chunk.raw
        place = raw.get("index") if type(raw) is dict else None  # quicker than to ask whether it is a Mapping
        return place if isinstance(place, int) else None


# -- what a stream and a whole answer share ----------------------------------------------------------------------------


def usage_object(usage: Optional[Usage], native: bool = False) -> dict[str, Any]:
    """
    Tokens, as Anthropic counts them: what went through a cache stands beside the input. Empty if nobody counted.

    Args:
        native: Whether the provider counts so too: its own object is passed on, with whatever else it says.
    """
    if usage is None:
        return {}
    if native and usage.raw:
        return dict(usage.raw)
    cached = {
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
    }
    said = {name: count for name, count in cached.items() if count is not None}
    body: dict[str, Any] = {
        "input_tokens": max(0, usage.prompt_tokens - sum(said.values())),
        **said,
        "output_tokens": usage.completion_tokens,
    }
    if usage.reasoning_tokens is not None:
        body["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return body


def _reason(ended: Any, native: bool, *, has_calls: bool) -> Optional[str]:
    """
    Why an answer ended: in the host's own word, where that is Anthropic's too.

    Args:
        ended: What has a ``finish_reason`` and a ``raw_finish_reason``.
    """
    finish, raw = ended.finish_reason, ended.raw_finish_reason
    if raw is not None and (native or raw in _REASONS):
        return str(raw)
    if finish is None and native:
        return None
    if has_calls and finish in (None, "stop"):
        return "tool_use"
    return _FINISH.get(finish or "stop") or str(raw or finish)


def _content(message: Message) -> list[Block]:
    blocks = [] if message.reasoning is None else _thinking_blocks(message.reasoning)
    blocks += [{"type": TEXT, "text": text} for text in (message.text, message.refusal) if text]
    if message.audio is not None:
        raise InvalidRequestError("Anthropic's format has no place for sounds", param="audio")
    return blocks + [_call(call) for call in message.tool_calls]


def _thinking_blocks(reasoning: Reasoning) -> list[Block]:
    details = [detail for detail in reasoning.details or () if detail.get("type") in (THINKING, _REDACTED)]
    if details:
        unsigned = {THINKING: {"signature": ""}, _REDACTED: {}}
        return [{**unsigned[detail["type"]], **_without_place(detail)} for detail in details]
    text, signature = reasoning.content or "", reasoning.signature or ""
    return [{"type": THINKING, "thinking": text, "signature": signature}] if text or signature else []


def _call(call: ToolCall) -> Block:
    """
    A call with its input. Arguments that are no object stand in one, as Anthropic wants to have them back.

    Source: https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming
    """
    try:
        arguments = call.parse()
    except ValueError:
        arguments = {"INVALID_JSON": call.arguments}
    return {**_call_block(call), "input": arguments}


def _call_block(call: ToolCall) -> Block:
    block = {"type": _TOOL_USE, "id": call.id or _new_call_id(), "name": call.name or ""}
    return block if call.extra_content is None else {**block, "extra_content": call.extra_content}


def _joined(before: Optional[ToolCall], call: ToolCall) -> ToolCall:
    if before is None:
        return call
    function = FunctionCall(call.name, before.arguments + call.arguments)
    return ToolCall(before.id or call.id, function, call.type, call.index, call.extra_content or before.extra_content)


def _whole_said(completion: ChatCompletion) -> Optional[Block]:
    """A host's own answer in this format, if it says what *completion* says; None otherwise."""
    raw = _object(completion.raw)
    if raw.get("type") != "message":
        return None
    try:
        read = Dialect(provider=completion.provider).response(json_bytes(raw))
    except AnyLLMError:
        return None
    return dict(raw) if read.choices == completion.choices else None


def _without_place(detail: Mapping[str, Any]) -> Block:
    return {key: value for key, value in detail.items() if key != "index"}


def _says(delta: ChunkDelta) -> bool:
    return bool(delta.content or delta.refusal or delta.reasoning is not None or delta.tool_calls)


def _kind(raw: Any) -> Optional[str]:
    """The type of a provider's own event, or answer, that is one of this format."""
    kind = raw.get("type") if isinstance(raw, Mapping) else None
    return kind if isinstance(kind, str) and kind in _EVENTS else None


def _object(value: Any) -> Mapping[str, Any]:
    """What stands in a provider's event where an object should stand; nothing of whatever else stands there."""
    return value if isinstance(value, Mapping) else {}


def _check_index(index: int) -> None:
    if index != 0:
        raise InvalidRequestError("Anthropic's format has one answer: n must be 1", param="n")


def _new_id() -> str:
    return f"msg_{uuid.uuid4().hex}"


def _new_call_id() -> str:
    return f"toolu_{uuid.uuid4().hex}"
