"""
The body of a request to Hunyuan's native API, in PascalCase.

A system message must be the first message, so all system messages are joined there. Reasoning is not sent back: the
provider refuses messages that contain it. It caches prompt prefixes automatically, so ``cache_control`` is left out.

Source: https://cloud.tencent.com/document/api/1729/105701
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anyllm.types import CompletionParams, ContentPart, Message, ToolCall
from anyllm.wire._base.conversation import (
    Function,
    Media,
    functions_in,
    lift_system,
    media_in,
    tool_choice_in,
)
from anyllm.wire._base.encode_json import effort_in, in_bytes, invalid, named_values, unsupported
from anyllm.wire._base.json_values import without_none

#: Our names of parameters with the same values, and Hunyuan's names.
_NAMES = {"temperature": "Temperature", "top_p": "TopP", "seed": "Seed", "stop": "Stop"}


def body_of(params: CompletionParams, *, model: str, stream: bool, provider: str) -> dict[str, Any]:
    """
    The body of the request; ``extra_body`` wins.

    Raises:
        UnsupportedParameterError: the provider does not support a parameter.
        InvalidRequestError: the parameters cannot be sent at all.
    """
    body: dict[str, Any] = {"Model": model, "Messages": _messages(params.messages, provider)}
    body.update(named_values(params, _NAMES))
    body.update(_tools(params, provider))
    if _turns_thinking_off(params, provider):
        body["EnableThinking"] = False
    if stream:
        body["Stream"] = True
    return {**body, **(params.extra_body or {})}


# -- parameters --------------------------------------------------------------------------------------------------------


def _turns_thinking_off(params: CompletionParams, provider: str) -> bool:
    """Whether reasoning is turned off: the provider has a switch, no levels of effort and no budget."""
    effort = effort_in(params, provider)
    if effort not in (None, "none"):
        what = "the provider supports no reasoning_effort but none, which turns reasoning off, and auto"
        raise unsupported("reasoning_effort", what, provider)
    if params.thinking_budget not in (None, 0):
        what = "the provider supports no thinking_budget but 0, which turns reasoning off"
        raise unsupported("thinking_budget", what, provider)
    return effort == "none" or params.thinking_budget == 0


def _tools(params: CompletionParams, provider: str) -> dict[str, Any]:
    functions = functions_in(params, provider)
    tools = [_tool(tool, provider) for tool in functions]
    body: dict[str, Any] = {"Tools": tools} if tools else {}
    choice, name = tool_choice_in(params, provider)
    if choice == "named":
        pairs = zip(functions, tools)
        chosen = [tool for function, tool in pairs if isinstance(function, Function) and function.name == name]
        if not chosen:
            raise invalid("tool_choice", f"tool_choice names {name}, which is none of the tools", provider)
        body["ToolChoice"], body["CustomTool"] = "custom", chosen[0]  # the whole definition, not only the name
    elif choice == "required":
        key = "tool_choice" if params.tool_choice is not None else "function_call"
        raise unsupported(key, f"the provider does not support {key} required; {key} can name a tool", provider)
    elif choice is not None:
        body["ToolChoice"] = choice
    return body


def _tool(tool: Function | Mapping[str, Any], provider: str) -> Mapping[str, Any]:
    if not isinstance(tool, Function):
        if "Function" in tool:
            return tool  # in Hunyuan's shape
        raise unsupported("tools", f"the provider supports only functions as tools, not {tool!r:.80}", provider)
    if tool.strict:
        raise unsupported("tools", f"the provider has no strict mode, which {tool.name} requires", provider)
    function: dict[str, Any] = {"Name": tool.name}
    if tool.description is not None:
        function["Description"] = tool.description
    # The schema is sent as JSON text; a function without one gets that of an object without properties.
    schema = tool.parameters or {"type": "object", "properties": {}}
    function["Parameters"] = in_bytes(schema, provider).decode()
    return {"Type": "function", "Function": function}


# -- messages ----------------------------------------------------------------------------------------------------------


def _messages(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    system, rest = lift_system(messages)
    bodies = [_message(message, provider) for message in rest]
    if system:
        texts = [_system_text(message, provider) for message in system]
        bodies.insert(0, {"Role": "system", "Content": "\n\n".join(texts)})
    return bodies


def _system_text(message: Message, provider: str) -> str:
    body = _message(message, provider)
    if body.keys() != {"Role", "Content"}:
        raise unsupported("messages", "the provider accepts only text in a system message", provider)
    return str(body["Content"])


def _message(message: Message, provider: str) -> dict[str, Any]:
    if message.name is not None and message.role != "tool":  # a tool result has the id of its call
        raise unsupported("name", "the provider does not support names of speakers", provider)
    body: dict[str, Any] = {"Role": message.role, **_content(message, provider)}
    if message.tool_calls:
        body["ToolCalls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        body["ToolCallId"] = message.tool_call_id
    return body


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"Name": call.name or "", "Arguments": call.arguments}
    return {"Id": call.id or "", "Type": "function", "Index": call.index, "Function": function}


def _content(message: Message, provider: str) -> dict[str, Any]:
    """One text if the content is only text, else parts; files by their ids."""
    content = message.content
    if content is None or isinstance(content, str):
        return {"Content": content or message.refusal or ""}
    parts: list[dict[str, Any]] = []
    files: list[str] = []
    for part in content:
        media = media_in(part, provider)
        if media is not None and media.file_id is not None:
            files.append(media.file_id)
        else:
            parts.append(_part(part, media, provider))
    is_text = all(part["Type"] == "text" for part in parts)
    body: dict[str, Any] = {"Content": message.text} if is_text else {"Contents": parts}
    if files:
        body["FileIDs"] = files
    return body


def _part(part: ContentPart, media: Media | None, provider: str) -> dict[str, Any]:
    if media is None:
        if part.type != "text" and not part.extra:
            raise unsupported(part.type, f"the provider accepts text, images and videos, not {part.type}", provider)
        text = without_none({"Text": part.text})
        return {"Type": part.type, **text, **(part.extra or {})}  # video_url and video_frames are in Hunyuan's shape
    if media.kind != "image":
        raise unsupported(part.type, f"the provider accepts text, images and videos, not {part.type}", provider)
    if media.detail not in (None, "auto"):
        raise unsupported("detail", "the provider does not support the detail of an image", provider)
    return {"Type": "image_url", "ImageUrl": {"Url": media.url or f"data:{media.media_type};base64,{media.base64}"}}
