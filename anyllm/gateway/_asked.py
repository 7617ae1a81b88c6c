"""
What a client asked for, in our terms, whichever format it asked in; and how requests of any format are read.

Each format's module has a function that reads the decoded body of a request and gives an `Asked`. What it does not
understand it leaves in `Asked.further`: a host that speaks the client's own format gets it, and before any other the
client is told.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping, Sequence
from typing import Any, Optional

import attrs

from anyllm.errors import InvalidRequestError
from anyllm.formats import Format
from anyllm.types import CompletionParams

__all__ = ["Asked", "Fields", "MadeIds", "merged", "params_of", "parted", "wrong"]

_JSON_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "a list",
    dict: "an object",
}


@attrs.define(frozen=True)
class Asked:
    """
    One request for an answer.

    Attributes:
        params: What to ask; its model is the name that the client said.
        stream: Whether the answer is wanted as it comes.
        format: How the answer is written.
        further: Keys of the request that none of our parameters says.
        native: The dialects whose hosts know these keys.
        hints: Such keys as say nothing of the answer: how it is billed, kept or watched, how a machine is used.
    """

    params: CompletionParams
    stream: bool
    format: Format
    further: Mapping[str, Any] = attrs.field(factory=dict)
    native: tuple[type, ...] = ()
    hints: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def for_native(self) -> dict[str, Any]:
        """`further` and `hints` together, as ``extra_body`` takes them."""
        return merged(self.hints, self.further)


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
            raise wrong(where or None, f"{where or 'the body'} must be an object, not {_json_name(body)}")
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
            raise wrong(self._name(name), f"{self._name(name)} must be {wanted}, not {_json_name(value)}")
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
        return [(Fields(item, f"{self._name(name)}[{place}]"), item) for place, item in enumerate(items)]

    def rest(self) -> dict[str, Any]:
        """What nobody has taken, but for what says nothing: false, 0, "", an empty list or object."""
        return {key: value for key, value in self._left.items() if value or value == "0"}

    def _name(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name


class MadeIds:
    """Ids for calls that came without one, as our decoders make them; never one that the conversation has already."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def new(self, known: Container[str]) -> str:
        """The next that is not *known*."""
        return next(made for made in map("call_{}".format, self._numbers) if made not in known)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both, and of objects that are in both, both: Ollama's options are parted between them."""
    inside = {
        key: {**value, **other[key]}
        for key, value in one.items()
        if isinstance(value, Mapping) and isinstance(other.get(key), Mapping)
    }
    return {**one, **other, **inside}


def params_of(given: Mapping[str, Any]) -> CompletionParams:
    """
    Parameters from values that are named as ours are; those that are None are left out.

    Raises:
        InvalidRequestError: one has the wrong type.
    """
    _check_tools(given.get("tools") or ())
    try:
        return CompletionParams(**{name: value for name, value in given.items() if value is not None})
    except (TypeError, ValueError) as exc:
        name, _, _ = str(exc).partition(" ")
        raise wrong(name if name in given else "messages", str(exc)) from exc


def _check_tools(tools: Any) -> None:
    """
    What no host could make sense of is said before any is asked; what only some know is theirs.

    Raises:
        InvalidRequestError: a tool is none.
    """
    for tool in tools if isinstance(tools, (list, tuple)) else ():
        if not isinstance(tool, Mapping):
            raise wrong("tools", f"a tool must be an object, not {_json_name(tool)}")
        function = tool.get("function")
        if tool.get("type") == "function" and function is not None:
            fields = Fields(function, "tools.function")
            fields.need("name", str)
            fields.take("description", str)
            fields.take("parameters", dict)


def parted(left: Mapping[str, Any], hints: frozenset[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is left of a request: first what may change the answer, then what is named among *hints*."""
    further = {key: value for key, value in left.items() if key not in hints}
    return further, {key: value for key, value in left.items() if key in hints}


def wrong(param: Optional[str], what: str) -> InvalidRequestError:
    """The error that a request is answered with which cannot be understood."""
    return InvalidRequestError(what, status_code=400, param=param)


def _json_name(value: Any) -> str:
    return "null" if value is None else _JSON_NAMES.get(type(value), type(value).__name__)
