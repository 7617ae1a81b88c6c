"""
Streams of choices: the base of OpenAI's decoder, and a decoder of formats that stream as OpenAI's does, in other names.

Strategy: the dialect reads its own names; what they mean for the stream (that a choice begins, goes on, has ended, and
that all have) is decided here. Providers of other formats count tokens in every event; the count is passed on with the
event that ends the answer. Most events only add text, which each dialect finds out with a few look-ups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import attrs

from anyllm._framing.body_events import Event
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, Reasoning, Usage, text_chunk
from anyllm.wire._base.decode_json import as_it_is, event_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.json_values import json_type, text_or_number, whole_number
from anyllm.wire._base.surrogate_joiner import REPLACEMENT
from anyllm.wire._base.tool_call_deltas import ToolCallDeltas

__all__ = ["BaseChoicesDecoder", "ChoiceState", "ChoicesDecoder", "ChoiceDelta"]

_DONE = "[DONE]"


@attrs.define(frozen=True)
class ChoiceDelta:
    """
    What an event adds to one choice, as the provider sent it: each value may be missing, or of a wrong type.

    Attributes:
        index: The choice's index; its position in the event when it is missing.
        content: Text.
        reasoning: Text of the reasoning.
        calls: Fragments of tool calls in OpenAI's shape.
        finish: The finish reason; empty while the choice goes on.
        logprobs: As the provider has them.
    """

    index: Any = None
    content: Any = None
    reasoning: Any = None
    calls: Any = None
    finish: Any = None
    logprobs: Any = None


class ChoiceState:
    """The state of one choice: its calls, whether it has ended, and the provider's last finish reason."""

    __slots__ = ("calls", "ended", "finish")

    def __init__(self, *, unique_ids: bool = False) -> None:
        self.calls = ToolCallDeltas(unique_ids=unique_ids)
        self.ended = False
        self.finish: str | None = None


C = TypeVar("C", bound=ChoiceState)


class BaseChoicesDecoder(BaseDecoder, Generic[C]):
    """The base of decoders of choices: which have begun, which have ended, and why."""

    __slots__ = ("_choices", "_running")

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._choices: dict[int, C] = {}
        self._running = 0

    @property
    def complete(self) -> bool:
        """Whether every choice that began has ended."""
        return bool(self._choices) and self._running == 0

    def _index(self, value: Any, position: int) -> int:
        """The index of a choice; its *position* in the event where the provider sends none."""
        index = position if value is None else whole_number(value)
        if index is None:
            raise self._malformed(f"the index of a choice is {json_type(value)}")
        return index

    def _finish(self, raw: Any, choice: C) -> tuple[str | None, str | None]:
        """
        The finish reason, ours and the provider's; (None, None) when there is nothing new.

        DashScope writes the string "null" and Hunyuan "" while a choice goes on. A reason that is repeated means the
        same end; another one later (of a filter that ran beside the answer) replaces it.
        """
        if not raw or raw == "null" or raw == choice.finish:
            return None, None
        if not isinstance(raw, str):
            raise self._malformed(f"finish_reason is {json_type(raw)}")
        choice.finish = raw
        self._end(choice)
        return finish_reason(raw, has_tool_calls=bool(choice.calls)), raw

    def _end(self, choice: C) -> None:
        if not choice.ended:
            choice.ended = True
            self._running -= 1

    def _missing_end(self) -> str:
        if not self._choices:
            return (
                f"the stream ended{' with [DONE]' if self._done else ''} before any answer came ({self._events} events)"
            )
        running = sorted(index for index, choice in self._choices.items() if not choice.ended)
        which = "" if running == [0] and len(self._choices) == 1 else f" of choice {', '.join(map(str, running))}"
        came = "[DONE] came" if self._done else "the stream ended"
        return f"{came} before the finish_reason{which} ({self._events} events)"


class ChoicesDecoder(BaseChoicesDecoder[ChoiceState]):
    """
    Turns one response's events into chunks. Used by one thread, for one response.

    A dialect's own decoder reads its events in `_answer`, `_text_only`, `_choice_deltas`, `_metadata`, `_usage`.
    """

    #: The key that reasoning came under, for the way back.
    _reasoning_field = "reasoning_content"

    __slots__ = ("_created", "_id", "_model")

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._id, self._created, self._model = "", 0, ""

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """The chunks that *event* brings; errors as `Decoder.feed` has them."""
        if self._done:
            return ()
        data = event.data
        if not data or data.isspace():
            return ()
        if data.startswith(_DONE):
            self._done = True  # which only gateways send
            return ()
        body, raw = event_object(event, self._provider, as_it_is)
        self._events += 1
        if self._waiting or raw is body:
            return self._read_halves(body, event.event)
        answer = self._answer(body, event.event)
        text = self._text_only(answer) if 0 in self._choices else None
        if text:
            return (text_chunk(self._id, text, self._created, self._model, None, None, self._provider, raw),)
        return self._read(answer, raw)

    def feed_whole(self, body: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        """The chunks of a whole, decoded answer; errors as `feed` has them."""
        self._events += 1
        return self._read(self._answer(self._repaired(body, "the answer")), body)

    # -- what each dialect reads by itself ---------------------------------------------------------------------

    def _answer(self, body: dict[str, Any], event_name: str = "") -> dict[str, Any]:
        """The part of an event that holds the answer. Raises the provider's error, if the event is one."""
        raise NotImplementedError

    def _text_only(self, answer: dict[str, Any]) -> str | None:
        """The text of an event that only adds text to choice 0; None of any other."""
        raise NotImplementedError

    def _choice_deltas(self, answer: dict[str, Any]) -> Sequence[ChoiceDelta]:
        """What the event adds to each choice."""
        raise NotImplementedError

    def _metadata(self, answer: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Id, time and model, as the provider sent them."""
        raise NotImplementedError

    def _usage(self, answer: dict[str, Any], choices: Sequence[ChunkChoice]) -> Usage | None:
        """The provider's counts when *choices* have come; None if there are none."""
        raise NotImplementedError

    # -- one event ---------------------------------------------------------------------------------------------

    def _read_halves(self, body: dict[str, Any], event_name: str) -> Sequence[ChatCompletionChunk]:
        """An event that continues, or may hold, half a character: a choice's texts go on from one to the next."""
        repaired = self._repaired(body)
        answer, rough = self._answer(repaired, event_name), self._answer(body, event_name)
        pairs = zip(self._choice_deltas(answer), self._choice_deltas(rough))
        return self._read(answer, repaired, [self._joined(*pair, place) for place, pair in enumerate(pairs)])

    def _joined(self, piece: ChoiceDelta, rough: ChoiceDelta, place: int) -> ChoiceDelta:
        """*piece* with its texts as they go on; *rough* is the same with halves in it. A choice's end ends them."""
        index = place if piece.index is None else whole_number(piece.index)
        texts: dict[str, Any] = {}
        for name in ("content", "reasoning"):
            text = getattr(rough, name)
            if text is None or isinstance(text, str):
                joined = self._halves.mend(text or "", (index, name))
                if piece.finish and piece.finish != "null" and self._waiting.pop((index, name), None):
                    joined += REPLACEMENT
                texts[name] = joined or (None if text else text)
        return attrs.evolve(piece, **texts)

    def _read(
        self, answer: dict[str, Any], raw: Any, pieces: Sequence[ChoiceDelta] | None = None
    ) -> Sequence[ChatCompletionChunk]:
        pieces = self._choice_deltas(answer) if pieces is None else pieces
        self._name(*self._metadata(answer))
        choices = tuple(self._choice(piece, position) for position, piece in enumerate(pieces))
        usage = self._usage(answer, choices)
        if not choices and (usage is None or not self.complete):
            return ()  # a kind of event that is none of ours
        return (
            ChatCompletionChunk(
                self._id,
                choices,
                self._created,
                self._model,
                usage=usage if self.complete else None,
                provider=self._provider,
                raw=raw,
            ),
        )

    def _name(self, answer_id: Any, created: Any, model: Any) -> None:
        """Take id, time and model from the first event that has each; they do not change."""
        self._id = self._id or text_or_number(answer_id)
        self._created = self._created or whole_number(created) or 0
        self._model = self._model or text_or_number(model)

    def _choice(self, piece: ChoiceDelta, position: int) -> ChunkChoice:
        index = self._index(piece.index, position)
        choice, role = self._choices.get(index), None
        if choice is None:
            role = "assistant"  # once for each choice, whether the provider sends it never, once or always
            choice = self._choices[index] = ChoiceState(unique_ids=True)
            self._running += 1
        reasoning = self._checked_text(piece.reasoning, "reasoning")
        try:
            calls = choice.calls.read(piece.calls) if piece.calls else None
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc
        delta = ChunkDelta(
            role,
            self._checked_text(piece.content, "content"),
            None,
            calls,
            Reasoning(reasoning, field=self._reasoning_field) if reasoning else None,
        )
        finish, raw_finish = self._finish(piece.finish, choice)
        return ChunkChoice(index, delta, finish, raw_finish, piece.logprobs if type(piece.logprobs) is dict else None)

    # -- checked types ---------------------------------------------------------------------------------------

    def _checked_objects(self, values: Any, what: str) -> list[dict[str, Any]]:
        """A list of objects, which may be missing or null."""
        if values is None:
            return []
        if not isinstance(values, list):
            raise self._malformed(f"{what} is {json_type(values)}")
        objects = [value for value in values if isinstance(value, dict)]
        if odd := [value for value in values if value is not None and not isinstance(value, dict)]:
            raise self._malformed(f"an element of {what} is {json_type(odd[0])}")
        return objects

    def _checked_text(self, value: Any, what: str) -> str | None:
        if value is None or isinstance(value, str):
            return value
        raise self._malformed(f"{what} is {json_type(value)}")
