"""
The border between JSON and values: msgspec reads and writes the text, cattrs structures the classes.

Strategy: this is the only module that says `Any` freely and the only one that knows cattrs. It knows none of
our classes, so the values themselves can use it to accept plain dicts. cattrs is loaded on first use, because
importing it costs a third of what importing requests costs and many programs never hand us a dict.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import msgspec

from anyllm._hints.arguments import unknown_keyword

T = TypeVar("T")

#: How cattrs ends a line about the whole, which names no place in it.
_ROOT = " @ $"
#: In UTF-8, and as JSON can write it.
_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))

#: JSON to plain Python values; one of `NOT_JSON` for anything that is not text, lone surrogates included. See `loads`.
loads_strictly = msgspec.json.Decoder().decode
#: What `loads_strictly` raises for that: msgspec's own error is not a ValueError in all its versions.
NOT_JSON = (ValueError, RecursionError, msgspec.DecodeError)
_encode = msgspec.json.Encoder().encode


def loads(text: str | bytes) -> Any:
    """
    JSON to plain Python values.

    Lone surrogates, which some hosts send when they cut an emoji in two, are kept as they are: msgspec
    refuses them, the standard library does not.

    Raises:
        ValueError: *text* is not JSON.
    """
    try:
        try:
            return loads_strictly(text)
        except msgspec.DecodeError:
            return json.loads(text)
    except RecursionError as exc:
        raise ValueError("JSON nested too deeply") from exc


def dumps(value: Any) -> bytes:
    """
    Plain Python values and our own classes to compact JSON.

    Raises:
        TypeError: *value* holds something that JSON cannot.
    """
    return _encode(unstructure(value))


def json_bytes(value: Any) -> bytes:
    """Compact JSON; half of an emoji, which is no text, is escaped."""
    try:
        return dumps(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def in_one_line(data: bytes) -> bytes:
    """JSON without what ends a line for readers that follow Unicode, as httpx's and so Ollama's clients do."""
    if not data.isascii():
        for end, escaped in _LINE_ENDS:
            data = data.replace(end, escaped)
    return data


def is_json(text: str | bytes) -> bool:
    """Whether *text* is one JSON document."""
    try:
        loads(text)
    except ValueError:
        return False
    return True


def structure(cls: type[T], value: Any) -> T:
    """
    A plain dict to an instance of the attrs class *cls*; an instance is given back as it is.

    Raises:
        TypeError: *value* is no mapping, has a key that *cls* lacks (the nearest is named), or a field has the
            wrong type (the path is named).
    """
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"expected {cls.__name__} or a dict, not {type(value).__name__}")
    known = {field.name for field in attrs.fields(cls)}  # type: ignore[arg-type]  # attrs classes only
    if not known.issuperset(value):
        raise unknown_keyword(cls.__name__, value, known)
    return _structured(cls, value)


def _structured(cls: type[T], value: Mapping[str, Any]) -> T:
    from cattrs import transform_error
    from cattrs.errors import BaseValidationError

    try:
        instance: T = _converter().structure(value, cls)
    except BaseValidationError as exc:
        words = [
            line[: -len(_ROOT)] if line.endswith(_ROOT) else line
            for line in transform_error(exc, format_exception=_wording)
        ]
        raise TypeError(f"{cls.__name__}: " + "; ".join(words)) from exc
    return instance


def _wording(exc: BaseException, kind: Any) -> str:
    from cattrs.v import format_exception

    return str(exc) if type(exc) in (TypeError, ValueError) and exc.args else format_exception(exc, kind)


def unstructure(value: Any, *, raw: bool = True) -> Any:
    """Our classes to plain dicts and lists; fields that are None are left out, and ``raw`` too on request."""
    if isinstance(value, (str, int, float)) or value is None:
        return value
    return _converter(raw).unstructure(value)


@functools.lru_cache(maxsize=4)
def _converter(raw: bool = True) -> Any:
    from cattrs.gen import make_dict_unstructure_fn, override
    from cattrs.preconf.msgspec import make_converter

    # Fields with a converter of their own (messages, content) structure themselves, dicts included.
    converter = make_converter(prefer_attrib_converters=True)

    def leaving_out(cls: Any) -> Any:
        optional = [f.name for f in attrs.fields(cls) if f.default is None or f.metadata.get("omit_default")]
        how: Any = {name: override(omit_if_default=True) for name in optional}
        if not raw and "raw" in how:
            how["raw"] = override(omit=True)
        how.update({f.name: override(omit=True) for f in attrs.fields(cls) if f.metadata.get("stays")})
        return make_dict_unstructure_fn(cls, converter, **how)

    converter.register_unstructure_hook_factory(attrs.has, leaving_out)
    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, _only)
    return converter


def _only(value: Any, kind: type) -> Any:
    """No "0.5" for 0.5, and no "no" for True: what is wrong in a dict is wrong as it is in a constructor."""
    good = (int, float) if kind is float else kind
    if not isinstance(value, good) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"must be {kind.__name__}, not {type(value).__name__}")
    return value
