"""
Tool calls in the streams of both versions of Cohere's chat API.

The first delta of a call has its name, later ones only arguments. A call without arguments gets "{}" at its end, so
that they can always be parsed; "null", which some answers contain instead, counts as no arguments.

Sources: https://docs.cohere.com/docs/tool-use-streaming,
https://docs.cohere.com/v1/reference/chat-stream (tool-calls-chunk, tool-calls-generation)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anyllm.types import FunctionCall, ToolCall
from anyllm.wire._base.json_values import arguments_text, json_type
from anyllm.wire._base.tool_call_deltas import call_index

__all__ = ["CohereToolCalls", "call_name"]


class CohereToolCalls:
    """
    The tool calls of one answer. Used by one decoder, on one thread.

    Every method raises ValueError for names, arguments and positions of a wrong type. A *position* is the provider's
    index; None is that of the latest call, or of the next one where a call begins.
    """

    __slots__ = ("_has_arguments", "_latest", "_open")

    def __init__(self) -> None:
        #: For each call, whether any of its arguments came.
        self._has_arguments: list[bool] = []
        #: The calls that have not ended: our index by the provider's.
        self._open: dict[int, int] = {}
        self._latest = 0

    def __bool__(self) -> bool:
        return bool(self._has_arguments)

    def begin(self, position: Any, name: Any, arguments: Any, call_id: Any = None) -> ToolCall:
        """The first delta of a call, with an id made up from its index if it has none."""
        if call_name(name) is None:
            raise ValueError("a tool call has no name")
        number, index = call_index(position), len(self._has_arguments)
        self._latest = index if number is None else number
        self._open[self._latest] = index
        self._has_arguments.append(False)
        call_id = call_id if isinstance(call_id, str) and call_id else f"call_{index}"
        return ToolCall(call_id, FunctionCall(name, self._text(index, arguments)), "function", index)

    def is_open(self, position: Any) -> bool:
        """Whether the call at *position* has begun and not ended."""
        return self._position(position) in self._open

    def add(self, position: Any, arguments: Any) -> ToolCall | None:
        """More arguments of an open call; None if they are empty."""
        self._latest = self._position(position)
        if self._latest not in self._open:
            raise ValueError("arguments came for a tool call that never began")
        return self._delta(self._open[self._latest], arguments)

    def add_missing(self, index: int, name: Any, arguments: Any) -> ToolCall | None:
        """The parts that have not come of a whole call, the one with our *index*; None if all have."""
        name, text = call_name(name), arguments_text(arguments)
        if index >= len(self._has_arguments):
            return self.begin(None, name, text)
        return None if self._has_arguments[index] else self._delta(index, text)

    def end(self, position: Any) -> ToolCall | None:
        """End an open call: "{}" as its arguments if it has none."""
        index = self._open.pop(self._position(position), None)
        return None if index is None or self._has_arguments[index] else self._delta(index, "{}")

    def end_all(self) -> Iterator[ToolCall | None]:
        """End all open calls."""
        return map(self.end, tuple(self._open))

    def _delta(self, index: int, arguments: Any) -> ToolCall | None:
        text = self._text(index, arguments)
        return ToolCall(None, FunctionCall(None, text), "function", index) if text else None

    def _text(self, index: int, arguments: Any) -> str:
        text = arguments_text(arguments)
        if not self._has_arguments[index] and text.strip():
            if text.strip() == "null":
                return ""
            self._has_arguments[index] = True
        return text

    def _position(self, position: Any) -> int:
        number = call_index(position)
        return self._latest if number is None else number


def call_name(value: Any) -> str | None:
    """The name in a delta or a call; None if it has none."""
    if value is None or isinstance(value, str):
        return value or None
    raise ValueError(f"the name of a tool call is {json_type(value)}")
