"""
The output items of one response as they are written: their texts in parts, their events, and which items grow.

Strategy: an item of another provider's answer is over when one of another type begins, but for calls, whose fragments
may come in any order until the end; an item that a provider of this format began, it also ends. Once that is over, the
provider's own item stands in place of ours if it has the same content: it holds what chunks cannot (citations, phases,
encrypted reasoning). What must be sent back with the reasoning of any other provider is sealed into the item that holds
it; if it comes when that is over, it gets an item of its own.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Optional

import attrs

from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, Reasoning
from anyllm.types._accumulate import accumulate
from anyllm.wire._base.json_values import without_none
from anyllm.wire._base.writer import event, json_bytes
from anyllm.wire.openai_responses import fields
from anyllm.wire.openai_responses.fields import CALLS, FORMS, MESSAGE, REASONING, TEXT, TextForm
from anyllm.wire.openai_responses.replay_items import SEAL, sealed
from anyllm.wire.openai_responses.server.native_event import NativeEvent

_PREFIXES = {MESSAGE: "msg", REASONING: "rs", fields.FUNCTION_CALL: "fc", fields.CUSTOM_CALL: "ctc"}
#: The keys of an item that are written from the chunks, whatever the provider's own item has.
_WRITTEN = frozenset(
    (
        "id",
        "type",
        "status",
        "role",
        "content",
        "summary",
        "call_id",
        "name",
        "arguments",
        "input",
        fields.EXTRA_CONTENT,
    )
)


@attrs.define(eq=False)
class EventBuffer:
    """Numbers the events of one response, and collects their bytes."""

    number: int = 0  # of the next event
    _written: list[bytes] = attrs.field(factory=list)

    def add(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write one event; a type or number in *body*, which may be a provider's own event, does not count."""
        own = {"type": kind, "sequence_number": self.number}
        self.number += 1
        self._written.append(event({**own, **body, **own}, kind))

    def collect(self, write: Callable[..., None], *args: Any) -> bytes:
        """The events that *write* adds; if it fails, none, and no number is used up."""
        number = self.number
        try:
            write(*args)
            return b"".join(self._written)
        except BaseException:
            self.number = number
            raise
        finally:
            self._written.clear()


@attrs.define(eq=False)
class TextPart:
    """One text of an item: a part of a message or a reasoning, or the arguments of a call."""

    form: TextForm
    place: int  # in its list
    number: Optional[int]  # the provider's own, if any
    pieces: list[str] = attrs.field(factory=list)
    logprobs: list[Any] = attrs.field(factory=list)
    annotations: list[Any] = attrs.field(factory=list)

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(self.pieces)

    def written(self, *, is_empty: bool = False) -> dict[str, Any]:
        """The part, so far or as it begins."""
        body = {"type": self.form.type, self.form.key: "" if is_empty else self.text}
        if self.form.type != TEXT:
            return body
        return {**body, "annotations": [*self.annotations], "logprobs": [] if is_empty else [*self.logprobs]}


@attrs.define(eq=False)
class WrittenItem:
    """One output item. Its methods add events."""

    type: str  # one of `ITEM_TYPES`, or a type that only the provider knows
    id: str
    index: int  # its ``output_index``
    _events: EventBuffer
    native_id: str = ""  # the provider's own name for it
    place: Optional[int] = None  # the provider's own number for it
    is_native: bool = False  # whether the provider began it, and will say when it is over
    is_foreign: bool = False  # whether only its provider knows what it is
    status: str = "in_progress"  # until it is over
    extra: dict[str, Any] = attrs.field(factory=dict)  # further keys of it
    open: Optional[TextPart] = None  # the part that grows; of a call, its arguments
    call_id: str = ""
    name: str = ""  # of the tool
    native: Optional[dict[str, Any]] = None  # the provider's own form, which stands in place of ours
    _parts: list[TextPart] = attrs.field(factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing can be added any more."""
        return self.status != "in_progress"

    def begin(self) -> None:
        """The item begins, and the arguments of a call with it."""
        self._events.add(fields.ITEM_ADDED, {"output_index": self.index, "item": self.written()})
        if self.type in CALLS and not self.is_foreign:
            self.begin_part(FORMS[self.type])

    def begin_part(self, form: TextForm, number: Optional[int] = None) -> None:
        """A part begins; the one before it is over."""
        self.end_part()
        part = self.open = TextPart(form, sum(part.form.field == form.field for part in self._parts), number)
        self._parts.append(part)
        if form.part_event:
            self._events.add(f"{form.part_event}.added", {**self._where(part), "part": part.written(is_empty=True)})

    def add(self, text: str, logprobs: Optional[list[Any]] = None) -> None:
        """More text of the part that grows, or more of the arguments."""
        part = self.open
        assert part is not None  # the caller has begun it
        part.pieces.append(text)
        body = {**self._where(part), "delta": text}
        if part.form.type == TEXT:
            part.logprobs += logprobs or ()
            body["logprobs"] = logprobs or []
        self._events.add(f"{part.form.text_event}.delta", body)

    def around_text(self) -> tuple[bytes, bytes, bytes]:
        """The bytes before the number, before the text, and behind the text of a piece of the part that grows."""
        assert self.open is not None  # as in `add`
        where = json_bytes(self._where(self.open))[1:-1]
        kind = fields.TEXT_DELTA.encode()
        before = b'event: %b\ndata: {"type":"%b","sequence_number":' % (kind, kind)
        return before, b',%b,"delta":' % where, b',"logprobs":[]}\n\n'

    def end_part(self) -> None:
        """The part that grows is over, if there is one."""
        part, self.open = self.open, None
        if part is None:
            return
        body = {**self._where(part), part.form.key: part.text}
        if part.form.type == TEXT:
            body["logprobs"] = part.logprobs
        self._events.add(f"{part.form.text_event}.done", body)
        if part.form.part_event:
            self._events.add(f"{part.form.part_event}.done", {**self._where(part), "part": part.written()})

    def end(self, status: str = "completed") -> None:
        """The item is over."""
        if not self.is_over:
            self.end_part()
            self.status = status
            self._events.add(fields.ITEM_DONE, {"output_index": self.index, "item": self.written()})

    def settle(self, native: Mapping[str, Any]) -> None:
        """Take over the provider's own item: all of it where it has the same content, else its further keys."""
        if self.is_foreign or self._has_content_of(native):
            self.native = {**native, "id": self.id}
        self.learn(native)

    def _has_content_of(self, native: Mapping[str, Any]) -> bool:
        own = self._composed()
        if any(native.get(key) != own[key] for key in ("type", *(("call_id", "name") if self.type in CALLS else ()))):
            return False
        mine, others = ([text for _, text in fields.texts_in(item, self.type)] for item in (own, native))
        return mine == others  # whether thoughts are long or short

    def learn(self, native: Mapping[str, Any]) -> None:
        """Take over the further keys of the provider's own item."""
        self.extra.update((key, value) for key, value in native.items() if key not in _WRITTEN)

    def written(self) -> dict[str, Any]:
        """The item so far."""
        return self._composed() if self.native is None else self.native

    def _composed(self) -> dict[str, Any]:
        body: dict[str, Any] = {"id": self.id, "type": self.type}
        if self.type in CALLS:
            texts = {FORMS[self.type].key: "".join(part.text for part in self._parts)}
            body.update(status=self.status, call_id=self.call_id, name=self.name, **texts)
        elif self.type == MESSAGE:
            body.update(status=self.status, role="assistant", content=self._listed("content"))
        else:
            body["summary"] = self._listed("summary")
            if content := self._listed("content"):
                body["content"] = content
        return {**body, **self.extra}

    def _where(self, part: TextPart) -> dict[str, Any]:
        where = {"item_id": self.id, "output_index": self.index}
        return {**where, part.form.number: part.place} if part.form.number else where

    def _listed(self, field: str) -> list[dict[str, Any]]:
        return [part.written() for part in self._parts if part.form.field == field]


@attrs.define(eq=False)
class Output:
    """The items of one response, in their order."""

    _events: EventBuffer
    items: list[WrittenItem] = attrs.field(factory=list)
    grown: dict[str, WrittenItem] = attrs.field(factory=dict)  # the message and the reasoning that grew last
    _signed: list[ChatCompletionChunk] = attrs.field(factory=list)  # another provider's reasoning, without its text

    def add(self, item_type: str, native_id: Any = None, native: Optional[NativeEvent] = None) -> WrittenItem:
        """An item that has not begun yet, under its provider's name for it unless another item has that."""
        name = native_id if isinstance(native_id, str) else ""
        is_free = name and all(item.native_id != name for item in self.items)
        item_id = name if is_free else f"{_PREFIXES.get(item_type, 'item')}_{uuid.uuid4().hex}"
        item = WrittenItem(item_type, item_id, len(self.items), self._events, name)
        if native is not None:
            item.is_native, item.place = True, native.place
        self.items.append(item)
        return item

    def new(self, item_type: str) -> WrittenItem:
        """A message or a reasoning that the provider did not begin itself; others are over."""
        self.end_others(item_type)
        item = self.grown[item_type] = self.add(item_type)
        item.begin()
        return item

    def growing(self, item_type: str) -> Optional[WrittenItem]:
        """The message or the reasoning that grew last, if it is not over."""
        item = self.grown.get(item_type)
        return None if item is None or item.is_over else item

    def end(self, item: WrittenItem, status: str = "completed") -> None:
        """An item is over, with what was signed if it holds another provider's reasoning."""
        if item.type == REASONING and self._signed and not item.is_over and not item.is_native:
            chunks, self._signed = self._signed, []
            item.extra.update(without_none({SEAL: sealed(accumulate(chunks).to_message().reasoning)}))
        item.end(status)

    def end_others(self, item_type: str) -> None:
        """Another provider's reasoning and message are over, before an item of another type."""
        for other in (REASONING, MESSAGE):
            item = self.growing(other)
            if item is not None and other != item_type and not item.is_native:
                self.end(item)
        if item_type != REASONING:
            self.end_signed()

    def end_signed(self) -> None:
        """An item for what was signed, if there is none to hold it."""
        if self._signed and self.growing(REASONING) is None:
            item = self.add(REASONING)
            item.begin()
            self.end(item)

    def sign(self, reasoning: Reasoning) -> None:
        """Keep what must be sent back with another provider's reasoning."""
        delta = ChunkDelta(reasoning=attrs.evolve(reasoning, content=None))
        self._signed.append(ChatCompletionChunk(choices=(ChunkChoice(0, delta),)))

    def find(self, item_type: Any, native_id: Any, place: Optional[int] = None) -> Optional[WrittenItem]:
        """The last item of a type, or of any, to which its provider gave this name, or else this number."""
        found = None
        for item in reversed(self.items):
            if item_type in (None, item.type):
                if native_id and item.native_id == native_id:
                    return item
                if found is None and place is not None and item.place == place:
                    found = item
        return found
