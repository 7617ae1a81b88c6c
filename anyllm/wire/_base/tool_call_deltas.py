"""
Tool calls in pieces, for formats that send them as OpenAI's chat does, under names of their own.

Strategy: an id says best which call a piece belongs to, then the index, then that it came last. Hosts repeat ids and
names with every piece (Hunyuan), or send "" for what was said before (DashScope). What comes out is one form: indexes
from 0 in the order the calls begin; the first piece has id and name, the others only arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from anyllm.types import FunctionCall, ToolCall
from anyllm.wire._base.getters import arguments_text, json_type, whole_number

__all__ = ["CallFragments", "Fragment"]


@attrs.define(frozen=True)
class Fragment:
    """
    A piece of a call, as the host sent it: any of it may be missing, or of a wrong type.

    Attributes:
        index: The call's place in the answer.
        id: The call's id.
        name: The function's name.
        arguments: More of its arguments, as JSON text; an object when the call came whole.
    """

    index: Any = None
    id: Any = None
    name: Any = None
    arguments: Any = None


class _Call:
    __slots__ = ("ids", "index", "is_named", "place")

    def __init__(self, index: int, place: int | None, call_id: str | None) -> None:
        self.index = index
        self.place = place
        self.ids = {call_id} if call_id else set()
        self.is_named = False


class CallFragments:
    """The tool calls of one choice. Used by one decoder, on one thread."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def read(self, fragments: Iterable[Fragment]) -> tuple[ToolCall, ...] | None:
        """
        The pieces of one event in our form; None when they say nothing.

        Raises:
            ValueError: they are no pieces of calls.
        """
        return tuple(piece for item in fragments if (piece := self._piece(item)) is not None) or None

    def _piece(self, fragment: Fragment) -> ToolCall | None:
        place, call_id, name = _place(fragment.index), _text(fragment.id, "id"), _text(fragment.name, "name")
        arguments = arguments_text(fragment.arguments)
        call = self._find(place, call_id, name)
        begins = call is None
        if call is None:
            if not (call_id or name or arguments):
                return None
            call = _Call(len(self._calls), place, call_id)
            self._calls.append(call)
        elif call_id:
            call.ids.add(call_id)
        new_name = None if call.is_named else name
        call.is_named = call.is_named or name is not None
        if not (begins or new_name or arguments):
            return None
        our_id = (call_id or f"call_{call.index}") if begins else None
        return ToolCall(our_id, FunctionCall(new_name, arguments), index=call.index)

    def _find(self, place: int | None, call_id: str | None, name: str | None) -> _Call | None:
        """The call that a piece continues; None when it begins one."""
        if call_id:
            known = next((call for call in self._calls if call_id in call.ids), None)
            if known is not None:
                return known
        there = [call for call in self._calls if place is None or call.place == place]
        if not there:
            return None
        last = there[-1]
        if call_id:  # a new one is a new call, unless the call has been waiting for its id
            return None if last.ids else last
        # Without an index, a name is all that tells where a call begins.
        return None if place is None and name is not None and last.is_named else last


def _place(value: Any) -> int | None:
    place = whole_number(value)
    if place is None and value is not None:
        raise ValueError(f"the index of a tool call is {json_type(value)}")
    return place


def _text(value: Any, what: str) -> str | None:
    """An id or a name; "" repeats what was said before."""
    if value is None or isinstance(value, str):
        return value or None
    raise ValueError(f"the {what} of a tool call is {json_type(value)}")
