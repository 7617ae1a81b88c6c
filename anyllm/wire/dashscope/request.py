"""
The request: messages in ``input``, everything else in ``parameters``.

Messages of plain text go to the text models' endpoint, where a message's content is one text; those that show
something, and all to models whose name says that they see, to the other one, where it is a list of parts.

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
)
from anyllm.wire._base.encode_json import effort_in, unsupported

TEXT_PATH = "/services/aigc/text-generation/generation"
MULTIMODAL_PATH = "/services/aigc/multimodal-generation/generation"

#: Sent in ``parameters`` under their own names.
_PLAIN = (
    *("temperature", "top_p", "max_tokens", "n", "seed", "parallel_tool_calls", "response_format"),
    *("logprobs", "top_logprobs"),
)
_ROLES = {"developer": "system"}
#: Models that see or hear are asked in the other place even where a conversation is plain text.
_SEES = re.compile(r"(^|[-/])(vl|qvq|omni|audio|ocr|asr)(-|$)", re.IGNORECASE)


def path_of(params: CompletionParams, model: str) -> str:
    """Where the request goes."""
    shows = any(not _is_text(part) for message in params.messages for part in _parts_of(message))
    return MULTIMODAL_PATH if shows or _SEES.search(model) else TEXT_PATH


def body_of(params: CompletionParams, *, model: str, stream: bool, provider: str) -> dict[str, Any]:
    """
    The request's JSON; ``input`` and ``parameters`` of the caller's own are added to ours.

    Raises:
        UnsupportedParameterError: the host cannot do what a parameter asks for.
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
    _check_form(body["parameters"], stream, provider)
    return body


# -- parameters --------------------------------------------------------------------------------------------------------


def _parameters(params: CompletionParams, stream: bool, provider: str) -> dict[str, Any]:
    found: dict[str, Any] = {"result_format": "message"}
    if stream:
        found["incremental_output"] = True
    found.update({name: value for name in _PLAIN if (value := getattr(params, name)) is not None})
    if params.stop is not None:
        found["stop"] = params.stop if isinstance(params.stop, str) else list(params.stop)
    tools = [_tool(tool) for tool in functions_in(params, provider)]
    if tools:
        found["tools"] = tools
    return {**found, **_tool_choice(params, provider), **_thinking(params, provider)}


def _check_form(parameters: Any, stream: bool, provider: str) -> None:
    """What the decoder reads is deltas; running totals would come out as text that repeats itself."""
    if stream and isinstance(parameters, Mapping) and not parameters.get("incremental_output"):
        what = "incremental_output cannot be turned off: what is streamed here is what each event adds"
        raise unsupported("incremental_output", what, provider)


def _tool_choice(params: CompletionParams, provider: str) -> dict[str, Any]:
    choice, name = tool_choice_in(params, provider)
    if choice == "required":
        key = "tool_choice" if params.tool_choice is not None else "function_call"
        raise unsupported(key, f"this host cannot be told to call any tool; {key} can name one", provider)
    if choice == "named":
        return {"tool_choice": {"type": "function", "function": {"name": name}}}
    return {} if choice is None else {"tool_choice": choice}


def _thinking(params: CompletionParams, provider: str) -> dict[str, Any]:
    """Reasoning is on or off, and limited by a budget; the host has no levels."""
    effort = effort_in(params, provider)
    if effort not in (None, "none"):
        what = "this host takes no reasoning_effort but none and auto; thinking_budget limits reasoning, in tokens"
        raise unsupported("reasoning_effort", what, provider)
    if effort == "none" or params.thinking_budget == 0:
        return {"enable_thinking": False}
    if params.thinking_budget is None:
        return {}
    return {"enable_thinking": True, "thinking_budget": params.thinking_budget}


def _tool(tool: Function | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(tool, Function):
        return tool
    more = {"description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    function = {"name": tool.name, **{key: item for key, item in more.items() if item is not None}}
    cached = {} if tool.cache_control is None else {"cache_control": tool.cache_control}
    return {"type": "function", "function": function, **cached}


# -- messages ----------------------------------------------------------------------------------------------------------


def _messages(messages: Iterable[Message], in_parts: bool, provider: str) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    found = []
    for message in messages:
        names.update(names_of_calls([message]))
        found.append(_message(message, names, in_parts, provider))
    return found


def _message(message: Message, names: Mapping[str, str], in_parts: bool, provider: str) -> dict[str, Any]:
    body: dict[str, Any] = {"role": _ROLES.get(message.role, message.role)}
    body["content"] = _content(message, in_parts, provider)
    if message.role == "assistant" and message.reasoning is not None and message.reasoning.content:
        body["reasoning_content"] = message.reasoning.content  # left out of the prompt, unless preserve_thinking is set
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
    """One text, or parts: where the endpoint wants them, and where a part is to be cached."""
    parts = _parts_of(message)
    cached = message.cache_control
    is_plain = cached is None and all(part.cache_control is None for part in parts)
    if not in_parts and is_plain:
        return message.text or message.refusal or ""
    if not parts:
        text = message.text or message.refusal or ""
        parts = (ContentPart(text=text),) if text else ()
    found = [_part(part, in_parts, provider) for part in parts]
    if cached is not None and found:
        found[-1] = {**found[-1], "cache_control": cached}
    return found or ""


def _part(part: ContentPart, in_parts: bool, provider: str) -> dict[str, Any]:
    """A part is known by its key here: text, image, audio, video."""
    cached = {} if part.cache_control is None else {"cache_control": part.cache_control}
    media = media_in(part, provider)
    if media is not None:
        return {**_shown(part, media, provider), **cached}
    if part.type != "text" and not part.extra:
        raise unsupported(part.type, f"this host is shown no {part.type}", provider)
    kind = {} if in_parts else {"type": "text"}
    text = {} if part.text is None else {"text": part.text}
    return {**kind, **text, **(part.extra or {}), **cached}


def _shown(part: ContentPart, media: Media, provider: str) -> dict[str, Any]:
    if media.kind == "file":
        raise unsupported("file", "this host is shown images and sounds, not files", provider)
    if media.detail not in (None, "auto"):
        what = "this host looks closely where extra_body has parameters.vl_high_resolution_images, not by detail"
        raise unsupported("detail", what, provider)
    return {media.kind: media.url or f"data:{media.media_type};base64,{media.base64}"}


def _parts_of(message: Message) -> tuple[ContentPart, ...]:
    return message.content if isinstance(message.content, tuple) else ()


def _is_text(part: ContentPart) -> bool:
    return part.type == "text" and not part.extra
