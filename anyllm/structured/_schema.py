"""
JSON schemas of Python types, and OpenAI's strict form of a schema.

Strategy: msgspec writes the schemas of attrs classes, dataclasses, TypedDicts, enums and types made of them. Three
things are changed. References are replaced by the schemas they refer to, except in recursive types, because not every
provider follows references, and OpenAI accepts none at the top. Docstrings lose their indentation. Fields that the
constructor does not take are removed.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Callable

import attrs
import msgspec

#: Keywords whose values are schemas: in an object, in a list, or alone.
_IN_OBJECTS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_IN_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_SINGLE = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_DEFINITIONS = "#/$defs/"
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def schema_of(tp: Any) -> dict[str, Any]:
    """
    The JSON schema (2020-12) of a type.

    Descriptions come from the docstrings of classes and from ``Annotated[..., msgspec.Meta(description=...)]``, limits
    from ``msgspec.Meta(ge=0, max_length=80, ...)``. Only recursive types are in ``$defs``.

    Raises:
        TypeError: msgspec has no schema for the type. This includes a union of two classes.
    """
    classes = _classes_in(tp)
    (root, *references), definitions = msgspec.json.schema_components([tp, *classes])
    for cls, reference in zip(classes, references):
        _trim(definitions[_target(reference)], cls)
    # The way through JSON makes lists of tuples among the defaults, and copies dicts that occur twice.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(_inlined(root, definitions)))
    return plain


# -- msgspec's schemas -------------------------------------------------------------------------------------------------


def _classes_in(tp: Any) -> list[type]:
    """The attrs classes and dataclasses in *tp*, each once."""
    seen: set[int] = set()
    classes: list[type] = []
    todo: list[Any] = [msgspec.inspect.type_info(tp)]
    while todo:
        info = todo.pop()
        if id(info) in seen:
            continue
        seen.add(id(info))
        if isinstance(info, msgspec.inspect.DataclassType) and info.cls not in classes:
            classes.append(info.cls)
        todo += _parts(info)
    return classes


def _parts(info: Any) -> Iterator[Any]:
    """The types and fields inside msgspec's description of a type or field."""
    for name in getattr(info, "__struct_fields__", ()):
        part = getattr(info, name)
        for item in part if isinstance(part, tuple) else (part,):
            if isinstance(item, (msgspec.inspect.Type, msgspec.inspect.Field)):
                yield item


def _trim(schema: dict[str, Any], cls: Any) -> None:
    if "description" in schema:
        schema["description"] = inspect.cleandoc(schema["description"])
    fields = attrs.fields(cls) if attrs.has(cls) else cls.__dataclass_fields__.values()
    for field in fields:
        if not field.init:
            schema["properties"].pop(field.name, None)
            if field.name in schema.get("required", ()):
                schema["required"].remove(field.name)


def _target(schema: Mapping[str, Any]) -> str:
    """The name of the definition that a schema refers to, or ""."""
    reference = schema.get("$ref", "")
    return reference[len(_DEFINITIONS) :] if reference.startswith(_DEFINITIONS) else ""


def without_nulls(value: Any, tp: Any) -> Any:
    """*value* without the nulls that mean "default" in the strict form, at any depth."""
    try:
        return _without_nulls(value, msgspec.inspect.type_info(tp))
    except TypeError:  # msgspec does not support the type; its conversion says so
        return value


def _without_nulls(value: Any, info: Any) -> Any:
    if isinstance(info, msgspec.inspect.Metadata):
        return _without_nulls(value, info.type)
    if isinstance(info, msgspec.inspect.UnionType):
        options = [option for option in info.types if _matches_container(option, value)]
        return _without_nulls(value, options[0]) if len(options) == 1 else value
    if isinstance(value, dict):
        if isinstance(info, msgspec.inspect.DictType):
            return {key: _without_nulls(item, info.value_type) for key, item in value.items()}
        fields = {field.encode_name: field for field in getattr(info, "fields", ())}
        return {
            key: _without_nulls(item, fields[key].type) if key in fields else item
            for key, item in value.items()
            if item is not None or key not in fields or fields[key].required or _is_nullable(fields[key].type)
        }
    if isinstance(value, list):
        if isinstance(info, msgspec.inspect.TupleType):
            return [_without_nulls(*pair) for pair in zip(value, info.item_types)] + value[len(info.item_types) :]
        inner = getattr(info, "item_type", None)
        return value if inner is None else [_without_nulls(item, inner) for item in value]
    return value


def _matches_container(info: Any, value: Any) -> bool:
    info = info.type if isinstance(info, msgspec.inspect.Metadata) else info
    if isinstance(value, dict):
        return hasattr(info, "fields") or isinstance(info, msgspec.inspect.DictType)
    return isinstance(value, list) and (hasattr(info, "item_type") or isinstance(info, msgspec.inspect.TupleType))


def _is_nullable(info: Any) -> bool:
    info = info.type if isinstance(info, msgspec.inspect.Metadata) else info
    if isinstance(info, msgspec.inspect.UnionType):
        return any(map(_is_nullable, info.types))
    if isinstance(info, msgspec.inspect.LiteralType):
        return None in info.values
    return isinstance(info, (msgspec.inspect.NoneType, msgspec.inspect.AnyType))


# -- references --------------------------------------------------------------------------------------------------------


def _inlined(root: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    recursive = _recursive(definitions)

    def inlined(schema: Any, _place: str = "") -> Any:
        name = _target(schema) if isinstance(schema, dict) else ""
        return _with_nested(schema, inlined) if not name or name in recursive else target_of(schema)

    def target_of(schema: dict[str, Any]) -> dict[str, Any]:
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return {**_with_nested(definitions[_target(schema)], inlined), **siblings}

    schema: dict[str, Any] = target_of(root) if _target(root) else inlined(root)
    remaining = {name: _with_nested(definitions[name], inlined) for name in sorted(recursive)}
    return {**schema, "$defs": remaining} if remaining else schema


def _recursive(definitions: dict[str, Any]) -> set[str]:
    """The names of definitions that contain themselves, at any depth."""
    references = {name: _targets(schema) for name, schema in definitions.items()}
    recursive = set()
    for name in definitions:
        found: set[str] = set()
        todo = list(references[name])
        while todo:
            inner = todo.pop()
            if inner not in found:
                found.add(inner)
                todo += references[inner]
        if name in found:
            recursive.add(name)
    return recursive


def _targets(schema: Any) -> set[str]:
    """The names of the definitions that a schema refers to, at any depth."""
    found = {_target(schema)} - {""} if isinstance(schema, dict) else set()
    _with_nested(schema, lambda inner, _place: found.update(_targets(inner)))
    return found


# -- OpenAI's strict form ----------------------------------------------------------------------------------------------


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    The schema in OpenAI's strict form: objects are closed, and all of their properties required.

    Optional properties may be null instead. Defaults are removed. *schema* itself is not changed.

    Raises:
        ValueError: there is no such form, because *schema* has an object with arbitrary keys, or accepts anything; the
            message says where.

    Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    result: dict[str, Any] = _strict(copy.deepcopy(dict(schema)), "$")
    return result


def _strict(schema: Any, path: str) -> Any:
    if not isinstance(schema, dict):
        if schema is True:
            raise ValueError(f"{path}: a schema that accepts anything has no strict form")
        return schema
    schema.pop("default", None)
    if not schema.keys() & {"type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf"}:
        raise ValueError(f"{path}: a schema that accepts anything has no strict form")
    if "$ref" in schema and "anyOf" not in schema and schema.keys() - {"$ref", "$defs", "definitions"}:
        schema["anyOf"] = [{"$ref": schema.pop("$ref")}]  # a reference must stand alone
    if "enum" in schema and "type" not in schema:
        types = sorted({_TYPES[type(value)] for value in schema["enum"] if type(value) in _TYPES})
        schema.update({"type": types[0] if len(types) == 1 else types} if types else {})
    if "object" in _types(schema) or "properties" in schema:
        _close(schema, path)
    if "array" in _types(schema):
        _make_items_uniform(schema, path)
    schema.pop("contentEncoding", None)  # is not permitted
    return _with_nested(schema, lambda inner, place: _strict(inner, path + place))


def _close(schema: dict[str, Any], path: str) -> None:
    """Close an object. One that is open beside its properties keeps only these."""
    others = schema.get("additionalProperties", True)
    if isinstance(others, dict) or "patternProperties" in schema or (others is True and "properties" not in schema):
        raise ValueError(f"{path}: an object with arbitrary keys has no strict form")
    properties = schema.setdefault("properties", {})
    required = schema.get("required", ())
    for name, inner in properties.items():
        if name not in required:
            properties[name] = _nullable(inner)
    schema["required"] = list(properties)
    schema["additionalProperties"] = False


def _make_items_uniform(schema: dict[str, Any], path: str) -> None:
    """Give a list one schema for all of its items."""
    schema.pop("uniqueItems", None)  # is not permitted
    prefix = schema.pop("prefixItems", None)
    if prefix:
        if any(item != prefix[0] for item in prefix) or schema.get("items") not in (None, False, prefix[0]):
            raise ValueError(f"{path}: a list with a type for each item has no strict form")
        schema["items"] = prefix[0]
    if not isinstance(schema.get("items"), dict):
        raise ValueError(f"{path}[]: a schema that accepts anything has no strict form")


def _nullable(schema: Any) -> Any:
    if _accepts_null(schema):
        return schema
    null = {"type": "null"}
    if isinstance(schema, dict) and "anyOf" in schema and schema.keys() <= {"anyOf", "default", "description", "title"}:
        return {**schema, "anyOf": [*schema["anyOf"], null]}
    return {"anyOf": [schema, null]}


def _accepts_null(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return bool(schema)
    if "enum" in schema or "const" in schema:
        return None in schema.get("enum", [schema.get("const", "")])
    return "null" in _types(schema) or any(_accepts_null(inner) for inner in schema.get("anyOf", ()))


def _types(schema: dict[str, Any]) -> list[Any]:
    types = schema.get("type", [])
    return types if isinstance(types, list) else [types]


# -- nested schemas ---------------------------------------------------------------------------------------------------


def _with_nested(schema: Any, change: Callable[[Any, str], Any]) -> Any:
    """A copy in which *change* has replaced the nested schemas; it gets each with its place, ".name", "[]" or ""."""
    if not isinstance(schema, dict):
        return schema
    new = dict(schema)
    for key in _IN_OBJECTS:
        if key in schema:
            new[key] = {name: change(inner, f".{name}") for name, inner in schema[key].items()}
    for key in _IN_LISTS:
        if isinstance(schema.get(key), list):
            new[key] = [change(inner, "") for inner in schema[key]]
    for key in _SINGLE:
        if isinstance(schema.get(key), dict):
            new[key] = change(schema[key], "[]" if key == "items" else "")
    return new
