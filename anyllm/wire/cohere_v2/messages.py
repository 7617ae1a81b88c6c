"""
The messages of a request to version 2 of Cohere's API.

They have OpenAI's shape, except that an assistant's message has its plan beside the tool calls and its thinking in the
content. The provider caches prompt prefixes automatically, so ``cache_control`` is left out.

Source: https://docs.cohere.com/reference/chat (messages)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from anyllm.types import ContentPart, Message, ToolCall
from anyllm.wire._base.conversation import media_in
from anyllm.wire._base.encode_json import invalid, unsupported
from anyllm.wire.cohere_v2.reasoning import THINKING, TOOL_PLAN, reasoning_fields

#: Roles with another name here.
_ROLES = {"developer": "system", "function": "tool"}


def messages_in_json(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    """
    The messages as JSON, without nulls.

    Raises:
        UnsupportedParameterError: a message contains something that the provider does not accept.
        InvalidRequestError: a tool result does not name the call that it answers.
    """
    ids: dict[str, str] = {}
    found = []
    for message in messages:
        found.append(_message(message, ids, provider))
        for index, call in enumerate(message.tool_calls):
            ids[call.name or ""] = _id(call, index)
    return found


def _message(message: Message, ids: dict[str, str], provider: str) -> dict[str, Any]:
    role = _ROLES.get(message.role, message.role)
    body: dict[str, Any] = {"role": role}
    if role == "tool":
        body["tool_call_id"] = _answered_id(message, ids, provider)
    elif message.name is not None:
        raise unsupported("name", "the provider does not support names of speakers", provider)
    reasoning = reasoning_fields(message)
    if TOOL_PLAN in reasoning:
        body[TOOL_PLAN] = reasoning[TOOL_PLAN]
    content = _content(message, reasoning.get(THINKING), provider)
    if content is not None:
        body["content"] = content
    if message.tool_calls:
        body["tool_calls"] = [_call(call, index) for index, call in enumerate(message.tool_calls)]
    return body


def _content(message: Message, thinking: str | None, provider: str) -> str | list[dict[str, Any]] | None:
    content = message.content or message.refusal or message.content
    if not isinstance(content, str) and content is not None:
        parts = [_part(part, provider) for part in content]
    elif thinking is None:
        return content
    else:
        parts = [{"type": "text", "text": content}] if content else []
    return parts if thinking is None else [{"type": THINKING, THINKING: thinking}, *parts]


def _part(part: ContentPart, provider: str) -> dict[str, Any]:
    media = media_in(part, provider)
    if media is None:
        text = {} if part.text is None else {"text": part.text}
        return {"type": part.type, **text, **(part.extra or {})}
    if media.kind != "image":
        raise unsupported(part.type, f"the provider accepts text and images, not {part.type}", provider)
    url = media.url if media.base64 is None else f"data:{media.media_type};base64,{media.base64}"
    detail = {} if media.detail is None else {"detail": media.detail}
    return {"type": "image_url", "image_url": {"url": url, **detail}, **(part.extra or {})}


# -- tool calls and their results --------------------------------------------------------------------------------------


def _call(call: ToolCall, index: int) -> dict[str, Any]:
    function = {"name": call.name or "", "arguments": call.arguments.strip() or "{}"}
    return {"id": _id(call, index), "type": "function", "function": function}


def _id(call: ToolCall, index: int) -> str:
    """A call's id, made up if it has none: the provider requires one, and OpenAI's older functions have none."""
    return call.id or f"call_{index}"


def _answered_id(message: Message, ids: dict[str, str], provider: str) -> str:
    """The id of the call that a tool result answers: its own, or that of the last call of the function it names."""
    call_id = message.tool_call_id or ids.get(message.name or "")
    if not call_id:
        raise invalid("messages", "a tool's result has no tool_call_id", provider)
    return call_id
