"""
The request: parameters and messages in OpenAI's JSON.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from anyllm import _convert
from anyllm.dialects._surrogates import mend_all
from anyllm.dialects.openai_chat._reasoning import CONTENT, DETAILS
from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.types import REASONING_EFFORTS, CompletionParams, ContentPart, Message, ToolCall

#: Sent under their own names, when they are given.
_PLAIN = (
    *("temperature", "top_p", "stop", "n", "seed", "user", "tools", "tool_choice", "parallel_tool_calls"),
    *("response_format", "logprobs", "top_logprobs", "functions", "function_call"),
)


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
    effort = params.reasoning_effort
    if effort is not None and effort not in REASONING_EFFORTS:
        raise UnsupportedParameterError(
            f"reasoning_effort must be one of {', '.join(REASONING_EFFORTS)}, not {effort!r}",
            provider=provider,
            param="reasoning_effort",
        )
    if effort not in (None, "auto"):  # "auto" leaves it to the host
        body["reasoning_effort"] = effort
    return body


def put(body: dict[str, Any], path: str, value: Any) -> None:
    """Set *value* at a dotted *path* ("reasoning.max_tokens"), making the objects on the way."""
    *way, name = path.split(".")
    for step in way:
        body = body.setdefault(step, {})
    body[name] = value


def in_bytes(body: Mapping[str, Any], provider: str) -> bytes:
    """
    The exact bytes to send.

    Lone halves of surrogate pairs, which no UTF-8 can carry, are joined or become U+FFFD: text cut in the
    middle of an emoji is common, and a model reads over the mark.

    Raises:
        InvalidRequestError: the body holds what JSON cannot, or NaN or an infinity, which would become null.
    """
    try:
        where = _not_finite(body)
        if where:
            raise InvalidRequestError(f"{where} is not a finite number", provider=provider, param=where)
        try:
            return _convert.dumps(body)
        except UnicodeEncodeError:
            return _convert.dumps(mend_all(body))
    except RecursionError as exc:
        raise InvalidRequestError("the request is nested too deeply, or in itself", provider=provider) from exc
    except (TypeError, ValueError) as exc:
        where = next((key for key, value in body.items() if not _can_be_json(value)), None)
        what = f"{where} cannot be written as JSON" if where else "the request cannot be written as JSON"
        raise InvalidRequestError(f"{what}: {exc}", provider=provider, param=where) from exc


def headers_in(extra: Mapping[str, str] | None, headers: Mapping[str, str], provider: str) -> dict[str, str]:
    """
    *headers* with the caller's own, which win over them in any case of letters.

    Raises:
        InvalidRequestError: a header is not text, or would end the line it stands on.
    """
    extra = extra or {}
    for name, value in extra.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidRequestError(
                f"the header {name!r} must be a str, not {type(value).__name__}", provider=provider, param=str(name)
            )
        if any(letter in name + value for letter in "\r\n\0"):
            raise InvalidRequestError(f"the header {name!r} holds a line break", provider=provider, param=name)
    own = {name.lower() for name in extra}
    return {**{name: value for name, value in headers.items() if name.lower() not in own}, **extra}


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
    key = reasoning.field or reasoning_key
    if key == CONTENT and reasoning.content:
        content = body.get("content") or []
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        body["content"] = [{"type": "thinking", "thinking": [{"type": "text", "text": reasoning.content}]}, *parts]
    elif key not in (CONTENT, DETAILS) and reasoning.content is not None:
        body[key] = reasoning.content
    if reasoning.details:
        body[DETAILS] = reasoning.details


def _not_finite(value: Any, path: str = "") -> str | None:
    """Where *value* holds NaN or an infinity, as in "temperature"; None when nowhere."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    if isinstance(value, Mapping):
        items = ((f"{path}.{key}" if path else str(key), item) for key, item in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = ((f"{path}[{at}]", item) for at, item in enumerate(value))
    else:
        return None
    return next((found for where, item in items if (found := _not_finite(item, where))), None)


def _can_be_json(value: Any) -> bool:
    try:
        _convert.dumps(mend_all(value))
    except (TypeError, ValueError, RecursionError):
        return False
    return True
