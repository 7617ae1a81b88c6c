"""
The JSON of OpenAI's ``chat.completion.chunk``: one chunk, and the pieces that streams and whole answers share.

An answer is *native* where its host speaks this format: its own words (its name for reasoning, its finish reason, its
usage object, further keys) are passed on. The words of other providers are translated into OpenAI's.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from anyllm.types._parts import FINISH_REASONS, Reasoning, ToolCall, Usage

__all__ = [
    "DETAILS",
    "WRITTEN",
    "about_object",
    "choice_object",
    "chunk_object",
    "finish_word",
    "fragment_object",
    "function_object",
    "further_keys",
    "is_native",
    "reasoning_keys",
    "usage_object",
]

_REASONING = "reasoning_content"
DETAILS = "reasoning_details"
#: The names under which OpenAI-compatible hosts send reasoning, which clients of theirs look for.
_REASONING_NAMES = frozenset((_REASONING, "reasoning", "thought", "thinking"))
#: The keys of an event that are written from the chunk.
WRITTEN = frozenset(
    ("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "obfuscation")
)


def chunk_object(chunk: Any) -> dict[str, Any]:
    """
    One `ChatCompletionChunk` by itself.

    A notice of a further try has no place in this format: it stands under ``retry``, which its clients pass over.
    """
    native = is_native(chunk.raw)
    body: dict[str, Any] = {"id": chunk.id, "object": chunk.object, "created": chunk.created, "model": chunk.model}
    body["choices"] = [choice_object(choice, native) for choice in chunk.choices]
    body.update(about_object(chunk.system_fingerprint, chunk.service_tier))
    body.update(further_keys(chunk.raw, native))
    if chunk.usage is not None:
        body["usage"] = usage_object(chunk.usage, native)
    if chunk.retry is not None:
        body["retry"] = chunk.retry.to_dict()
    return body


def choice_object(choice: Any, native: bool) -> dict[str, Any]:
    """One `ChunkChoice`: its index, delta, finish reason, and log probabilities where there are any."""
    delta = choice.delta
    written: dict[str, Any] = {}
    for name in ("role", "content", "refusal"):
        value = getattr(delta, name)
        if value is not None:
            written[name] = value
    if delta.reasoning is not None:
        written.update(reasoning_keys(delta.reasoning, native))
    if delta.tool_calls is not None:
        written["tool_calls"] = [fragment_object(call) for call in delta.tool_calls]
    if delta.audio is not None:
        written["audio"] = delta.audio
    body: dict[str, Any] = {"index": choice.index, "delta": written, "finish_reason": finish_word(choice, native)}
    if choice.logprobs is not None:
        body["logprobs"] = choice.logprobs
    return body


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
        keys[DETAILS] = details
    return keys


def finish_word(choice: Any, native: bool) -> Optional[str]:
    """A host that speaks this format is quoted; what others say is put into OpenAI's words, if there is one."""
    if choice.finish_reason is None:
        return None
    known = choice.finish_reason in FINISH_REASONS and choice.finish_reason != "unknown"
    reason = choice.raw_finish_reason if native or not known else choice.finish_reason
    return str(reason or choice.finish_reason)


def fragment_object(call: ToolCall) -> dict[str, Any]:
    written: dict[str, Any] = {"index": call.index}
    if call.id is not None:
        written["id"] = call.id
    if call.id is not None or call.name is not None:
        written["type"] = call.type
    written.update(function_object(call))
    if call.extra_content is not None:
        written["extra_content"] = call.extra_content
    return written


def function_object(call: ToolCall) -> dict[str, Any]:
    """What is called, and with what: JSON, or the free text of a custom tool."""
    key, field = ("custom", "input") if call.type == "custom" else ("function", "arguments")
    name = {} if call.name is None else {"name": call.name}
    return {key: {**name, field: call.arguments}}


def about_object(fingerprint: Optional[str], tier: Optional[str]) -> dict[str, Any]:
    about = {"system_fingerprint": fingerprint, "service_tier": tier}
    return {name: value for name, value in about.items() if value is not None}


def is_native(raw: Any) -> bool:
    """Whether a provider's own event, or answer, is one of this format."""
    return isinstance(raw, Mapping) and isinstance(raw.get("choices"), list)


def further_keys(raw: Any, native: bool) -> dict[str, Any]:
    """What else a host of this format says beside the choices: citations, timings."""
    if not native or not isinstance(raw, Mapping):
        return {}
    return {key: value for key, value in raw.items() if key not in WRITTEN}
