"""
Remove `cache_control`, Anthropic's marks for prompt caching, for providers that refuse them.

Anthropic's clients put marks into nearly every request. They do not change the answer, so the request can go without.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import attrs

from anyllm.types import CompletionParams, Message

_KEY = "cache_control"


def without_cache_marks(params: CompletionParams) -> CompletionParams:
    """*params* without marks; the same object if it has none."""
    messages = [_message(message) for message in params.messages]
    tools = None if params.tools is None else [_tool(tool) for tool in params.tools]
    is_same = all(map(operator.is_, messages, params.messages)) and all(
        map(operator.is_, tools or (), params.tools or ())
    )
    return params if is_same else params.evolve(messages=messages, tools=tools)


def _message(message: Message) -> Message:
    content = message.content
    if content is not None and not isinstance(content, str) and any(part.cache_control for part in content):
        content = tuple(attrs.evolve(part, cache_control=None) for part in content)
    if content is message.content and message.cache_control is None:
        return message
    return attrs.evolve(message, content=content, cache_control=None)


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in tool.items() if key != _KEY} if _KEY in tool else tool
