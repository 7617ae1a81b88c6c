"""
Events of a provider that speaks this format itself: which item one is about, and where that begins or ends.

Nothing here trusts the shape of an event: a value of an unexpected type counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from anyllm.wire._base.getters import text
from anyllm.wire.openai_responses.fields import (
    CUSTOM_CALL,
    ENDS,
    FORMS,
    ITEM_ADDED,
    ITEM_DONE,
    ITEM_TYPES,
    SUMMARY,
    TextForm,
    custom_tools,
)

__all__ = ["NativeEvent", "is_foreign", "native_event"]

_PART_FORMS = {form.type: form for form in FORMS.values() if form.part_event}
_PART_EVENTS = frozenset(form.part_event for form in _PART_FORMS.values())
#: Events that are written from chunks: their types without the last word, and the type of the item, where that says it.
_OURS = {
    **{form.text_event: form.item for form in FORMS.values()},
    **{form.part_event: form.item if form.type == SUMMARY else None for form in _PART_FORMS.values()},
}


class NativeEvent(NamedTuple):
    """
    One event.

    Attributes:
        type: Its type; "" of a whole response, sent in place of a stream.
        event: All of it.
        word: The last word of its type: "added", "delta", "done".
        response: The response in it; empty if there is none.
        item: The item in it; empty if there is none.
        item_type: The type of the item that it is about; None if it does not say.
        item_id: The provider's name for that item; "" if it does not say.
        place: The provider's number for that item.
        part: The form of the part that begins or ends with it; None if none does, or if such parts are unknown.
        number: The provider's number for the part that it is about.
        is_ours: Whether it is one of the events that are written from chunks, or of their parts.
    """

    type: str
    event: Mapping[str, Any]
    word: str
    response: Mapping[str, Any]
    item: Mapping[str, Any]
    item_type: Optional[str]
    item_id: str
    place: Optional[int]
    part: Optional[TextForm]
    number: Optional[int]
    is_ours: bool

    @property
    def is_end(self) -> bool:
        """Whether the response is over with it."""
        return not self.type or self.type in ENDS


def native_event(raw: Any) -> Optional[NativeEvent]:
    """A chunk's ``raw`` as an event of this format; None if it is of another."""
    if not isinstance(raw, Mapping):
        return None
    kind = text(raw.get("type"))
    if not (kind.startswith("response.") or kind == "keepalive"):
        if raw.get("object") != "response" or not isinstance(raw.get("output"), Sequence):
            return None
        kind = ""
    stem, _, word = kind.rpartition(".")
    item = _object(raw, "item")
    part = _PART_FORMS.get(text(_object(raw, "part").get("type"))) if stem in _PART_EVENTS else None
    item_type = part.item if part is not None else _OURS.get(stem)
    if kind in (ITEM_ADDED, ITEM_DONE):
        item_type = text(item.get("type")) or None
    number = _number(raw, "summary_index")
    return NativeEvent(
        kind,
        raw,
        word,
        _object(raw, "response") if kind else raw,
        item,
        item_type,
        text(raw.get("item_id")) or text(item.get("id")),
        _number(raw, "output_index"),
        part,
        _number(raw, "content_index") if number is None else number,
        stem in _OURS,
    )


def is_foreign(item: Mapping[str, Any], tools: Any) -> bool:
    """
    Whether chunks cannot hold an item: the work of a provider with tools of its own.

    Args:
        item: As the provider sent it.
        tools: Those of the response; a call of a custom tool that is not among them is the provider's own (xAI's
            searches).
    """
    kind = item.get("type")
    if kind == CUSTOM_CALL:
        is_named = isinstance(tools, list) and tools and isinstance(item.get("name"), str)
        return bool(is_named) and item["name"] not in set(custom_tools(tools))
    return isinstance(kind, str) and kind not in ITEM_TYPES


def _object(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = event.get(name)
    return value if isinstance(value, Mapping) else {}


def _number(event: Mapping[str, Any], name: str) -> Optional[int]:
    value = event.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
