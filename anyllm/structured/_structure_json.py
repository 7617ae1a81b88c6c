"""
Classes filled from JSON: attrs classes and dataclasses, whatever their fields are made of.

Strategy: cattrs does it, as in `_convert`, but with hooks that look at what JSON had: cattrs alone makes a list of the
letters of a text, and ignores unknown keys further in. What is wrong is said all at once, each with its path.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Callable, TypeVar, Union

import attrs
import msgspec

from anyllm._hints.arguments import did_you_mean
from anyllm.structured._schema import without_nulls
from anyllm.structured._validation_errors import (
    JSON_TYPES,
    KINDS,
    Fault,
    Shown,
    expected,
    in_json,
    listed,
    path_of,
    short,
)

__all__ = ["filled", "has_fields"]


def has_fields(tp: Any) -> bool:
    """Whether *tp* is an attrs class or a dataclass."""
    plain = typing.get_origin(tp) or tp
    return isinstance(plain, type) and (attrs.has(plain) or dataclasses.is_dataclass(plain))


def filled(cls: Any, value: Any) -> tuple[Any, list[Fault]]:
    """
    An instance of *cls* made of a JSON document, and what is wrong with the document; None for the one or the other.

    Raises:
        NameError, cattrs.StructureHandlerNotFoundError: the class names types that are not there, or odd ones.
    """
    try:
        return _converter().structure(value, cls), []
    except Exception as exc:
        return None, [Fault(path_of(path), short(words)) for path, words in _faults_in(exc)]


class _Wrong(Exception):
    """Faults, each with its path from here: keys and indexes."""

    def __init__(self, faults: list[Any]) -> None:
        super().__init__(faults)
        self.faults = faults


def _not(what: str, value: Any) -> _Wrong:
    return _Wrong([((), expected(what, value))])


def _faults_in(exc: BaseException) -> list[Any]:
    """What an exception says, cattrs' groups of them included, as pairs of path and words."""
    from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, StructureHandlerNotFoundError

    if isinstance(exc, (RecursionError, NameError, StructureHandlerNotFoundError)):
        raise exc  # of the class, or of the machine; not of the answer
    if isinstance(exc, _Wrong):
        return exc.faults
    if isinstance(exc, ClassValidationError):
        faults = []
        in_fields, others = exc.group_exceptions()
        for inner, note in in_fields:
            if isinstance(inner, KeyError) and inner.args == (note.name,):
                faults.append(((note.name,), "missing"))
            else:
                faults += [((note.name, *path), words) for path, words in _faults_in(inner)]
        return faults + [fault for inner in others for fault in _faults_in(inner)]
    if isinstance(exc, ForbiddenExtraKeysError):
        known = _fields_of(exc.cl)
        return [((name,), "unknown key" + did_you_mean(name, known)) for name in sorted(exc.extra_fields)]
    return [((), str(exc) or type(exc).__name__)]


@functools.lru_cache(maxsize=1)
def _converter() -> Any:
    from cattrs import Converter

    converter = Converter(prefer_attrib_converters=True, forbid_extra_keys=True)
    # The last hook that fits is taken. What none of ours knows (times, ids, bytes), msgspec reads: it wrote the schema.
    converter.register_structure_hook_func(_is_plain_class, _by_msgspec)
    converter.register_structure_hook(bytes, _by_msgspec)
    converter.register_structure_hook_func(lambda tp: tp is object, lambda value, _: value)
    for kind, words in ((str, "a string"), (bool, "a boolean"), (int, "an integer"), (float, "a number")):
        converter.register_structure_hook(kind, functools.partial(_scalar, words=words))
    for fits, make in (
        (has_fields, _object_hook),
        (_is_enum, _enum_hook),
        (_is_literal, _literal_hook),
        (_is_list, _list_hook),
        (_is_tuple, _tuple_hook),
        (_is_mapping, _mapping_hook),
        (_is_union, _union_hook),
        (_is_annotated, _annotated_hook),
    ):
        converter.register_structure_hook_factory(fits, functools.partial(make, converter))
    return converter


_Hook = Callable[[Any, Any], Any]


def _scalar(value: Any, kind: Any, *, words: str) -> Any:
    if issubclass(kind, enum.Enum):  # one that is a str too: cattrs asks the hooks of base classes first
        return _enum_hook(None, kind)(value, kind)
    good = (int, float) if kind is float else kind
    if not isinstance(value, good) or (isinstance(value, bool) and kind is not bool):
        raise _not(words, value)
    return kind(value)


def _is_plain_class(tp: Any) -> bool:
    return isinstance(tp, type) and tp is not object and typing.get_origin(tp) is None


def _by_msgspec(value: Any, tp: Any) -> Any:
    try:
        return msgspec.convert(without_nulls(value, tp), tp, str_keys=True)
    except msgspec.ValidationError as exc:
        words, _, where = str(exc).replace("`", "").partition(" - at ")
        path = tuple(int(at) if at else key for key, at in re.findall(r"\.(\w+)|\[(\d+)\]", where))
        raise _Wrong([(path, words[:1].lower() + words[1:])]) from exc


def _object_hook(converter: Any, cls: Any) -> _Hook:
    from cattrs.gen import make_dict_structure_fn, override

    fields, hints = _fields_of(cls), typing.get_type_hints(_plain(cls), include_extras=True)
    how: Any = {
        name: override(struct_hook=functools.partial(_as_hinted, converter, hints[name]))
        for name, field in fields.items()
        if name in hints and getattr(field, "converter", None) is None and not _is_open(hints[name])
    }
    fill = make_dict_structure_fn(cls, converter, **how)
    # In the strict form nothing can be left out; null stands for the default.
    has_default = {
        name for name, field in fields.items() if _has_default(field) and not _takes_none(hints.get(name, Any))
    }

    def structure(value: Any, tp: Any) -> Any:
        if not isinstance(value, dict):
            raise _not("an object", value)
        return fill({key: item for key, item in value.items() if item is not None or key not in has_default}, tp)

    return structure


def _as_hinted(converter: Any, hint: Any, value: Any, _tp: Any) -> Any:
    """cattrs does not see ``Annotated`` where a dataclass has its annotations as text, nor text in ``List["Node"]``."""
    return converter.structure(value, hint)


def _is_open(tp: Any) -> bool:
    """Whether a parameter of a generic class is in it, which cattrs fills in."""
    return isinstance(tp, TypeVar) or any(map(_is_open, typing.get_args(tp)))


def _fields_of(cls: Any) -> dict[str, Any]:
    """The fields that the constructor takes."""
    plain = _plain(cls)
    fields: Any = attrs.fields(plain) if attrs.has(plain) else dataclasses.fields(plain)
    return {field.name: field for field in fields if field.init}


def _has_default(field: Any) -> bool:
    factory = getattr(field, "default_factory", dataclasses.MISSING)
    return factory is not dataclasses.MISSING or all(
        field.default is not no for no in (attrs.NOTHING, dataclasses.MISSING)
    )


def _takes_none(tp: Any) -> bool:
    if _is_annotated(tp):
        return _takes_none(tp.__origin__)
    if _is_literal(tp) or _is_union(tp):
        return any(option is None or _takes_none(option) for option in typing.get_args(tp))
    return tp in (Any, object, None, type(None)) or isinstance(tp, TypeVar)


def _is_enum(tp: Any) -> bool:
    return isinstance(tp, type) and issubclass(tp, enum.Enum)


@functools.lru_cache(maxsize=256)
def _enum_hook(_converter: Any, tp: Any) -> _Hook:
    return _one_of({_key(member.value): member for member in tp})


def _is_literal(tp: Any) -> bool:
    return typing.get_origin(tp) is typing.Literal


def _literal_hook(_converter: Any, tp: Any) -> _Hook:
    return _one_of({_key(getattr(option, "value", option)): option for option in typing.get_args(tp)})


def _key(value: Any) -> tuple[type, Any]:
    """Python takes True for 1."""
    return type(value), value


def _one_of(options: dict[tuple[type, Any], Any]) -> _Hook:
    words = "one of " + ", ".join(in_json(value) for _, value in options) if len(options) > 1 else ""

    def structure(value: Any, _tp: Any) -> Any:
        if isinstance(value, (dict, list)) or _key(value) not in options:
            raise _not(words or in_json(next(iter(options))[1]), Shown(value))
        return options[_key(value)]

    return structure


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
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _is_list(tp: Any) -> bool:
    return _plain(tp) in _LISTS


def _is_tuple(tp: Any) -> bool:
    return _plain(tp) is tuple


def _is_mapping(tp: Any) -> bool:
    return _plain(tp) in _MAPPINGS


def _plain(tp: Any) -> Any:
    return typing.get_origin(tp) or tp


def _list_hook(converter: Any, tp: Any) -> _Hook:
    make = _LISTS[_plain(tp)]
    inner = next(iter(typing.get_args(tp)), Any)

    def structure(value: Any, _tp: Any) -> Any:
        items = _collected(converter, [(at, item, inner) for at, item in enumerate(_list_in(value))])
        try:
            return make(items)
        except TypeError as exc:  # a set of what has no hash
            raise _Wrong([((), str(exc))]) from exc

    return structure


def _tuple_hook(converter: Any, tp: Any) -> _Hook:
    inner = typing.get_args(tp)
    if not inner or inner[-1] is Ellipsis:
        one = inner[0] if inner else Any
        return lambda value, _: tuple(_collected(converter, [(i, item, one) for i, item in enumerate(_list_in(value))]))

    def structure(value: Any, _tp: Any) -> Any:
        if len(_list_in(value)) != len(inner):
            raise _Wrong([((), f"expected a list of {len(inner)}, got one of {len(value)}")])
        return tuple(_collected(converter, [(i, *pair) for i, pair in enumerate(zip(value, inner))]))

    return structure


def _mapping_hook(converter: Any, tp: Any) -> _Hook:
    key_type, inner = typing.get_args(tp) or (str, Any)

    def structure(value: Any, _tp: Any) -> Any:
        if not isinstance(value, dict):
            raise _not("an object", value)
        keys = _collected(converter, [(key, _key_in(key, key_type), key_type) for key in value])
        return dict(zip(keys, _collected(converter, [(key, item, inner) for key, item in value.items()])))

    return structure


def _key_in(key: str, tp: Any) -> Any:
    """JSON has only texts for keys."""
    try:
        return next(iter(msgspec.convert({key: None}, dict[tp, None], str_keys=True))) if tp in (int, float) else key
    except msgspec.ValidationError:
        return key


def _list_in(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _not("a list", value)
    return value


def _collected(converter: Any, items: Iterable[tuple[Any, Any, Any]]) -> list[Any]:
    """Each item as its type, and the faults of all."""
    done, faults = [], []
    for place, item, tp in items:
        try:
            done.append(item if tp is Any else converter.structure(item, tp))
        except Exception as exc:
            faults += [((place, *path), words) for path, words in _faults_in(exc)]
    if faults:
        raise _Wrong(faults)
    return done


def _is_union(tp: Any) -> bool:
    # The second kind is what `int | None` makes from Python 3.10 on.
    return typing.get_origin(tp) is Union or type(tp).__name__ == "UnionType"


def _union_hook(converter: Any, tp: Any) -> _Hook:
    options = [option for option in typing.get_args(tp) if option is not type(None)]
    takes_none = len(options) < len(typing.get_args(tp))

    def structure(value: Any, _tp: Any) -> Any:
        if value is None and takes_none:
            return None
        failed = []
        for option in options:
            try:
                return converter.structure(value, option)
            except Exception as exc:
                failed.append(_faults_in(exc))
        # What fits on the outside was meant: its faults lie further in.
        inner = [faults for faults in failed if any(path for path, _ in faults)]
        if len(failed) == 1 or len(inner) == 1:
            raise _Wrong((inner or failed)[0])
        names = [_named(option) for option in options] + (["null"] if takes_none else [])
        raise _not(listed(names), value)

    return structure


def _is_annotated(tp: Any) -> bool:
    return hasattr(tp, "__metadata__")


def _annotated_hook(converter: Any, tp: Any) -> _Hook:
    """Limits that `msgspec.Meta` sets on the outside of a value are in the schema, and hold."""
    inner = tp.__origin__
    limits = tuple(item for item in tp.__metadata__ if isinstance(item, msgspec.Meta))
    limited: Any = _LIMITED.get(_plain(inner)) if limits else None
    for limit in limits:
        limited = limited and typing.Annotated[limited, limit]

    def structure(value: Any, _tp: Any) -> Any:
        result = converter.structure(value, inner)
        if limited is not None:
            _by_msgspec(value, limited)
        return result

    return structure


_LIMITED: Mapping[Any, Any] = {
    **{kind: kind for kind in (str, int, float)},
    tuple: list,
    **dict.fromkeys(_LISTS, list),
    **dict.fromkeys(_MAPPINGS, dict),
}


def _named(tp: Any) -> str:
    plain = _plain(getattr(tp, "__origin__", tp) if _is_annotated(tp) else tp)
    if has_fields(plain) or plain in _MAPPINGS:
        return "an object"
    if plain in _LISTS or plain is tuple:
        return "a list"
    return KINDS.get(JSON_TYPES.get(plain, ""), getattr(plain, "__name__", str(plain)))
