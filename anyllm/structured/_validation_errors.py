"""Faults of a JSON document: path and message, in JSON's terms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import attrs
import msgspec

_MAX_LENGTH = 200
#: Types by the names that Python, msgspec's messages and JSON Schema give them.
KINDS = {
    **dict.fromkeys(("dict", "object"), "an object"),
    **dict.fromkeys(("list", "array"), "a list"),
    **dict.fromkeys(("str", "string"), "a string"),
    **dict.fromkeys(("float", "number"), "a number"),
    **dict.fromkeys(("int", "integer"), "an integer"),
    **dict.fromkeys(("bool", "boolean"), "a boolean"),
    **dict.fromkeys(("NoneType", "null"), "null"),
}


@attrs.define(frozen=True)
class Fault:
    """
    A place where an answer does not fit its type or schema.

    Attributes:
        path: Where in the document: ``$.items[2].price``.
        message: What is wrong: "expected a number, got a string".
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def expected(allowed: str, value: Any) -> str:
    """The message for a value of the wrong type."""
    return f"expected {allowed}, got {KINDS[type(value).__name__]}"


def in_json_terms(message: str) -> str:
    """A message of msgspec's, with JSON's names of types: "expected a string, got an integer"."""
    if message.startswith("Expected"):
        message = re.sub("`([^`]+)`", lambda m: or_list(KINDS.get(name, name) for name in m[1].split(" | ")), message)
    return message[:1].lower() + message[1:].replace("`", "")


def in_json(value: Any) -> str:
    return shortened(msgspec.json.encode(value).decode())


def shortened(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else text[:_MAX_LENGTH] + "…"


def or_list(names: Iterable[str]) -> str:
    """ "a, b or c"."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def json_path(places: Iterable[Any]) -> str:
    """JSONPath of keys and indexes: ``$.items[2]["odd key"]``."""
    return "$" + "".join(map(_place, places))


def _place(place: Any) -> str:
    if isinstance(place, int):
        return f"[{place}]"
    return f".{place}" if str(place).isidentifier() else f"[{in_json(str(place))}]"
