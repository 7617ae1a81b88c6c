"""
Tables of Google's format, for both directions: settings, thinking, function modes, finish reasons, token counts.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/thinking,
https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse#FinishReason
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import Usage
from anyllm.wire._base.json_values import count, whole_number, without_none

#: Our parameters, the keys of ``generationConfig``, and the types of their values.
SETTINGS: Mapping[str, tuple[str, type]] = {
    "temperature": ("temperature", float),
    "top_p": ("topP", float),
    "max_tokens": ("maxOutputTokens", int),
    "n": ("candidateCount", int),
    "seed": ("seed", int),
    "logprobs": ("responseLogprobs", bool),
    "top_logprobs": ("logprobs", int),
}
JSON_TYPE = "application/json"

#: Tokens for thinking; "high" is the most that all models accept.
#: Source: https://ai.google.dev/gemini-api/docs/openai#thinking
BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
#: From Gemini 3 on, levels; only 0 is still a budget. A model refuses a level that it does not have.
LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH", "max": "XHIGH"}

#: ``tool_choice``, and the mode of ``functionCallingConfig``.
MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
UNSPECIFIED = "_UNSPECIFIED"

#: `Reasoning.field` of Google's reasoning.
THOUGHT = "thought"
#: Parts of Google's own tools, which are sent back as they came.
TOOL_PARTS = frozenset(("executableCode", "codeExecutionResult", "toolCall", "toolResponse"))

# -- finish reasons ----------------------------------------------------------------------------------------------------

#: The names in the order of the enum: a gateway that asks for ``enum-encoding=int`` gets their numbers.
NUMBERS = (
    *("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY", "UNEXPECTED_TOOL_CALL"),
    *("TOO_MANY_TOOL_CALLS", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "NO_IMAGE", "IMAGE_RECITATION"),
)
#: Vertex numbers them differently.
VERTEX_NUMBERS = (
    *("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "MODEL_ARMOR", "IMAGE_SAFETY"),
    *("IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER", "UNEXPECTED_TOOL_CALL", "NO_IMAGE"),
)
#: Reasons for which a prompt is blocked, as far as both number them alike.
BLOCK_REASONS = ("BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT")

#: Finish reasons that are failures, and the type of error of each.
MALFORMED_CALL = "MALFORMED_FUNCTION_CALL"
FAILURES = {
    **dict.fromkeys((MALFORMED_CALL, "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"), "server_error"),
    "TOO_MANY_TOOL_CALLS": "server_error",
    "MISSING_THOUGHT_SIGNATURE": "invalid_request_error",
}
_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}


def enum_name(value: Any, names: tuple[str, ...]) -> str:
    """The name of an enum's value, which may come as a number; an unknown value stays as it is, as text."""
    number = None if isinstance(value, str) else whole_number(value)
    if number is None:
        return str(value)
    return names[number] if 0 <= number < len(names) else str(number)


def write_finish_reason(choice: Any, native: bool) -> tuple[str, str | None]:
    """
    Google's finish reason, and a ``finishMessage``, for the end of a choice.

    Args:
        choice: A `Choice` or `ChunkChoice` that has ended.
        native: Whether its raw reason is Google's own; another provider's stands in the message.
    """
    if native and choice.raw_finish_reason:
        return choice.raw_finish_reason, None
    name = _FINISH.get(choice.finish_reason)
    return (name, None) if name else ("OTHER", choice.raw_finish_reason or choice.finish_reason)


# -- token counts ------------------------------------------------------------------------------------------------------


def read_usage(raw: Any) -> Usage | None:
    """
    The counts of ``usageMetadata``; None when there are none, as in Vertex's events before the last one.

    Tokens that tools of the provider put into the prompt (``toolUsePromptTokenCount``) belong to the prompt, unless the
    total shows that they are counted in already. Source: https://ai.google.dev/api/generate-content#UsageMetadata
    """
    if not isinstance(raw, dict):
        return None
    prompt, answer = count(raw, "promptTokenCount"), count(raw, "candidatesTokenCount")
    total, thoughts = count(raw, "totalTokenCount"), count(raw, "thoughtsTokenCount")
    if prompt is None and answer is None and total is None:
        return None
    prompt, completion = prompt or 0, (answer or 0) + (thoughts or 0)
    if total != prompt + completion:
        prompt += count(raw, "toolUsePromptTokenCount") or 0
    cached = count(raw, "cachedContentTokenCount")
    return Usage(prompt, completion, total or prompt + completion, thoughts, cached, raw=raw)


def write_usage(usage: Usage | None, native: bool) -> dict[str, Any]:
    """
    The field ``usageMetadata``; none without usage. Google counts thoughts apart from the answer.

    Args:
        native: Whether Google's own object is passed on.
    """
    if usage is None:
        return {}
    if native and usage.raw:
        return {"usageMetadata": usage.raw}
    thoughts = usage.reasoning_tokens
    if thoughts is not None:
        thoughts = min(thoughts, usage.completion_tokens)  # some providers count more thoughts than tokens in all
    counts = {
        "promptTokenCount": usage.prompt_tokens,
        "candidatesTokenCount": usage.completion_tokens - (thoughts or 0),
        "totalTokenCount": usage.total_tokens,
        "thoughtsTokenCount": thoughts,
        "cachedContentTokenCount": usage.cache_read_tokens,
    }
    return {"usageMetadata": without_none(counts)}


# -- log probabilities -------------------------------------------------------------------------------------------------


def write_logprobs(logprobs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The field ``logprobsResult``; none for log probabilities in neither Google's shape nor OpenAI's."""
    if logprobs and "chosenCandidates" in logprobs:
        return {"logprobsResult": dict(logprobs)}
    tokens = (logprobs or {}).get("content")
    if not isinstance(tokens, list) or not all(isinstance(token, Mapping) for token in tokens) or not tokens:
        return {}
    tops = [token.get("top_logprobs") for token in tokens]
    result: dict[str, Any] = {"chosenCandidates": [_probability(token) for token in tokens]}
    if all(isinstance(top, list) and top and all(isinstance(one, Mapping) for one in top) for top in tops):
        result["topCandidates"] = [{"candidates": [_probability(one) for one in top or ()]} for top in tops]
    return {"logprobsResult": result}


def _probability(token: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": token.get("token"), "logProbability": token.get("logprob")}
