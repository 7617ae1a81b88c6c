"""Inspection of type hints: unions, literals, classes with fields, and the arguments of generic classes."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union

import attrs


def origin_of(tp: Any) -> Any:
    return typing.get_origin(tp) or tp


def is_annotated(tp: Any) -> bool:
    return hasattr(tp, "__metadata__")


def is_literal(tp: Any) -> bool:
    return typing.get_origin(tp) is typing.Literal


def is_union(tp: Any) -> bool:
    # The second kind is what `int | None` makes from Python 3.10 on.
    return typing.get_origin(tp) is Union or type(tp).__name__ == "UnionType"


def has_fields(tp: Any) -> bool:
    """Whether *tp* is an attrs class or a dataclass."""
    cls = origin_of(tp)
    return isinstance(cls, type) and (attrs.has(cls) or dataclasses.is_dataclass(cls))


def accepts_none(tp: Any) -> bool:
    """Whether None is a value of the type."""
    if is_annotated(tp):
        return accepts_none(tp.__origin__)
    if is_literal(tp) or is_union(tp):
        return any(option is None or accepts_none(option) for option in typing.get_args(tp))
    return tp in (Any, object, None, type(None)) or isinstance(tp, TypeVar)


def has_default(field: Any) -> bool:
    """Whether a field of an attrs class or a dataclass has a default or a factory."""
    defaults = (field.default, getattr(field, "default_factory", dataclasses.MISSING))
    return any(default is not attrs.NOTHING and default is not dataclasses.MISSING for default in defaults)


def type_arguments(tp: Any) -> dict[Any, Any]:
    """The type arguments of a generic class and of its bases, by type variable."""
    cls = origin_of(tp)
    found = dict(zip(getattr(cls, "__parameters__", ()), typing.get_args(tp)))
    for base in getattr(cls, "__orig_bases__", ()):
        for variable, argument in type_arguments(base).items():
            found.setdefault(variable, substituted(argument, found))
    return found


def substituted(hint: Any, type_arguments: Mapping[Any, Any]) -> Any:
    """The hint with type arguments in place of its type variables."""
    if isinstance(hint, TypeVar):
        return type_arguments.get(hint, hint)
    variables = getattr(hint, "__parameters__", ()) if typing.get_origin(hint) else ()
    return hint[tuple(type_arguments.get(variable, variable) for variable in variables)] if variables else hint
