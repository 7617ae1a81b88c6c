"""
The conversation as input items.

An assistant's turn becomes the items it came as, where they were kept; else its text, then its calls. Calls go without
the ids of their items there: the host refuses an item that it knows to have followed a reasoning, without it. Reasoning
that came from another format has no place here.

Sources: https://platform.openai.com/docs/api-reference/responses/create (input),
https://platform.openai.com/docs/guides/function-calling
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.types import ContentPart, Message, ToolCall
from anyllm.wire._base.conversation import Media, media_in
from anyllm.wire._base.reasoning_origins import OUTPUT_ITEMS
from anyllm.wire.openai_responses.output_items import (
    ARGUMENTS,
    CALLS,
    CUSTOM_CALL,
    FUNCTION_CALL,
    MESSAGE,
    REASONING,
    REFUSAL,
    TEXT,
    wholes,
)

_SPEAKERS = ("user", "system", "developer")


def input_items(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    """
    The input for *messages*.

    Raises:
        UnsupportedParameterError: a message holds what the host has no place for.
        InvalidRequestError: a message cannot be sent.
    """
    items: list[dict[str, Any]] = []
    calls: dict[str, ToolCall] = {}
    for message in messages:
        if message.role == "assistant":
            items += _turn(message, provider)
            calls.update((call.id, call) for call in message.tool_calls if call.id)
        elif message.role == "tool":
            items.append(_result(message, calls.get(message.tool_call_id or ""), provider))
        elif message.role in _SPEAKERS:
            items.append(_said(message, provider))
        else:
            raise _wrong(f"this host knows no role {message.role!r}", provider)
    return items


# -- what others say ---------------------------------------------------------------------------------------------------


def _said(message: Message, provider: str) -> dict[str, Any]:
    _refuse_name(message, provider)
    return _marked({"role": message.role, "content": _content(message, provider)}, message)


def _result(message: Message, call: ToolCall | None, provider: str) -> dict[str, Any]:
    if not message.tool_call_id:
        raise _wrong("a tool message needs the tool_call_id of the call it answers", provider)
    kind = CUSTOM_CALL if call is not None and call.type == "custom" else FUNCTION_CALL
    item = {"type": f"{kind}_output", "call_id": message.tool_call_id, "output": _content(message, provider)}
    caller = _extra(call).get("caller") if call is not None else None
    return _marked({**item, "caller": caller} if caller else item, message)


def _content(message: Message, provider: str) -> Any:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return [_input_part(part, provider) for part in message.content]


def _input_part(part: ContentPart, provider: str) -> dict[str, Any]:
    shown = media_in(part, provider)
    if shown is not None:
        body = _media(shown, provider)
    elif part.type == "text":
        body = {"type": "input_text", "text": part.text or ""}
    else:
        body = _own_part(part)
    return _with_extra(body, part)


def _media(shown: Media, provider: str) -> dict[str, Any]:
    here = f"data:{shown.media_type};base64,{shown.base64}" if shown.base64 is not None else None
    if shown.kind == "image":
        image = {"type": "input_image", "image_url": here or shown.url}
        return {**image, "detail": shown.detail} if shown.detail else image
    if shown.kind == "audio":
        raise UnsupportedParameterError("this host takes no sounds", provider=provider, param="input_audio")
    named = {"file_id": shown.file_id, "file_data": here, "file_url": shown.url, "filename": shown.name}
    return {"type": "input_file", **{key: value for key, value in named.items() if value is not None}}


def _own_part(part: ContentPart) -> dict[str, Any]:
    """A part of a type that only this host knows, as it is."""
    return {"type": part.type} if part.text is None else {"type": part.type, "text": part.text}


def _with_extra(body: dict[str, Any], part: ContentPart) -> dict[str, Any]:
    if part.cache_control is not None:
        body["cache_control"] = part.cache_control
    return {**body, **(part.extra or {})}


# -- what the model said -----------------------------------------------------------------------------------------------


def _turn(message: Message, provider: str) -> list[dict[str, Any]]:
    """An assistant's turn: the items it came as, as far as the message still says what they said; else new ones."""
    _refuse_name(message, provider)
    kept = (message.reasoning.details or ()) if message.reasoning and message.reasoning.field == OUTPUT_ITEMS else ()
    is_as_it_was = _says_the_same(message, kept)
    said = _spoken(message)
    calls = list(message.tool_calls)
    items: list[dict[str, Any]] = []
    for item in kept:
        kind = item.get("type")
        if kind == MESSAGE and is_as_it_was:
            items.append(item)
            said = []
        elif kind in CALLS:
            call = next((call for call in calls if call.id == item.get("call_id")), None)
            if call is not None:
                calls.remove(call)
                items += [*said, {**item, **_named(call)}]
                said = []
        elif kind != MESSAGE:
            items.append(item)
    items += [*said, *(_call(call, provider) for call in calls)]
    while items and items[-1].get("type") == REASONING:
        items.pop()  # the host refuses reasoning that nothing follows
    return items


def _spoken(message: Message) -> list[dict[str, Any]]:
    """What the model said, as one new item; none if it only called, or thought."""
    parts: list[dict[str, Any]] = []
    if isinstance(message.content, str):
        if message.content or not (message.tool_calls or message.refusal):
            parts = [{"type": "output_text", "text": message.content}]
    else:
        parts = [_output_part(part) for part in message.content or ()]
    if message.refusal:
        parts.append({"type": "refusal", "refusal": message.refusal})
    return [_marked({"role": "assistant", "content": parts}, message)] if parts else []


def _output_part(part: ContentPart) -> dict[str, Any]:
    body = {"type": "output_text", "text": part.text or ""} if part.type == "text" else _own_part(part)
    return _with_extra(body, part)


def _says_the_same(message: Message, kept: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the kept items say what the message says: nobody has rewritten it."""
    said = {TEXT: "", REFUSAL: ""}
    for item in kept:
        if item.get("type") == MESSAGE:
            for what, text in wholes(item, MESSAGE):
                said[what] += text
    return said == {TEXT: message.text, REFUSAL: message.refusal or ""}


def _call(call: ToolCall, provider: str) -> dict[str, Any]:
    if not call.id:
        raise _wrong("this host takes earlier tool calls only with their ids", provider)
    item = {"type": CUSTOM_CALL if call.type == "custom" else FUNCTION_CALL, "call_id": call.id, **_named(call)}
    return {**item, **{key: value for key, value in _extra(call).items() if key in ("namespace", "caller")}}


def _named(call: ToolCall) -> dict[str, Any]:
    return {"name": call.name or "", "input" if call.type == "custom" else ARGUMENTS: call.arguments}


def _extra(call: ToolCall) -> Mapping[str, Any]:
    """What the host said of a call beside its name and arguments."""
    extra = (call.extra_content or {}).get("openai")
    return extra if isinstance(extra, Mapping) else {}


# -- all of them -------------------------------------------------------------------------------------------------------


def _marked(item: dict[str, Any], message: Message) -> dict[str, Any]:
    return item if message.cache_control is None else {**item, "cache_control": message.cache_control}


def _refuse_name(message: Message, provider: str) -> None:
    if message.name is not None:
        raise UnsupportedParameterError(
            "this host does not tell speakers apart by name", provider=provider, param="messages.name"
        )


def _wrong(what: str, provider: str) -> InvalidRequestError:
    return InvalidRequestError(what, provider=provider, param="messages")
