"""
JSON schemas of Python types: what a host is told, so that the answer fits a class.

Strategy: msgspec writes them, from attrs classes, dataclasses, TypedDicts, enums and all that is built of those. Three
things are changed: references are replaced by what they refer to (not every host follows them, and OpenAI accepts none
at the top), except where a type holds itself; docstrings lose their indentation; and fields that a constructor does not
take are left out.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Callable

import attrs
import msgspec

__all__ = ["schema_of", "strict", "without_nulls"]

#: Where schemas stand in a schema: as the values of an object, in a list, or alone.
_IN_OBJECTS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_IN_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_ALONE = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_PREFIX = "#/$defs/"
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def schema_of(tp: Any) -> dict[str, Any]:
    """
    The JSON schema (2020-12) of a type.

    Descriptions come from the docstrings of classes and from ``Annotated[..., msgspec.Meta(description=...)]``, limits
    from ``msgspec.Meta(ge=0, max_length=80, ...)``. Only types that hold themselves are in ``$defs``.

    Raises:
        TypeError: JSON or msgspec has no such type. A union of two classes is none for it.
    """
    classes = _classes_in(tp)
    (root, *known), definitions = msgspec.json.schema_components([tp, *classes])
    for cls, reference in zip(classes, known):
        _trim(definitions[_target(reference)], cls)
    # Defaults may be tuples, and what was put in twice is one dict: as JSON they are lists, and two.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(_inlined(root, definitions)))
    return plain


# -- what msgspec says -------------------------------------------------------------------------------------------------


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
    """What a description of a type or of a field holds of the same kind."""
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
    """The name that a schema refers to, or ""."""
    reference = schema.get("$ref", "")
    return reference[len(_PREFIX) :] if reference.startswith(_PREFIX) else ""


def without_nulls(value: Any, tp: Any) -> Any:
    """*value* without the nulls that stand for a default in the strict form, at any depth of the type."""
    try:
        return _without_nulls(value, msgspec.inspect.type_info(tp))
    except TypeError:  # no type of msgspec's, which says so itself
        return value


def _without_nulls(value: Any, info: Any) -> Any:
    if isinstance(info, msgspec.inspect.Metadata):
        return _without_nulls(value, info.type)
    if isinstance(info, msgspec.inspect.UnionType):
        options = [one for one in info.types if _holds(one, value)]
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


def _holds(info: Any, value: Any) -> bool:
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
    endless = _endless(definitions)

    def filled(schema: Any) -> Any:
        name = _target(schema) if isinstance(schema, dict) else ""
        return _changed(schema, filled) if not name or name in endless else opened(schema)

    def opened(schema: dict[str, Any]) -> dict[str, Any]:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return {**_changed(definitions[_target(schema)], filled), **beside}

    schema: dict[str, Any] = opened(root) if _target(root) else filled(root)
    kept = {name: _changed(definitions[name], filled) for name in sorted(endless)}
    return {**schema, "$defs": kept} if kept else schema


def _endless(definitions: dict[str, Any]) -> set[str]:
    """The names of what holds itself, at any depth."""
    holds = {name: set(_targets(schema)) for name, schema in definitions.items()}
    endless = set()
    for name in definitions:
        found: set[str] = set()
        todo = list(holds[name])
        while todo:
            inner = todo.pop()
            if inner not in found:
                found.add(inner)
                todo += holds[inner]
        if name in found:
            endless.add(name)
    return endless


def _targets(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if _target(schema):
            yield _target(schema)
        for inner in _inside(schema):
            yield from _targets(inner)


# -- OpenAI's strict form ----------------------------------------------------------------------------------------------


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    The same schema in the strict form: objects are closed, and all of their properties required.

    What could be left out may be null instead. Defaults go: nothing is left out that they could stand for. The argument
    is left alone.

    Raises:
        ValueError: there is no such form, because *schema* lets an object have keys of any name, or takes anything; the
            message says where.

    Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    made: dict[str, Any] = _strict(copy.deepcopy(dict(schema)), "$")
    return made


def _strict(schema: Any, path: str) -> Any:
    if not isinstance(schema, dict):
        if schema is True:
            raise ValueError(f"{path}: what may be anything has no strict form")
        return schema
    schema.pop("default", None)
    if not schema.keys() & {"type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf"}:
        raise ValueError(f"{path}: what may be anything has no strict form")
    if "$ref" in schema and "anyOf" not in schema and schema.keys() - {"$ref", "$defs", "definitions"}:
        schema["anyOf"] = [{"$ref": schema.pop("$ref")}]  # a reference must stand alone
    if "enum" in schema and "type" not in schema:
        types = sorted({_TYPES[type(value)] for value in schema["enum"] if type(value) in _TYPES})
        schema.update({"type": types[0] if len(types) == 1 else types} if types else {})
    if "object" in _types(schema) or "properties" in schema:
        _close(schema, path)
    if "array" in _types(schema):
        _one_kind(schema, path)
    schema.pop("contentEncoding", None)  # is not permitted
    for key in _IN_OBJECTS:
        for name, inner in schema.get(key, {}).items():
            schema[key][name] = _strict(inner, f"{path}.{name}")
    for key in _IN_LISTS:
        if isinstance(schema.get(key), list):
            schema[key] = [_strict(inner, path) for inner in schema[key]]
    for key in _ALONE:
        if isinstance(schema.get(key), dict):
            schema[key] = _strict(schema[key], f"{path}[]" if key == "items" else path)
    return schema


def _close(schema: dict[str, Any], path: str) -> None:
    """An object; one that is open beside its properties keeps to these."""
    more = schema.get("additionalProperties", True)
    if isinstance(more, dict) or "patternProperties" in schema or (more is True and "properties" not in schema):
        raise ValueError(f"{path}: an object with keys of any name has no strict form")
    properties = schema.setdefault("properties", {})
    required = schema.get("required", ())
    for name, inner in properties.items():
        if name not in required:
            properties[name] = _nullable(inner)
    schema["required"] = list(properties)
    schema["additionalProperties"] = False


def _one_kind(schema: dict[str, Any], path: str) -> None:
    """A list, whose items must be told, and all be of one kind."""
    schema.pop("uniqueItems", None)  # is not permitted
    places = schema.pop("prefixItems", None)
    if places:
        if any(place != places[0] for place in places) or schema.get("items") not in (None, False, places[0]):
            raise ValueError(f"{path}: a list with a type for each place has no strict form")
        schema["items"] = places[0]
    if not isinstance(schema.get("items"), dict):
        raise ValueError(f"{path}[]: what may be anything has no strict form")


def _nullable(schema: Any) -> Any:
    if _takes_null(schema):
        return schema
    null = {"type": "null"}
    if isinstance(schema, dict) and "anyOf" in schema and schema.keys() <= {"anyOf", "default", "description", "title"}:
        return {**schema, "anyOf": [*schema["anyOf"], null]}
    return {"anyOf": [schema, null]}


def _takes_null(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return bool(schema)
    if "enum" in schema or "const" in schema:
        return None in schema.get("enum", [schema.get("const", "")])
    return "null" in _types(schema) or any(_takes_null(inner) for inner in schema.get("anyOf", ()))


def _types(schema: dict[str, Any]) -> list[Any]:
    types = schema.get("type", [])
    return types if isinstance(types, list) else [types]


# -- schemas in schemas ------------------------------------------------------------------------------------------------


def _inside(schema: dict[str, Any]) -> Iterator[Any]:
    for key in _IN_OBJECTS:
        yield from schema.get(key, {}).values()
    for key in _IN_LISTS:
        if isinstance(schema.get(key), list):
            yield from schema[key]
    for key in _ALONE:
        if isinstance(schema.get(key), dict):
            yield schema[key]


def _changed(schema: Any, change: Callable[[Any], Any]) -> Any:
    """A copy in which the schemas inside are what *change* makes of them."""
    if not isinstance(schema, dict):
        return schema
    new = dict(schema)
    for key in _IN_OBJECTS:
        if key in schema:
            new[key] = {name: change(inner) for name, inner in schema[key].items()}
    for key in _IN_LISTS:
        if isinstance(schema.get(key), list):
            new[key] = [change(inner) for inner in schema[key]]
    for key in _ALONE:
        if isinstance(schema.get(key), dict):
            new[key] = change(schema[key])
    return new
