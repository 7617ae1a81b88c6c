"""
Tool calls in version 2's streams: the first delta of a call has its id and name, later ones only arguments.

A call without arguments gets "{}" at its end, so that they can always be parsed. "null", which some answers contain
instead, counts as no arguments.

Source: https://docs.cohere.com/docs/tool-use-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anyllm.types import FunctionCall, ToolCall
from anyllm.wire._base.json_values import arguments_text, json_type, whole_number

_NULL = "null"


class CohereV2ToolCalls:
    """The tool calls of one answer. Used by one decoder, on one thread."""

    __slots__ = ("_count", "_latest", "_no_arguments", "_open")

    def __init__(self) -> None:
        self._count = 0
        self._latest = 0
        #: The calls that have not ended: our index by the provider's.
        self._open: dict[int, int] = {}
        #: The calls, by our index, that have no arguments yet.
        self._no_arguments: set[int] = set()

    def __bool__(self) -> bool:
        return self._count > 0

    def begin(self, position: Any, raw: Any) -> ToolCall:
        """
        The first delta of a call; *position* is the provider's index, None for the next one.

        Raises:
            ValueError: *raw* is not a tool call.
        """
        function = _function_of(raw)
        name, call_id = function.get("name"), raw.get("id")
        if not isinstance(name, str) or not name:
            raise ValueError("a tool call has no name")
        if not isinstance(call_id, str) or not call_id:
            call_id = f"call_{self._count}"
        index = self._count
        number = _index_in(position)
        self._latest = index if number is None else number
        self._open[self._latest] = index
        self._no_arguments.add(index)
        self._count += 1
        return ToolCall(call_id, FunctionCall(name, self._arguments(index, function)), "function", index)

    def add_arguments(self, position: Any, raw: Any) -> ToolCall | None:
        """
        More arguments of the call at *position*, None for the latest call; None if they are empty.

        Raises:
            ValueError: there is no such call, or the arguments are malformed.
        """
        index = self._open.get(self._position(position))
        if index is None:
            raise ValueError("arguments came for a tool call that never began")
        text = self._arguments(index, _function_of(raw))
        return _arguments_delta(index, text) if text else None

    def end(self, position: Any) -> ToolCall | None:
        """
        End the call at *position*: "{}" as its arguments if it has none.

        Raises:
            ValueError: *position* is not a number.
        """
        index = self._open.pop(self._position(position), None)
        if index is None or index not in self._no_arguments:
            return None
        self._no_arguments.discard(index)
        return _arguments_delta(index, "{}")

    def end_all(self) -> Iterator[ToolCall]:
        """End all calls that have not ended."""
        for position in tuple(self._open):
            delta = self.end(position)
            if delta is not None:
                yield delta

    def _position(self, position: Any) -> int:
        number = _index_in(position)
        return self._latest if number is None else number

    def _arguments(self, index: int, function: Mapping[str, Any]) -> str:
        """The arguments, or part of them, as text; "" for "null"."""
        text = arguments_text(function.get("arguments"))
        if index in self._no_arguments and text.strip():
            if text.strip() == _NULL:
                return ""
            self._no_arguments.discard(index)
        return text


def _arguments_delta(index: int, text: str) -> ToolCall:
    return ToolCall(None, FunctionCall(None, text), "function", index)


def _function_of(raw: Any) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError(f"a tool call is {json_type(raw)}")
    function = raw.get("function")
    if function is not None and not isinstance(function, dict):
        raise ValueError(f"a tool call's function is {json_type(function)}")
    return function or {}


def _index_in(value: Any) -> int | None:
    number = whole_number(value)
    if number is None and value is not None:
        raise ValueError(f"the index of a tool call is {json_type(value)}")
    return number
