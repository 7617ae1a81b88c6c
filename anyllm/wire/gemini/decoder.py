"""
Events and whole answers to chunks.

Each event is a whole ``GenerateContentResponse`` with the additions. There is no last event: the answer is complete
when every candidate has a finish reason.

Source: https://ai.google.dev/api/generate-content#GenerateContentResponse
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Tuple

from anyllm._framing.detect import Event
from anyllm.types import ChatCompletionChunk, ChunkChoice, text_chunk
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.dates import unix_seconds
from anyllm.wire._base.decode_json import event_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.json_values import json_type, text, whole_number
from anyllm.wire._base.surrogate_joiner import REPLACEMENT
from anyllm.wire.gemini.candidate import Candidate, candidates_in, parts_of
from anyllm.wire.gemini.errors import blocked_prompt, failed_answer
from anyllm.wire.gemini.fields import FAILURES, NUMBERS, enum_name, read_usage

#: Google does not send it; gateways in front of it do.
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

    __slots__ = ("_candidates", "_facts", "_numbers", "_raw_facts")

    def __init__(self, *, provider: str, numbers: tuple[str, ...] = NUMBERS) -> None:
        super().__init__(provider=provider)
        self._numbers = numbers
        self._candidates: dict[int, Candidate] = {}
        self._raw_facts: tuple[Any, ...] = ()
        self._facts: _About = ("", 0, "", None)

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
        elif not isinstance(candidates, list) or not all(isinstance(candidate, dict) for candidate in candidates):
            raise self._malformed("candidates is no list of objects")
        elif text := self._text_alone(candidates):
            return (self._text_chunk(body, raw, text),)
        choices = tuple(self._choice(index, candidate) for index, candidate in candidates_in(body))
        answer_id, created, model, tier = self._about(body)
        usage = read_usage(body.get("usageMetadata"))
        chunk = ChatCompletionChunk(
            answer_id, choices, created, model, usage=usage, service_tier=tier, provider=self._provider, raw=raw
        )
        return (chunk,)

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

    def _about(self, body: dict[str, Any]) -> _About:
        """The id, the time, the model and the tier: mostly the same in every event, and then one object."""
        usage = body.get("usageMetadata")
        tier = usage.get("serviceTier") if type(usage) is dict else None
        raw = (body.get("responseId"), body.get("createTime"), body.get("modelVersion"), tier)
        if raw != self._raw_facts:
            answer_id, created, model, tier = raw
            self._raw_facts = raw
            self._facts = (text(answer_id), unix_seconds(created), text(model), text(tier) or None)
        return self._facts

    def _choice(self, index: int | None, raw: dict[str, Any]) -> ChunkChoice:
        if index is None:
            raise self._malformed(f"the index of a candidate is {json_type(raw['index'])}")
        name = self._reason(raw)
        if name in FAILURES:
            raise failed_answer(name, raw, self._provider)
        candidate, role = self._candidates.get(index), None
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
        """The name of the finish reason; None when the answer goes on."""
        reason = raw.get("finishReason")
        if reason in (None, ""):
            return None
        if not isinstance(reason, str) and whole_number(reason) is None:
            raise self._malformed(f"finishReason is {json_type(reason)}")
        name = enum_name(reason, self._numbers)
        return None if name == self._numbers[0] else name

    def _mended(self, body: Any) -> Any:
        """*body* without halves of surrogate pairs: those of texts and thoughts continue from one event to the next."""
        for index, candidate in candidates_in(body):
            for part in parts_of(candidate):
                if isinstance(part.get("text"), str):
                    part["text"] = self._halves.mend(part["text"], (index, part.get("thought") is True))
            for is_thought in (True, False) if candidate.get("finishReason") else ():
                content = candidate.get("content") or {}
                if self._waiting.pop((index, is_thought), None) and isinstance(content, dict):
                    parts = [*parts_of(candidate), {"text": REPLACEMENT, "thought": is_thought}]
                    candidate["content"] = {**content, "parts": parts}
        return self._repaired(body)

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
