"""
Conversion between JSON, plain values and our classes: msgspec reads and writes JSON, cattrs structures dicts.

Strategy: this is the only module that uses `Any` freely, and the only one that uses cattrs. It imports none of our
classes, so the classes themselves can use it to accept plain dicts. cattrs is imported on first use, because that takes
a third of the time of importing requests, and many programs never pass a dict.
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

#: The end of a line of cattrs about the whole value.
_ROOT = " @ $"
#: Unicode line ends in UTF-8, and as JSON escapes.
_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))

#: JSON to plain Python values. Raises one of `NOT_JSON`, also for lone surrogates; see `loads`.
loads_strictly = msgspec.json.Decoder().decode
#: The exceptions of `loads_strictly`: msgspec's own is not a ValueError in all versions.
NOT_JSON = (ValueError, RecursionError, msgspec.DecodeError)
_encode = msgspec.json.Encoder().encode


def loads(text: str | bytes) -> Any:
    """
    JSON to plain Python values.

    Lone surrogates, which providers send when they split an emoji, are accepted: msgspec refuses them, the standard
    library does not.

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
    """Plain Python values and our own classes to compact JSON; TypeError for a value that JSON cannot represent."""
    return _encode(unstructure(value))


def json_bytes(value: Any) -> bytes:
    """Compact JSON; lone surrogates, which are not valid UTF-8, are escaped."""
    try:
        return dumps(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def in_one_line(data: bytes) -> bytes:
    """JSON without Unicode line ends, at which httpx, and so Ollama's client, would split it."""
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
    A plain dict to an instance of the attrs class *cls*; an instance is returned as it is.

    Raises:
        TypeError: *value* is not a mapping, has an unknown key (the message proposes the nearest), or a field has the
            wrong type (the message has its path).
    """
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"expected {cls.__name__} or a dict, not {type(value).__name__}")
    fields = {field.name for field in attrs.fields(cls)}  # type: ignore[arg-type]  # attrs classes only
    if not fields.issuperset(value):
        raise unknown_keyword(cls.__name__, value, fields)
    return _structure(cls, value)


def _structure(cls: type[T], value: Mapping[str, Any]) -> T:
    from cattrs import transform_error
    from cattrs.errors import BaseValidationError

    try:
        instance: T = _converter().structure(value, cls)
    except BaseValidationError as exc:
        messages = [
            line[: -len(_ROOT)] if line.endswith(_ROOT) else line
            for line in transform_error(exc, format_exception=_message)
        ]
        raise TypeError(f"{cls.__name__}: " + "; ".join(messages)) from exc
    return instance


def _message(exc: BaseException, kind: Any) -> str:
    from cattrs.v import format_exception

    return str(exc) if type(exc) in (TypeError, ValueError) and exc.args else format_exception(exc, kind)


def unstructure(value: Any, *, raw: bool = True) -> Any:
    """Our classes to plain dicts and lists, without fields that are None, and without ``raw`` on request."""
    if isinstance(value, (str, int, float)) or value is None:
        return value
    return _converter(raw).unstructure(value)


@functools.lru_cache(maxsize=4)
def _converter(raw: bool = True) -> Any:
    from cattrs.gen import make_dict_unstructure_fn, override
    from cattrs.preconf.msgspec import make_converter

    # Fields with an attrs converter (messages, content) convert dicts themselves.
    converter = make_converter(prefer_attrib_converters=True)

    def unstructure_function(cls: Any) -> Any:
        optional = [f.name for f in attrs.fields(cls) if f.default is None or f.metadata.get("omit_default")]
        overrides: Any = {name: override(omit_if_default=True) for name in optional}
        if not raw and "raw" in overrides:
            overrides["raw"] = override(omit=True)
        overrides.update({f.name: override(omit=True) for f in attrs.fields(cls) if f.metadata.get("stays")})
        return make_dict_unstructure_fn(cls, converter, **overrides)

    converter.register_unstructure_hook_factory(attrs.has, unstructure_function)
    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, _checked)
    return converter


def _checked(value: Any, kind: type) -> Any:
    """*value* without a conversion: not "0.5" for 0.5, nor "no" for a bool. Types are as strict as in a constructor."""
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"must be {kind.__name__}, not {type(value).__name__}")
    return value
