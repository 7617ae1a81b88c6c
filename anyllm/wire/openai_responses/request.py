"""
The request: parameters in the JSON of Responses.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.conversation import Function, functions_in, schema_in, tool_choice_in
from anyllm.wire._base.encode_json import effort_in
from anyllm.wire.openai_responses.input_items import input_items

#: Sent under their own names, when they are given.
_PLAIN = ("temperature", "top_p", "user", "parallel_tool_calls", "top_logprobs")
_LOGPROBS = "message.output_text.logprobs"


def body(params: CompletionParams, *, model: str, stream: bool, provider: str) -> dict[str, Any]:
    """
    The request's JSON.

    Raises:
        UnsupportedParameterError: the host cannot do what a parameter asks for.
        InvalidRequestError: the parameters cannot be sent at all.
    """
    request: dict[str, Any] = {"model": model, "input": input_items(params.messages, provider)}
    request.update((name, value) for name in _PLAIN if (value := getattr(params, name)) is not None)
    if params.max_tokens is not None:
        request["max_output_tokens"] = params.max_tokens
    if (effort := effort_in(params, provider)) is not None:
        request["reasoning"] = {"effort": effort}
    if params.logprobs or params.top_logprobs is not None:
        request["include"] = [_LOGPROBS]
    if (text := _format(params, provider)) is not None:
        request["text"] = {"format": text}
    if tools := [_tool(tool) for tool in functions_in(params, provider)]:
        request["tools"] = tools
    if (choice := _tool_choice(params, provider)) is not None:
        request["tool_choice"] = choice
    if stream:
        request["stream"] = True
        if options := _stream_options(params):
            request["stream_options"] = options
    return _with_extra(request, params.extra_body or {})


def _tool(tool: Function | Mapping[str, Any]) -> Mapping[str, Any]:
    """
    A tool, without the object around a function that chat completions have.

    A schema is kept to the letter only when that is asked for, as in chat completions: left unsaid, this API makes all
    its arguments required.
    """
    if not isinstance(tool, Function):
        return _flat(tool)
    flat: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description is not None:
        flat["description"] = tool.description
    flat["parameters"] = tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
    flat["strict"] = bool(tool.strict)
    return {**flat, "cache_control": tool.cache_control} if tool.cache_control else flat


def _tool_choice(params: CompletionParams, provider: str) -> Any:
    choice = params.tool_choice
    if isinstance(choice, Mapping) and choice.get("type", "function") != "function":
        return _flat(choice)  # a tool of the host's own, or those that are allowed
    kind, name = tool_choice_in(params, provider)
    return {"type": "function", "name": name} if kind == "named" else kind


def _format(params: CompletionParams, provider: str) -> Mapping[str, Any] | None:
    kind, schema, name = schema_in(params, provider)
    if kind is None:
        return dict(params.response_format) if params.response_format else None
    if kind == "json_object" or params.response_format is None:
        return {"type": kind}
    return {"type": kind, **params.response_format["json_schema"], "name": name, "schema": schema}


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """
    An object without the one inside that is named like its type, which chat completions have and Responses have not.

    The same for what lies in it: the format of a custom tool, the tools that are allowed.
    """
    kind = str(value.get("type"))
    flat = dict(value)
    if isinstance(value.get(kind), Mapping):
        flat.update(flat.pop(kind))
    if isinstance(flat.get("format"), Mapping):
        flat["format"] = _flat(flat["format"])
    if isinstance(flat.get("tools"), (list, tuple)):
        flat["tools"] = [_flat(tool) if isinstance(tool, Mapping) else tool for tool in flat["tools"]]
    return flat


def _stream_options(params: CompletionParams) -> dict[str, Any]:
    """The options, without the one for usage, which comes with every response."""
    return {name: value for name, value in (params.stream_options or {}).items() if name != "include_usage"}


def _with_extra(request: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """
    *request* with the caller's own keys, which win.

    Where both are objects they are merged, as are the lists of what to include, so that ``reasoning.summary`` can
    stand beside the effort and ``text.verbosity`` beside the format.
    """
    for name, value in extra.items():
        known = request.get(name)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            request[name] = {**known, **value}
        elif name == "include" and isinstance(value, (list, tuple)) and isinstance(known, list):
            request[name] = [*known, *(item for item in value if item not in known)]
        else:
            request[name] = value
    return request
