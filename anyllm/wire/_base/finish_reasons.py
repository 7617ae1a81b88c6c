"""Translation of providers' finish reasons to ours."""

from __future__ import annotations

#: Providers' documented finish reasons, in lower case, and ours (`FINISH_REASONS`). All others are "unknown".
_FINISH_REASONS = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "tool_calls"),
    **dict.fromkeys(
        (
            *("content_filter", "content_filtered", "sensitive", "refusal", "guardrail_intervened"),
            *("safety", "recitation", "blocklist", "prohibited_content", "spii", "model_armor"),
            *("image_safety", "image_prohibited_content", "image_recitation"),
        ),
        "content_filter",
    ),
}


def finish_reason(raw: str, *, has_tool_calls: bool = False) -> str:
    """
    The one of `FINISH_REASONS` for a provider's finish reason.

    Args:
        raw: The provider's finish reason.
        has_tool_calls: Whether the answer has tool calls: "stop" then means "tool_calls", because several
            providers (Ollama, Gemini's OpenAI endpoint, forced calls at OpenAI) end such answers with "stop".
    """
    reason = _FINISH_REASONS.get(raw.lower(), "unknown")
    return "tool_calls" if has_tool_calls and reason == "stop" else reason
