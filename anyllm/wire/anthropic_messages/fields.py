"""Names of Anthropic's Messages: types of blocks and events, stop reasons, token counts, each for both directions."""

from __future__ import annotations

from typing import Any

from anyllm.types import ChatCompletion, ChatCompletionChunk, Usage
from anyllm.wire._base.block_decoder import usage_of
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.json_values import count, json_object, without_none

#: Types of blocks that are read; all others are passed on as they are.
TEXT, THINKING, REDACTED, TOOL_USE = KNOWN_BLOCKS = ("text", "thinking", "redacted_thinking", "tool_use")
THINKING_BLOCKS = (THINKING, REDACTED)

#: In the details of reasoning, the number of a thinking block after the first: the accumulator would join signed blocks
#: without it.
NUMBER = "index"

DELTA = "content_block_delta"
EVENTS = frozenset(
    (
        *("message", "message_start", "message_delta", "message_stop"),
        *("content_block_start", DELTA, "content_block_stop"),
    )
)

#: Stop reasons. Of several with one meaning, the first is written for it.
_STOP_REASONS = (
    *("end_turn", "max_tokens", "tool_use", "refusal", "stop_sequence", "pause_turn"),
    "model_context_window_exceeded",
)
_STOP_REASON_OF = {finish_reason(reason): reason for reason in reversed(_STOP_REASONS) if reason != "pause_turn"}

#: Tokens of the input, of the output, read from a cache, and written to one.
_COUNTS = _INPUT, _OUTPUT, _READ, _WRITTEN = (
    *("input_tokens", "output_tokens"),
    *("cache_read_input_tokens", "cache_creation_input_tokens"),
)
#: Official clients fail without these two, whether anyone counted or not.
ZERO_USAGE = {_INPUT: 0, _OUTPUT: 0}


def stop_reason(answer: ChatCompletion | ChatCompletionChunk, native: bool, *, has_calls: bool) -> str | None:
    """
    The stop reason of an answer: the provider's own word, where that is Anthropic's too.

    Args:
        native: Whether the provider speaks this format.
        has_calls: Clients go on by the reason, so calls make it "tool_use", whatever the provider calls it.
    """
    finish, raw = answer.finish_reason, answer.raw_finish_reason
    if raw is not None and (native or raw in _STOP_REASONS):
        return str(raw)
    if finish is None and native:
        return None
    if has_calls and finish in (None, "stop"):
        return "tool_use"
    return _STOP_REASON_OF.get(finish or "stop") or str(raw or finish)


def read_usage(raw: Any) -> Usage | None:
    """
    Token counts of a ``usage`` object; None where nothing was counted.

    Source: https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance
    """
    details = json_object(json_object(raw).get("output_tokens_details"))
    return usage_of(raw, _COUNTS, count(details, "thinking_tokens"))


def usage_object(usage: Usage | None, native: bool = False) -> dict[str, Any]:
    """
    The ``usage`` object of token counts; empty where nothing was counted.

    Args:
        native: Whether the provider speaks this format: its own object is passed on, with all that is in it.
    """
    if usage is None:
        return {}
    if native and usage.raw:
        return dict(usage.raw)
    cached = without_none({_READ: usage.cache_read_tokens, _WRITTEN: usage.cache_write_tokens})
    prompt = max(0, usage.prompt_tokens - sum(cached.values()))
    body: dict[str, Any] = {_INPUT: prompt, **cached, _OUTPUT: usage.completion_tokens}
    if usage.reasoning_tokens is not None:
        body["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return body
