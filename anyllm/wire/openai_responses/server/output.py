"""
The output items of one response: which of them there are, which grow, and which of them a host is about.

Strategy: an item of another provider's answer is over when one of another kind begins, but for calls, whose fragments
may come in any order until the end; an item that a host of this format began, it also ends. What must be sent back with
thoughts is sealed into the item that holds them; if it comes when that is over, it gets an item of its own.
"""

from __future__ import annotations

from typing import Any, Optional

import attrs

from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, Reasoning
from anyllm.types._accumulate import Assembler
from anyllm.wire.openai_responses.output_items import MESSAGE, REASONING
from anyllm.wire.openai_responses.server.native_events import Told
from anyllm.wire.openai_responses.server.output_items import Events, Item, sealed

__all__ = ["SEALED", "Output"]

#: The key of what clients send back unread.
SEALED = "encrypted_content"


class Output:
    """
    The items of one response, in their order.

    Attributes:
        items: All of them.
        grown: The message and the reasoning that were written to last.
    """

    def __init__(self, events: Events) -> None:
        self.items: list[Item] = []
        self._ids: set[str] = set()
        self.grown: dict[str, Item] = {}
        self._events = events
        self._signed: Optional[Assembler] = None

    def add(self, kind: str, name: Any) -> Item:
        """An item that has not begun yet, under the host's *name* for it unless another one has it."""
        name = name if isinstance(name, str) and name else None
        is_taken = name is not None and name in self._ids
        item = Item(kind, None if is_taken else name, len(self.items))
        item.host_id = name
        self.items.append(item)
        if isinstance(name, str):
            self._ids.add(name)
        return item

    def new(self, kind: str) -> tuple[Item, bytes]:
        """A message or a reasoning that the provider did not begin itself, and the events of its beginning."""
        over = self.end_others(kind)
        item = self.grown[kind] = self.add(kind, None)
        return item, over + item.begin(self._events)

    def growing(self, kind: str) -> Optional[Item]:
        """The message or the reasoning that was written to last, if it is not over."""
        item = self.grown.get(kind)
        return None if item is None or item.is_over else item

    def end(self, item: Item, status: str = "completed") -> bytes:
        """An item is over, with what was signed if it holds another provider's thoughts."""
        if item.kind == REASONING and not item.is_over and not item.is_native and self._signed is not None:
            seal = sealed(self._signed.snapshot().to_message().reasoning)
            self._signed = None
            if seal is not None:
                item.extra[SEALED] = seal
        return item.end(self._events, status)

    def end_others(self, kind: str) -> bytes:
        """What another provider thought or said is over, before something of another *kind*."""
        said = []
        for other in (REASONING, MESSAGE):
            item = self.growing(other)
            if item is not None and other != kind and not item.is_native:
                said.append(self.end(item))
        if kind != REASONING:
            said.append(self.end_signed())
        return b"".join(said)

    def end_signed(self) -> bytes:
        """An item for what was signed, if none is there to hold it."""
        if self._signed is None or self.growing(REASONING) is not None:
            return b""
        item = self.add(REASONING, None)
        return item.begin(self._events) + self.end(item)

    def sign(self, reasoning: Reasoning) -> None:
        """Keep what must be sent back with another provider's thoughts."""
        self._signed = self._signed or Assembler()
        delta = ChunkDelta(reasoning=attrs.evolve(reasoning, content=None))
        self._signed.add(ChatCompletionChunk(choices=(ChunkChoice(0, delta),)))

    def told(self, told: Optional[Told], kind: Optional[str]) -> Optional[Item]:
        """The item of a *kind*, or of any, that a host is about: by its name, then by its number."""
        if told is None:
            return None
        found = self.named(kind, told.item_id)
        if found is None and told.place is not None:
            alike = (item for item in reversed(self.items) if kind in (None, item.kind))
            found = next((item for item in alike if item.place == told.place), None)
        return found

    def named(self, kind: Any, name: Any) -> Optional[Item]:
        """The item of a *kind*, or of any, that its host calls so."""
        if not isinstance(name, str) or not name:
            return None
        alike = (item for item in reversed(self.items) if kind in (None, item.kind))
        return next((item for item in alike if item.host_id == name), None)
