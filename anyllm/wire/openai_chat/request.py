"""
The request: parameters and messages in OpenAI's JSON.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Any

from anyllm.types import CompletionParams, ContentPart, Message, ToolCall
from anyllm.wire._base.encode_json import effort_in
from anyllm.wire.openai_chat.reasoning import CONTENT, DETAILS, FIELDS, TAGS

#: Sent under their own names, when they are given.
_PLAIN = (
    *("temperature", "top_p", "stop", "n", "user", "tools", "tool_choice", "parallel_tool_calls"),
    *("response_format", "logprobs", "top_logprobs", "functions", "function_call"),
)


#: The keys that reasoning goes back under if it came under them; those of other formats mean nothing here.
_OWN_KEYS = frozenset((CONTENT, DETAILS, TAGS, *FIELDS))


def messages_in_json(messages: tuple[Message, ...], *, reasoning_key: str | None) -> list[dict[str, Any]]:
    """
    Messages in OpenAI's shape, without nulls.

    Args:
        messages: The conversation.
        reasoning_key: The key for reasoning that does not know under which it came; None sends none at all.
    """
    return [_message(message, reasoning_key) for message in messages]


def plain_params(params: CompletionParams, provider: str) -> dict[str, Any]:
    """
    The parameters that every host takes under the same name.

    Raises:
        UnsupportedParameterError: the reasoning effort is none that we know.
    """
    body = {name: value for name in _PLAIN if (value := getattr(params, name)) is not None}
    effort = effort_in(params, provider)
    if effort is not None:
        body["reasoning_effort"] = effort
    return body


def _message(message: Message, reasoning_key: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role}
    content = message.content
    if content is not None:
        body["content"] = content if isinstance(content, str) else [_part(part) for part in content]
    for name in ("name", "tool_call_id", "refusal", "cache_control"):
        if (value := getattr(message, name)) is not None:
            body[name] = value
    if message.tool_calls:
        body.update(_calls(message.tool_calls))
    if message.audio is not None and message.audio.get("id"):
        body["audio"] = {"id": message.audio["id"]}  # the host has the rest
    if message.role == "assistant" and message.reasoning is not None and reasoning_key is not None:
        _add_reasoning(body, message, reasoning_key)
    return body


def _part(part: ContentPart) -> dict[str, Any]:
    body: dict[str, Any] = {"type": part.type}
    for name in ("text", "image_url", "input_audio", "file", "cache_control"):
        if (value := getattr(part, name)) is not None:
            body[name] = value
    return {**body, **(part.extra or {})}


def _calls(calls: tuple[ToolCall, ...]) -> dict[str, Any]:
    """Tool calls; the one without an id came in the form before tools, and goes back in it."""
    first = calls[0]
    if len(calls) == 1 and first.id is None and first.type == "function":
        return {"function_call": {"name": first.name or "", "arguments": first.arguments}}
    return {"tool_calls": [_call(call) for call in calls]}


def _call(call: ToolCall) -> dict[str, Any]:
    if call.type == "custom":
        function = {"custom": {"name": call.name or "", "input": call.arguments}}
    else:
        function = {"function": {"name": call.name or "", "arguments": call.arguments}}
    body = {"id": call.id or "", "type": call.type, **function}
    return {**body, "extra_content": call.extra_content} if call.extra_content else body


def _add_reasoning(body: dict[str, Any], message: Message, reasoning_key: str) -> None:
    """Put reasoning back where it came from: a key of its own, the details, or the content's parts."""
    reasoning = message.reasoning
    assert reasoning is not None  # the caller asked
    key = reasoning.field if reasoning.field in _OWN_KEYS and reasoning_key != CONTENT else reasoning_key
    if key == CONTENT and reasoning.content:
        content = body.get("content") or []
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        thought: dict[str, Any] = {"type": "thinking", "thinking": [{"type": "text", "text": reasoning.content}]}
        if reasoning.signature and reasoning.field == CONTENT:
            thought["signature"] = reasoning.signature
        body["content"] = [thought, *parts]
    elif key == TAGS and reasoning.content and not isinstance(body.get("content"), list):
        body["content"] = f"<think>\n{reasoning.content}\n</think>\n\n{body.get('content') or ''}"
    elif key not in (CONTENT, DETAILS, TAGS) and reasoning.content is not None:
        body[key] = reasoning.content
    details = [detail for detail in reasoning.details or () if str(detail.get("type")).startswith("reasoning.")]
    if details and reasoning_key != CONTENT:
        body[DETAILS] = details
