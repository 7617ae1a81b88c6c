"""
Adds chunks up to a `ChatCompletion`: for `collect`, ``partial``, and whole answers that dialects read as streams.

Strategy: adding a chunk appends to lists and never joins them, so its cost does not grow with the answer; a snapshot
joins copies of them. ``copy()`` of a list or a dict is atomic (iterating is not: it may start the collector), so any
thread can take a snapshot without a lock, also a signal handler in the middle of `Assembler.add`.
"""

from __future__ import annotations

import base64
import contextlib
import operator
from collections.abc import Iterable
from typing import Any

import attrs

from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Message,
    Reasoning,
    RetryNotice,
    ToolCall,
    Usage,
    text_alone,
)

#: The keys of a reasoning detail whose values are joined; all other keys come once.
_JOINED_KEYS = ("text", "summary")


@attrs.define(eq=False)
class CallParts:
    """The pieces of one tool call."""

    id: str | None = None
    name: str | None = None
    type: str = "function"
    arguments: list[str] = attrs.field(factory=list)
    extra: dict[str, Any] | None = None

    def add(self, fragment: ToolCall) -> None:
        """Add a fragment of the call."""
        self.id = self.id or fragment.id
        self.name = self.name or fragment.function.name
        if fragment.type != "function":
            self.type = fragment.type
        if fragment.function.arguments:
            self.arguments.append(fragment.function.arguments)
        if fragment.extra_content:
            self.extra = {**(self.extra or {}), **fragment.extra_content}

    def whole(self, index: int) -> ToolCall:
        """The call so far."""
        function = FunctionCall(self.name, "".join(self.arguments.copy()))
        return ToolCall(self.id, function, self.type, index, self.extra)


@attrs.define(eq=False)
class _Parts:
    """The pieces of one choice."""

    index: int
    texts: list[str] = attrs.field(factory=list)
    has_empty: bool = False
    refusals: list[str] = attrs.field(factory=list)
    audio: list[dict[str, Any]] = attrs.field(factory=list)
    thoughts: list[str] = attrs.field(factory=list)
    signature: str | None = None
    field: str | None = None
    details: list[dict[str, Any]] = attrs.field(factory=list)
    calls: dict[int, CallParts] = attrs.field(factory=dict)
    end: tuple[str | None, str | None] = (None, None)
    logprobs: list[dict[str, Any]] = attrs.field(factory=list)


class Assembler:
    """
    Adds chunks of any dialect up to one `ChatCompletion`.

    One thread adds; any thread, and any signal handler, takes snapshots.
    """

    __slots__ = ("_before", "_choices", "_fingerprint", "_first", "_named", "_retries", "_tier", "_usage")

    def __init__(self) -> None:
        self._before: ChatCompletion | None = None  # the answer before it restarted
        self._retries: list[RetryNotice] = []
        self._begin()

    def _begin(self) -> None:
        self._choices: dict[int, _Parts] = {}
        self._first = ("", 0, "", "")
        self._named = False
        self._fingerprint: str | None = None
        self._tier: str | None = None
        self._usage: Usage | None = None

    def add(self, chunk: ChatCompletionChunk) -> bool:
        """Add *chunk*, in constant time; returns whether it has content, which role, usage and empty deltas are not."""
        text, first = text_alone(chunk), self._choices.get(0)
        if text and first is not None:
            first.texts.append(text)
            progress = True
        else:
            progress = False
            for choice in chunk.choices:
                progress = self._add_choice(choice) or progress
            if chunk.retry is not None:
                self._add_retry(chunk.retry)
                return False
        if not self._named:
            self._name(chunk)
        if chunk.usage is not None:
            self._usage = chunk.usage  # the last one: some providers send running totals
        if chunk.system_fingerprint is not None:
            self._fingerprint = chunk.system_fingerprint
        if chunk.service_tier is not None:
            self._tier = chunk.service_tier
        return progress

    @property
    def has_begun(self) -> bool:
        """Whether a part of the answer was added: a choice, its id, its model."""
        return self._before is not None or self._has_any_part

    @property
    def _has_any_part(self) -> bool:
        return bool(self._choices) or any(self._first)

    def snapshot(self) -> ChatCompletion:
        """
        The answer so far, which later chunks do not change. After a restart it is the answer before, until a part of
        the new one has come.
        """
        if self._before is not None and not self._has_any_part:
            return attrs.evolve(self._before, retries=tuple(self._retries.copy()))
        answer_id, created, model, provider = self._first
        parts = sorted(self._choices.copy().values(), key=operator.attrgetter("index"))
        return ChatCompletion(
            answer_id,
            tuple(_whole(part) for part in parts),
            created,
            model,
            "chat.completion",
            self._usage,
            self._fingerprint,
            self._tier,
            provider,
            retries=tuple(self._retries.copy()),
        )

    def _add_retry(self, retry: RetryNotice) -> None:
        if retry.policy == "restart":
            self._before = self.snapshot() if self.has_begun else None
            self._begin()
        self._retries.append(retry)

    def _add_choice(self, choice: ChunkChoice) -> bool:
        parts = self._choices.get(choice.index)
        if parts is None:
            parts = self._choices[choice.index] = _Parts(choice.index)
        delta, progress = choice.delta, False
        if delta.content:
            parts.texts.append(delta.content)
            progress = True
        elif delta.content is not None:
            parts.has_empty = True
        if delta.reasoning is not None or delta.tool_calls is not None or delta.refusal is not None:
            progress = _add_rare(parts, delta) or progress
        if delta.audio is not None:
            parts.audio.append(delta.audio)
            progress = True
        if choice.finish_reason is not None:
            parts.end = (choice.finish_reason, choice.raw_finish_reason)
        if choice.logprobs is not None:
            parts.logprobs.append(choice.logprobs)
        return progress

    def _name(self, chunk: ChatCompletionChunk) -> None:
        """
        Take id, time, model and provider from the first chunk that has each.

        Azure's first chunk has none of them, and gateways change the id with the last one (Avian) or with
        every one (Groq's compound models). OpenAI's own client keeps the first chunk's, empty or not.
        """
        answer_id, created, model, provider = self._first
        self._first = (
            answer_id or chunk.id,
            created or chunk.created,
            model or chunk.model,
            provider or chunk.provider,
        )
        self._named = all(self._first)


def accumulate(chunks: Iterable[ChatCompletionChunk]) -> ChatCompletion:
    """The answer that *chunks* make."""
    assembler = Assembler()
    for chunk in chunks:
        assembler.add(chunk)
    return assembler.snapshot()


def _add_rare(parts: _Parts, delta: ChunkDelta) -> bool:
    if delta.refusal:
        parts.refusals.append(delta.refusal)
    if delta.reasoning is not None:
        _add_reasoning(parts, delta.reasoning)
    for fragment in delta.tool_calls or ():
        call = parts.calls.get(fragment.index)
        if call is None:
            call = parts.calls[fragment.index] = CallParts()
        call.add(fragment)
    return bool(delta.refusal or delta.reasoning is not None or delta.tool_calls)


def _sound(pieces: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Audio from its pieces: transcript and data are joined, all other keys come once."""
    if not pieces:
        return None
    whole = {name: value for piece in pieces for name, value in piece.items() if value is not None}
    transcripts, data = ([p[name] for p in pieces if isinstance(p.get(name), str)] for name in ("transcript", "data"))
    if transcripts:
        whole["transcript"] = "".join(transcripts)
    if len(data) > 1:  # each is base64 with its own padding
        with contextlib.suppress(ValueError):
            whole["data"] = base64.b64encode(b"".join(map(base64.b64decode, data))).decode()
    return whole


def _add_reasoning(parts: _Parts, reasoning: Reasoning) -> None:
    if reasoning.content:
        parts.thoughts.append(reasoning.content)
    if reasoning.signature:
        parts.signature = reasoning.signature
    if reasoning.field and not parts.field:
        parts.field = reasoning.field
    if reasoning.details:
        parts.details.extend(reasoning.details)


def _whole(parts: _Parts) -> Choice:
    by_index = parts.calls.copy()
    calls = tuple(by_index[index].whole(place) for place, index in enumerate(sorted(by_index)))
    refusal = "".join(parts.refusals.copy()) or None
    message = Message(
        "assistant",
        _content(parts, has_other=bool(calls or refusal)),
        tool_calls=calls,
        reasoning=_reasoning(parts),
        refusal=refusal,
        audio=_sound(parts.audio.copy()),
    )
    finish, raw_finish = parts.end
    if finish == "stop" and calls:
        finish = "tool_calls"  # the calls came after the finish reason
    return Choice(parts.index, message, finish, raw_finish, _logprobs(parts.logprobs.copy()))


def _content(parts: _Parts, *, has_other: bool) -> str | None:
    """
    The text as in a whole answer: None beside calls or a refusal, even if the stream has "".

    Providers send "" with the role, or with every chunk, but null in the same answer as a whole.
    """
    text = "".join(parts.texts.copy())
    return text if text or (parts.has_empty and not has_other) else None


def _reasoning(parts: _Parts) -> Reasoning | None:
    text = "".join(parts.thoughts.copy()) or None
    details = _merged(parts.details.copy()) or None
    if text is None and details is None and parts.signature is None:
        return None
    return Reasoning(text, parts.signature, parts.field, details)


def _merged(fragments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Join the fragments of ``reasoning_details`` to blocks, which are sent back.

    A fragment continues the block of its type and index, unless it has another id. Encrypted blocks are never split.

    Source: https://openrouter.ai/docs/use-cases/reasoning-tokens
    """
    blocks: list[dict[str, Any]] = []
    pieces: list[dict[str, list[str]]] = []
    latest: dict[tuple[Any, ...], int] = {}
    for fragment in fragments:
        kind = tuple(_plain(fragment.get(name)) for name in ("type", "index"))
        at = latest.get(kind)
        if at is None or not _continues(fragment, blocks[at]):
            at = latest[kind] = len(blocks)
            blocks.append({})
            pieces.append({})
        for key, value in fragment.items():
            if key in _JOINED_KEYS and isinstance(value, str):
                pieces[at].setdefault(key, []).append(value)
                blocks[at].setdefault(key, "")  # keeps the order of the keys
            elif value not in (None, "") or key not in blocks[at]:
                blocks[at][key] = value
    for block, texts in zip(blocks, pieces):
        block.update({name: "".join(parts) for name, parts in texts.items()})
    return blocks


def _continues(fragment: dict[str, Any], block: dict[str, Any]) -> bool:
    if "signature" not in fragment and not any(isinstance(fragment.get(name), str) for name in _JOINED_KEYS):
        return False
    if fragment.get("signature") and block.get("signature") and fragment["signature"] != block["signature"]:
        return False  # two signatures are two blocks
    old, new = _plain(block.get("id")), _plain(fragment.get("id"))
    return old is None or new is None or old == new


def _plain(value: Any) -> str | int | None:
    """*value* if it is a string or an int, else None."""
    return value if isinstance(value, (str, int)) else None


def _logprobs(pieces: list[dict[str, Any]]) -> dict[str, Any] | None:
    """One dict of all pieces: lists are joined, of other values the last is taken."""
    if not pieces:
        return None
    whole: dict[str, Any] = {}
    for piece in pieces:
        for key, value in piece.items():
            if isinstance(value, list):
                if not isinstance(whole.get(key), list):
                    whole[key] = []  # a new list, not the chunk's
                whole[key].extend(value)
            elif value is not None or key not in whole:
                whole[key] = value
    return whole
