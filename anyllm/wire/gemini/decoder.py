"""
Events and whole answers to chunks.

Each event is a whole ``GenerateContentResponse`` with the additions. There is no last event: the answer is complete
when every candidate has a finish reason. Google sends a call whole, with arguments that are an object, and mostly
without an id; Vertex can also send the name first, then pieces of the arguments, then an empty part.

Sources: https://ai.google.dev/api/generate-content#GenerateContentResponse,
https://ai.google.dev/gemini-api/docs/function-calling
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional, Tuple

from anyllm._framing.body_events import Event
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, FunctionCall, Reasoning, ToolCall, text_chunk
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.dates import unix_seconds
from anyllm.wire._base.decode_json import event_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.json_values import json_object, json_type, text, whole_number
from anyllm.wire._base.surrogate_joiner import REPLACEMENT
from anyllm.wire._base.writer import json_bytes
from anyllm.wire.gemini.errors import blocked_prompt, failed_answer
from anyllm.wire.gemini.fields import FAILURES, NUMBERS, THOUGHT, TOOL_PARTS, enum_name, read_usage
from anyllm.wire.gemini.partial_arguments import PartialArguments
from anyllm.wire.gemini.parts import signed_call
from anyllm.wire.gemini.signatures import signed_detail, tool_detail

#: Google does not send it; gateways in front of it do.
_DONE = "[DONE]"
#: The keys of a part that may sign without a text; in others the signature belongs to the content of the part.
_SIGNATURE_ALONE = frozenset(("thoughtSignature", "thought", "text"))

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
        if text := self._text_alone(candidates):
            return (self._text_chunk(body, raw, text),)
        if not candidates:
            self._look_for_refusal(body)
        elif not isinstance(candidates, list) or not all(isinstance(candidate, dict) for candidate in candidates):
            raise self._malformed("candidates is no list of objects")
        choices = tuple(self._choice(index, candidate) for index, candidate in _indexed(candidates or ()))
        answer_id, created, model, tier = self._about(body)
        usage = read_usage(body.get("usageMetadata"))
        chunk = ChatCompletionChunk(
            answer_id, choices, created, model, usage=usage, service_tier=tier, provider=self._provider, raw=raw
        )
        return (chunk,)

    def feed_whole(self, body: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        """The chunks of a whole, decoded answer; errors as `feed` has them."""
        return self.feed_object(body, body)

    def _text_alone(self, candidates: Any) -> str | None:
        """The text of an event that only adds text to candidate 0, as most do; None of any other."""
        candidate = self._candidates.get(0)
        if candidate is None or type(candidates) is not list or len(candidates) != 1:
            return None
        raw = candidates[0]
        content = raw.get("content") if type(raw) is dict else None
        parts = content.get("parts") if type(content) is dict else None
        if type(parts) is not list or len(parts) != 1:
            return None
        if raw.get("index", 0) != 0 or raw.get("finishReason") or "logprobsResult" in raw:
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
        if reason not in (None, "") and not isinstance(reason, str) and whole_number(reason) is None:
            raise self._malformed(f"finishReason is {json_type(reason)}")
        name = enum_name(reason or 0, self._numbers)
        return None if name == self._numbers[0] else name

    def _mended(self, body: Any) -> Any:
        """*body* without halves of surrogate pairs: those of texts and thoughts continue from one event to the next."""
        for index, candidate in candidates_in(body):
            for part in parts_of(candidate):
                if isinstance(part.get("text"), str):
                    part["text"] = self._halves.mend(part["text"], (index, part.get("thought") is True))
            for is_thought in (True, False) if candidate.get("finishReason") else ():
                content = candidate.get("content") or {}
                parts = (content.get("parts") or []) if isinstance(content, dict) else None
                if self._waiting.pop((index, is_thought), None) and isinstance(parts, list):
                    parts = [*parts, {"text": REPLACEMENT, "thought": is_thought}]
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


class Candidate:
    """
    The state of one candidate. Used by one decoder, on one thread.

    Attributes:
        finish: Its last finish reason; None while it goes on.
        text_length: How many characters of text came.
    """

    __slots__ = ("_arguments", "_call_count", "_function", "_thought_length", "finish", "text_length")

    def __init__(self) -> None:
        self.finish: str | None = None
        self.text_length = 0
        self._thought_length = 0
        self._call_count = 0
        self._function: str | None = None  # of the last call
        self._arguments: PartialArguments | None = None  # of the last call, while they come in pieces

    def delta(self, raw: dict[str, Any], role: str | None) -> ChunkDelta:
        """
        The delta of *raw*, a candidate of one event.

        Raises:
            ValueError: it is malformed.
        """
        texts: dict[str, list[str]] = {"text": [], "thought": []}
        lengths = {"text": self.text_length, "thought": self._thought_length}
        calls: list[ToolCall | None] = []
        details: list[dict[str, Any]] = []
        last_signature = None
        for part in _checked_parts(raw):
            signature, text = part.get("thoughtSignature"), part.get("text")
            if not isinstance(signature, str):
                signature = None
            if part.get("functionCall") is not None:
                calls.append(self._call(part["functionCall"], signature))
            elif not TOOL_PARTS.isdisjoint(part):
                details.append(tool_detail(lengths["text"], part))
            elif text is not None or _SIGNATURE_ALONE.issuperset(part):
                text = "" if text is None else text
                if not isinstance(text, str):
                    raise ValueError(f"the text of a part is {json_type(text)}")
                of = "thought" if part.get("thought") is True else "text"
                texts[of].append(text)
                if signature:
                    details.append(signed_detail(of, lengths[of], len(text), signature))
                    last_signature = signature
                lengths[of] += len(text)
        self.text_length, self._thought_length = lengths["text"], lengths["thought"]
        thought, content = "".join(texts["thought"]) or None, "".join(texts["text"]) or None
        reasoning = Reasoning(thought, last_signature, THOUGHT, details or None) if thought or details else None
        return ChunkDelta(role, content, None, tuple(call for call in calls if call is not None) or None, reasoning)

    def end(self, name: str | None) -> tuple[str | None, str | None]:
        """
        The finish reason, normalised and as it came; (None, None) where *name* is not a new one.

        A candidate may end twice: the reason of a filter that ran beside the answer comes last and counts.
        """
        if name is None or name == self.finish:
            return None, None
        self.finish = name
        return finish_reason(name, has_tool_calls=self._call_count > 0), name

    def _call(self, raw: Any, signature: str | None) -> ToolCall | None:
        """The fragment of one ``functionCall``; None of an empty one."""
        if not isinstance(raw, dict):
            raise ValueError("a functionCall is no object")
        name: Any = raw.get("name")
        call_id, arguments = None, ""
        if self._arguments is not None and name in (None, "", self._function) and not raw.get("args"):
            name = None  # more of the arguments, under the name of their call or none
        elif not name and not raw.get("args") and not raw.get("partialArgs"):
            return None
        elif not isinstance(name, str) or not name:
            raise ValueError("a functionCall has no name")
        else:
            call_id, arguments = self._begin_call(name, raw)
        if self._arguments is not None:
            arguments += self._pieces(raw, self._arguments)
        return signed_call(call_id, FunctionCall(name, arguments), self._call_count - 1, signature)

    def _begin_call(self, name: str, raw: Mapping[str, Any]) -> tuple[str, str]:
        """The id of a new call, and the beginning of its arguments: all of them, unless they come in pieces."""
        call_id, args = raw.get("id"), raw.get("args")
        if not isinstance(call_id, str) or not call_id:
            call_id = f"call_{self._call_count}"
        self._call_count += 1
        self._function, self._arguments = name, None
        if raw.get("willContinue") is True or raw.get("partialArgs"):
            self._arguments = PartialArguments()
            return call_id, self._arguments.begin()
        if args is not None and not isinstance(args, dict):
            raise ValueError("the args of a functionCall are no object")
        return call_id, json_bytes(args or {}).decode()

    def _pieces(self, raw: Mapping[str, Any], arguments: PartialArguments) -> str:
        """The text that the pieces in *raw* add, and the end of the arguments after the last."""
        pieces = raw.get("partialArgs") or []
        if not isinstance(pieces, list) or not all(isinstance(piece, dict) for piece in pieces):
            raise ValueError("partialArgs is no list of objects")
        text = "".join(arguments.add(piece) for piece in pieces)
        if raw.get("willContinue") is True:
            return text
        self._arguments = None
        return text + arguments.end()


# -- candidates and parts of decoded JSON ----------------------------------------------------------------------------


def candidates_in(body: Any) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """The candidates of an event with their indexes; None for an index that is no number."""
    candidates = json_object(body).get("candidates")
    return _indexed([one for one in candidates if isinstance(one, dict)] if isinstance(candidates, list) else ())


def _indexed(candidates: Sequence[dict[str, Any]]) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """Google leaves out the index 0 where others have one; where none has one, the place counts."""
    is_numbered = any(one.get("index") is not None for one in candidates)
    for place, one in enumerate(candidates):
        index = one.get("index")
        yield whole_number(index) if index is not None else 0 if is_numbered else place, one


def parts_of(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a candidate; none where it has none, or is malformed."""
    parts = json_object(candidate.get("content")).get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _checked_parts(raw: dict[str, Any]) -> list[dict[str, Any]]:
    content = raw.get("content")
    if content is not None and not isinstance(content, dict):
        raise ValueError(f"the content of a candidate is {json_type(content)}")
    parts = (content or {}).get("parts")
    if parts is not None and (not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts)):
        raise ValueError("the parts of a candidate are no list of objects")
    return parts or []
