"""
The stream of a host that speaks Gemini: events to chunks.

Each event is a whole ``GenerateContentResponse`` that holds what is new. There is no last event: the answer is whole
when every candidate has said why it ended.

Source: https://ai.google.dev/api/generate-content#GenerateContentResponse
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, Optional, Tuple

from anyllm._framing.detect import Event
from anyllm.types import ChatCompletionChunk, ChunkChoice, text_chunk
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.decode_json import event_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.json_values import json_type, text, whole_number
from anyllm.wire._base.surrogate_joiner import REPLACEMENT
from anyllm.wire.gemini.candidate import Candidate
from anyllm.wire.gemini.errors import blocked_prompt, failed_answer
from anyllm.wire.gemini.fields import FAILURES, NUMBERS, read_usage, reason_name

#: Google never says it; gateways in front of it do.
_DONE = "[DONE]"

#: Id, time, model, tier.
_About = Tuple[str, int, str, Optional[str]]


class GeminiDecoder(BaseDecoder):
    """
    Turns one response's events into chunks. Used by one thread, for one response.

    Args:
        provider: Stands in every chunk and error.
        numbers: The names of finish reasons by number.
    """

    __slots__ = ("_candidates", "_done", "_facts", "_numbers", "_raw_facts")

    def __init__(self, *, provider: str, numbers: tuple[str, ...] = NUMBERS) -> None:
        super().__init__(provider=provider)
        self._numbers = numbers
        self._candidates: dict[int, Candidate] = {}
        self._done = False
        self._raw_facts: tuple[Any, ...] = ()
        self._facts: _About = ("", 0, "", None)

    @property
    def done(self) -> bool:
        """Whether a gateway said that nothing comes any more."""
        return self._done

    @property
    def complete(self) -> bool:
        """Whether every candidate that began has ended."""
        return bool(self._candidates) and not self._running()

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """
        The chunks that *event* brings.

        Raises:
            APIError: the event is the provider's error, or the prompt or the answer failed.
            MalformedStreamError: the event cannot be read.
        """
        text = event.data
        if self._done or not text or text.isspace():
            return ()
        if text[0] == "[" and text.strip() == _DONE:
            self._done = True
            return ()
        body, raw = event_object(event, self._provider, self._mended)
        if self._waiting and raw is not body:
            body = raw = self._mended(body)
        return self.feed_object(body, raw, event.event)

    def feed_object(self, body: dict[str, Any], raw: Any, event_name: str = "") -> Sequence[ChatCompletionChunk]:
        """
        The chunks of an event that is decoded already, or of a whole answer.

        Args:
            body: The decoded object.
            raw: What stands for it as a chunk's ``raw``.
            event_name: The event's own name.

        Raises:
            APIError, MalformedStreamError: as `feed`.
        """
        if body.get("error") or event_name == "error" or ("error" in body and "candidates" not in body):
            raise api_errors.from_body(self._provider, body)
        self._events += 1
        candidates = body.get("candidates")
        if not candidates:
            self._look_for_refusal(body)
            return (self._chunk(body, raw, ()),)
        if not isinstance(candidates, list) or not all(isinstance(candidate, dict) for candidate in candidates):
            raise self._malformed("candidates is no list of objects")
        text = self._text_alone(candidates)
        if text:
            return (self._text_chunk(body, raw, text),)
        return (self._chunk(body, raw, self._choices(candidates)),)

    def feed_whole(self, body: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        """The chunks of a whole, decoded answer; errors as `feed` has them."""
        return self.feed_object(body, body)

    # -- one event -----------------------------------------------------------------------------------------------------

    def _text_alone(self, candidates: list[dict[str, Any]]) -> str | None:
        """The text that candidate 0 is given, if the event says nothing else, as most do not; None of any other."""
        candidate, raw = self._candidates.get(0), candidates[0]
        if candidate is None or len(candidates) > 1 or raw.get("index", 0) != 0 or raw.get("finishReason"):
            return None
        content = raw.get("content")
        parts = content.get("parts") if type(content) is dict else None
        if type(parts) is not list or len(parts) != 1 or "logprobsResult" in raw:
            return None
        part = parts[0]
        text = part.get("text") if type(part) is dict and len(part) == 1 else None
        if type(text) is not str:
            return None
        candidate.text_length += len(text)
        return text

    def _text_chunk(self, body: dict[str, Any], raw: Any, text: str) -> ChatCompletionChunk:
        answer_id, created, model, tier = self._about(body)
        chunk = text_chunk(answer_id, text, created, model, None, tier, self._provider, raw)
        if "usageMetadata" in body:
            chunk.usage = read_usage(body["usageMetadata"])
        return chunk

    def _chunk(self, body: dict[str, Any], raw: Any, choices: tuple[ChunkChoice, ...]) -> ChatCompletionChunk:
        answer_id, created, model, tier = self._about(body)
        return ChatCompletionChunk(
            answer_id,
            choices,
            created,
            model,
            usage=read_usage(body.get("usageMetadata")),
            service_tier=tier,
            provider=self._provider,
            raw=raw,
        )

    def _about(self, body: dict[str, Any]) -> _About:
        """The id, the time, the model and the tier: mostly the same in every event, and then one object."""
        usage = body.get("usageMetadata")
        tier = usage.get("serviceTier") if type(usage) is dict else None
        raw = (body.get("responseId"), body.get("createTime"), body.get("modelVersion"), tier)
        if raw != self._raw_facts:
            answer_id, created, model, tier = raw
            self._raw_facts = raw
            self._facts = (text(answer_id), _timestamp(created), text(model), text(tier) or None)
        return self._facts

    def _choices(self, candidates: list[dict[str, Any]]) -> tuple[ChunkChoice, ...]:
        """The index 0 is left out where others are said; where none is said, the place tells."""
        numbered = any(raw.get("index") is not None for raw in candidates)
        return tuple(self._choice(raw, 0 if numbered else at) for at, raw in enumerate(candidates))

    def _choice(self, raw: dict[str, Any], place: int) -> ChunkChoice:
        index = place if raw.get("index") is None else whole_number(raw["index"])
        if index is None:
            raise self._malformed(f"the index of a candidate is {json_type(raw['index'])}")
        name = self._reason(raw)
        if name in FAILURES:
            raise failed_answer(name, raw, self._provider)
        candidate = self._candidates.get(index)
        role = None
        if candidate is None:
            role = "assistant"
            candidate = self._candidates[index] = Candidate()
        try:
            delta = candidate.delta(raw, role)
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc
        except RecursionError as exc:
            raise self._malformed("the arguments of a tool call are nested too deeply") from exc
        finish, raw_finish = candidate.end(name)
        logprobs = raw.get("logprobsResult")
        return ChunkChoice(index, delta, finish, raw_finish, logprobs if isinstance(logprobs, dict) else None)

    def _reason(self, raw: dict[str, Any]) -> str | None:
        try:
            return reason_name(raw.get("finishReason"), self._numbers)
        except TypeError as exc:
            raise self._malformed(f"finishReason is {json_type(raw['finishReason'])}") from exc

    # -- halves of characters ------------------------------------------------------------------------------------------

    def _mended(self, body: Any) -> Any:
        """*body* without halves of surrogate pairs: those of texts and thoughts continue from one event to the next."""
        mended = self._repaired(body)
        candidates = body.get("candidates") if isinstance(body, dict) else None
        for at, raw in enumerate(candidates if isinstance(candidates, list) else ()):
            if isinstance(raw, dict):
                index = at if raw.get("index") is None else whole_number(raw["index"])
                self._mend_candidate(raw, mended["candidates"][at], index)
        return mended

    def _mend_candidate(self, raw: dict[str, Any], mended: dict[str, Any], index: int | None) -> None:
        content = raw.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        for at, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                place = (index, part.get("thought") is True)
                mended["content"]["parts"][at]["text"] = self._halves.mend(part["text"], place)
        if raw.get("finishReason"):
            for is_thought in (True, False):
                if self._waiting.pop((index, is_thought), None):
                    _append(mended, {"text": REPLACEMENT, "thought": is_thought})

    # -- errors --------------------------------------------------------------------------------------------------------

    def _look_for_refusal(self, body: dict[str, Any]) -> None:
        """Raise the error of an event without candidates, if it is one: a blocked prompt, or words of a gateway."""
        feedback = body.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            raise blocked_prompt(feedback, body, self._provider)
        if error_body.looks_like_error(body):
            raise api_errors.from_body(self._provider, body)

    def _running(self) -> list[int]:
        return sorted(index for index, candidate in self._candidates.items() if candidate.finish is None)

    def _missing_end(self) -> str:
        if not self._candidates:
            return f"the stream ended before any answer came ({self._events} events)"
        running = self._running()
        which = "" if len(self._candidates) == 1 else f" of candidate {', '.join(map(str, running))}"
        return f"the stream ended before the finishReason{which} ({self._events} events)"


def _append(candidate: dict[str, Any], part: dict[str, Any]) -> None:
    content = candidate.get("content") or {}
    if isinstance(content, dict) and isinstance(content.get("parts") or [], list):
        candidate["content"] = {**content, "parts": [*(content.get("parts") or ()), part]}


def _timestamp(value: Any) -> int:
    """Unix seconds of "2026-03-12T18:08:22.490453Z"; 0 of anything else."""
    try:
        moment = datetime.datetime.strptime(text(value)[:19], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return 0
    return int(moment.replace(tzinfo=datetime.timezone.utc).timestamp())
