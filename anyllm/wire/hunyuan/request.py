"""
The request: parameters and messages as Hunyuan's native API takes them, in PascalCase.

What is told before the conversation must be its first message, so it is all gathered there. Reasoning is not sent back:
the host refuses messages that hold any. It caches the beginnings of prompts by itself, so ``cache_control`` needs no
words.

Source: https://cloud.tencent.com/document/api/1729/105701
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anyllm.errors import InvalidRequestError
from anyllm.types import CompletionParams, ContentPart, Message, ToolCall
from anyllm.wire._base.conversation import (
    Function,
    Media,
    functions_in,
    lift_system,
    media_in,
    tool_choice_in,
)
from anyllm.wire._base.encode_json import effort_in, in_bytes, unsupported

#: Our names for what the host takes as it is, and its own.
_PLAIN = {"temperature": "Temperature", "top_p": "TopP", "seed": "Seed"}


def body_of(params: CompletionParams, *, model: str, stream: bool, provider: str) -> dict[str, Any]:
    """
    The request's JSON.

    Raises:
        UnsupportedParameterError: the host cannot do what a parameter asks for.
        InvalidRequestError: the parameters cannot be sent at all.
    """
    body: dict[str, Any] = {"Model": model, "Messages": _messages(params.messages, provider)}
    body.update({theirs: value for ours, theirs in _PLAIN.items() if (value := getattr(params, ours)) is not None})
    if params.stop is not None:
        body["Stop"] = [params.stop] if isinstance(params.stop, str) else list(params.stop)
    body.update(_tools(params, provider))
    if _has_no_thinking(params, provider):
        body["EnableThinking"] = False
    if stream:
        body["Stream"] = True
    return {**body, **(params.extra_body or {})}


# -- parameters --------------------------------------------------------------------------------------------------------


def _has_no_thinking(params: CompletionParams, provider: str) -> bool:
    """Whether reasoning is to be turned off: the host has a switch, and neither levels nor budgets."""
    effort = effort_in(params, provider)
    if effort not in (None, "none"):
        what = "this host takes no reasoning_effort but none, which turns reasoning off, and auto"
        raise unsupported("reasoning_effort", what, provider)
    if params.thinking_budget not in (None, 0):
        what = "this host takes no thinking_budget but 0, which turns reasoning off"
        raise unsupported("thinking_budget", what, provider)
    return effort == "none" or params.thinking_budget == 0


def _tools(params: CompletionParams, provider: str) -> dict[str, Any]:
    functions = functions_in(params, provider)
    tools = [_tool(tool, provider) for tool in functions]
    body: dict[str, Any] = {"Tools": tools} if tools else {}
    choice, name = tool_choice_in(params, provider)
    if choice == "named":
        body["ToolChoice"] = "custom"
        body["CustomTool"] = _named(name, functions, tools, provider)
    elif choice == "required":
        key = "tool_choice" if params.tool_choice is not None else "function_call"
        raise unsupported(key, f"this host cannot be told to call any tool; {key} can name one", provider)
    elif choice is not None:
        body["ToolChoice"] = choice
    return body


def _tool(tool: Function | Mapping[str, Any], provider: str) -> Mapping[str, Any]:
    if not isinstance(tool, Function):
        if "Function" in tool:
            return tool  # in the host's own shape
        raise unsupported("tools", f"this host has no tools but functions, and none like {tool!r:.80}", provider)
    if tool.strict:
        raise unsupported("tools", f"this host cannot keep to the schema of {tool.name} strictly", provider)
    function: dict[str, Any] = {"Name": tool.name}
    if tool.description is not None:
        function["Description"] = tool.description
    # The schema is text; without one, that of an object without properties.
    schema = tool.parameters or {"type": "object", "properties": {}}
    function["Parameters"] = in_bytes(schema, provider).decode()
    return {"Type": "function", "Function": function}


def _named(
    name: str | None, functions: Iterable[Function | Mapping[str, Any]], tools: Iterable[Any], provider: str
) -> Any:
    """The tool that must be called, whole: the host wants more than its name."""
    for function, tool in zip(functions, tools):
        if isinstance(function, Function) and function.name == name:
            return tool
    raise InvalidRequestError(
        f"tool_choice names {name}, which is none of the tools", provider=provider, param="tool_choice"
    )


# -- messages ----------------------------------------------------------------------------------------------------------


def _messages(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    system, rest = lift_system(messages)
    found = [_message(message, provider) for message in rest]
    if system:
        told = [_told(message, provider) for message in system]
        found.insert(0, {"Role": "system", "Content": "\n\n".join(told)})
    return found


def _told(message: Message, provider: str) -> str:
    sent = _message(message, provider)
    if sent.keys() != {"Role", "Content"}:
        raise unsupported("messages", "this host takes only text in a system message", provider)
    return str(sent["Content"])


def _message(message: Message, provider: str) -> dict[str, Any]:
    if message.name is not None and message.role != "tool":  # there, the call's id says it
        raise unsupported("name", "this host does not tell speakers apart by name", provider)
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
    """Text as one text, and as parts only beside what is no text; files by their ids."""
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
    found: dict[str, Any] = {"Content": message.text} if is_text else {"Contents": parts}
    if files:
        found["FileIDs"] = files
    return found


def _part(part: ContentPart, media: Media | None, provider: str) -> dict[str, Any]:
    if media is None:
        if part.type != "text" and not part.extra:
            raise unsupported(part.type, f"this host is shown text, images and videos, not {part.type}", provider)
        texts = {} if part.text is None else {"Text": part.text}
        return {"Type": part.type, **texts, **(part.extra or {})}  # video_url and video_frames are in its own shape
    if media.kind != "image":
        raise unsupported(part.type, f"this host is shown text, images and videos, not {part.type}", provider)
    if media.detail not in (None, "auto"):
        raise unsupported("detail", "this host decides itself how closely it looks at an image", provider)
    return {"Type": "image_url", "ImageUrl": {"Url": media.url or f"data:{media.media_type};base64,{media.base64}"}}
