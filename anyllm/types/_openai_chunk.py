"""
The JSON of OpenAI's ``chat.completion.chunk``: one chunk, and the objects that streams and whole answers share.

An answer is *native* if its provider uses this format: then its own key for reasoning, finish reason, usage object and
unknown fields are passed on. Those of other providers are translated into OpenAI's.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from anyllm.types._parts import FINISH_REASONS, Reasoning, ToolCall, Usage

DETAILS = "reasoning_details"
#: The names of reasoning in OpenAI-compatible APIs, in the order in which to look for them: providers that rename the
#: field send both for a while. The first is the one for reasoning without a name.
REASONING_NAMES = ("reasoning_content", "reasoning", "thinking", "thought")
#: The keys of an event that are written from the chunk.
WRITTEN = frozenset(
    ("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "obfuscation")
)


def chunk_object(chunk: Any) -> dict[str, Any]:
    """
    One `ChatCompletionChunk`.

    The format has no notice of a retry: it is written under the key ``retry``, which clients ignore.
    """
    native = is_native(chunk.raw)
    body: dict[str, Any] = {"id": chunk.id, "object": chunk.object, "created": chunk.created, "model": chunk.model}
    body["choices"] = [choice_object(choice, native) for choice in chunk.choices]
    body.update(service_fields(chunk.system_fingerprint, chunk.service_tier))
    body.update(unknown_fields(chunk.raw, native))
    if chunk.usage is not None:
        body["usage"] = usage_object(chunk.usage, native)
    if chunk.retry is not None:
        body["retry"] = chunk.retry.to_dict()
    return body


def choice_object(choice: Any, native: bool) -> dict[str, Any]:
    """One `ChunkChoice`: its index, delta, finish reason, and log probabilities if it has any."""
    delta = choice.delta
    calls = None if delta.tool_calls is None else [fragment_object(call) for call in delta.tool_calls]
    written = turn_object(delta, delta.content, calls, native)
    body: dict[str, Any] = {"index": choice.index, "delta": written, "finish_reason": finish_reason_of(choice, native)}
    if choice.logprobs is not None:
        body["logprobs"] = choice.logprobs
    return body


def turn_object(turn: Any, content: Optional[str], calls: Optional[list[Any]], native: bool) -> dict[str, Any]:
    """What a delta and a whole message have in common, without nulls; *calls* are the objects of its tool calls."""
    texts = {"role": turn.role, "content": content, "refusal": turn.refusal}
    written: dict[str, Any] = {name: text for name, text in texts.items() if text is not None}
    if turn.reasoning is not None:
        written.update(reasoning_keys(turn.reasoning, native))
    if calls is not None:
        written["tool_calls"] = calls
    if turn.audio is not None:
        written["audio"] = turn.audio
    return written


def usage_object(usage: Usage, native: bool = False) -> dict[str, Any]:
    """Tokens in OpenAI's usage object: the provider's own one, with its other keys, if that is *native*."""
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
    """Reasoning under the keys that clients of OpenAI-compatible providers expect."""
    keys: dict[str, Any] = {}
    if reasoning.content is not None:
        name = reasoning.field if native and reasoning.field in REASONING_NAMES else REASONING_NAMES[0]
        keys[name] = reasoning.content
    details = reasoning.details
    if details is None and reasoning.signature is not None:
        details = [{"type": "reasoning.text", "signature": reasoning.signature}]
    if details is not None:
        keys[DETAILS] = details
    return keys


def finish_reason_of(choice: Any, native: bool) -> Optional[str]:
    """The provider's own finish reason if it uses this format or ours is unknown; else OpenAI's."""
    if choice.finish_reason is None:
        return None
    is_known = choice.finish_reason in FINISH_REASONS and choice.finish_reason != "unknown"
    reason = choice.raw_finish_reason if native or not is_known else choice.finish_reason
    return str(reason or choice.finish_reason)


def fragment_object(call: ToolCall) -> dict[str, Any]:
    written: dict[str, Any] = {"index": call.index}
    if call.id is not None:
        written["id"] = call.id
    if call.id is not None or call.name is not None:
        written["type"] = call.type
    written.update(_function_object(call, call.name))
    if call.extra_content is not None:
        written["extra_content"] = call.extra_content
    return written


def call_object(call: ToolCall) -> dict[str, Any]:
    """A whole call."""
    written: dict[str, Any] = {"id": call.id, "type": call.type, **_function_object(call, call.name or "")}
    if call.extra_content:
        written["extra_content"] = call.extra_content
    return written


def _function_object(call: ToolCall, name: Optional[str]) -> dict[str, Any]:
    """The function of a call: its JSON arguments, or the free text of a custom tool."""
    key, field = ("custom", "input") if call.type == "custom" else ("function", "arguments")
    return {key: {field: call.arguments} if name is None else {"name": name, field: call.arguments}}


def service_fields(fingerprint: Optional[str], tier: Optional[str]) -> dict[str, Any]:
    fields = {"system_fingerprint": fingerprint, "service_tier": tier}
    return {name: value for name, value in fields.items() if value is not None}


def is_native(raw: Any) -> bool:
    """Whether a provider's own event or answer is in this format."""
    return isinstance(raw, Mapping) and isinstance(raw.get("choices"), list)


def unknown_fields(raw: Any, native: bool) -> dict[str, Any]:
    """A provider's other fields in this format: citations, timings."""
    if not native or not isinstance(raw, Mapping):
        return {}
    return {key: value for key, value in raw.items() if key not in WRITTEN}
