"""
The conversation in Cohere's JSON.

It is OpenAI's but for an assistant's turn, which takes its plan beside the calls and its thoughts among the content.
The host caches the beginnings of prompts by itself, so ``cache_control`` needs no words.

Source: https://docs.cohere.com/reference/chat (messages)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.types import ContentPart, Message, ToolCall
from anyllm.wire._base.conversation import media_in
from anyllm.wire.cohere_v2.reasoning import THINKING, TOOL_PLAN, sent_back

#: Roles that go by another name here.
_ROLES = {"developer": "system", "function": "tool"}


def messages_in_json(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    """
    The conversation, without nulls.

    Raises:
        UnsupportedParameterError: a message holds what this host is not shown.
        InvalidRequestError: a tool's result does not say which call it answers.
    """
    ids: dict[str, str] = {}
    found = []
    for message in messages:
        found.append(_message(message, ids, provider))
        for place, call in enumerate(message.tool_calls):
            ids[call.name or ""] = _id(call, place)
    return found


def _message(message: Message, ids: dict[str, str], provider: str) -> dict[str, Any]:
    role = _ROLES.get(message.role, message.role)
    body: dict[str, Any] = {"role": role}
    if role == "tool":
        body["tool_call_id"] = _answered(message, ids, provider)
    elif message.name is not None:
        raise UnsupportedParameterError(
            "this host does not tell speakers apart by name", provider=provider, param="name"
        )
    thoughts = sent_back(message)
    if TOOL_PLAN in thoughts:
        body[TOOL_PLAN] = thoughts[TOOL_PLAN]
    content = _content(message, thoughts.get(THINKING), provider)
    if content is not None:
        body["content"] = content
    if message.tool_calls:
        body["tool_calls"] = [_call(call, place) for place, call in enumerate(message.tool_calls)]
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
        raise UnsupportedParameterError(
            f"this host is shown text and images, not {part.type}", provider=provider, param=part.type
        )
    url = media.url if media.base64 is None else f"data:{media.media_type};base64,{media.base64}"
    detail = {} if media.detail is None else {"detail": media.detail}
    return {"type": "image_url", "image_url": {"url": url, **detail}, **(part.extra or {})}


# -- tool calls and their results --------------------------------------------------------------------------------------


def _call(call: ToolCall, place: int) -> dict[str, Any]:
    function = {"name": call.name or "", "arguments": call.arguments.strip() or "{}"}
    return {"id": _id(call, place), "type": "function", "function": function}


def _id(call: ToolCall, place: int) -> str:
    """A call's id, which the host insists on: the form before tools had none."""
    return call.id or f"call_{place}"


def _answered(message: Message, ids: dict[str, str], provider: str) -> str:
    """The id of the call that a tool's result answers: said, or that of the last call of the function it names."""
    call_id = message.tool_call_id or ids.get(message.name or "")
    if not call_id:
        raise InvalidRequestError("a tool's result has no tool_call_id", provider=provider, param="messages")
    return call_id
