"""
OpenAI's chat completions: ``chat.completion.chunk`` events and ``[DONE]``, which nearly every client reads.

Strategy: chunks have OpenAI's shape already, so most of this is leaving out what a chunk does not say. An event that
only adds text is put together from bytes that were made once. What an OpenAI-compatible host said in words of its own
(its name for reasoning, its finish reason, its usage object, further keys) is passed on; what another provider said is
put into OpenAI's words. Reasoning has no place in OpenAI's own format: it stands under ``reasoning_content``, and what
must be sent back with it under ``reasoning_details``, as DeepSeek and OpenRouter have it.

Sources: https://platform.openai.com/docs/api-reference/chat-streaming,
https://platform.openai.com/docs/guides/error-codes, https://openrouter.ai/docs/use-cases/reasoning-tokens
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Optional

import attrs

from anyllm.formats._failures import openai_error
from anyllm.formats._writing import Writer, event, json_bytes
from anyllm.types import (
    FINISH_REASONS,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Reasoning,
    ToolCall,
    Usage,
    text_alone,
)

__all__ = ["OpenAIChat"]

_DONE = b"data: [DONE]\n\n"
_REASONING = "reasoning_content"
_DETAILS = "reasoning_details"
#: The names under which OpenAI-compatible hosts send reasoning, which clients of theirs look for.
_REASONING_NAMES = frozenset((_REASONING, "reasoning", "thought", "thinking"))
#: The keys of an event that are written from the chunk.
_WRITTEN = frozenset(
    ("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "obfuscation")
)


@attrs.define(frozen=True)
class OpenAIChat:
    """
    Events of ``chat.completion.chunk``, and ``chat.completion``.

    Attributes:
        include_usage: Whether the tokens are told; OpenAI's clients ask for that with ``stream_options``.
        model: What the answer says of its model where the provider did not say.
        price: Gives what so many tokens of a model cost in US dollars, to stand under ``cost`` in the usage, as
            OpenRouter has it; None where that is not known.
    """

    content_type: ClassVar[str] = "text/event-stream"
    whole_type: ClassVar[str] = "application/json"
    keep_alive: ClassVar[bytes] = b": keep-alive\n\n"

    include_usage: bool = True
    model: str = ""
    price: Optional[Callable[[Usage, str], Optional[float]]] = None

    def writer(self) -> Writer:
        """A fresh writer for one answer."""
        return _ChunkWriter(self)

    def whole(self, completion: ChatCompletion) -> bytes:
        """A whole answer: a ``chat.completion``."""
        native = _is_native(completion.raw)
        body = {
            "id": completion.id or _new_id(),
            "object": "chat.completion",
            "created": completion.created or int(time.time()),
            "model": completion.model or self.model,
            "choices": [_whole_choice(choice, native) for choice in completion.choices],
            **_about(completion.system_fingerprint, completion.service_tier),
            **_further(completion.raw, native),
        }
        if completion.usage is not None:
            body["usage"] = self.usage(completion.usage, completion.model, native)
        return json_bytes(body)

    def problem(self, error: BaseException, status: int) -> bytes:
        """An error: ``{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}``."""
        return json_bytes({"error": openai_error(error)})

    def usage(self, usage: Usage, model: str, native: bool) -> dict[str, Any]:
        """The tokens, and what they cost."""
        counted = usage_object(usage, native)
        cost = self.price(usage, model) if self.price is not None and "cost" not in counted else None
        return counted if cost is None else {**counted, "cost": cost}


class _ChunkWriter(Writer):
    def __init__(self, format: OpenAIChat) -> None:
        self._format = format
        self._id = ""
        self._created = 0
        self._model = ""
        self._native: Optional[bool] = None  # whether the provider spoke this format; not known before the first chunk
        self._usage: Optional[Usage] = None  # of an answer that goes on
        self._running: set[int] = set()
        self._details: dict[int, int] = {}  # how many each answer has
        self._about: Any = None  # what the bytes around a text were made for
        self._around = (b"", b"")

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        text = text_alone(chunk)
        if text is not None and self._has_begun:
            before, after = self._frame(chunk)
            return b"%b%b%b" % (before, json_bytes(text), after)
        if self._native is None:
            self._native = _is_native(chunk.raw)
        return self._event(chunk)

    def end(self) -> bytes:
        # An answer of another format may be whole without a reason, which this one has no other sign for.
        running = () if self._native else sorted(self._running)
        ends = [self._bare([{"index": index, "delta": {}, "finish_reason": "stop"}]) for index in running]
        if self._usage is not None and self._format.include_usage:
            usage = self._format.usage(self._usage, self._model, bool(self._native))
            ends.append({**self._bare([]), "usage": usage})
        return b"".join(map(event, ends)) + _DONE

    def error(self, error: BaseException) -> bytes:
        return event({"error": openai_error(error)})

    def _event(self, chunk: ChatCompletionChunk) -> bytes:
        native = bool(self._native)
        choices = [self._choice(choice, native) for choice in chunk.choices]
        body = {**self._head(chunk), "choices": choices, **_about(chunk.system_fingerprint, chunk.service_tier)}
        if native:
            body.update(_further(chunk.raw, native))
        usage = self._usage_of(chunk)
        if usage is not None:
            body["usage"] = self._format.usage(usage, chunk.model or self._model, native)
        elif chunk.usage is not None and not choices and (not self._format.include_usage or body.keys() <= _WRITTEN):
            return b""  # there was nothing in it but the tokens, which come last; or who did not ask expects a choice
        return event(body)

    def _usage_of(self, chunk: ChatCompletionChunk) -> Optional[Usage]:
        """
        The tokens to be told with *chunk*.

        Clients take them for those of the whole answer: running totals of other formats wait for the last.
        """
        if chunk.usage is None:
            return None
        if self._native:
            self._usage = None
            return chunk.usage if self._format.include_usage else None
        self._usage = chunk.usage
        return None

    def _choice(self, choice: ChunkChoice, native: bool) -> dict[str, Any]:
        delta = choice.delta
        said: dict[str, Any] = {}
        if delta.role is not None:
            said["role"] = delta.role
        if delta.content is not None:
            said["content"] = delta.content
        if delta.refusal is not None:
            said["refusal"] = delta.refusal
        if delta.reasoning is not None:
            said.update(reasoning_keys(delta.reasoning, native))
            if not native and _DETAILS in said:
                said[_DETAILS] = self._numbered(choice.index, said[_DETAILS])
        if delta.tool_calls is not None:
            said["tool_calls"] = [_fragment(call) for call in delta.tool_calls]
        if delta.audio is not None:
            said["audio"] = delta.audio
        finish = _finish(choice, native)
        if finish is None:
            self._running.add(choice.index)
        else:
            self._running.discard(choice.index)
        written: dict[str, Any] = {"index": choice.index, "delta": said, "finish_reason": finish}
        if choice.logprobs is not None:
            written["logprobs"] = choice.logprobs
        return written

    def _numbered(self, answer: int, details: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """
        Each with a number of its own: OpenAI's client puts lists together by ``index``, and raises where there is none.
        """
        first = self._details.get(answer, 0)
        self._details[answer] = first + len(details)
        return [{**detail, "index": index} for index, detail in enumerate(details, first)]

    def _head(self, chunk: ChatCompletionChunk) -> dict[str, Any]:
        self._id = self._id or chunk.id or _new_id()
        self._created = self._created or chunk.created or int(time.time())
        self._model = self._model or chunk.model or self._format.model
        native = bool(self._native)  # whose empty first event, as Azure has it, is no other answer's
        return {
            "id": chunk.id if native else self._id,
            "object": "chat.completion.chunk",
            "created": chunk.created if native else self._created,
            "model": chunk.model or ("" if native else self._model),
        }

    def _bare(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = ChatCompletionChunk(self._id, created=self._created, model=self._model)
        return {**self._head(chunk), "choices": choices}

    def _frame(self, chunk: ChatCompletionChunk) -> tuple[bytes, bytes]:
        """The bytes before and after a text, which are the same for nearly all of an answer's chunks."""
        about = (chunk.id, chunk.created, chunk.model, chunk.system_fingerprint, chunk.service_tier)
        if about != self._about:
            body = {**self._head(chunk), **_about(chunk.system_fingerprint, chunk.service_tier)}
            head = b"data: " + json_bytes(body)[:-1]
            before = head + b',"choices":[{"index":0,"delta":{"content":'
            self._around, self._about = (before, b'},"finish_reason":null}]}\n\n'), about
        return self._around


# -- what a stream and a whole answer share ----------------------------------------------------------------------------


def usage_object(usage: Usage, native: bool = False) -> dict[str, Any]:
    """
    Tokens, as OpenAI counts them.

    Args:
        native: Whether the provider counts so too: its own object is passed on, with whatever else it says.
    """
    counts = {name: getattr(usage, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    if native and usage.raw:
        return {**counts, **usage.raw}
    body: dict[str, Any] = {**counts}
    cached = {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens}
    prompt = {name: count for name, count in cached.items() if count is not None}
    if prompt:
        body["prompt_tokens_details"] = prompt
    if usage.reasoning_tokens is not None:
        body["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return body


def reasoning_keys(reasoning: Reasoning, native: bool = False) -> dict[str, Any]:
    """Reasoning under the names that clients of OpenAI-compatible hosts look for."""
    keys: dict[str, Any] = {}
    if reasoning.content is not None:
        name = reasoning.field if native and reasoning.field in _REASONING_NAMES else _REASONING
        keys[name] = reasoning.content
    details = reasoning.details
    if details is None and reasoning.signature is not None:
        details = [{"type": "reasoning.text", "signature": reasoning.signature}]
    if details is not None:
        keys[_DETAILS] = details
    return keys


def _whole_choice(choice: Choice, native: bool) -> dict[str, Any]:
    message = choice.message
    said: dict[str, Any] = {"role": "assistant", "content": None if message.content is None else message.text}
    said["refusal"] = message.refusal
    if message.reasoning is not None:
        said.update(reasoning_keys(message.reasoning, native))
    if message.tool_calls:
        said["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.audio is not None:
        said["audio"] = message.audio
    written = {"index": choice.index, "message": said, "finish_reason": _finish(choice, native) or "stop"}
    if choice.logprobs is not None:
        written["logprobs"] = choice.logprobs
    return written


def _finish(choice: Any, native: bool) -> Optional[str]:
    """A host that speaks this format is quoted; what others say is put into OpenAI's words, if there is one."""
    if choice.finish_reason is None:
        return None
    known = choice.finish_reason in FINISH_REASONS and choice.finish_reason != "unknown"
    said = choice.raw_finish_reason if native or not known else choice.finish_reason
    return str(said or choice.finish_reason)


def _fragment(call: ToolCall) -> dict[str, Any]:
    written: dict[str, Any] = {"index": call.index}
    if call.id is not None:
        written["id"] = call.id
    if call.id is not None or call.name is not None:
        written["type"] = call.type
    written.update(_function(call))
    if call.extra_content is not None:
        written["extra_content"] = call.extra_content
    return written


def _call(call: ToolCall) -> dict[str, Any]:
    written: dict[str, Any] = {"id": call.id, "type": call.type}
    written.update(_function(call))
    if call.extra_content is not None:
        written["extra_content"] = call.extra_content
    return written


def _function(call: ToolCall) -> dict[str, Any]:
    """What is called, and with what: JSON, or the free text of a custom tool."""
    key, said = ("custom", "input") if call.type == "custom" else ("function", "arguments")
    name = {} if call.name is None else {"name": call.name}
    return {key: {**name, said: call.arguments}}


def _about(fingerprint: Optional[str], tier: Optional[str]) -> dict[str, Any]:
    said = {"system_fingerprint": fingerprint, "service_tier": tier}
    return {name: value for name, value in said.items() if value is not None}


def _is_native(raw: Any) -> bool:
    """Whether a provider's own event, or answer, is one of this format."""
    return isinstance(raw, Mapping) and isinstance(raw.get("choices"), list)


def _further(raw: Any, native: bool) -> dict[str, Any]:
    """What else a host of this format says beside the choices: citations, timings."""
    if not native or not isinstance(raw, Mapping):
        return {}
    return {key: value for key, value in raw.items() if key not in _WRITTEN}


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
