"""What dialects share: the words for an end, and numbers that hosts send as something else."""

from __future__ import annotations

import math
from typing import Any

#: What providers say when an answer ends, in lower case, and which of `FINISH_REASONS` it means. Only words
#: whose meaning their provider documents; everything else is "unknown".
_FINISH_REASONS = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "tool_calls"),
    **dict.fromkeys(
        (
            *("content_filter", "content_filtered", "sensitive", "refusal", "guardrail_intervened"),
            *("safety", "recitation", "blocklist", "prohibited_content", "spii"),
        ),
        "content_filter",
    ),
}


def finish_reason(raw: str, *, has_tool_calls: bool = False) -> str:
    """
    The one of `FINISH_REASONS` that a provider's own word means.

    Args:
        raw: The provider's word.
        has_tool_calls: Whether the answer holds tool calls: "stop" then means "tool_calls", because several
            hosts (Ollama, Gemini's OpenAI endpoint, forced calls at OpenAI) end such answers with "stop".
    """
    meaning = _FINISH_REASONS.get(raw.lower(), "unknown")
    return "tool_calls" if has_tool_calls and meaning == "stop" else meaning


def whole_number(value: Any) -> int | None:
    """A count, which hosts also send as a float or as a string; None if *value* is none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def json_type(value: Any) -> str:
    """What JSON calls the type of *value*, for messages that a person reads."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
