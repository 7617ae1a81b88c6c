"""
Tool calls: the first fragment of each with id and name, the later ones with arguments.

A call without arguments gets "{}" at its end, so that what is there can always be parsed. Some answers say "null" for
them, which is no object and means the same.

Source: https://docs.cohere.com/docs/tool-use-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anyllm.types import FunctionCall, ToolCall, _convert
from anyllm.wire._base.getters import json_type, whole_number

_NOTHING = "null"


class Calls:
    """The tool calls of one answer. Used by one decoder, on one thread."""

    __slots__ = ("_count", "_latest", "_open", "_without")

    def __init__(self) -> None:
        self._count = 0
        self._latest = 0
        #: The calls that have not ended, by the place that the host gave them.
        self._open: dict[int, int] = {}
        #: Those of all that have no arguments yet.
        self._without: set[int] = set()

    def __bool__(self) -> bool:
        return self._count > 0

    def begin(self, place: Any, raw: Any) -> ToolCall:
        """
        The first fragment of a call; *place* is its index as the host says it, None for the next one.

        Raises:
            ValueError: it is no call.
        """
        function = _function_of(raw)
        name, call_id = function.get("name"), raw.get("id")
        if not isinstance(name, str) or not name:
            raise ValueError("a tool call has no name")
        if not isinstance(call_id, str) or not call_id:
            call_id = f"call_{self._count}"
        index = self._count
        at = _number(place)
        self._latest = index if at is None else at
        self._open[self._latest] = index
        self._without.add(index)
        self._count += 1
        return ToolCall(call_id, FunctionCall(name, self._arguments(index, function)), "function", index)

    def go_on(self, place: Any, raw: Any) -> ToolCall | None:
        """
        More arguments for the call at *place*, None for the latest one; None when they say nothing.

        Raises:
            ValueError: there is no such call, or they are no arguments.
        """
        index = self._open.get(self._meant(place))
        if index is None:
            raise ValueError("arguments came for a tool call that never began")
        text = self._arguments(index, _function_of(raw))
        return _more(index, text) if text else None

    def end(self, place: Any) -> ToolCall | None:
        """
        The end of the call at *place*: arguments, if it has none.

        Raises:
            ValueError: *place* is no number.
        """
        index = self._open.pop(self._meant(place), None)
        if index is None or index not in self._without:
            return None
        self._without.discard(index)
        return _more(index, "{}")

    def end_all(self) -> Iterator[ToolCall]:
        """The same for all calls whose end was not said."""
        for place in tuple(self._open):
            fragment = self.end(place)
            if fragment is not None:
                yield fragment

    def _meant(self, place: Any) -> int:
        at = _number(place)
        return self._latest if at is None else at

    def _arguments(self, index: int, function: Mapping[str, Any]) -> str:
        """The arguments, or a fragment of them, as text; "null" in their place is none."""
        text = _as_text(function.get("arguments"))
        if index in self._without and text.strip():
            if text.strip() == _NOTHING:
                return ""
            self._without.discard(index)
        return text


def _more(index: int, text: str) -> ToolCall:
    return ToolCall(None, FunctionCall(None, text), "function", index)


def _function_of(raw: Any) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError(f"a tool call is {json_type(raw)}")
    function = raw.get("function")
    if function is not None and not isinstance(function, dict):
        raise ValueError(f"a tool call's function is {json_type(function)}")
    return function or {}


def _number(place: Any) -> int | None:
    number = whole_number(place)
    if number is None and place is not None:
        raise ValueError(f"the index of a tool call is {json_type(place)}")
    return number


def _as_text(value: Any) -> str:
    """Arguments are text; some hosts that speak this format give the object itself."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return _convert.dumps(value).decode()
    except RecursionError as exc:
        raise ValueError("the arguments of a tool call are nested too deeply") from exc
