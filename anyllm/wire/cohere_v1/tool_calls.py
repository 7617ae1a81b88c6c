"""
Tool calls: in pieces, then all of them whole, and whole once more in the answer that the last event repeats.

Strategy: what came in pieces is not given again; what did not is given whole. Whole calls are those of the same place
in the answer. They have no ids, so each gets one by its place. A call without arguments gets "{}" at its end, so that
what is there can always be parsed.

Source: https://docs.cohere.com/v1/reference/chat-stream (tool-calls-chunk, tool-calls-generation)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anyllm.types import FunctionCall, ToolCall
from anyllm.wire._base.getters import arguments_text, json_type, whole_number


class Calls:
    """The tool calls of one answer. Used by one decoder, on one thread."""

    __slots__ = ("_has_arguments", "_latest", "_places")

    def __init__(self) -> None:
        #: Of each call, whether some of its arguments have come.
        self._has_arguments: list[bool] = []
        #: Which call the host means by which index.
        self._places: dict[int, int] = {}
        self._latest = 0

    def __bool__(self) -> bool:
        return bool(self._has_arguments)

    def piece(self, raw: Any) -> ToolCall | None:
        """
        One piece of a call; None when it says nothing.

        Raises:
            ValueError: it is none, or belongs to a call that never began.
        """
        call = _object(raw, "tool_call_delta")
        name, text = _text(call.get("name"), "name"), arguments_text(call.get("parameters"))
        place = self._place(call.get("index"), begins=name is not None)
        if place not in self._places:
            if name is not None:
                return self._begin(place, name, text)
            if text:
                raise ValueError("arguments came for a tool call that never began")
            return None
        self._latest = place
        return self._more(self._places[place], text) if text else None

    def whole(self, raw: Any) -> Iterator[ToolCall]:
        """
        The fragments of *raw*, the list of all calls, that have not come in pieces.

        Raises:
            ValueError: it is none.
        """
        if not isinstance(raw, list):
            raise ValueError(f"tool_calls is {json_type(raw)}")
        for index, item in enumerate(raw):
            call = _object(item, "a tool call")
            name, text = _text(call.get("name"), "name"), arguments_text(call.get("parameters"))
            if index < len(self._has_arguments):
                if text and not self._has_arguments[index]:
                    yield self._more(index, text)
            elif name is None:
                raise ValueError("a tool call has no name")
            else:
                yield self._begin(max(self._places, default=-1) + 1, name, text)

    def end(self) -> Iterator[ToolCall]:
        """The arguments of the calls that have none."""
        for index, has_arguments in enumerate(self._has_arguments):
            if not has_arguments:
                yield self._more(index, "{}")

    def _begin(self, place: int, name: str, text: str) -> ToolCall:
        index = self._places[place] = len(self._has_arguments)
        self._latest = place
        self._has_arguments.append(bool(text))
        return ToolCall(f"call_{index}", FunctionCall(name, text), "function", index)

    def _more(self, index: int, text: str) -> ToolCall:
        self._has_arguments[index] = True
        return ToolCall(None, FunctionCall(None, text), "function", index)

    def _place(self, value: Any, *, begins: bool) -> int:
        """The index that a piece says; without one, the latest call's, or the next where one begins."""
        place = whole_number(value)
        if place is not None:
            return place
        if value is not None:
            raise ValueError(f"the index of a tool call is {json_type(value)}")
        return max(self._places, default=-1) + 1 if begins else self._latest


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {json_type(value)}")
    return value


def _text(value: Any, what: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise ValueError(f"the {what} of a tool call is {json_type(value)}")
