"""Reads the fields of a client's request with type checks, and collects the unread ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from anyllm.errors import InvalidRequestError

__all__ = ["Fields", "json_name", "objects_in", "texts_in", "wrong"]

_JSON_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "a list",
    dict: "an object",
}


class Fields:
    """
    The fields of a request's body, or of an object in it. Each can be read once; null counts as missing.

    Args:
        body: Decoded JSON.
        where: The path of the object, for errors; "" for the body itself.

    Raises, from all of its methods:
        InvalidRequestError: a value is of another type than the method says, or *body* is not an object.
    """

    def __init__(self, body: Any, where: str = "") -> None:
        self._where = where
        if not isinstance(body, Mapping):
            raise wrong(where or None, f"{where or 'the body'} must be an object, not {json_name(body)}")
        self._remaining = {key: value for key, value in body.items() if value is not None}

    def take(self, name: str, *kinds: type) -> Any:
        """
        Read a field; None if it is missing.

        Raises:
            InvalidRequestError: the value is of none of *kinds*; an int counts as a float, a bool as neither.
        """
        value = self._remaining.pop(name, None)
        if value is None or not kinds:
            return value
        fits = isinstance(value, kinds) or (float in kinds and isinstance(value, int))
        if not fits or (isinstance(value, bool) and bool not in kinds):
            expected = " or ".join(_JSON_NAMES[kind] for kind in kinds)
            raise wrong(self._name(name), f"{self._name(name)} must be {expected}, not {json_name(value)}")
        return value

    def need(self, name: str, *kinds: type) -> Any:
        """Read a required field."""
        value = self.take(name, *kinds)
        if value is None:
            raise wrong(self._name(name), f"{self._name(name)} is missing")
        return value

    def objects(self, name: str) -> Sequence[tuple[Fields, Any]]:
        """Read a list of objects, each as `Fields` and as it is; empty if the field is missing."""
        items = self.take(name, list) or ()
        return [(type(self)(item, f"{self._name(name)}[{place}]"), item) for place, item in enumerate(items)]

    def object(self, name: str) -> Fields:
        """Read a required object."""
        return type(self)(self.need(name, dict), self._name(name))

    def optional_object(self, name: str) -> Fields:
        """Read an object; empty if the field is missing."""
        return type(self)(self.take(name, dict) or {}, self._name(name))

    def texts(self, name: str) -> Optional[list[str]]:
        """Read a list of strings; None if it is missing or empty."""
        values = self.take(name, list)
        if values is not None and not all(isinstance(text, str) for text in values):
            raise self.wrong(name, "must be a list of strings")
        return list(values) if values else None

    def integer(self, name: str) -> Optional[int]:
        """Read an integer, which some clients write as 128.0; None if it is missing."""
        value = self.take(name, float)
        if isinstance(value, float) and not value.is_integer():
            raise self.wrong(name, f"must be an integer, not {value}")
        return None if value is None else int(value)

    def wrong(self, name: str, problem: str) -> InvalidRequestError:
        """The error of a field, or of a path in its value: *problem* follows its name."""
        return wrong(self._name(name), f"{self._name(name)} {problem}")

    def keys(self) -> set[str]:
        """The names of the unread fields."""
        return {*self._remaining}

    def rest(self) -> dict[str, Any]:
        """The unread fields, without empty values: false, 0, "", an empty list or object."""
        return {key: value for key, value in self._remaining.items() if value or value == "0"}

    def _name(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name


def texts_in(fields: Fields) -> tuple[str, ...]:
    """
    The texts of an embedding request.

    Raises:
        InvalidRequestError: the input is not a text or a list of texts.
    """
    value = fields.need("input", str, list)
    texts = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(text, str) for text in texts):
        raise wrong("input", "input must be a text or a list of texts: tokens are another model's")
    return texts


def wrong(param: Optional[str], what: str) -> InvalidRequestError:
    """The error of a malformed request."""
    return InvalidRequestError(what, status_code=400, param=param)


def json_name(value: Any) -> str:
    return "null" if value is None else _JSON_NAMES.get(type(value), type(value).__name__)


def objects_in(items: Sequence[Any], where: str) -> list[tuple[Fields, Any]]:
    """
    The objects of a list, each as `Fields` and as it is.

    Raises:
        InvalidRequestError: an item is not an object.
    """
    return [(Fields(item, f"{where}[{place}]"), item) for place, item in enumerate(items)]
