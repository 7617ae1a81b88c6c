"""Schemas in Google's subset of OpenAPI, as JSON schemas. Source: https://ai.google.dev/api/caching#Schema"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anyllm.wire.gemini.fields import UNSPECIFIED

__all__ = ["json_schema"]

#: Counts in a schema, which the JSON of Google's own libraries writes as text.
_COUNTS = ("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties")
#: Keys of Google's subset of OpenAPI that JSON schema has under other names, in snake_case too.
_KEYS = {
    **{re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): name for name in _COUNTS},
    "any_of": "anyOf",
    "additional_properties": "additionalProperties",
    "property_ordering": "propertyOrdering",
    "defs": "$defs",
    "ref": "$ref",
}


def json_schema(value: Any) -> Any:
    """A schema in Google's subset of OpenAPI, as JSON schema."""
    if not isinstance(value, Mapping):
        return value
    schema: dict[str, Any] = {}
    is_nullable = False
    for name, item in value.items():
        key: str = _KEYS.get(name) or name
        if key == "nullable":
            is_nullable = item is True
        elif key == "type" and isinstance(item, str):
            schema.update({} if item.endswith(UNSPECIFIED) else {key: item.lower()})
        elif key in ("properties", "$defs") and isinstance(item, Mapping):
            schema[key] = {inner: json_schema(of) for inner, of in item.items()}
        elif key in ("anyOf", "prefixItems") and isinstance(item, list):
            schema[key] = [json_schema(of) for of in item]
        elif key in ("items", "additionalProperties"):
            schema[key] = json_schema(item)
        elif key in _COUNTS and isinstance(item, str) and item.isdecimal() and item.isascii():
            schema[key] = int(item)
        elif key == "$ref" and isinstance(item, str):
            schema[key] = item.replace("#/defs/", "#/$defs/")
        elif item is not None:
            schema[key] = item
    return _or_null(schema) if is_nullable else schema


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [*schema["enum"], None]
    return schema
