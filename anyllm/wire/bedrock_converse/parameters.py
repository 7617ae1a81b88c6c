"""
The parameters of a request, without the conversation and the reasoning, in Converse's JSON.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.conversation import Function, functions_in, tool_choice_in
from anyllm.wire._base.encode_json import invalid, named_values, unsupported
from anyllm.wire.bedrock_converse.content_parts import cache_point

_NAMES = {"max_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP", "stop": "stopSequences"}


def plain_params(params: CompletionParams, provider: str) -> dict[str, Any]:
    """
    The parameters that are set, under Converse's names.

    Raises:
        UnsupportedParameterError: Converse does not have this tool_choice.
        InvalidRequestError: a tool is none.
    """
    config = named_values(params, _NAMES)
    tools = _tools(params, provider)
    return {**({"inferenceConfig": config} if config else {}), **({"toolConfig": tools} if tools else {})}


def _tools(params: CompletionParams, provider: str) -> dict[str, Any]:
    """The ``toolConfig``; empty without tools."""
    tools = [entry for tool in functions_in(params, provider) for entry in _tool(tool)]
    kind, name = tool_choice_in(params, provider)
    if not tools:
        if kind in ("required", "named"):
            raise invalid("tools", "tool_choice asks for a tool, and there are none", provider)
        return {}
    if kind == "none":
        raise unsupported("tool_choice", "tool_choice none is not supported: leave out the tools", provider)
    choices: dict[str | None, dict[str, Any]] = {
        "auto": {"auto": {}},
        "required": {"any": {}},
        "named": {"tool": {"name": name}},
    }
    return {"tools": tools, **({"toolChoice": choices[kind]} if kind else {})}


def _tool(tool: Function | Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A function in Converse's shape, and the cache point after it; a tool of the provider's own as it is."""
    if not isinstance(tool, Function):
        return [tool]
    schema = {"type": "object", **(tool.parameters or {"properties": {}})}
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": schema}}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict is not None:
        spec["strict"] = tool.strict
    return [{"toolSpec": spec}, *cache_point(tool.cache_control)]
