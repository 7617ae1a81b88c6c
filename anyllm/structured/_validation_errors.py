"""What is wrong with a JSON document: where, and in JSON's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import msgspec

__all__ = ["JSON_TYPES", "KINDS", "Fault", "Shown", "expected", "in_json", "listed", "path_of", "short"]

_LONGEST_WORDS = 200
KINDS = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "number": "a number",
    "integer": "an integer",
    "boolean": "a boolean",
    "null": "null",
}
JSON_TYPES = {dict: "object", list: "array", str: "string", float: "number", int: "integer", bool: "boolean"}


@attrs.define(frozen=True)
class Fault:
    """
    One thing that is wrong with an answer.

    Attributes:
        path: Where in the document: ``$.items[2].price``.
        message: What: "expected a number, got a string".
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@attrs.define(frozen=True)
class Shown:
    """A value that is named by itself, not by its type."""

    value: Any


def expected(what: str, got: Any) -> str:
    if isinstance(got, Shown) and not isinstance(got.value, (dict, list)):
        return f"expected {what}, got {in_json(got.value)}"
    got = got.value if isinstance(got, Shown) else got
    return f"expected {what}, got {KINDS[JSON_TYPES.get(type(got), 'null')]}"


def in_json(value: Any) -> str:
    return short(msgspec.json.encode(value).decode())


def short(words: str) -> str:
    return words if len(words) <= _LONGEST_WORDS else words[:_LONGEST_WORDS] + "…"


def listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def path_of(places: Iterable[Any]) -> str:
    """In JSONPath's way: ``$.items[2]["odd key"]``."""
    return "$" + "".join(map(_place, places))


def _place(place: Any) -> str:
    if isinstance(place, int):
        return f"[{place}]"
    return f".{place}" if str(place).isidentifier() else f"[{in_json(str(place))}]"
