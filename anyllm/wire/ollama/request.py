"""
The request: parameters and messages as Ollama accepts them.

A message's text is one string, and its images stand beside it. ``cache_control`` and ``detail`` are left out: a server
caches the beginnings of prompts, and decides how closely to look at an image, by itself.

Sources: https://docs.ollama.com/api/chat, https://docs.ollama.com/capabilities/tool-calling
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anyllm.types import CompletionParams, ContentPart, Message
from anyllm.wire._base import conversation
from anyllm.wire._base.encode_json import effort_in, named_values, unsupported
from anyllm.wire.ollama.fields import OPTIONS, ROLES, THINK, TOP_LEVEL, call_object, format_of, texts_object


def body_of(params: CompletionParams, *, model: str, stream: bool, provider: str) -> dict[str, Any]:
    """
    The body of the request; errors as `Dialect.request` has them.

    ``extra_body`` wins, and its ``options`` are added to ours.
    """
    choice, _ = conversation.tool_choice_in(params, provider)
    if choice not in (None, "auto"):
        name = "tool_choice" if params.tool_choice is not None else "function_call"
        raise unsupported(name, f"{name} can only be auto: Ollama leaves the choice to the model", provider)
    body: dict[str, Any] = {
        "model": model,
        "messages": _messages(params.messages, provider),
        "stream": stream,  # always: the server streams by default
    }
    tools = [conversation.tool_object(tool) for tool in conversation.functions_in(params, provider)]
    if tools:
        body["tools"] = tools
    body.update({name: value for name in TOP_LEVEL if (value := getattr(params, name)) is not None})
    body.update(_thinking(params, provider))
    body.update(format_of(params, provider))
    options = named_values(params, OPTIONS)
    if options:
        body["options"] = options
    extra = params.extra_body or {}
    further_options = extra.get("options")
    both = {"options": {**options, **further_options}} if options and isinstance(further_options, Mapping) else {}
    return {**body, **extra, **both}


def _thinking(params: CompletionParams, provider: str) -> dict[str, Any]:
    effort = effort_in(params, provider)
    if params.thinking_budget is not None:
        if params.thinking_budget != 0:
            what = "thinking_budget can only be 0, which turns thinking off; reasoning_effort has levels"
            raise unsupported("thinking_budget", what, provider)
        effort = "none"
    return {} if effort is None else {"think": THINK[effort]}


def _messages(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    """
    The conversation. A tool's result names its function.

    The names are those of the turns before it: made-up ids begin anew with every answer, so that the same id may mean
    another call later on.
    """
    names: dict[str, str] = {}
    bodies = []
    for message in messages:
        names.update(conversation.names_of_calls([message]))
        bodies.append(_message(message, names, provider))
    return bodies


def _message(message: Message, names: Mapping[str, str], provider: str) -> dict[str, Any]:
    role = ROLES.get(message.role, message.role)
    reasoning = message.reasoning if role == "assistant" else None
    body: dict[str, Any] = {"role": role, **texts_object(message.text or message.refusal or "", reasoning)}
    content = message.content
    parts = () if content is None or isinstance(content, str) else content
    images = [_image(part, provider) for part in parts if not _is_text(part, provider)]
    if images:
        body["images"] = images
    if message.tool_calls:
        calls = [(call, conversation.arguments_of(call, provider)) for call in message.tool_calls]
        body["tool_calls"] = [call_object(call, arguments) for call, arguments in calls]
    if role == "tool":  # every version reads the name, the newer ones the id too
        call_id = message.tool_call_id or ""
        result = {"tool_name": message.name or names.get(call_id), "tool_call_id": call_id}
        body.update({key: value for key, value in result.items() if value})
    return body


def _is_text(part: ContentPart, provider: str) -> bool:
    if part.extra:
        name = next(iter(part.extra))
        raise unsupported(name, f"{name} is not supported in a message", provider)
    return part.type == "text"


def _image(part: ContentPart, provider: str) -> str:
    media = conversation.media_in(part, provider)
    if media is None or media.kind != "image":
        raise unsupported(part.type, f"{part.type} is not supported: a message holds text and images", provider)
    if media.base64 is None:
        what = "image_url must hold the bytes, as ContentPart.from_image has them: Ollama fetches no images"
        raise unsupported("image_url", what, provider)
    return media.base64
