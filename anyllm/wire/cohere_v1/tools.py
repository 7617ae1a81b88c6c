"""
Tools in version 1's shape, which describes each parameter by a Python type.

A JSON schema says more than that. What has no word here (choices, limits, alternatives, objects in objects) is refused:
a model that is not told it would not keep to it. Version 2 takes schemas as they are.

Source: https://docs.cohere.com/v1/docs/parameter-types-in-tool-use
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.wire._base.conversation import Function
from anyllm.wire._base.encode_json import unsupported

_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "object": "Dict", "array": "List"}

#: What a schema may hold that is said here too, or that says nothing.
_SCHEMA = {"type", "properties", "required", "additionalProperties", "title", "$schema"}
_PROPERTY = {"type", "description", "title"}


def tool_in(tool: Function | Mapping[str, Any], provider: str) -> Mapping[str, Any]:
    """
    A function in the host's shape; a tool that is in that already, as it is.

    Raises:
        UnsupportedParameterError: it is neither, or its schema says what the host has no words for.
    """
    if not isinstance(tool, Function):
        if isinstance(tool.get("name"), str):
            return tool
        raise unsupported("tools", f"this host has no tools but functions, and none like {tool!r:.80}", provider)
    if tool.strict:
        raise unsupported("tools", f"this host cannot keep to the schema of {tool.name} strictly", provider)
    try:
        definitions = _definitions(tool.parameters or {})
    except ValueError as exc:
        what = f"the schema of {tool.name} has {exc}, which this version of the API has no words for; version 2 has"
        raise unsupported("tools", what, provider) from exc
    found: dict[str, Any] = {"name": tool.name, "description": tool.description or ""}
    if definitions:
        found["parameter_definitions"] = definitions
    return found


def _definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    What the host calls ``parameter_definitions``.

    Raises:
        ValueError: the schema says more; the text says what.
    """
    _check(schema, _SCHEMA)
    if schema.get("type", "object") != "object":
        raise ValueError(f"the type {schema['type']!r}")
    if schema.get("additionalProperties"):
        raise ValueError("'additionalProperties'")
    properties, required = schema.get("properties") or {}, schema.get("required") or ()
    if not isinstance(properties, Mapping) or not isinstance(required, (list, tuple)):
        raise ValueError("properties or required names of no known form")
    return {name: _definition(inner, name in required) for name, inner in properties.items()}


def _definition(schema: Any, required: bool) -> dict[str, Any]:
    found = {"type": _type(schema), "required": required}
    description = schema.get("description")
    return {"description": description, **found} if isinstance(description, str) else found


def _type(schema: Any) -> str:
    """The Python type that a parameter's schema means, "List[str]"."""
    if not isinstance(schema, Mapping):
        raise ValueError("a parameter of no known form")
    kind = schema.get("type")
    name = _TYPES.get(kind) if isinstance(kind, str) else None
    if name is None:
        raise ValueError(f"the type {kind!r}")
    _check(schema, {*_PROPERTY, "items"} if name == "List" else _PROPERTY)
    return f"List[{_type(schema['items'])}]" if "items" in schema else name


def _check(schema: Mapping[str, Any], known: set[str]) -> None:
    unknown = next((key for key in schema if key not in known), None)
    if unknown is not None:
        raise ValueError(repr(unknown))
