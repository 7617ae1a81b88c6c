"""
Arguments of a tool call that come in pieces: Vertex streams values with their JSON paths, JSON text comes out.

Strategy: the model writes its arguments from left to right, so what comes later in the stream lies later in the text.
Each piece becomes the text that leads from the last place to its own: the end of an open string, brackets that close,
a comma, keys, brackets that open. Each character is written once. What would have to go back is refused.

Source: https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling (streaming arguments)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Tuple, Union

from anyllm.types import _convert

_Place = Tuple[Union[str, int], ...]

#: One step of a JSON path: ``.name``, ``[3]``, ``['name']`` or ``["name"]``.
_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\[(['"])((?:\\.|(?!\3)[^\\])*)\3\]""", re.DOTALL)
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")


class PartialArguments:
    """The arguments of one call. Used by one decoder, on one thread."""

    __slots__ = ("_in_string", "_last", "_seen")

    def __init__(self) -> None:
        self._last: _Place = ()
        self._in_string = False
        self._seen: set[_Place] = set()

    def begin(self) -> str:
        """The text before the first piece."""
        return "{"

    def add(self, piece: Mapping[str, Any]) -> str:
        """
        The text that one of ``partialArgs`` adds.

        Raises:
            ValueError: it cannot be read, or belongs where the text is already past.
        """
        place = _place(piece.get("jsonPath"))
        name = next((name for name in _VALUES if name in piece), "stringValue")
        value = None if name == "nullValue" else piece.get(name)
        if name != "stringValue":
            return self._move(place) + _convert.dumps(value).decode()
        if value is not None and not isinstance(value, str):
            raise ValueError("a piece of a string is none")
        text = "" if self._in_string and place == self._last else self._move(place) + '"'
        self._in_string = piece.get("willContinue") is True
        return text + _convert.dumps(value or "").decode()[1:-1] + ("" if self._in_string else '"')

    def end(self) -> str:
        """The text after the last piece."""
        return self._leave(0) + "}"

    def _move(self, place: _Place) -> str:
        """From the end of the last value to the beginning of the one at *place*."""
        shared = 0
        while shared < min(len(place), len(self._last)) - 1 and place[shared] == self._last[shared]:
            shared += 1
        text = self._leave(shared)
        if self._last:
            step, before = place[shared], self._last[shared]
            if isinstance(step, int) != isinstance(before, int):
                raise ValueError("one place is a list and an object")
            if isinstance(step, int) and isinstance(before, int) and step != before + 1:
                raise ValueError("the elements of a list do not come in order")
            text += ","
        text += self._key(place[: shared + 1])
        for depth in range(shared + 1, len(place)):
            step = place[depth]
            text += "[" if isinstance(step, int) else "{"
            if isinstance(step, int) and step != 0:
                raise ValueError("a list does not begin with its first element")
            text += self._key(place[: depth + 1])
        self._last = place
        return text

    def _leave(self, depth: int) -> str:
        """Closes what is open deeper than *depth*."""
        text = '"' if self._in_string else ""
        self._in_string = False
        return text + "".join("]" if isinstance(step, int) else "}" for step in reversed(self._last[depth + 1 :]))

    def _key(self, place: _Place) -> str:
        if place in self._seen:
            raise ValueError("the pieces do not come in order")
        self._seen.add(place)
        return "" if isinstance(place[-1], int) else _convert.dumps(place[-1]).decode() + ":"


def _place(path: Any) -> _Place:
    """``$.a.b[0]`` as ("a", "b", 0)."""
    if not isinstance(path, str) or not path.startswith("$"):
        raise ValueError("a piece has no jsonPath")
    steps: list[Union[str, int]] = []
    at = 1
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise ValueError(f"the jsonPath {path[:80]!r} cannot be read")
        name, number, _, quoted = step.groups()
        steps.append(int(number) if number else name or re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL))
        at = step.end()
    if not steps or isinstance(steps[0], int):
        raise ValueError(f"the jsonPath {path[:80]!r} names no argument")
    return tuple(steps)
