"""
Marks that say what to cache, which Anthropic's clients put into nearly every request.

They say nothing of the answer. Hosts that speak OpenAI's formats and cache by themselves refuse keys that they do not
know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from anyllm.providers.provider import Provider
from anyllm.types import CompletionParams, Message
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect

__all__ = ["takes_marks", "without_marks"]

_NAME = "cache_control"
#: Hosts of OpenAI's formats that cache on request: they hand it on to others' models, or have it themselves.
_CACHING = frozenset(("openrouter", "vercel", "qwen"))


def takes_marks(host: Provider) -> bool:
    """Whether *host* can be sent them; formats that have no words for them leave them out by themselves."""
    return host.name in _CACHING or not isinstance(host.dialect, (OpenAIChatDialect, OpenAIResponsesDialect))


def without_marks(params: CompletionParams) -> CompletionParams:
    """*params* without them; the same object where there are none."""
    messages = [_message(message) for message in params.messages]
    tools = None if params.tools is None else [_tool(tool) for tool in params.tools]
    is_same = all(map(_is, messages, params.messages)) and all(map(_is, tools or (), params.tools or ()))
    return params if is_same else params.evolve(messages=messages, tools=tools)


def _is(one: Any, other: Any) -> bool:
    return one is other


def _message(message: Message) -> Message:
    content = message.content
    if content is not None and not isinstance(content, str) and any(part.cache_control for part in content):
        content = tuple(attrs.evolve(part, cache_control=None) for part in content)
    if content is message.content and message.cache_control is None:
        return message
    return attrs.evolve(message, content=content, cache_control=None)


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in tool.items() if key != _NAME} if _NAME in tool else tool
