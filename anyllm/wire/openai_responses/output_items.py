"""
What a response is made of: its output items, and which of them an event is about.

Strategy: hosts number items (``output_index``), name them (``id``), and repeat each of them whole, in an event of its
own and in the last event. Neither number nor name can be relied on: some hosts give an item another name in the last
event (OpenRouter), or finish items in another order than they began. So an item is looked for by its name, then by its
number, at the end by its rank among its kind; and what it was given is kept, so that a repetition adds only what is
missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anyllm.types import ChunkDelta, FunctionCall, Reasoning, ToolCall, _convert

MESSAGE, REASONING, FUNCTION_CALL, CUSTOM_CALL = "message", "reasoning", "function_call", "custom_tool_call"
CALLS = (FUNCTION_CALL, CUSTOM_CALL)
KINDS = (MESSAGE, REASONING, *CALLS)

#: What an item may be given, piece by piece.
TEXT, REFUSAL, SUMMARY, THOUGHT, ARGUMENTS = "text", "refusal", "summary", "thought", "arguments"
#: Between two parts of the reasoning, which are paragraphs with headings of their own.
PARAGRAPH = "\n\n"
#: Keys of a call beside its id, name and arguments that the host wants back.
_CALL_KEYS = ("namespace", "caller")


class Item:
    """
    One output item that the answer shows: a message, a reasoning, or a call.

    Attributes:
        kind: One of `KINDS`.
        id: The host's name for it, if any.
        given: What was given to the caller, or is held for it, by what it is.
        part: The part of the reasoning that was given last.
        over: Whether the host has repeated it whole.
        call_id, name: Of a call.
        index: The call's place in the answer; None before id and name are known.
        extra: What the host wants back with the call.
    """

    __slots__ = ("call_id", "extra", "given", "id", "index", "kind", "name", "over", "part")

    def __init__(self, kind: str, item_id: str | None) -> None:
        self.kind = kind
        self.id = item_id
        self.given: dict[str, list[str]] = {}
        self.part: Any = None
        self.over = False
        self.call_id: str | None = None
        self.name: str | None = None
        self.index: int | None = None
        self.extra: dict[str, Any] = {}

    def missing(self, what: str, whole: str) -> str:
        """What *whole* has that was not given yet; "" where the pieces said something else, which then stands."""
        given = "".join(self.given.get(what, ()))
        return whole[len(given) :] if len(whole) > len(given) and whole.startswith(given) else ""

    def learn(self, raw: Mapping[str, Any]) -> None:
        """Take over what an item in JSON says of its call."""
        self.call_id = self.call_id or text_or_none(raw.get("call_id"))
        self.name = self.name or text_or_none(raw.get("name"))
        self.extra.update((key, raw[key]) for key in _CALL_KEYS if raw.get(key))

    def first_fragment(self) -> ToolCall:
        """The fragment that begins the call, with all that was held for it."""
        extra = {"item_id": self.id, **self.extra} if self.id else dict(self.extra)
        function = FunctionCall(self.name, "".join(self.given.get(ARGUMENTS, ())))
        return ToolCall(self.call_id, function, self._type, self.index or 0, {"openai": extra} if extra else None)

    def fragment(self, arguments: str) -> ToolCall:
        """A later fragment."""
        return ToolCall(None, FunctionCall(None, arguments), self._type, self.index or 0)

    @property
    def _type(self) -> str:
        return "custom" if self.kind == CUSTOM_CALL else "function"


class Items:
    """
    The output items of one response. Used by one decoder, on one thread.

    Attributes:
        custom_tools: The names of the request's custom tools; None until the host has listed its tools.
    """

    __slots__ = ("_all", "_by_id", "_by_place", "_call_ids", "_calls", "_has_thought", "custom_tools")

    def __init__(self) -> None:
        self._all: list[Item] = []
        self._by_id: dict[tuple[str, str | None], Item] = {}
        self._by_place: dict[tuple[str, Any], Item] = {}
        self._call_ids: dict[str | None, Item] = {}
        self._calls = 0
        self._has_thought = False
        self.custom_tools: frozenset[str] | None = None

    @property
    def has_calls(self) -> bool:
        """Whether a call has begun."""
        return self._calls > 0

    def are_waiting(self) -> bool:
        """Whether there are calls for the caller whose id or name was not said."""
        return any(item.kind in CALLS and item.index is None and not self._is_hosts_own(item) for item in self._all)

    def begin(self, kind: str, raw: Mapping[str, Any], place: Any) -> Item:
        """The item that the host begins now with *raw*; the same once more if it repeats itself."""
        name = text_or_none(raw.get("id"))
        known = self._by_id.get((kind, name)) if name else None
        if known is None or known.over or raw.get("call_id") not in (None, "", known.call_id):
            return self._new(kind, name, place)
        return known

    def find(self, kind: str, item_id: Any, place: Any) -> Item:
        """The item that a piece belongs to, or that was repeated whole; a new one if there was none."""
        name = text_or_none(item_id)
        known = self._by_id.get((kind, name)) if name else None
        if known is None:
            known = self._by_place.get((kind, _plain(place)))
            if known is not None and known.over:
                known = None
        return known or self._new(kind, name, place)

    def at_the_end(self, output: Sequence[Any]) -> list[tuple[dict[str, Any], Item]]:
        """The items in the last event's ``output`` that the answer shows, each with what is known of it."""
        alike = {kind: [item for item in self._all if item.kind == kind] for kind in KINDS}
        ranks = dict.fromkeys(KINDS, 0)
        pairs: list[tuple[dict[str, Any], Item]] = []
        taken: set[int] = set()  # once each: an id may stand for several
        for place, raw in enumerate(output):
            kind = raw.get("type") if isinstance(raw, dict) else None
            if isinstance(kind, str) and kind in ranks:
                near = alike[kind][ranks[kind]] if ranks[kind] < len(alike[kind]) else None
                known = (item for item in self._candidates(kind, raw, near) if id(item) not in taken)
                item = next(known, None) or self._new(kind, text_or_none(raw.get("id")), place)
                pairs.append((raw, item))
                taken.add(id(item))
                ranks[kind] += 1
        return pairs

    def give(self, item: Item, what: str, text: str, part: Any = None) -> ChunkDelta | None:
        """
        The delta that gives *text* to an item; None while it has to wait, or is not for the caller.

        Args:
            item: The item.
            what: What the text is.
            text: A piece of it.
            part: The part of the item that it belongs to.
        """
        if what in (SUMMARY, THOUGHT):
            return self._thought(item, what, text, part)
        item.given.setdefault(what, []).append(text)
        if what == TEXT:
            return ChunkDelta(content=text)
        if what == REFUSAL:
            return ChunkDelta(refusal=text)
        return ChunkDelta(tool_calls=(item.fragment(text),)) if item.index is not None else None

    def begin_call(self, item: Item) -> ChunkDelta | None:
        """The delta that begins a call; None when it is none for the caller."""
        if self._is_hosts_own(item):
            return None
        item.index, item.call_id = self._calls, item.call_id or self._made_up_id()
        self._calls += 1
        self._call_ids.setdefault(item.call_id, item)
        return ChunkDelta(tool_calls=(item.first_fragment(),))

    def _thought(self, item: Item, what: str, text: str, part: Any) -> ChunkDelta | None:
        """
        A piece of the reasoning, behind a blank line where a part of it begins.

        A host that sends its thoughts both long and short sends the same twice: what came first is given.
        """
        if (SUMMARY if what == THOUGHT else THOUGHT) in item.given:
            return None
        pieces = item.given.setdefault(what, [])
        begins = not pieces or part != item.part
        if pieces and begins:
            pieces.append(PARAGRAPH)
        delta = PARAGRAPH + text if begins and self._has_thought else text
        pieces.append(text)
        item.part = part
        self._has_thought = True
        return ChunkDelta(reasoning=Reasoning(delta))

    def _is_hosts_own(self, item: Item) -> bool:
        """
        Whether a call of a custom tool is the host's own affair.

        xAI reports its searches as such calls, of tools that are not among those which the response lists.
        """
        return item.kind == CUSTOM_CALL and self.custom_tools is not None and item.name not in self.custom_tools

    def _made_up_id(self) -> str:
        """An id for a call to which the host gave none."""
        number = self._calls
        while f"call_{number}" in self._call_ids:
            number += 1
        return f"call_{number}"

    def _candidates(self, kind: str, raw: Mapping[str, Any], near: Item | None) -> Iterator[Item]:
        """What *raw* may be the whole of, the likeliest first; *near* is the item of its kind and rank."""
        item_id = text_or_none(raw.get("id"))
        call_id = text_or_none(raw.get("call_id")) if kind in CALLS else None
        if call_id in self._call_ids:
            yield self._call_ids[call_id]
        if call_id is not None and near is not None and near.index is not None:
            near = None  # another call, which has an id of its own
        if near is not None and near.id == item_id:
            yield near
        if (kind, item_id) in self._by_id:
            yield self._by_id[kind, item_id]
        if near is not None:
            yield near

    def _new(self, kind: str, name: str | None, place: Any) -> Item:
        item = Item(kind, name)
        self._all.append(item)
        if name:
            self._by_id[kind, name] = item
        self._by_place[kind, _plain(place)] = item
        return item


def wholes(raw: Mapping[str, Any], kind: str) -> list[tuple[str, str]]:
    """What an item in JSON holds, whole: what it is, and its text."""
    if kind == MESSAGE:
        refusal = _joined(raw, "content", "refusal", "refusal")
        return [(TEXT, _joined(raw, "content", "output_text")), (REFUSAL, refusal)]
    if kind == REASONING:
        # Both are the same thoughts, long and short.
        thought = _joined(raw, "content", "reasoning_text", between=PARAGRAPH)
        return [(THOUGHT, thought)] if thought else [(SUMMARY, _joined(raw, "summary", between=PARAGRAPH))]
    return [(ARGUMENTS, arguments_in(raw.get("arguments" if kind == FUNCTION_CALL else "input")))]


def arguments_in(value: Any) -> str:
    """Arguments as text, which some hosts send as an object."""
    if isinstance(value, str):
        return value
    return "" if value is None else _convert.dumps(value).decode()


def logprobs_in(raw: Mapping[str, Any]) -> list[Any]:
    """The log probabilities in a whole message."""
    lists = [part.get("logprobs") for part in parts_in(raw, "content")]
    return [entry for entries in lists if isinstance(entries, list) for entry in entries]


def parts_in(raw: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in the list *name* of an item."""
    parts = raw.get(name)
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def text_or_none(value: Any) -> str | None:
    """An id or a name; "" and null are none."""
    return value if isinstance(value, str) and value else None


def _joined(
    raw: Mapping[str, Any], name: str, part_type: str | None = None, key: str = "text", between: str = ""
) -> str:
    parts = [part for part in parts_in(raw, name) if part_type in (None, part.get("type"))]
    return between.join(text for part in parts if isinstance(text := part.get(key), str) and text)


def _plain(place: Any) -> Any:
    """A number as a dictionary's key; whatever else a host puts in its place is none."""
    return place if isinstance(place, (int, str)) else None
