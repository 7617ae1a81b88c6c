"""The keys of a client's request, taken one by one, each with its type checked."""

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
    The keys of a request's body, or of an object in it, each taken once; null is as good as absent.

    Args:
        body: Decoded JSON.
        where: What the object is called in errors; "" for the body itself.

    Raises:
        InvalidRequestError: *body* is no object.
    """

    def __init__(self, body: Any, where: str = "") -> None:
        self._where = where
        if not isinstance(body, Mapping):
            raise wrong(where or None, f"{where or 'the body'} must be an object, not {json_name(body)}")
        self._left = {key: value for key, value in body.items() if value is not None}

    def take(self, name: str, *kinds: type) -> Any:
        """
        The value of a key; None when there is none.

        Raises:
            InvalidRequestError: it is of none of these *kinds*; an int is a float too, but a bool is neither.
        """
        value = self._left.pop(name, None)
        if value is None or not kinds:
            return value
        fits = isinstance(value, kinds) or (float in kinds and isinstance(value, int))
        if not fits or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(_JSON_NAMES[kind] for kind in kinds)
            raise wrong(self._name(name), f"{self._name(name)} must be {wanted}, not {json_name(value)}")
        return value

    def need(self, name: str, *kinds: type) -> Any:
        """
        The same of a key that must be there.

        Raises:
            InvalidRequestError: there is none, or it is of none of these *kinds*.
        """
        value = self.take(name, *kinds)
        if value is None:
            raise wrong(self._name(name), f"{self._name(name)} is missing")
        return value

    def objects(self, name: str) -> Sequence[tuple[Fields, Any]]:
        """
        The objects of a list, each as fields and as it is; none when there is no list.

        Raises:
            InvalidRequestError: it is no list of objects.
        """
        items = self.take(name, list) or ()
        return [(type(self)(item, f"{self._name(name)}[{place}]"), item) for place, item in enumerate(items)]

    def object(self, name: str) -> Fields:
        """
        The object under a key that must be there, as fields.

        Raises:
            InvalidRequestError: there is none.
        """
        return type(self)(self.need(name, dict), self._name(name))

    def optional_object(self, name: str) -> Fields:
        """The object under a key, as fields; an empty one where there is none."""
        return type(self)(self.take(name, dict) or {}, self._name(name))

    def texts(self, name: str) -> Optional[list[str]]:
        """
        A list of strings; None when there is none, or an empty one.

        Raises:
            InvalidRequestError: it is no list of strings.
        """
        values = self.take(name, list)
        if values is not None and not all(isinstance(text, str) for text in values):
            raise self.wrong(name, "must be a list of strings")
        return list(values) if values else None

    def integer(self, name: str) -> Optional[int]:
        """
        An integer, which some clients write as 128.0; None when there is none.

        Raises:
            InvalidRequestError: it is none.
        """
        value = self.take(name, float)
        if isinstance(value, float) and not value.is_integer():
            raise self.wrong(name, f"must be an integer, not {value}")
        return None if value is None else int(value)

    def wrong(self, name: str, problem: str) -> InvalidRequestError:
        """The error of a key, or of a place in its value: *problem* follows its name."""
        return wrong(self._name(name), f"{self._name(name)} {problem}")

    def keys(self) -> set[str]:
        """The keys that nobody has taken."""
        return {*self._left}

    def rest(self) -> dict[str, Any]:
        """What nobody has taken, but for what says nothing: false, 0, "", an empty list or object."""
        return {key: value for key, value in self._left.items() if value or value == "0"}

    def _name(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name


def texts_in(fields: Fields) -> tuple[str, ...]:
    """
    What vectors are wanted of.

    Raises:
        InvalidRequestError: it is no text.
    """
    given = fields.need("input", str, list)
    texts = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(text, str) for text in texts):
        raise wrong("input", "input must be a text or a list of texts: tokens are another model's")
    return texts


def wrong(param: Optional[str], what: str) -> InvalidRequestError:
    """The error that a request is answered with which cannot be understood."""
    return InvalidRequestError(what, status_code=400, param=param)


def json_name(value: Any) -> str:
    return "null" if value is None else _JSON_NAMES.get(type(value), type(value).__name__)


def objects_in(items: Sequence[Any], where: str) -> list[tuple[Fields, Any]]:
    """
    The objects of a list, each as fields and as it is.

    Raises:
        InvalidRequestError: one is no object.
    """
    return [(Fields(item, f"{where}[{place}]"), item) for place, item in enumerate(items)]
