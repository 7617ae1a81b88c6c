"""
Output items of a response as they grow: messages, reasoning and calls in parts, and the events that tell of them.

A host's own item, once it is over, stands in place of ours if it says the same: it holds what pieces have no words for
(citations, phases, encrypted reasoning). What another format's reasoning must be sent back with (signatures, blocks)
travels as ``encrypted_content``, which clients keep and send back unread: `sealed` and `unsealed`.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Optional

from anyllm.types import Reasoning, _convert
from anyllm.wire._base.writer import event, json_bytes
from anyllm.wire.openai_responses.output_items import (
    ARGUMENTS,
    CALLS,
    CUSTOM_CALL,
    FUNCTION_CALL,
    MESSAGE,
    PARAGRAPH,
    REASONING,
    wholes,
)

__all__ = [
    "REFUSED",
    "SUMMARY",
    "TEXT",
    "TEXT_DELTA",
    "THOUGHT",
    "Events",
    "Item",
    "Part",
    "sealed",
    "unsealed",
]

#: The types of parts.
TEXT, REFUSED, SUMMARY, THOUGHT = "output_text", "refusal", "summary_text", "reasoning_text"
TEXT_DELTA = b"response.output_text.delta"

_PREFIXES = {MESSAGE: "msg", REASONING: "rs", FUNCTION_CALL: "fc", CUSTOM_CALL: "ctc"}
#: The keys of an item that are written from the chunks, whatever the host's own item says.
_WRITTEN = frozenset(
    ("id", "type", "status", "role", "content", "summary", "call_id", "name", "arguments", "input", "extra_content")
)
_SEAL = "anyllm:"


class _Form(NamedTuple):
    """Where a part stands in its item, the key of its text, and the events that tell of its text and of itself."""

    place: str
    key: str
    number: str
    said: str
    framed: str


_FORMS = {
    TEXT: _Form("content", "text", "content_index", "response.output_text", "response.content_part"),
    REFUSED: _Form("content", "refusal", "content_index", "response.refusal", "response.content_part"),
    THOUGHT: _Form("content", "text", "content_index", "response.reasoning_text", "response.content_part"),
    SUMMARY: _Form(
        "summary", "text", "summary_index", "response.reasoning_summary_text", "response.reasoning_summary_part"
    ),
}


class Events:
    """
    Numbers the events of one response.

    Attributes:
        number: The next event's.
    """

    def __init__(self) -> None:
        self.number = 0

    def take(self) -> int:
        """The next number, which is then used up."""
        number, self.number = self.number, self.number + 1
        return number

    def write(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        """One event; a type or number among *fields*, which are a host's own event then, does not count."""
        own = {"type": kind, "sequence_number": self.take()}
        return event({**own, **fields, **own}, kind)


class Part:
    """
    One part of a message or a reasoning.

    Attributes:
        kind: TEXT, REFUSED, SUMMARY or THOUGHT.
        place: Its place in its list.
        number: The host's own number for it, if any.
        pieces: Its text.
        logprobs, annotations: What else is said of a TEXT.
    """

    __slots__ = ("annotations", "kind", "logprobs", "number", "pieces", "place")

    def __init__(self, kind: str, place: int, number: Any) -> None:
        self.kind = kind
        self.place = place
        self.number = number
        self.pieces: list[str] = []
        self.logprobs: list[Any] = []
        self.annotations: list[Any] = []

    @property
    def form(self) -> _Form:
        """How it is written."""
        return _FORMS[self.kind]

    def written(self, text: Optional[str] = None) -> dict[str, Any]:
        """The part, with all of its text unless another *text* is given."""
        said = {"type": self.kind, self.form.key: "".join(self.pieces) if text is None else text}
        if self.kind != TEXT:
            return said
        return {**said, "annotations": list(self.annotations), "logprobs": list(self.logprobs) if text is None else []}


class Item:
    """
    One output item. Its methods give events.

    Attributes:
        kind: A message, a reasoning, a call, or what only a host knows.
        id: Its name.
        index: Its ``output_index``.
        host_id, place: The host's own name and number for it, if any.
        is_native: Whether the host began it, and will say when it is over.
        is_foreign: Whether only its host knows what it is.
        status: "in_progress", until it is over.
        extra: Further keys of it.
        open: The part that grows.
        call_id, name, pieces: Of a call: id, name, arguments.
    """

    def __init__(self, kind: str, name: Optional[str], index: int) -> None:
        self.kind = kind
        self.id = name or f"{_PREFIXES.get(kind, 'item')}_{uuid.uuid4().hex}"
        self.index = index
        self.host_id: Optional[str] = None
        self.place: Optional[int] = None
        self.is_native = False
        self.is_foreign = False
        self.status = "in_progress"
        self.extra: dict[str, Any] = {}
        self.open: Optional[Part] = None
        self.call_id = ""
        self.name = ""
        self.pieces: list[str] = []
        self._parts: list[Part] = []
        self._own: Optional[dict[str, Any]] = None  # the host's own form of it

    @property
    def is_over(self) -> bool:
        """Whether nothing can be added any more."""
        return self.status != "in_progress"

    def begin(self, events: Events) -> bytes:
        """The item comes."""
        return events.write("response.output_item.added", {"output_index": self.index, "item": self.written()})

    def begin_part(self, events: Events, kind: str, number: Any = None) -> bytes:
        """A part comes; the one before it is over."""
        over = self.end_part(events)
        place = sum(part.form.place == _FORMS[kind].place for part in self._parts)
        self.open = Part(kind, place, number)
        self._parts.append(self.open)
        return over + events.write(
            f"{self.open.form.framed}.added", {**self._where(self.open), "part": self.open.written("")}
        )

    def add(self, events: Events, text: str, logprobs: Optional[list[Any]] = None) -> bytes:
        """More text of the part that grows, or more of the arguments."""
        if self.kind in CALLS:
            self.pieces.append(text)
            return events.write(f"{self._call_event}.delta", {**self._where(), "delta": text})
        part = self.open
        assert part is not None  # the caller has begun it
        part.pieces.append(text)
        said: dict[str, Any] = {**self._where(part), "delta": text}
        if part.kind == TEXT:
            part.logprobs += logprobs or ()
            said["logprobs"] = logprobs or []
        return events.write(f"{part.form.said}.delta", said)

    def around_text(self) -> tuple[bytes, bytes, bytes]:
        """What stands before the number, before the text, and behind the text of a piece of the part that grows."""
        assert self.open is not None  # as in `add`
        where = json_bytes(self._where(self.open))[1:-1]
        before = b'event: %b\ndata: {"type":"%b","sequence_number":' % (TEXT_DELTA, TEXT_DELTA)
        return before, b',%b,"delta":' % where, b',"logprobs":[]}\n\n'

    def end_part(self, events: Events) -> bytes:
        """The part that grows is over, if there is one."""
        part, self.open = self.open, None
        if part is None:
            return b""
        whole = {part.form.key: "".join(part.pieces)}
        if part.kind == TEXT:
            whole = {**whole, "logprobs": part.logprobs}  # type: ignore[dict-item]  # text, and a list beside it
        return events.write(f"{part.form.said}.done", {**self._where(part), **whole}) + events.write(
            f"{part.form.framed}.done", {**self._where(part), "part": part.written()}
        )

    def end(self, events: Events, status: str = "completed") -> bytes:
        """The item is over."""
        if self.is_over:
            return b""
        said = self.end_part(events)
        if self.kind in CALLS and not self.is_foreign:
            key = "input" if self.kind == CUSTOM_CALL else ARGUMENTS
            said += events.write(f"{self._call_event}.done", {**self._where(), key: "".join(self.pieces)})
        self.status = status
        return said + events.write("response.output_item.done", {"output_index": self.index, "item": self.written()})

    def settle(self, own: Mapping[str, Any]) -> None:
        """Take over what the host's *own* item holds: all of it where it says what was written, else further keys."""
        if self.is_foreign or self._says_the_same(own):
            self._own = {**own, "id": self.id}
        self.learn(own)

    def learn(self, own: Mapping[str, Any]) -> None:
        """Take over the further keys of the host's own item."""
        self.extra.update((key, value) for key, value in own.items() if key not in _WRITTEN)

    def keep(self, own: Mapping[str, Any]) -> None:
        """Be *own*, an item that only its host knows."""
        self._own = dict(own)

    def written(self) -> dict[str, Any]:
        """The item, as far as it has come."""
        if self._own is not None:
            return self._own
        said: dict[str, Any] = {"id": self.id, "type": self.kind}
        if self.kind == MESSAGE:
            return {
                **said,
                "status": self.status,
                "role": "assistant",
                "content": self._listed("content"),
                **self.extra,
            }
        if self.kind == REASONING:
            thoughts = self._listed("content")
            said["summary"] = self._listed("summary")
            return {**said, **({"content": thoughts} if thoughts else {}), **self.extra}
        arguments = {"input" if self.kind == CUSTOM_CALL else ARGUMENTS: "".join(self.pieces)}
        return {**said, "status": self.status, "call_id": self.call_id, "name": self.name, **arguments, **self.extra}

    @property
    def _call_event(self) -> str:
        custom = self.kind == CUSTOM_CALL
        return "response.custom_tool_call_input" if custom else "response.function_call_arguments"

    def _where(self, part: Optional[Part] = None) -> dict[str, Any]:
        where = {"item_id": self.id, "output_index": self.index}
        return where if part is None else {**where, part.form.number: part.place}

    def _listed(self, place: str) -> list[dict[str, Any]]:
        return [part.written() for part in self._parts if part.form.place == place]

    def _says_the_same(self, own: Mapping[str, Any]) -> bool:
        if own.get("type") != self.kind:
            return False
        if self.kind in CALLS:
            said = (self.call_id, self.name, "".join(self.pieces))
            return said == (own.get("call_id"), own.get("name"), wholes(own, self.kind)[0][1])
        return [text for _, text in wholes(own, self.kind)] == list(self._texts())

    def _texts(self) -> Iterator[str]:
        """What was written, as `wholes` gives it."""
        texts = {
            kind: [text for part in self._parts if part.kind == kind and (text := "".join(part.pieces))]
            for kind in _FORMS
        }
        if self.kind == MESSAGE:
            yield "".join(texts[TEXT])
            yield "".join(texts[REFUSED])
        else:
            yield PARAGRAPH.join(texts[THOUGHT] or texts[SUMMARY])


# -- what must be sent back --------------------------------------------------------------------------------------------


def sealed(reasoning: Optional[Reasoning]) -> Optional[str]:
    """What another format's reasoning must be sent back with, as text that nobody reads; None if that is nothing."""
    if reasoning is None:
        return None
    kept = {name: getattr(reasoning, name) for name in ("field", "signature", "details")}
    kept = {name: value for name, value in kept.items() if value is not None}
    return _SEAL + base64.b64encode(json_bytes(kept)).decode() if kept else None


def unsealed(text: Any) -> Optional[Reasoning]:
    """
    What `sealed` was given, without its content; None of what a host has encrypted.

    Raises:
        ValueError: it was sealed, and is broken.
    """
    if not isinstance(text, str) or not text.startswith(_SEAL):
        return None
    try:
        kept = _convert.loads(base64.b64decode(text[len(_SEAL) :], validate=True))
        return _convert.structure(Reasoning, kept)
    except TypeError as exc:
        raise ValueError(f"not what we sealed: {exc}") from exc
