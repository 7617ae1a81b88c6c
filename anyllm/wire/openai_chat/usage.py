"""
Token counts: from the names and habits of OpenAI-compatible providers to one `Usage`.

Source: https://platform.openai.com/docs/api-reference/chat/object (usage)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import Usage
from anyllm.wire._base.json_values import count

#: Reasoning that exceeds the whole answer by no more than a tenth was counted with another tokenizer (MiniMax and
#: GLM report 369 of 365); more than that was not counted in (Vercel's Gemini reports 280 beside 19).
_COUNTING_ERROR = 10


def read_usage(raw: Mapping[str, Any]) -> Usage | None:
    """The counts in a ``usage`` object; None where there are none."""
    prompt = count(raw, "prompt_tokens", "input_tokens")
    completion = count(raw, "completion_tokens", "output_tokens")
    total = count(raw, "total_tokens")
    if prompt is None and completion is None and total is None:
        return None
    prompt_details = object_in(raw, "prompt_tokens_details", "input_tokens_details")
    completion_details = object_in(raw, "completion_tokens_details", "output_tokens_details")
    reasoning = _or(count(completion_details, "reasoning_tokens"), count(raw, "reasoning_tokens"))
    prompt, completion, total = prompt or 0, completion or 0, total or 0
    if reasoning and _leaves_out(reasoning, prompt, completion, total):
        completion += reasoning
        total = max(total, prompt + completion)
    cached = _or(
        count(prompt_details, "cached_tokens"),
        # DeepSeek; Moonshot; Mistral; gateways that keep Anthropic's name.
        count(raw, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens"),
    )
    written = _or(count(prompt_details, "cache_write_tokens"), count(raw, "cache_creation_input_tokens"))
    if cached and total == prompt + completion + cached + (written or 0):
        prompt += cached + (written or 0)  # counted beside the prompt, as Anthropic counts
    elif cached and cached > prompt:
        cached = None  # no part of this prompt: Magistral counts the cache of a system prompt that it does not
    return Usage(prompt, completion, total or prompt + completion, reasoning, cached, written, raw=dict(raw))


def _leaves_out(reasoning: int, prompt: int, completion: int, total: int) -> bool:
    """Whether *completion* lacks the reasoning: xAI counts it in the total only, Vercel's Gemini nowhere."""
    return total == prompt + completion + reasoning or reasoning > completion + completion // _COUNTING_ERROR


def _or(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def object_in(raw: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The first of *names* that holds an object; an empty one when none does."""
    for name in names:
        if isinstance(value := raw.get(name), dict):
            return value
    return {}
