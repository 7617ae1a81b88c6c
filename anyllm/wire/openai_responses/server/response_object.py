"""
The response around the output items: its default values, what it repeats of the request, and how the parts are merged.

Source: https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["echo_of", "response_object"]

#: Keys of every response, which clients rely on; with their values where the request did not set them.
_DEFAULTS: Mapping[str, Any] = {
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
#: Keys of the request that the response repeats, beside those above.
_ECHOED = ("max_tool_calls", "prompt_cache_key", "safety_identifier", "top_logprobs")


def echo_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a request that its response repeats; nothing is stored, whatever the request says."""
    echo = {name: body[name] for name in (*_DEFAULTS, *_ECHOED) if body.get(name) is not None and name != "background"}
    for name in ("reasoning", "text"):
        if isinstance(echo.get(name), Mapping):
            echo[name] = {**_DEFAULTS[name], **echo[name]}
    return {**echo, "store": False}


def response_object(
    about: Mapping[str, Any], native: Mapping[str, Any], echo: Mapping[str, Any], **fields: Any
) -> dict[str, Any]:
    """
    A response.

    Args:
        about: Its id, time and model.
        native: The response of a provider that speaks this format.
        echo: The keys of the request that it repeats.
        fields: Its status, output, usage, and whatever else has come.
    """
    unset = {"error": None, "incomplete_details": None, "usage": None}
    return {**about, **_DEFAULTS, **native, **echo, **about, **unset, **fields}
