"""
The request: parameters and messages as Ollama takes them.

What steers the sampling goes into ``options``, a message's text is one string, and its images stand beside the text.
The host caches the beginnings of prompts by itself and decides itself how closely it looks at an image, so
``cache_control`` and ``detail`` need no words.

Sources: https://docs.ollama.com/api/chat, https://docs.ollama.com/capabilities/thinking,
https://docs.ollama.com/capabilities/structured-outputs, https://docs.ollama.com/capabilities/tool-calling
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anyllm.types import CompletionParams, ContentPart, Message, ToolCall
from anyllm.wire._base.conversation import (
    Function,
    arguments_of,
    functions_in,
    media_in,
    names_of_calls,
    schema_in,
    tool_choice_in,
)
from anyllm.wire._base.encode_json import effort_in, unsupported

#: Our names for what goes into ``options``, and Ollama's.
_OPTIONS = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "num_predict", "seed": "seed"}
#: Sent beside the messages, under their own names.
_PLAIN = ("logprobs", "top_logprobs")
#: Roles that go by another name here.
_ROLES = {"developer": "system", "function": "tool"}
#: The levels that ``think`` knows, for the efforts that we know. A model without levels takes any of them as true.
_THINK = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "max",
}


def body_of(params: CompletionParams, *, model: str, stream: bool, provider: str) -> dict[str, Any]:
    """
    The body of the request; ``extra_body`` wins, and its ``options`` are added to ours.

    Raises:
        UnsupportedParameterError: the host cannot do what a parameter asks for.
        InvalidRequestError: the messages or tools cannot be sent at all.
    """
    _check_choice(params, provider)
    body: dict[str, Any] = {
        "model": model,
        "messages": _messages(params.messages, provider),
        "stream": stream,  # said in either case: the host streams when nobody says
    }
    tools = [_tool(tool) for tool in functions_in(params, provider)]
    if tools:
        body["tools"] = tools
    body.update(_given(params, {name: name for name in _PLAIN}))
    body.update(_thinking(params, provider))
    body.update(_format(params, provider))
    options = _given(params, _OPTIONS)
    if params.stop is not None:
        options["stop"] = [params.stop] if isinstance(params.stop, str) else list(params.stop)
    if options:
        body["options"] = options
    return _with_extra(body, params.extra_body or {})


def _with_extra(body: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    ours, theirs = body.get("options"), extra.get("options")
    both = {"options": {**ours, **theirs}} if ours and isinstance(theirs, Mapping) else {}
    return {**body, **extra, **both}


def _given(params: CompletionParams, names: Mapping[str, str]) -> dict[str, Any]:
    return {theirs: value for ours, theirs in names.items() if (value := getattr(params, ours)) is not None}


# -- parameters --------------------------------------------------------------------------------------------------------


def _check_choice(params: CompletionParams, provider: str) -> None:
    choice, _ = tool_choice_in(params, provider)
    if choice not in (None, "auto"):
        name = "tool_choice" if params.tool_choice is not None else "function_call"
        raise unsupported(name, f"this host leaves the choice to the model; {name} can only be auto", provider)


def _thinking(params: CompletionParams, provider: str) -> dict[str, Any]:
    effort = effort_in(params, provider)
    if params.thinking_budget is not None:
        if params.thinking_budget != 0:
            what = "this host takes no thinking_budget but 0, which turns thinking off; reasoning_effort has levels"
            raise unsupported("thinking_budget", what, provider)
        effort = "none"
    return {} if effort is None else {"think": _THINK[effort]}


def _format(params: CompletionParams, provider: str) -> dict[str, Any]:
    kind, schema, _ = schema_in(params, provider)
    if kind is None:
        return {}
    return {"format": "json" if schema is None else schema}


def _tool(tool: Function | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(tool, Function):
        return tool
    function = {"name": tool.name}
    more = {"description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    return {
        "type": "function",
        "function": {**function, **{key: item for key, item in more.items() if item is not None}},
    }


# -- messages ----------------------------------------------------------------------------------------------------------


def _messages(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    """
    The conversation. A tool's result names its function.

    The names are taken from the turns before it: ids that were made up begin anew with every answer, so that the same
    one may mean another call later on.
    """
    names: dict[str, str] = {}
    found = []
    for message in messages:
        names.update(names_of_calls([message]))
        found.append(_message(message, names, provider))
    return found


def _message(message: Message, names: Mapping[str, str], provider: str) -> dict[str, Any]:
    body: dict[str, Any] = {"role": _ROLES.get(message.role, message.role)}
    text, images = _content(message, provider)
    body["content"] = text or message.refusal or ""
    if message.role == "assistant" and message.reasoning is not None and message.reasoning.content:
        body["thinking"] = message.reasoning.content
    if images:
        body["images"] = images
    if message.tool_calls:
        body["tool_calls"] = [_call(call, provider) for call in message.tool_calls]
    if body["role"] == "tool":
        body.update(_answered(message, names))
    return body


def _answered(message: Message, names: Mapping[str, str]) -> dict[str, str]:
    """Which call a tool's result answers: by name, as every version takes it, and by id, as the newer ones do."""
    call_id = message.tool_call_id or ""
    said = {"tool_name": message.name or names.get(call_id), "tool_call_id": call_id}
    return {key: value for key, value in said.items() if value}


def _call(call: ToolCall, provider: str) -> dict[str, Any]:
    function = {"name": call.name or "", "arguments": arguments_of(call, provider)}
    return {"id": call.id, "function": function} if call.id else {"function": function}


def _content(message: Message, provider: str) -> tuple[str, list[str]]:
    """The text of all parts, and the images."""
    content = message.content
    if content is None or isinstance(content, str):
        return content or "", []
    images = [_image(part, provider) for part in content if not _is_text(part, provider)]
    return message.text, images


def _is_text(part: ContentPart, provider: str) -> bool:
    if part.extra:
        name = next(iter(part.extra))
        raise unsupported(name, f"{name} is not something this host takes in a message", provider)
    return part.type == "text"


def _image(part: ContentPart, provider: str) -> str:
    media = media_in(part, provider)
    if media is None or media.kind != "image":
        raise unsupported(part.type, f"this host is shown text and images, not {part.type}", provider)
    if media.base64 is None:
        what = "image_url must hold the bytes, as ContentPart.from_image has them: this host fetches no images"
        raise unsupported("image_url", what, provider)
    return media.base64
