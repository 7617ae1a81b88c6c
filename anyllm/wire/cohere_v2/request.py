"""
The body of a request to version 2 of Cohere's API.

Sources: https://docs.cohere.com/reference/chat, https://docs.cohere.com/docs/structured-outputs,
https://docs.cohere.com/docs/reasoning
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.conversation import Function, functions_in, schema_in, tool_choice_in
from anyllm.wire._base.encode_json import effort_in, invalid, named_values
from anyllm.wire.cohere_v2.messages import messages_in_json

#: Our names of parameters with the same values, and Cohere's names.
_NAMES = {
    "temperature": "temperature",
    "top_p": "p",
    "max_tokens": "max_tokens",
    "seed": "seed",
    "logprobs": "logprobs",
    "stop": "stop_sequences",
}
_NO_SCHEMA = {"type": "object", "properties": {}}

#: Thinking budgets in tokens: Cohere has no levels of effort. "high" and above send no budget, as Cohere recommends:
#: the model thinks as long as it needs.
_BUDGETS = {"minimal": 512, "low": 1024, "medium": 8192}


def body_of(params: CompletionParams, *, model: str, stream: bool, provider: str) -> dict[str, Any]:
    """
    The body of the request; ``extra_body`` wins.

    Raises:
        UnsupportedParameterError: the provider does not support a parameter.
        InvalidRequestError: the messages or tools cannot be sent at all.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": messages_in_json(params.messages, provider),
        "stream": stream,
    }
    body.update(named_values(params, _NAMES))
    body.update(_tools(params, provider))
    body.update(_format(params, provider))
    body.update(_thinking(params, provider))
    return {**body, **(params.extra_body or {})}


def _tools(params: CompletionParams, provider: str) -> dict[str, Any]:
    """
    The tools, and whether one must be called.

    Cohere cannot require a particular tool, so that tool is then sent alone.
    """
    tools = functions_in(params, provider)
    choice, name = tool_choice_in(params, provider)
    if name is not None:
        tools = [tool for tool in tools if isinstance(tool, Function) and tool.name == name]
        if not tools:
            raise invalid("tool_choice", f"tool_choice names {name!r}, which is none of the tools", provider)
    body: dict[str, Any] = {}
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
    if any(isinstance(tool, Function) and tool.strict for tool in tools):
        body["strict_tools"] = True
    if choice in ("required", "named"):
        body["tool_choice"] = "REQUIRED"
    elif choice == "none":
        body["tool_choice"] = "NONE"
    return body


def _tool(tool: Function | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(tool, Function):
        return tool
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = _NO_SCHEMA if tool.parameters is None else tool.parameters
    return {"type": "function", "function": function}


def _format(params: CompletionParams, provider: str) -> dict[str, Any]:
    kind, schema, _ = schema_in(params, provider)
    if kind is None:
        return {}
    if schema is not None:
        return {"response_format": {"type": "json_object", "json_schema": schema}}
    return {"response_format": params.response_format}  # Cohere's own form, which may contain a schema


def _thinking(params: CompletionParams, provider: str) -> dict[str, Any]:
    """The thinking options; a budget overrides an effort."""
    effort, budget = effort_in(params, provider), params.thinking_budget
    if budget is None and effort is None:
        return {}
    if budget == 0 or (budget is None and effort == "none"):
        return {"thinking": {"type": "disabled"}}
    if budget is None:
        budget = _BUDGETS.get(str(effort))
    return {"thinking": {"type": "enabled"} if budget is None else {"type": "enabled", "token_budget": budget}}
