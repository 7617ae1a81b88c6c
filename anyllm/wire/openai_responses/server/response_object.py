"""
The response around the output items: what it echoes of the request, how it ended, and its tokens.

Source: https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from anyllm.types import Usage

__all__ = ["incomplete_reason", "response_object", "usage_object"]

#: What a response says of a request that said nothing of it. Clients rely on some of these keys.
_UNSAID: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
#: What our reasons for an end are called here, where they make an answer incomplete.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response_object(
    about: Mapping[str, Any], own: Mapping[str, Any], request: Mapping[str, Any], **said: Any
) -> dict[str, Any]:
    """
    A response.

    Args:
        about: Its id, time and model.
        own: The response of a host that speaks this format.
        request: What of the request it echoes.
        said: Its status, output, usage, and whatever else has been found out.
    """
    always = {"error": None, "incomplete_details": None, "usage": None}
    return {**about, **_UNSAID, **own, **request, **about, **always, **said}


def incomplete_reason(finish: Optional[str], said: Optional[str]) -> Optional[str]:
    """
    Why an answer is not complete; None if it is, or nobody says why it ended.

    Args:
        finish: One of `FINISH_REASONS`, or None.
        said: The provider's own word: what nobody knows to be a good end is no completed answer, and is quoted.
    """
    if finish in (None, "stop", "tool_calls"):
        return None
    return _INCOMPLETE.get(finish or "") or said or finish


def usage_object(usage: Usage, is_native: bool) -> dict[str, Any]:
    """
    Tokens, as this format counts them; clients need both details, so what nobody counted is 0 there.

    Args:
        usage: The tokens.
        is_native: Whether the provider counts so too: its own object is passed on.
    """
    if is_native and usage.raw:
        return dict(usage.raw)
    before = {"cached_tokens": usage.cache_read_tokens or 0}
    if usage.cache_write_tokens is not None:
        before["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": before,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.total_tokens,
    }
