"""
The request's parameters, all but the conversation and the thinking, in Anthropic's JSON.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.conversation import Function, functions_in, schema_in, tool_choice_in

_CHOICES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}


def plain_params(params: CompletionParams, provider: str) -> dict[str, Any]:
    """
    The parameters that are given, under Anthropic's names.

    Raises:
        InvalidRequestError: a tool or a format is none.
        UnsupportedParameterError: tool_choice is none of OpenAI's forms.
    """
    body: dict[str, Any] = {}
    for name in ("temperature", "top_p"):
        if (value := getattr(params, name)) is not None:
            body[name] = value
    if params.stop is not None:
        body["stop_sequences"] = [params.stop] if isinstance(params.stop, str) else list(params.stop)
    if params.user is not None:
        body["metadata"] = {"user_id": params.user}
    if params.tools is not None or params.functions is not None:
        body["tools"] = [_tool(tool) for tool in functions_in(params, provider)]
    choice = _tool_choice(params, provider)
    if choice is not None:
        body["tool_choice"] = choice
    _, schema, _ = schema_in(params, provider)
    if schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return body


def _tool(tool: Function | Mapping[str, Any]) -> Mapping[str, Any]:
    """A function in Anthropic's shape; a tool of Anthropic's own (web search) as it is."""
    if not isinstance(tool, Function):
        return tool
    schema = {"type": "object", **(tool.parameters or {"properties": {}})}
    body: dict[str, Any] = {"name": tool.name, "input_schema": schema}
    for name in ("description", "strict", "cache_control"):
        if (value := getattr(tool, name)) is not None:
            body[name] = value
    return body


def _tool_choice(params: CompletionParams, provider: str) -> dict[str, Any] | None:
    kind, name = tool_choice_in(params, provider)
    one_at_a_time = params.parallel_tool_calls is False
    if kind is None and not one_at_a_time:
        return None
    choice: dict[str, Any] = {"type": _CHOICES[kind or "auto"]}
    if name is not None:
        choice["name"] = name
    if one_at_a_time and kind != "none":
        choice["disable_parallel_tool_use"] = True
    return choice
