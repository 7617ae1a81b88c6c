"""
What a host that speaks Responses itself told in an event: which item it is about, and where that begins or ends.

Nothing here trusts the shape of an event: what is not as it should be is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import attrs

from anyllm.wire.openai_responses.event_texts import ENDS, custom_tools
from anyllm.wire.openai_responses.output_items import CUSTOM_CALL, FUNCTION_CALL, KINDS, MESSAGE, REASONING
from anyllm.wire.openai_responses.server.output_items import REFUSED, SUMMARY, TEXT, THOUGHT

__all__ = ["ADDED", "DONE", "LIFE", "Told", "is_foreign", "told_by"]

ADDED, DONE = "response.output_item.added", "response.output_item.done"
#: Events of the whole response before its end.
LIFE = ("response.created", "response.queued", "response.in_progress")

_PARTS = {TEXT: MESSAGE, REFUSED: MESSAGE, THOUGHT: REASONING, SUMMARY: REASONING}
#: Events about an item that we write ourselves, by what comes before their last word, and the kind of that item.
_OURS = {
    "response.output_text": MESSAGE,
    "response.refusal": MESSAGE,
    "response.reasoning_text": REASONING,
    "response.reasoning_summary_text": REASONING,
    "response.reasoning_summary_part": REASONING,
    "response.function_call_arguments": FUNCTION_CALL,
    "response.custom_tool_call_input": CUSTOM_CALL,
}
_FRAMES = ("response.content_part", "response.reasoning_summary_part")


@attrs.define(frozen=True)
class Told:
    """
    One event of a host.

    Attributes:
        kind: Its type; "" of a whole response, sent in place of a stream.
        event: All of it.
    """

    kind: str
    event: Mapping[str, Any]

    @property
    def response(self) -> Mapping[str, Any]:
        """The response in it; empty if there is none."""
        return self._object("response") if self.kind else self.event

    @property
    def is_end(self) -> bool:
        """Whether the response is over with it."""
        return not self.kind or self.kind in ENDS

    @property
    def item(self) -> Mapping[str, Any]:
        """The item in it; empty if there is none."""
        return self._object("item")

    @property
    def item_kind(self) -> Optional[str]:
        """The type of the item that it is about; None where it does not say."""
        if self.kind in (ADDED, DONE):
            return _text(self.item.get("type"))
        if self.part_kind is not None:
            return _PARTS[self.part_kind]
        return _OURS.get(self.kind.rpartition(".")[0])

    @property
    def item_id(self) -> Optional[str]:
        """The host's name for that item."""
        return _text(self.event.get("item_id")) or _text(self.item.get("id"))

    @property
    def place(self) -> Optional[int]:
        """The host's number for that item."""
        return _number(self.event.get("output_index"))

    @property
    def number(self) -> Optional[int]:
        """The host's number for the part that it is about."""
        number = _number(self.event.get("summary_index"))
        return _number(self.event.get("content_index")) if number is None else number

    @property
    def part_kind(self) -> Optional[str]:
        """The type of the part that begins or ends with it; None if none does, or nobody knows such parts."""
        if self.kind.rpartition(".")[0] not in _FRAMES:
            return None
        kind = self._object("part").get("type")
        return kind if isinstance(kind, str) and kind in _PARTS else None

    @property
    def word(self) -> str:
        """The last word of its type: "added", "delta", "done"."""
        return self.kind.rpartition(".")[2]

    @property
    def is_of_ours(self) -> bool:
        """Whether it is one of the events that are written from chunks, or of their parts."""
        return self.kind.rpartition(".")[0] in (*_OURS, *_FRAMES) and self.kind != "response.output_text.annotation"

    def _object(self, name: str) -> Mapping[str, Any]:
        value = self.event.get(name)
        return value if isinstance(value, Mapping) else {}


def told_by(raw: Any) -> Optional[Told]:
    """A chunk's ``raw`` as an event of this format; None if it is of another."""
    if not isinstance(raw, Mapping):
        return None
    kind = raw.get("type")
    if isinstance(kind, str) and (kind.startswith("response.") or kind == "keepalive"):
        return Told(kind, raw)
    return Told("", raw) if raw.get("object") == "response" and isinstance(raw.get("output"), Sequence) else None


def is_foreign(item: Mapping[str, Any], tools: Any) -> bool:
    """
    Whether chunks have no words for an item: what a host does with tools of its own.

    Args:
        item: As the host has it.
        tools: Those of the response; a call of a custom tool that is not among them is the host's own (xAI's searches).
    """
    kind = item.get("type")
    if kind == CUSTOM_CALL:
        named = isinstance(tools, list) and tools and isinstance(item.get("name"), str)
        return bool(named) and item["name"] not in set(custom_tools(tools))
    return isinstance(kind, str) and kind not in KINDS


def _text(value: Any) -> Optional[str]:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
