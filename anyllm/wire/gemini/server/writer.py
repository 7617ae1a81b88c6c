"""
Google's ``generateContent``: events of ``GenerateContentResponse``, or a JSON list of them.

Strategy: an event of Google's own that our decoder reads as the very chunk goes on as it came, with all that a chunk
has no words for; one that was changed on the way is written anew. What another provider said is put into Google's
words. Calls go out whole, so their fragments are gathered. The finish reason is the only sign of the end, so what comes
with it waits for `Writer.end`, which alone knows that the answer is whole. What another provider wants back with the
next turn travels as a `sealed` signature, which clients send back unread.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/thought-signatures,
https://cloud.google.com/apis/design/errors
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Optional, Tuple

import attrs

from anyllm.errors import AnyLLMError
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    Reasoning,
    ToolCall,
    Usage,
    _convert,
    text_alone,
)
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.writer import Writer, json_bytes
from anyllm.wire.gemini import signatures
from anyllm.wire.gemini.decoder import GeminiDecoder
from anyllm.wire.gemini.server.errors import failed_answer, google_error
from anyllm.wire.gemini.tool_calls import made_up, signature_of

__all__ = ["Gemini", "sealed", "unsealed"]

#: A finish reason, and what more is to be said of it.
_End = Tuple[str, Optional[str]]

_STOP: _End = ("STOP", None)
_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_MALFORMED = "MALFORMED_FUNCTION_CALL"

#: The keys of a response, of a candidate and of a part that are written from what a chunk says.
_SAID = frozenset(("candidates", "usageMetadata", "modelVersion", "responseId", "error"))
_SAID_OF_CANDIDATE = frozenset(("content", "finishReason", "finishMessage", "index"))
_SAID_OF_PART = frozenset(("text", "functionCall", "thoughtSignature")) | signatures.TOOL_PARTS

#: How the details begin that are Google's own parts.
_OWN_DETAILS = "gemini."
_SEAL = b"anyllm:"

#: How base64 begins, and of which kind of sound; what streams is PCM of 24 kHz, which has no beginning.
_SOUNDS = {"UklGR": "audio/wav", "SUQz": "audio/mp3", "ZkxhQ": "audio/flac", "T2dnU": "audio/ogg"}
_PCM = "audio/L16;codec=pcm;rate=24000"


class _ContentType:
    """What a stream is, which depends on the setting `Gemini.array`."""

    def __get__(self, format: Optional[Gemini], owner: type) -> str:
        return "application/json" if format is not None and format.array else "text/event-stream"


@attrs.define(frozen=True)
class Gemini:
    """
    ``GenerateContentResponse``, as events or as a list.

    Attributes:
        model: What the answer says of its model where the provider did not say.
        array: A stream is a JSON list, which Google sends to those who do not ask for ``alt=sse``.
        include_thoughts: Whether reasoning is told; Google's clients ask for that with ``includeThoughts``.
    """

    content_type: ClassVar[str] = _ContentType()  # type: ignore[assignment]  # a str, of each instance
    whole_type: ClassVar[str] = "application/json"
    #: An empty line between two events is none, and white space in JSON. A comment breaks Google's own client.
    keep_alive: ClassVar[bytes] = b"\n"

    model: str = ""
    array: bool = False
    include_thoughts: bool = True

    def writer(self) -> Writer:
        """A fresh writer for one answer."""
        return _ResponseWriter(self)

    def whole(self, completion: ChatCompletion) -> bytes:
        """A whole answer: one ``GenerateContentResponse``."""
        raw: Any = completion.raw
        native = _is_native(raw)
        if native and _is_read_as(raw, completion):
            return json_bytes(raw if self.include_thoughts else _without_thoughts(raw))
        body: dict[str, Any] = {
            "candidates": [self._candidate(choice, native) for choice in completion.choices],
            **_further(raw, _SAID, native),
        }
        if completion.usage is not None:
            body["usageMetadata"] = _usage(completion.usage, native)
        return json_bytes({**body, **_head(completion.id, completion.model or self.model)})

    def problem(self, error: BaseException, status: int) -> bytes:
        """An error: ``{"error": {"code": ..., "message": ..., "status": ...}}``; in a list where a stream is one."""
        body = {"error": {**google_error(error), "code": status}}
        return json_bytes([body] if self.array else body)

    def _candidate(self, choice: Choice, native: bool) -> dict[str, Any]:
        message = choice.message
        reasoning, text = message.reasoning, message.text
        if reasoning is None or _is_googles(reasoning, None):
            seal = ""
            parts = [*signatures.thought_parts(reasoning), *(signatures.text_parts(text, reasoning))]
        else:
            seal = _seal_of(reasoning)
            parts = [{"text": reasoning.content, "thought": True}] if reasoning.content else []
            parts += [{"text": text}] if text else []
        if not self.include_thoughts:
            parts = _said_aloud(parts)
        parts += [{"text": message.refusal}] if message.refusal else []
        parts += _sound(message.audio, has_text=bool(text))
        end = _STOP if choice.finish_reason is None else _end(choice, native)
        candidate = _ended(choice.index, parts, message.tool_calls, seal, end, native)
        logprobs = _logprobs(choice.logprobs)
        return {**candidate, "logprobsResult": logprobs} if logprobs else candidate


class _Candidate:
    """
    What is known of one candidate.

    Attributes:
        end: Why it ended; None while it goes on.
        is_told: Whether that stands in an event of Google's own already.
        field: The key that its reasoning came under.
    """

    __slots__ = ("end", "field", "is_told")

    def __init__(self) -> None:
        self.end: Optional[_End] = None
        self.is_told = False
        self.field: Optional[str] = None


class _ResponseWriter(Writer):
    def __init__(self, format: Gemini) -> None:
        self._format = format
        self._begin()

    def _begin(self) -> None:
        self._provider: Optional[str] = None
        self._native = False  # whether that provider speaks this format
        self._reader = GeminiDecoder(provider="")
        self._last_raw: Any = None
        self._candidates: dict[int, _Candidate] = {}
        self._gathered = Assembler()  # calls, and what is to be sealed
        self._usage: Optional[Usage] = None  # which is still to be told
        self._id, self._model = "", ""
        self._held: list[bytes] = []
        self._is_over = False  # every candidate has ended, as far as anyone can tell
        self._is_first = True
        self._about: Any = None  # what the bytes around a text were made for
        self._around = (b"", b"")

    def chunk(self, chunk: ChatCompletionChunk) -> bytes:
        written = super().chunk(chunk)
        if chunk.retry is not None and chunk.retry.policy == "restart":
            self._begin()  # nothing was sent, but something may have been gathered
        return written

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        if chunk.provider != self._provider:
            self._meet(chunk)
        if self._native:
            return self._passed_on(chunk)
        text = text_alone(chunk)
        if text and self._has_begun and not self._is_over and chunk.usage is None and 0 in self._candidates:
            before, after = self._frame(chunk)
            return b"%b%b%b" % (before, json_bytes(text), after)
        return self._written(chunk)

    def end(self) -> bytes:
        last = self._last()
        written = b"".join(self._held) + (self._event(last) if last else b"")
        return written + self._close()

    def error(self, error: BaseException) -> bytes:
        body = failed_answer(error) or {"error": google_error(error)}
        return b"".join(self._held) + self._event(body) + self._close()

    # -- an event of Google's ------------------------------------------------------------------------------------------

    def _meet(self, chunk: ChatCompletionChunk) -> None:
        """What a provider is asked once: looking at each chunk's ``raw`` would decode every event again."""
        self._provider = chunk.provider
        self._native = _is_native(chunk.raw)
        self._reader = GeminiDecoder(provider=chunk.provider)

    def _passed_on(self, chunk: ChatCompletionChunk) -> bytes:
        raw: Any = chunk.raw
        if not self._is_read_as(raw, chunk):
            unknown_fields = raw if _is_native(raw) and raw is not self._last_raw else None
            self._last_raw = raw
            return self._written(chunk, unknown_fields)
        self._last_raw = raw
        if text_alone(chunk) is None:
            for choice in chunk.choices:
                candidate = self._candidates.setdefault(choice.index, _Candidate())
                if choice.finish_reason is not None:
                    candidate.end, candidate.is_told = _end(choice, native=True), True
            self._look_for_end()
        self._name(chunk)
        if chunk.usage is not None:
            self._usage = None
        return self._kept(self._event(raw if self._format.include_thoughts else _without_thoughts(raw)))

    def _is_read_as(self, raw: Any, chunk: ChatCompletionChunk) -> bool:
        if not _is_native(raw):
            return False
        try:
            (again,) = self._reader.feed_object(raw, raw)
        except AnyLLMError:
            return False
        text = text_alone(chunk)
        if text is None:
            return bool(again == chunk)
        about = (again.id, again.model, again.usage) == (chunk.id, chunk.model, chunk.usage)
        return about and text == text_alone(again)

    # -- an event of ours ----------------------------------------------------------------------------------------------

    def _written(self, chunk: ChatCompletionChunk, raw: Any = None) -> bytes:
        """
        The event of what *chunk* says.

        Args:
            raw: Google's own, if there is one, for what else it says.
        """
        self._name(chunk)
        native = raw is not None
        candidates = [self._candidate(choice, _candidate_in(raw, choice.index)) for choice in chunk.choices]
        self._look_for_end()
        if chunk.usage is not None:
            self._usage = chunk.usage  # a running total: the last counts
        said = [candidate for candidate in candidates if candidate]
        body = {**({"candidates": said} if said else {}), **_further(raw, _SAID, native)}
        return self._kept(self._event({**body, **_head(self._id, self._model)}) if body else b"")

    def _candidate(self, choice: ChunkChoice, raw: Mapping[str, Any]) -> dict[str, Any]:
        """What is said at once of a choice; nothing if all of it waits for the end."""
        candidate = self._candidates.setdefault(choice.index, _Candidate())
        parts = [*self._parts(choice, candidate), *_parts_beside(raw)]
        if choice.finish_reason is not None:
            candidate.end, candidate.is_told = _end(choice, native=self._native), False
        written: dict[str, Any] = {"content": {"parts": parts, "role": "model"}} if parts else {}
        logprobs = _logprobs(choice.logprobs)
        if logprobs:
            written["logprobsResult"] = logprobs
        written.update(_further(raw, _SAID_OF_CANDIDATE, native=True))
        return {**written, "index": choice.index} if written else {}

    def _parts(self, choice: ChunkChoice, candidate: _Candidate) -> list[dict[str, Any]]:
        delta = choice.delta
        parts: list[dict[str, Any]] = []
        to_gather = None
        if delta.reasoning is not None:
            reasoning = delta.reasoning
            candidate.field = candidate.field or reasoning.field
            if reasoning.content and self._format.include_thoughts:
                parts.append({"text": reasoning.content, "thought": True})
            if _is_googles(reasoning, candidate.field):
                parts += _marks(reasoning)
            elif reasoning.signature or reasoning.details:
                to_gather = attrs.evolve(reasoning, content=None)
        parts += [{"text": text} for text in (delta.content, delta.refusal) if text]
        parts += _sound(delta.audio)
        if delta.tool_calls or to_gather is not None:
            gathered = ChunkChoice(choice.index, ChunkDelta(tool_calls=delta.tool_calls, reasoning=to_gather))
            self._gathered.add(ChatCompletionChunk(choices=(gathered,)))
        return parts

    def _last(self) -> dict[str, Any]:
        """The event that ends what has not ended; nothing if all has."""
        gathered = {choice.index: choice.message for choice in self._gathered.snapshot().choices}
        candidates = []
        for index in sorted(self._candidates or (0,)):
            candidate, message = self._candidates.get(index, _Candidate()), gathered.get(index)
            if candidate.is_told and message is None:
                continue
            calls = message.tool_calls if message else ()
            reasoning = message.reasoning if message else None
            seal = _seal_of(attrs.evolve(reasoning, field=candidate.field)) if reasoning else ""
            candidates.append(_ended(index, [], calls, seal, candidate.end or _STOP, self._native))
        body: dict[str, Any] = {"candidates": candidates} if candidates else {}
        if self._usage is not None:
            body["usageMetadata"] = _usage(self._usage, self._native)
        return {**body, **_head(self._id, self._model or self._format.model)} if body else {}

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def _look_for_end(self) -> None:
        self._is_over = bool(self._candidates) and all(known.end is not None for known in self._candidates.values())

    def _kept(self, written: bytes) -> bytes:
        """*written*, unless it comes with the end or after it: then it waits for `end`."""
        if self._held or self._is_over:
            self._held.append(written)
            if self._is_over:
                return b""
            written = b"".join(self._held)
            self._held = []
        return written

    def _event(self, body: Any) -> bytes:
        if not self._format.array:
            return b"data: %b\n\n" % json_bytes(body)
        before, self._is_first = b"[" if self._is_first else b",\r\n", False
        return before + json_bytes(body)

    def _close(self) -> bytes:
        return b"" if not self._format.array else b"[]" if self._is_first else b"]"

    def _name(self, chunk: ChatCompletionChunk) -> None:
        self._id = self._id or chunk.id
        self._model = self._model or chunk.model or self._format.model

    def _frame(self, chunk: ChatCompletionChunk) -> tuple[bytes, bytes]:
        """The bytes before and after a text, which are the same for nearly all of an answer's chunks."""
        self._name(chunk)
        if self._about != (self._id, self._model):
            self._about = (self._id, self._model)
            head = json_bytes(_head(self._id, self._model))[1:]
            before, after = (b",\r\n", b"") if self._format.array else (b"data: ", b"\n\n")
            rest = b'}],"role":"model"},"index":0}]' + (b"," if len(head) > 1 else b"") + head
            self._around = (before + b'{"candidates":[{"content":{"parts":[{"text":', rest + after)
        return self._around


# -- what a stream and a whole answer share ----------------------------------------------------------------------------


def _ended(
    index: int,
    parts: Sequence[Mapping[str, Any]],
    calls: Iterable[ToolCall],
    seal: str,
    end: _End,
    native: bool,
) -> dict[str, Any]:
    """The end of a candidate: its calls, and why it ended, which clients look for beside a part."""
    said = [dict(part) for part in parts]
    made = [_call(call, native) for call in calls]
    broken = [call for call, part in zip(calls, made) if part is None]
    whole = [part for part in made if part is not None]
    if broken:
        what = "; ".join(f"{call.name or 'a call without a name'}: {call.arguments}" for call in broken)
        # Google takes arguments as an object only, and says so of a model that wrote none. One that ran out of tokens
        # was in the middle of it.
        end = (end[0] if end[0] == "MAX_TOKENS" else _MALFORMED, f"the arguments are no JSON object: {what}")
    if seal:
        unsigned = next((part for part in whole if "thoughtSignature" not in part), None)
        if unsigned is None:
            unsigned = {"text": ""}
            said.append(unsigned)
        unsigned["thoughtSignature"] = seal
    reason, message = end
    content = {"parts": [*said, *whole] or [{"text": ""}], "role": "model"}
    about = {"finishMessage": message} if message else {}
    return {"content": content, "finishReason": reason, **about, "index": index}


def _call(call: ToolCall, native: bool) -> Optional[dict[str, Any]]:
    """A call's part; None if it has no name, or its arguments are no object."""
    if not call.is_complete:
        return None
    function: dict[str, Any] = {} if not call.id or (native and made_up(call.id)) else {"id": call.id}
    function.update(name=call.name, args=call.parse())
    signature = signature_of(call)
    return {"functionCall": function, **({"thoughtSignature": signature} if signature else {})}


def _end(choice: Any, native: bool) -> _End:
    """Google is quoted; what others say is put into its words, or told beside them."""
    if native and choice.raw_finish_reason:
        return choice.raw_finish_reason, None
    word = _FINISH.get(choice.finish_reason)
    return (word, None) if word else ("OTHER", choice.raw_finish_reason or choice.finish_reason)


def _usage(usage: Usage, native: bool) -> dict[str, Any]:
    """Tokens, as Google counts them: it keeps thoughts apart from the answer."""
    if native and usage.raw:
        return usage.raw
    thoughts = usage.reasoning_tokens
    if thoughts is not None:
        thoughts = min(thoughts, usage.completion_tokens)  # some hosts count more thoughts than they count in all
    counts = {
        "promptTokenCount": usage.prompt_tokens,
        "candidatesTokenCount": usage.completion_tokens - (thoughts or 0),
        "totalTokenCount": usage.total_tokens,
        "thoughtsTokenCount": thoughts,
        "cachedContentTokenCount": usage.cache_read_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}


def _head(answer_id: str, model: str) -> dict[str, Any]:
    said = {"modelVersion": model, "responseId": answer_id}
    return {name: value for name, value in said.items() if value}


def _sound(audio: Optional[Mapping[str, Any]], *, has_text: bool = False) -> list[dict[str, Any]]:
    """A sound, and the text of what it says, unless that stands beside it."""
    if audio is None:
        return []
    data, said = audio.get("data"), audio.get("transcript")
    parts: list[dict[str, Any]] = [{"text": said}] if isinstance(said, str) and said and not has_text else []
    if isinstance(data, str) and data:
        kind = next((kind for beginning, kind in _SOUNDS.items() if data.startswith(beginning)), _PCM)
        parts.append({"inlineData": {"mimeType": kind, "data": data}})
    return parts


def _logprobs(logprobs: Optional[Mapping[str, Any]]) -> Optional[dict[str, Any]]:
    """Log probabilities as Google has them; None of any in neither its shape nor OpenAI's."""
    if not logprobs or "chosenCandidates" in logprobs:
        return dict(logprobs) if logprobs else None
    tokens = logprobs.get("content")
    if not isinstance(tokens, list) or not all(isinstance(token, Mapping) for token in tokens) or not tokens:
        return None
    tops = [token.get("top_logprobs") for token in tokens]
    found: dict[str, Any] = {"chosenCandidates": [_probability(token) for token in tokens]}
    if all(isinstance(top, list) and top and all(isinstance(one, Mapping) for one in top) for top in tops):
        found["topCandidates"] = [{"candidates": [_probability(one) for one in top or ()]} for top in tops]
    return found


def _probability(token: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": token.get("token"), "logProbability": token.get("logprob")}


# -- Google's own ------------------------------------------------------------------------------------------------------


def _is_native(raw: Any) -> bool:
    """Whether a provider's own event, or answer, is one of this format."""
    if not isinstance(raw, dict):
        return False
    return isinstance(raw.get("candidates"), list) or any(
        isinstance(raw.get(key), dict) for key in ("usageMetadata", "promptFeedback")
    )


def _is_read_as(raw: dict[str, Any], completion: ChatCompletion) -> bool:
    """Whether *raw* still says what *completion* does."""
    assembler = Assembler()
    try:
        for chunk in GeminiDecoder(provider=completion.provider).feed_object(raw, raw):
            assembler.add(chunk)
    except AnyLLMError:
        return False
    again = assembler.snapshot()
    about = (again.id, again.model, again.usage) == (completion.id, completion.model, completion.usage)
    return about and again.choices == completion.choices


def _further(raw: Any, said: frozenset[str], native: bool) -> dict[str, Any]:
    """What else Google says beside what is *said*: where it looked, whom it quotes, what it would not say."""
    return {key: value for key, value in raw.items() if key not in said} if native else {}


def _candidate_in(raw: Any, index: int) -> Mapping[str, Any]:
    """Google's own candidate with that index; it leaves out 0 where others are said."""
    candidates = raw.get("candidates") if isinstance(raw, Mapping) else None
    found = [one for one in candidates if isinstance(one, Mapping)] if isinstance(candidates, list) else []
    numbered = any(one.get("index") is not None for one in found)
    places = ((one.get("index", 0) if numbered else at, one) for at, one in enumerate(found))
    return next((one for place, one in places if place == index), {})


def _parts_of(candidate: Mapping[str, Any]) -> list[Any]:
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, Mapping) else None
    return parts if isinstance(parts, list) else []


def _parts_beside(candidate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Parts that a chunk has no words for: images."""
    return [part for part in _parts_of(candidate) if isinstance(part, dict) and _SAID_OF_PART.isdisjoint(part)]


def _without_thoughts(raw: dict[str, Any]) -> dict[str, Any]:
    """The event without what was thought; candidates stay, and so does what is signed."""
    candidates = raw.get("candidates") or []
    if not any(part.get("thought") is True for one in candidates for part in _parts_of(one)):
        return raw
    changed = [
        {**one, "content": {**one["content"], "parts": _said_aloud(_parts_of(one))}} if _parts_of(one) else one
        for one in candidates
    ]
    return {**raw, "candidates": changed}


def _said_aloud(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    silent = ({**part, "text": ""} if part.get("thought") is True else part for part in parts)
    return [part for part in silent if part.get("thought") is not True or "thoughtSignature" in part]


# -- what is to be sent back -------------------------------------------------------------------------------------------


def sealed(reasoning: Reasoning) -> str:
    """A ``thoughtSignature`` that holds what another provider than Google wants back: all but the text."""
    kept = {"signature": reasoning.signature, "field": reasoning.field, "details": reasoning.details}
    said = {name: value for name, value in kept.items() if value is not None}
    return base64.urlsafe_b64encode(_SEAL + json_bytes(said)).decode()


def unsealed(signature: str) -> Optional[Reasoning]:
    """What was `sealed`; None of any other signature."""
    text = signature.replace("+", "-").replace("/", "_").rstrip("=")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if not data.startswith(_SEAL):
            return None
        return Reasoning.from_dict(_convert.loads(data[len(_SEAL) :]))
    except (binascii.Error, ValueError, TypeError):
        return None


def _seal_of(reasoning: Reasoning) -> str:
    return sealed(reasoning) if reasoning.signature or reasoning.details else ""


def _is_googles(reasoning: Reasoning, field: Optional[str]) -> bool:
    """Whether a signature, or details, are Google's; *field* is where the reasoning came, if known."""
    if reasoning.details:
        return all(str(detail.get("type")).startswith(_OWN_DETAILS) for detail in reasoning.details)
    return (reasoning.field or field) in (None, signatures.FIELD)


def _marks(reasoning: Reasoning) -> list[dict[str, Any]]:
    """What Google signed, each on an empty part: its text is what a chunk says. And parts of Google's tools."""
    if not reasoning.details:
        signature = reasoning.signature
        return [{"text": "", "thought": True, "thoughtSignature": signature}] if signature else []
    thoughts = signatures.thought_parts(attrs.evolve(reasoning, content="\n"))
    signed = [{**part, "text": ""} for part in thoughts if "thoughtSignature" in part]
    return signed + signatures.text_parts("", reasoning)
