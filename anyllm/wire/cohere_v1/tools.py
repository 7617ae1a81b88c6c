"""
Tools in a version 1 request, which describes each parameter by a Python type.

JSON schemas can express more (choices, limits, alternatives, nested objects). Such schemas are refused: the model would
not see that part, and not follow it. Version 2 accepts JSON schemas.

Source: https://docs.cohere.com/v1/docs/parameter-types-in-tool-use
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.wire._base.conversation import Function
from anyllm.wire._base.encode_json import unsupported

_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "object": "Dict", "array": "List"}

#: The keys of a schema, and of a property, that version 1 can express or that can be left out.
_SCHEMA_KEYS = {"type", "properties", "required", "additionalProperties", "title", "$schema"}
_PROPERTY_KEYS = {"type", "description", "title"}


def tool_json(tool: Function | Mapping[str, Any], provider: str) -> Mapping[str, Any]:
    """
    A function in Cohere's shape; a tool already in that shape stays as it is.

    Raises:
        UnsupportedParameterError: the tool is neither, or the provider cannot express its schema.
    """
    if not isinstance(tool, Function):
        if isinstance(tool.get("name"), str):
            return tool
        raise unsupported("tools", f"the provider supports only functions as tools, not {tool!r:.80}", provider)
    if tool.strict:
        raise unsupported("tools", f"the provider has no strict mode, which {tool.name} requires", provider)
    try:
        definitions = _definitions(tool.parameters or {})
    except ValueError as exc:
        what = f"the schema of {tool.name} has {exc}, which version 1 of the API cannot express; version 2 can"
        raise unsupported("tools", what, provider) from exc
    body: dict[str, Any] = {"name": tool.name, "description": tool.description or ""}
    if definitions:
        body["parameter_definitions"] = definitions
    return body


def _definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    The ``parameter_definitions`` for *schema*.

    Raises:
        ValueError: they cannot express the schema; the message is the part that they cannot.
    """
    _check(schema, _SCHEMA_KEYS)
    if schema.get("type", "object") != "object":
        raise ValueError(f"the type {schema['type']!r}")
    if schema.get("additionalProperties"):
        raise ValueError("'additionalProperties'")
    properties, required = schema.get("properties") or {}, schema.get("required") or ()
    if not isinstance(properties, Mapping) or not isinstance(required, (list, tuple)):
        raise ValueError("malformed properties or required names")
    return {name: _definition(inner, name in required) for name, inner in properties.items()}


def _definition(schema: Any, required: bool) -> dict[str, Any]:
    definition = {"type": _type(schema), "required": required}
    description = schema.get("description")
    return {"description": description, **definition} if isinstance(description, str) else definition


def _type(schema: Any) -> str:
    """The Python type of a parameter, such as "List[str]"."""
    if not isinstance(schema, Mapping):
        raise ValueError("a malformed parameter")
    kind = schema.get("type")
    name = _TYPES.get(kind) if isinstance(kind, str) else None
    if name is None:
        raise ValueError(f"the type {kind!r}")
    _check(schema, {*_PROPERTY_KEYS, "items"} if name == "List" else _PROPERTY_KEYS)
    return f"List[{_type(schema['items'])}]" if "items" in schema else name


def _check(schema: Mapping[str, Any], supported: set[str]) -> None:
    unknown = next((key for key in schema if key not in supported), None)
    if unknown is not None:
        raise ValueError(repr(unknown))
