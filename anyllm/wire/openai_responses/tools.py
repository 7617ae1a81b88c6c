"""
Tools, the choice of a tool, and the format of the answer: ours as they stand in Responses, and back.

Chat completions have an object inside that is named like its type, where Responses are flat.

Source: https://platform.openai.com/docs/api-reference/responses/create (tools, tool_choice, text)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.conversation import Function, schema_in, tool_choice_in
from anyllm.wire._base.json_values import without_none
from anyllm.wire._base.request_fields import Fields, wrong

#: Keys of a function that ours has too.
_FUNCTION_KEYS = frozenset(("type", "name", "description", "parameters", "strict", "cache_control"))


def tool_object(tool: Function | Mapping[str, Any]) -> Mapping[str, Any]:
    """
    One of our tools.

    A schema is strict only when that is asked for, as in chat completions: without ``strict``, this API makes all its
    arguments required.
    """
    if not isinstance(tool, Function):
        return _flat(tool)
    flat: dict[str, Any] = {"type": "function", "name": tool.name, "description": tool.description}
    flat["parameters"] = tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
    return without_none({**flat, "strict": bool(tool.strict), "cache_control": tool.cache_control or None})


def read_tool(tool: Fields, raw: Mapping[str, Any]) -> dict[str, Any]:
    """A client's tool in our shape; one that only providers of this format know stays *raw*."""
    kind = tool.take("type", str)
    if kind == "custom":
        tool.need("name", str)
        return _nested(raw)
    if kind != "function":
        return dict(raw)
    if not (name := tool.need("name", str)):
        raise wrong("tools", "a function has no name")
    types = {"description": str, "parameters": dict, "strict": bool}
    function = without_none({"name": name, **{key: tool.take(key, types[key]) for key in types}})
    cache_control = tool.take("cache_control", dict)
    if not _FUNCTION_KEYS.issuperset(without_none(raw)):
        return dict(raw)
    return without_none({"type": kind, "function": function, "cache_control": cache_control})


def choice_value(params: CompletionParams, provider: str) -> Any:
    """``tool_choice``; None if nothing is chosen."""
    choice = params.tool_choice
    if isinstance(choice, Mapping) and choice.get("type", "function") != "function":
        return _flat(choice)  # one of the provider's own tools, or the tools that are allowed
    kind, name = tool_choice_in(params, provider)
    return {"type": "function", "name": name} if kind == "named" else kind


def read_choice(choice: Any) -> Any:
    """Our tool_choice for a client's."""
    if not isinstance(choice, Mapping) or choice.get("type") not in ("function", "custom", "allowed_tools"):
        return choice
    nested = _nested(choice)
    inner = nested[choice["type"]]
    if isinstance(inner.get("tools"), list):
        inner["tools"] = [read_choice(tool) for tool in inner["tools"]]
    return nested


def format_object(params: CompletionParams, provider: str) -> Mapping[str, Any] | None:
    """``text.format``; None if there is no response_format."""
    kind, schema, name = schema_in(params, provider)
    if kind is None:
        return dict(params.response_format) if params.response_format else None
    if kind == "json_object" or params.response_format is None:
        return {"type": kind}
    return {"type": kind, **params.response_format["json_schema"], "name": name, "schema": schema}


def read_format(form: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Our response_format for a client's ``text.format``."""
    return _nested(form) if form is not None and form.get("type") == "json_schema" else form


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object without the one inside that is named like its type; so are the format and the tools in it."""
    kind = str(value.get("type"))
    flat = dict(value)
    if isinstance(value.get(kind), Mapping):
        flat.update(flat.pop(kind))
    if isinstance(flat.get("format"), Mapping):
        flat["format"] = _flat(flat["format"])
    if isinstance(flat.get("tools"), (list, tuple)):
        flat["tools"] = [_flat(tool) if isinstance(tool, Mapping) else tool for tool in flat["tools"]]
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """An object with its keys in one inside that is named like its type."""
    kind = str(flat.get("type"))
    inner = without_none({**flat, "type": None})
    form = inner.get("format")
    if isinstance(form, Mapping) and form.get("type") == "grammar":
        inner["format"] = _nested(form)
    return {"type": kind, kind: inner}
