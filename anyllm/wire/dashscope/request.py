"""
The path and body of a DashScope request: messages in ``input``, everything else in ``parameters``.

Conversations of plain text go to the text endpoint, where the content of a message is one text. Conversations with
media, and all for models with a multimodal name, go to the multimodal endpoint, where it is a list of parts.

Sources: https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-dashscope,
https://www.alibabacloud.com/help/en/model-studio/deep-thinking,
https://www.alibabacloud.com/help/en/model-studio/context-cache
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from anyllm.types import CompletionParams, ContentPart, Message, ToolCall
from anyllm.wire._base.conversation import (
    Function,
    Media,
    functions_in,
    media_in,
    names_of_calls,
    tool_choice_in,
    tool_object,
)
from anyllm.wire._base.encode_json import effort_in, unsupported
from anyllm.wire._base.json_values import without_none

TEXT_PATH = "/services/aigc/text-generation/generation"
MULTIMODAL_PATH = "/services/aigc/multimodal-generation/generation"

#: Sent in ``parameters`` under their own names.
_SAME_VALUE = (
    *("temperature", "top_p", "max_tokens", "n", "seed", "parallel_tool_calls", "response_format"),
    *("logprobs", "top_logprobs"),
)
_ROLES = {"developer": "system"}
#: Multimodal models, which only the multimodal endpoint has, even for plain text.
_MULTIMODAL_MODEL = re.compile(r"(^|[-/])(vl|qvq|omni|audio|ocr|asr)(-|$)", re.IGNORECASE)


def path_of(params: CompletionParams, model: str) -> str:
    """The path of the endpoint."""
    has_media = any(not _is_text(part) for message in params.messages for part in _parts_of(message))
    return MULTIMODAL_PATH if has_media or _MULTIMODAL_MODEL.search(model) else TEXT_PATH


def body_of(params: CompletionParams, *, model: str, stream: bool, provider: str) -> dict[str, Any]:
    """
    The body of the request; ``input`` and ``parameters`` in ``extra_body`` are merged into ours.

    Raises:
        UnsupportedParameterError: the provider does not support a parameter.
        InvalidRequestError: the parameters cannot be sent at all.
    """
    in_parts = path_of(params, model) == MULTIMODAL_PATH
    ours: dict[str, Any] = {
        "model": model,
        "input": {"messages": _messages(params.messages, in_parts, provider)},
        "parameters": _parameters(params, stream, provider),
    }
    body = {**ours, **(params.extra_body or {})}
    for name in ("input", "parameters"):
        if isinstance(body[name], Mapping) and body[name] is not ours[name]:
            body[name] = {**ours[name], **body[name]}
    parameters = body["parameters"]
    if stream and isinstance(parameters, Mapping) and not parameters.get("incremental_output"):
        # The decoder reads deltas: it would repeat the text of a stream of whole texts so far.
        what = "incremental_output cannot be turned off: only streams of deltas are supported"
        raise unsupported("incremental_output", what, provider)
    return body


# -- parameters --------------------------------------------------------------------------------------------------------


def _parameters(params: CompletionParams, stream: bool, provider: str) -> dict[str, Any]:
    body: dict[str, Any] = {"result_format": "message"}
    if stream:
        body["incremental_output"] = True
    body.update({name: value for name in _SAME_VALUE if (value := getattr(params, name)) is not None})
    if params.stop is not None:
        body["stop"] = params.stop if isinstance(params.stop, str) else list(params.stop)
    tools = [_tool(tool) for tool in functions_in(params, provider)]
    if tools:
        body["tools"] = tools
    return {**body, **_tool_choice(params, provider), **_thinking(params, provider)}


def _tool_choice(params: CompletionParams, provider: str) -> dict[str, Any]:
    choice, name = tool_choice_in(params, provider)
    if choice == "required":
        key = "tool_choice" if params.tool_choice is not None else "function_call"
        raise unsupported(key, f"the provider does not support {key} required; {key} can name a tool", provider)
    if choice == "named":
        return {"tool_choice": {"type": "function", "function": {"name": name}}}
    return {} if choice is None else {"tool_choice": choice}


def _thinking(params: CompletionParams, provider: str) -> dict[str, Any]:
    """Reasoning is on or off, with an optional budget; the provider has no levels of effort."""
    effort = effort_in(params, provider)
    if effort not in (None, "none"):
        what = "the provider supports no reasoning_effort but none and auto; thinking_budget limits reasoning"
        raise unsupported("reasoning_effort", what, provider)
    if effort == "none" or params.thinking_budget == 0:
        return {"enable_thinking": False}
    if params.thinking_budget is None:
        return {}
    return {"enable_thinking": True, "thinking_budget": params.thinking_budget}


def _tool(tool: Function | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(tool, Function):
        return tool
    return {**tool_object(tool), **without_none({"cache_control": tool.cache_control})}


# -- messages ----------------------------------------------------------------------------------------------------------


def _messages(messages: Iterable[Message], in_parts: bool, provider: str) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    bodies = []
    for message in messages:
        names.update(names_of_calls([message]))
        bodies.append(_message(message, names, in_parts, provider))
    return bodies


def _message(message: Message, names: Mapping[str, str], in_parts: bool, provider: str) -> dict[str, Any]:
    body: dict[str, Any] = {"role": _ROLES.get(message.role, message.role)}
    body["content"] = _content(message, in_parts, provider)
    if message.role == "assistant" and message.reasoning is not None and message.reasoning.content:
        body["reasoning_content"] = message.reasoning.content  # ignored, unless preserve_thinking is set
    if message.tool_calls:
        body["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    name = message.name or (names.get(message.tool_call_id or "") if message.role == "tool" else None)
    return {**body, "name": name} if name else body


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name or "", "arguments": call.arguments}
    return {"id": call.id or "", "type": "function", "index": call.index, "function": function}


def _content(message: Message, in_parts: bool, provider: str) -> Any:
    """One text, or parts if the endpoint requires them or a part has cache_control."""
    parts = _parts_of(message)
    cache_control = message.cache_control
    if not in_parts and cache_control is None and all(part.cache_control is None for part in parts):
        return message.text or message.refusal or ""
    if not parts:
        text = message.text or message.refusal or ""
        parts = (ContentPart(text=text),) if text else ()
    bodies = [_part(part, in_parts, provider) for part in parts]
    if cache_control is not None and bodies:
        bodies[-1] = {**bodies[-1], "cache_control": cache_control}
    return bodies or ""


def _part(part: ContentPart, in_parts: bool, provider: str) -> dict[str, Any]:
    """A part in DashScope's shape, whose key is its type: text, image, audio, video."""
    cache_control = without_none({"cache_control": part.cache_control})
    media = media_in(part, provider)
    if media is not None:
        return {**_media(part, media, provider), **cache_control}
    if part.type != "text" and not part.extra:
        raise unsupported(part.type, f"the provider does not accept {part.type}", provider)
    kind = {} if in_parts else {"type": "text"}
    return {**kind, **without_none({"text": part.text}), **(part.extra or {}), **cache_control}


def _media(part: ContentPart, media: Media, provider: str) -> dict[str, Any]:
    if media.kind == "file":
        raise unsupported("file", "the provider accepts images and audio, not files", provider)
    if media.detail not in (None, "auto"):
        what = "the provider does not support detail; extra_body takes parameters.vl_high_resolution_images"
        raise unsupported("detail", what, provider)
    return {media.kind: media.url or f"data:{media.media_type};base64,{media.base64}"}


def _parts_of(message: Message) -> tuple[ContentPart, ...]:
    return message.content if isinstance(message.content, tuple) else ()


def _is_text(part: ContentPart) -> bool:
    return part.type == "text" and not part.extra
