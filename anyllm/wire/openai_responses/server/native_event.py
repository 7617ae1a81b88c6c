"""
Events of a provider that speaks this format itself: which item one is about, and where that begins or ends.

Nothing here trusts the shape of an event: a value of an unexpected type counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from anyllm.wire._base.json_values import json_object, text, whole_number
from anyllm.wire.openai_responses import fields
from anyllm.wire.openai_responses.fields import FORMS, ITEM_ADDED, ITEM_DONE, TextForm

_PART_FORMS = {form.type: form for form in FORMS.values() if form.part_event}
_PART_EVENTS = frozenset(form.part_event for form in _PART_FORMS.values())
#: Events that are written from chunks: their types without the last word, and the type of the item, where that says it.
_OURS = {
    **{form.text_event: form.item for form in FORMS.values()},
    **{form.part_event: form.item if form.type == fields.SUMMARY else None for form in _PART_FORMS.values()},
}


class NativeEvent(NamedTuple):
    """One event; None, "" and empty objects stand for what it does not have."""

    type: str  # "" of a whole response, sent in place of a stream
    event: Mapping[str, Any]
    word: str  # the last word of its type: "added", "delta", "done"
    response: Mapping[str, Any]
    item: Mapping[str, Any]
    item_type: Optional[str]  # of the item that it is about
    item_id: str
    place: Optional[int]  # the provider's number for that item
    part: Optional[TextForm]  # the form of the part that begins or ends with it
    number: Optional[int]  # the provider's number for the part that it is about
    is_ours: bool  # whether it is one of the events that are written from chunks, or of their parts
    is_end: bool  # whether the response is over with it


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
    response, item = json_object(raw.get("response")) if kind else raw, json_object(raw.get("item"))
    part = _PART_FORMS.get(text(json_object(raw.get("part")).get("type"))) if stem in _PART_EVENTS else None
    item_type = part.item if part is not None else _OURS.get(stem)
    if kind in (ITEM_ADDED, ITEM_DONE):
        item_type = text(item.get("type")) or None
    item_id = text(raw.get("item_id")) or text(item.get("id"))
    place, number = whole_number(raw.get("output_index")), whole_number(raw.get("summary_index"))
    number = whole_number(raw.get("content_index")) if number is None else number
    is_ours, is_end = stem in _OURS, not kind or kind in fields.ENDS
    return NativeEvent(kind, raw, word, response, item, item_type, item_id, place, part, number, is_ours, is_end)
