"""
Read JSON values into Python types, and list every fault with its path.

Strategy: msgspec converts scalars and whatever else contains no class. Attrs classes, dataclasses and the containers
around them are read here, because `msgspec.convert` stops at the first fault, ignores unknown keys, bypasses
constructors (and with them attrs' converters and fields with ``init=False``), and refuses a union of two classes.

A reader is called with a value and a list of faults. It returns the converted value, or appends to the list.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional, TypeVar

import attrs
import msgspec

from anyllm._hints.arguments import did_you_mean
from anyllm.structured._schema import without_nulls
from anyllm.structured._type_hints import (
    accepts_none,
    has_default,
    has_fields,
    is_annotated,
    is_literal,
    is_union,
    origin_of,
    substituted,
    type_arguments,
)
from anyllm.structured._validation_errors import (
    KINDS,
    Fault,
    expected,
    in_json,
    in_json_terms,
    json_path,
    or_list,
    shortened,
)

#: Path (keys and indexes, from the reader's value) and message of each fault.
_Faults = list[tuple[tuple[Any, ...], str]]
_Reader = Callable[[Any, _Faults], Any]

_LISTS: Mapping[Any, Any] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    collections.abc.Set: frozenset,
    collections.abc.MutableSet: set,
}
_LENGTHS = frozenset({"min_length", "max_length"})
_RANGES = frozenset({"gt", "ge", "lt", "le", "multiple_of"})
#: The limits in `msgspec.Meta` that apply to each kind of JSON value.
_LIMITS = {int: _RANGES, float: _RANGES, str: _LENGTHS | {"pattern"}, list: _LENGTHS, dict: _LENGTHS}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def structure_json(value: Any, tp: Any) -> tuple[Any, list[Fault]]:
    """
    Convert a JSON value to a type.

    Null stands for the default of a field that does not accept None, as in OpenAI's strict form of schemas. A field
    with a converter passes the JSON value to it. Enums, literals and unions are matched without coercion.

    Returns:
        The value and no faults, or None and the faults.

    Raises:
        NameError: an annotation cannot be resolved.
    """
    faults: _Faults = []
    try:
        result = _reader(tp)(value, faults)
    except RecursionError:
        faults = [((), "nested too deeply")]
    if faults:
        return None, [Fault(json_path(path), shortened(message)) for path, message in faults]
    return result, []


# -- types -------------------------------------------------------------------------------------------------------------


def _reader(tp: Any) -> _Reader:
    tp = getattr(tp, "__supertype__", getattr(tp, "__value__", tp)) if not isinstance(tp, type) else tp
    if tp in (Any, object) or isinstance(tp, TypeVar):
        return lambda value, faults: value
    return _container_reader(tp) or functools.partial(_by_msgspec, tp=tp)


def _container_reader(tp: Any) -> Optional[_Reader]:
    """None for the types that are left to msgspec."""
    origin = origin_of(tp)
    if is_annotated(tp):
        return _annotated_reader(tp)
    if has_fields(tp):  # compiled on first use, because classes may contain themselves
        return lambda value, faults: _class_reader(tp)(value, faults)
    if is_literal(tp):
        return _option_reader({_exact(getattr(option, "value", option)): option for option in typing.get_args(tp)})
    if isinstance(tp, type) and issubclass(tp, enum.Enum):
        return _option_reader({_exact(member.value): member for member in tp})
    if is_union(tp):
        return _union_reader(typing.get_args(tp))
    if origin is tuple:
        return _tuple_reader(typing.get_args(tp))
    if origin in _LISTS:
        return _list_reader(_LISTS[origin], next(iter(typing.get_args(tp)), Any))
    if origin in _MAPPINGS:
        return _mapping_reader(*(typing.get_args(tp) or (str, Any)))
    return None


def _by_msgspec(value: Any, faults: _Faults, tp: Any) -> Any:
    try:
        if isinstance(value, (dict, list)):  # of a TypedDict, a NamedTuple, a Struct
            value = without_nulls(value, tp)
        return msgspec.convert(value, tp, str_keys=True)
    except msgspec.ValidationError as exc:
        message, _, where = str(exc).partition(" - at ")
        path = tuple(int(index) if index else key for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", where))
        faults.append((path, in_json_terms(message)))
        return None


# -- classes -----------------------------------------------------------------------------------------------------------


@attrs.frozen
class _Field:
    parameter: str  # of the constructor
    read: _Reader
    check: Optional[_Reader]  # reads the annotated type of a field with a converter
    is_required: bool
    is_null_default: bool


@functools.lru_cache(maxsize=256)
def _class_reader(tp: Any) -> _Reader:
    fields = _fields_of(tp)

    def read(value: Any, faults: _Faults) -> Any:
        if not isinstance(value, dict):
            return _mismatch("an object", value, faults)
        before = len(faults)
        arguments = {}
        for name, field in fields.items():
            if name not in value:
                if field.is_required:
                    faults.append(((name,), "missing"))
            elif value[name] is not None or not field.is_null_default:
                arguments[field.parameter] = _read_at(name, field.read, value[name], faults)
        for key in sorted(value.keys() - fields.keys()):
            faults.append(((key,), "unknown key" + did_you_mean(key, fields)))
        if len(faults) > before:
            return None
        try:
            return tp(**arguments)
        except RecursionError:
            raise
        except Exception as exc:  # of a converter, a validator or __post_init__, which may raise anything
            for name, field in fields.items():
                if field.check and name in value:
                    _read_at(name, field.check, value[name], faults)
            if len(faults) == before:
                faults.append(((), str(exc) or type(exc).__name__))
            return None

    return read


def _fields_of(tp: Any) -> dict[str, _Field]:
    """The constructor's fields by name."""
    cls = origin_of(tp)
    hints = typing.get_type_hints(cls, include_extras=True)
    arguments = type_arguments(tp)
    fields: Any = attrs.fields(cls) if attrs.has(cls) else dataclasses.fields(cls)
    found = {}
    for field in fields:
        if field.init:
            hint = substituted(hints.get(field.name, Any), arguments)
            read = _reader(hint)
            has_converter = getattr(field, "converter", None) is not None
            is_required = not has_default(field)
            found[field.name] = _Field(
                parameter=getattr(field, "alias", None) or field.name,
                read=(lambda value, faults: value) if has_converter else read,
                check=read if has_converter else None,
                is_required=is_required,
                is_null_default=not is_required and not accepts_none(hint),
            )
    return found


# -- containers --------------------------------------------------------------------------------------------------------


def _read_at(place: Any, read: _Reader, value: Any, faults: _Faults) -> Any:
    """Read the value at a key or index, which becomes the beginning of the paths of its faults."""
    before = len(faults)
    result = read(value, faults)
    if len(faults) > before:
        faults[before:] = [((place, *path), message) for path, message in faults[before:]]
    return result


def _mismatch(allowed: str, value: Any, faults: _Faults) -> None:
    faults.append(((), expected(allowed, value)))


def _list_reader(make: Any, item_type: Any) -> _Reader:
    read_item = _reader(item_type)

    def read(value: Any, faults: _Faults) -> Any:
        if not isinstance(value, list):
            return _mismatch("a list", value, faults)
        before = len(faults)
        items = [_read_at(index, read_item, item, faults) for index, item in enumerate(value)]
        try:
            return make(items) if len(faults) == before else None
        except TypeError as exc:  # a set of items that have no hash
            faults.append(((), str(exc)))
            return None

    return read


def _tuple_reader(item_types: tuple[Any, ...]) -> _Reader:
    if not item_types or item_types[-1] is Ellipsis:
        return _list_reader(tuple, item_types[0] if item_types else Any)
    readers = [_reader(item_type) for item_type in item_types]

    def read(value: Any, faults: _Faults) -> Any:
        if not isinstance(value, list):
            return _mismatch("a list", value, faults)
        if len(value) != len(readers):
            faults.append(((), f"expected a list of {len(readers)}, got one of {len(value)}"))
            return None
        return tuple(_read_at(index, *pair, faults) for index, pair in enumerate(zip(readers, value)))

    return read


def _mapping_reader(key_type: Any, item_type: Any) -> _Reader:
    read_key = _key_reader(key_type)
    read_item = _reader(item_type)

    def read(value: Any, faults: _Faults) -> Any:
        if not isinstance(value, dict):
            return _mismatch("an object", value, faults)
        keys = [_read_at(key, read_key, key, faults) for key in value]
        items = [_read_at(key, read_item, item, faults) for key, item in value.items()]
        return dict(zip(keys, items))

    return read


def _key_reader(tp: Any) -> _Reader:
    if tp in (str, Any):
        return _reader(tp)
    one_key = typing.Dict[tp, None]

    def read(key: Any, faults: _Faults) -> Any:
        return next(iter(_by_msgspec({key: None}, faults, one_key) or (None,)))

    return read


def _exact(value: Any) -> tuple[type, Any]:
    """A key that tells True from 1."""
    return type(value), value


def _option_reader(options: dict[tuple[type, Any], Any]) -> _Reader:
    names = [in_json(value) for _, value in options]
    allowed = "one of " + ", ".join(names) if len(names) > 1 else names[0]

    def read(value: Any, faults: _Faults) -> Any:
        if isinstance(value, (dict, list)):
            return _mismatch(allowed, value, faults)
        if _exact(value) not in options:
            faults.append(((), f"expected {allowed}, got {in_json(value)}"))
        return options.get(_exact(value))

    return read


def _union_reader(types: Iterable[Any]) -> _Reader:
    options = [option for option in types if option is not type(None)]
    names = list(dict.fromkeys([*map(_name_of, options), *("null" for option in types if option is type(None))]))
    readers = list(map(_reader, options))

    def read(value: Any, faults: _Faults) -> Any:
        if value is None and "null" in names:
            return None
        failures: list[_Faults] = []
        for read_option in readers:
            found: _Faults = []
            result = read_option(value, found)
            if not found:
                return result
            failures.append(found)
        # An option whose faults all lie deeper matches from the outside: the model chose this one.
        inner = [found for found in failures if any(path for path, _ in found)]
        if len(failures) == 1 or len(inner) == 1:
            faults += (inner or failures)[0]
        else:
            _mismatch(or_list(names), value, faults)
        return None

    return read


def _annotated_reader(tp: Any) -> Optional[_Reader]:
    """The limits in `msgspec.Meta` are part of the schema, so they are checked on containers and unions too."""
    read_inner = _container_reader(tp.__origin__)
    limits = {
        name: value
        for item in tp.__metadata__
        if isinstance(item, msgspec.Meta)
        for name, value in ((name, getattr(item, name)) for names in _LIMITS.values() for name in names)
        if value is not None
    }
    limited: dict[type, Any] = {
        kind: typing.Annotated[kind, msgspec.Meta(**{name: limits[name] for name in names & limits.keys()})]
        for kind, names in _LIMITS.items()
    }
    if read_inner is None or not limits:
        return read_inner

    def read(value: Any, faults: _Faults) -> Any:
        before = len(faults)
        result = read_inner(value, faults)
        if len(faults) == before and type(value) in limited:
            _by_msgspec(value, faults, limited[type(value)])
        return result

    return read


def _name_of(tp: Any) -> str:
    origin = origin_of(tp.__origin__ if is_annotated(tp) else tp)
    if has_fields(origin) or origin in _MAPPINGS:
        return "an object"
    if origin in _LISTS or origin is tuple:
        return "a list"
    name = getattr(origin, "__name__", str(origin))
    return KINDS.get(name, name)
