"""
Tool calls in version 1's streams: deltas, then all calls whole, and whole again in the last event.

Strategy: whole calls are given only where no deltas came; a whole call and a delta belong together by their position in
the answer. Calls have no ids, so each gets one from its position. A call without arguments gets "{}" at its end, so
that they can always be parsed.

Source: https://docs.cohere.com/v1/reference/chat-stream (tool-calls-chunk, tool-calls-generation)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anyllm.types import FunctionCall, ToolCall
from anyllm.wire._base.json_values import arguments_text, json_type, whole_number


class CohereV1ToolCalls:
    """The tool calls of one answer. Used by one decoder, on one thread."""

    __slots__ = ("_has_arguments", "_indexes", "_latest")

    def __init__(self) -> None:
        #: For each call, whether any of its arguments came.
        self._has_arguments: list[bool] = []
        #: Our index by the provider's.
        self._indexes: dict[int, int] = {}
        self._latest = 0

    def __bool__(self) -> bool:
        return bool(self._has_arguments)

    def read_delta(self, raw: Any) -> ToolCall | None:
        """
        The delta of a call; None if it adds nothing.

        Raises:
            ValueError: it is malformed, or belongs to a call that never began.
        """
        call = _object(raw, "tool_call_delta")
        name, text = _text(call.get("name"), "name"), arguments_text(call.get("parameters"))
        position = self._position(call.get("index"), begins=name is not None)
        if position not in self._indexes:
            if name is not None:
                return self._begin(position, name, text)
            if text:
                raise ValueError("arguments came for a tool call that never began")
            return None
        self._latest = position
        return self._arguments_delta(self._indexes[position], text) if text else None

    def read_whole(self, raw: Any) -> Iterator[ToolCall]:
        """
        The calls and arguments in *raw*, the list of all calls, that have not come as deltas.

        Raises:
            ValueError: *raw* is not a list of tool calls.
        """
        if not isinstance(raw, list):
            raise ValueError(f"tool_calls is {json_type(raw)}")
        for index, item in enumerate(raw):
            call = _object(item, "a tool call")
            name, text = _text(call.get("name"), "name"), arguments_text(call.get("parameters"))
            if index < len(self._has_arguments):
                if text and not self._has_arguments[index]:
                    yield self._arguments_delta(index, text)
            elif name is None:
                raise ValueError("a tool call has no name")
            else:
                yield self._begin(max(self._indexes, default=-1) + 1, name, text)

    def end(self) -> Iterator[ToolCall]:
        """End all calls: "{}" as the arguments of those that have none."""
        for index, has_arguments in enumerate(self._has_arguments):
            if not has_arguments:
                yield self._arguments_delta(index, "{}")

    def _begin(self, position: int, name: str, text: str) -> ToolCall:
        index = self._indexes[position] = len(self._has_arguments)
        self._latest = position
        self._has_arguments.append(bool(text))
        return ToolCall(f"call_{index}", FunctionCall(name, text), "function", index)

    def _arguments_delta(self, index: int, text: str) -> ToolCall:
        self._has_arguments[index] = True
        return ToolCall(None, FunctionCall(None, text), "function", index)

    def _position(self, value: Any, *, begins: bool) -> int:
        """The provider's index in a delta; without one, the latest call's, or the next if a call begins."""
        position = whole_number(value)
        if position is not None:
            return position
        if value is not None:
            raise ValueError(f"the index of a tool call is {json_type(value)}")
        return max(self._indexes, default=-1) + 1 if begins else self._latest


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {json_type(value)}")
    return value


def _text(value: Any, what: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise ValueError(f"the {what} of a tool call is {json_type(value)}")
