"""Finish reasons: the words of providers, and which of ours each means."""

from __future__ import annotations

#: Finish reasons of providers, in lower case, and the one of `FINISH_REASONS` that each means. Only words whose
#: meaning their provider documents; everything else is "unknown".
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
