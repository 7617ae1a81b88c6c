"""
The output items of a response as its events bring them, and which item an event is about.

Strategy: providers number items (``output_index``), name them (``id``), and repeat each of them whole, in an event of
its own and in the last event. Neither number nor name can be relied on: some providers give an item another name in the
last event (OpenRouter), or finish items in another order than they began. So an item is looked up by its name, then by
its number, at the end by its rank among its type; and its text so far is kept, so that a repetition adds only what is
missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from anyllm.types import ChunkDelta, FunctionCall, Reasoning, ToolCall
from anyllm.wire._base.json_values import json_object, whole_number
from anyllm.wire._base.json_values import text as text_of
from anyllm.wire.openai_responses import fields
from anyllm.wire.openai_responses.fields import CALLS, CUSTOM_CALL, ITEM_TYPES, PARAGRAPH, SUMMARY, THOUGHT


@attrs.define(eq=False)
class ReceivedItem:
    """One output item that the answer shows: a message, a reasoning, or a call."""

    type: str
    id: str  # the provider's name for it; "" if there is none
    pieces: dict[str, list[str]] = attrs.field(factory=dict)  # the text so far, by the type of its part
    part: Any = None  # the number of the part of the reasoning that grew last
    is_over: bool = False  # whether the provider has repeated it whole
    call_id: str = ""
    name: str = ""  # of the tool
    index: int | None = None  # the call's place in the answer; None before id and name have come
    extra: dict[str, Any] = attrs.field(factory=dict)  # what the provider wants back with the call
    extra_content: Mapping[str, Any] = {}  # what another provider behind a gateway wants back with the call

    @property
    def is_new_call(self) -> bool:
        """Whether it is a call that has not begun for the caller."""
        return self.index is None and self.type in CALLS

    def missing(self, part_type: str, whole: str) -> str:
        """The rest of *whole* behind the text so far; "" where that is another text, which then stands."""
        text = "".join(self.pieces.get(part_type, ()))
        return whole[len(text) :] if len(whole) > len(text) and whole.startswith(text) else ""

    def learn(self, raw: Mapping[str, Any]) -> None:
        """Take over the id, the name and the further keys of a call."""
        self.call_id = self.call_id or text_of(raw.get("call_id"))
        self.name = self.name or text_of(raw.get("name"))
        self.extra.update((key, raw[key]) for key in fields.CALL_KEYS if raw.get(key))
        self.extra_content = json_object(raw.get(fields.EXTRA_CONTENT)) or self.extra_content

    def fragment(self, arguments: str, call_id: str | None = None, name: str | None = None) -> ChunkDelta:
        """A fragment of the call; the first one has its id and name."""
        extra = {"item_id": self.id, **self.extra} if self.id else self.extra
        content = {**self.extra_content, **({"openai": dict(extra)} if extra else {})} if call_id else None
        call_type = "custom" if self.type == CUSTOM_CALL else "function"
        call = ToolCall(call_id, FunctionCall(name, arguments), call_type, self.index or 0, content or None)
        return ChunkDelta(tool_calls=(call,))


@attrs.define(eq=False)
class ReceivedItems:
    """
    The output items of one response. Used by one decoder, on one thread.

    Attributes:
        custom_tools: The names of the request's custom tools; None until the provider has listed its tools.
        calls: How many calls have begun.
    """

    custom_tools: frozenset[str] | None = None
    calls: int = 0
    _all: list[ReceivedItem] = attrs.field(factory=list)
    _by_id: dict[tuple[str, str], ReceivedItem] = attrs.field(factory=dict)
    _by_place: dict[tuple[str, Any], ReceivedItem] = attrs.field(factory=dict)
    _call_ids: dict[str, ReceivedItem] = attrs.field(factory=dict)
    _has_thoughts: bool = False

    def are_waiting(self) -> bool:
        """Whether there are calls for the caller whose id or name has not come."""
        return any(item.is_new_call and not self._is_providers_own(item) for item in self._all)

    def begin(self, item_type: str, raw: Mapping[str, Any], place: Any) -> ReceivedItem:
        """The item that the provider begins now with *raw*; the same once more if it repeats itself."""
        item_id = text_of(raw.get("id"))
        item = self._by_id.get((item_type, item_id))
        if item is None or item.is_over or raw.get("call_id") not in (None, "", item.call_id):
            return self._new(item_type, item_id, place)
        return item

    def find(self, item_type: str, item_id: Any, place: Any) -> ReceivedItem:
        """The item that a piece belongs to, or that was repeated whole; a new one if there was none."""
        item_id = text_of(item_id)
        item = self._by_id.get((item_type, item_id))
        if item is None:
            item = self._by_place.get((item_type, whole_number(place)))
            if item is not None and item.is_over:
                item = None
        return item or self._new(item_type, item_id, place)

    def match(self, output: Sequence[Any]) -> list[tuple[dict[str, Any], ReceivedItem]]:
        """The items in the last event's ``output`` that the answer shows, each with what has come of it."""
        ranked = {kind: iter([item for item in self._all if item.type == kind]) for kind in ITEM_TYPES}
        pairs: list[tuple[dict[str, Any], ReceivedItem]] = []
        matched: set[int] = set()  # once each: an id may stand for several
        for place, raw in enumerate(output):
            kind = text_of(raw.get("type")) if isinstance(raw, dict) else ""
            if kind in ranked:
                candidates = self._candidates(kind, raw, next(ranked[kind], None))
                item = next((item for item in candidates if item is not None and id(item) not in matched), None)
                item = item or self._new(kind, text_of(raw.get("id")), place)
                pairs.append((raw, item))
                matched.add(id(item))
        return pairs

    def _candidates(
        self, item_type: str, raw: Mapping[str, Any], near: ReceivedItem | None
    ) -> Sequence[ReceivedItem | None]:
        """The items that *raw* may repeat, the likeliest first; *near* is the item of its type and rank."""
        item_id = text_of(raw.get("id"))
        call_id = text_of(raw.get("call_id")) if item_type in CALLS else ""
        if call_id and near is not None and near.index is not None:
            near = None  # another call, which has an id of its own
        named_near = near if near is not None and near.id == item_id else None
        return self._call_ids.get(call_id), named_near, self._by_id.get((item_type, item_id)), near

    def add(self, item: ReceivedItem, part_type: str, text: str, part: Any = None) -> ChunkDelta | None:
        """The delta for a piece of text in the part number *part*; None while it waits, or is not for the caller."""
        if part_type in (SUMMARY, THOUGHT):
            return self._add_thought(item, part_type, text, part)
        item.pieces.setdefault(part_type, []).append(text)
        if part_type == fields.TEXT:
            return ChunkDelta(content=text)
        if part_type == fields.REFUSAL:
            return ChunkDelta(refusal=text)
        return item.fragment(text) if item.index is not None else None

    def begin_call(self, item: ReceivedItem) -> ChunkDelta | None:
        """The delta that begins a call, with all arguments that waited for it; None when it is not for the caller."""
        if self._is_providers_own(item):
            return None
        ids = (call_id for number in itertools.count(self.calls) if (call_id := f"call_{number}") not in self._call_ids)
        item.index, item.call_id = self.calls, item.call_id or next(ids)
        self.calls += 1
        self._call_ids.setdefault(item.call_id, item)
        return item.fragment("".join(item.pieces.get(item.type, ())), item.call_id, item.name)

    def _add_thought(self, item: ReceivedItem, part_type: str, text: str, part: Any) -> ChunkDelta | None:
        """
        A piece of the reasoning, behind a blank line where a part of it begins.

        A provider that sends its thoughts both long and short sends the same twice: the first to come stand.
        """
        if (SUMMARY if part_type == THOUGHT else THOUGHT) in item.pieces:
            return None
        pieces = item.pieces.setdefault(part_type, [])
        begins = not pieces or part != item.part
        if pieces and begins:
            pieces.append(PARAGRAPH)
        delta = PARAGRAPH + text if begins and self._has_thoughts else text
        pieces.append(text)
        item.part = part
        self._has_thoughts = True
        return ChunkDelta(reasoning=Reasoning(delta))

    def _is_providers_own(self, item: ReceivedItem) -> bool:
        """
        Whether a call of a custom tool is not for the caller.

        xAI reports its searches as such calls, of tools that are not among those which the response lists.
        """
        return item.type == CUSTOM_CALL and self.custom_tools is not None and item.name not in self.custom_tools

    def _new(self, item_type: str, item_id: str, place: Any) -> ReceivedItem:
        item = ReceivedItem(item_type, item_id)
        self._all.append(item)
        if item_id:
            self._by_id[item_type, item_id] = item
        self._by_place[item_type, whole_number(place)] = item
        return item
