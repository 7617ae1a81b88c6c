"""
Answers in Google's ``generateContent``: events of ``GenerateContentResponse``, or a JSON list of them.

Strategy: an event of Google's own that our decoder reads as the very chunk is passed on as it came, with all that a
chunk cannot hold; an event that was changed on the way, and the chunks of other providers, are written anew. Calls are
written whole, so their fragments are accumulated. The finish reason is the only sign of the end, so what comes with it
waits for `Writer.end`, which alone knows that the answer is whole. Signatures of other providers travel in a `sealed`
one, which clients send back unread.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Optional, Tuple

import attrs

from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    Reasoning,
    ToolCall,
    Usage,
    text_alone,
)
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.writer import Writer, json_bytes
from anyllm.wire.gemini.decoder import GeminiDecoder
from anyllm.wire.gemini.errors import error_event, google_error
from anyllm.wire.gemini.fields import MALFORMED_CALL, write_finish_reason, write_logprobs, write_usage
from anyllm.wire.gemini.parts import is_generated_id, write_call
from anyllm.wire.gemini.server.native_response import (
    is_native,
    is_source_of,
    other_keys,
    other_keys_and_parts,
    reads_as,
    without_thoughts,
)
from anyllm.wire.gemini.signatures import answer_parts, is_google, sealed, signed_parts, without_thought_texts

__all__ = ["Gemini"]

#: A finish reason, and a ``finishMessage``.
_End = Tuple[str, Optional[str]]
_STOP: _End = ("STOP", None)

#: Types of audio by the beginning of its base64; streamed audio is PCM of 24 kHz, which has no beginning.
_AUDIO_TYPES = {"UklGR": "audio/wav", "SUQz": "audio/mp3", "ZkxhQ": "audio/flac", "T2dnU": "audio/ogg"}
_PCM = "audio/L16;codec=pcm;rate=24000"


class _ContentType:
    """The content type of a stream, which depends on the setting `Gemini.array`."""

    def __get__(self, format: Optional[Gemini], owner: type) -> str:
        return "application/json" if format is not None and format.array else "text/event-stream"


@attrs.define(frozen=True)
class Gemini:
    """
    ``GenerateContentResponse``, as events or as a list.

    Attributes:
        model: The model of answers whose provider does not name it.
        array: A stream is a JSON list, which Google sends to clients that do not ask for ``alt=sse``.
        include_thoughts: Whether reasoning is written; Google's clients ask for that with ``includeThoughts``.
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
        if is_source_of(raw, completion):
            return json_bytes(raw if self.include_thoughts else without_thoughts(raw))
        native = is_native(raw)
        candidates = [self._candidate(choice, native) for choice in completion.choices]
        body = {"candidates": candidates, **other_keys(raw), **write_usage(completion.usage, native)}
        return json_bytes({**body, **_head(completion.id, completion.model or self.model)})

    def problem(self, error: BaseException, status: int) -> bytes:
        """An error: ``{"error": {"code": ..., "message": ..., "status": ...}}``; in a list where a stream is one."""
        body = {"error": {**google_error(error), "code": status}}
        return json_bytes([body] if self.array else body)

    def _candidate(self, choice: Choice, native: bool) -> dict[str, Any]:
        message, reasoning, seal = choice.message, choice.message.reasoning, ""
        if reasoning is not None and not is_google(reasoning):
            reasoning, seal = Reasoning(reasoning.content), sealed(reasoning)
        parts = answer_parts(attrs.evolve(message, content=message.text, reasoning=reasoning), "")
        if not self.include_thoughts:
            parts = without_thought_texts(parts)
        parts += _audio_parts(message.audio, has_text=bool(message.text))
        end = _STOP if choice.finish_reason is None else write_finish_reason(choice, native)
        candidate = _ended_candidate(choice.index, parts, message.tool_calls, seal, end, native)
        return {**candidate, **write_logprobs(choice.logprobs)}


@attrs.define(eq=False)
class _WrittenCandidate:
    """The state of one candidate."""

    end: Optional[_End] = None  # None while it goes on
    has_ended: bool = False  # whether an event of Google's own has written the end already
    field: Optional[str] = None  # the origin of its reasoning


class _ResponseWriter(Writer):
    def __init__(self, format: Gemini) -> None:
        self._format = format
        self._reset()

    def _reset(self) -> None:
        self._provider: Optional[str] = None
        self._native = False  # whether that provider speaks this format
        self._decoder = GeminiDecoder(provider="")
        self._last_raw: Any = None
        self._candidates: dict[int, _WrittenCandidate] = {}
        self._accumulated = Assembler()  # calls, and signatures to seal
        self._usage: Optional[Usage] = None  # that is not written yet
        self._id, self._model = "", ""
        self._waiting: list[bytes] = []
        self._is_over = False  # whether every candidate so far has ended
        self._is_first = True
        self._frame_key: Any = None
        self._frame = (b"", b"")

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        if chunk.provider != self._provider:
            # Once for each provider: looking at each chunk's `raw` would decode every event again.
            self._provider, self._native = chunk.provider, is_native(chunk.raw)
            self._decoder = GeminiDecoder(provider=chunk.provider)
        if self._native:
            return self._pass_on(chunk)
        text = text_alone(chunk)
        if text and self._has_begun and not self._is_over and chunk.usage is None and 0 in self._candidates:
            before, after = self._text_frame(chunk)
            return b"%b%b%b" % (before, json_bytes(text), after)
        return self._rewrite(chunk)

    def end(self) -> bytes:
        last = self._last()
        return b"".join(self._waiting) + (self._event(last) if last else b"") + self._close()

    def error(self, error: BaseException) -> bytes:
        return b"".join(self._waiting) + self._event(error_event(error)) + self._close()

    # -- an event of Google's ------------------------------------------------------------------------------------------

    def _pass_on(self, chunk: ChatCompletionChunk) -> bytes:
        raw: Any = chunk.raw
        is_new, self._last_raw = raw is not self._last_raw, raw
        if not reads_as(raw, chunk, self._decoder):
            return self._rewrite(chunk, raw if is_new else None)
        if text_alone(chunk) is None:
            for choice in chunk.choices:
                candidate = self._candidates.setdefault(choice.index, _WrittenCandidate())
                if choice.finish_reason is not None:
                    candidate.end, candidate.has_ended = write_finish_reason(choice, native=True), True
            self._look_for_end()
        self._name(chunk)
        if chunk.usage is not None:
            self._usage = None
        return self._hold(self._event(raw if self._format.include_thoughts else without_thoughts(raw)))

    # -- an event of ours ----------------------------------------------------------------------------------------------

    def _rewrite(self, chunk: ChatCompletionChunk, raw: Any = None) -> bytes:
        """The event of *chunk*; *raw* is Google's own, if there is one, whose other keys are written, too."""
        self._name(chunk)
        candidates = [self._candidate(choice, raw) for choice in chunk.choices]
        self._look_for_end()
        if chunk.usage is not None:
            self._usage = chunk.usage  # a running total: the last counts
        written = [candidate for candidate in candidates if candidate]
        body = {**({"candidates": written} if written else {}), **other_keys(raw)}
        return self._hold(self._event({**body, **_head(self._id, self._model)}) if body else b"")

    def _candidate(self, choice: ChunkChoice, raw: Any) -> dict[str, Any]:
        """The candidate of a choice, as far as it is written at once; empty if all of it waits for the end."""
        candidate = self._candidates.setdefault(choice.index, _WrittenCandidate())
        keys, parts = ({}, []) if raw is None else other_keys_and_parts(raw, choice.index)
        parts = [*self._parts(choice, candidate), *parts]
        if choice.finish_reason is not None:
            candidate.end, candidate.has_ended = write_finish_reason(choice, native=self._native), False
        content = {"content": {"parts": parts, "role": "model"}} if parts else {}
        written = {**content, **write_logprobs(choice.logprobs), **keys}
        return {**written, "index": choice.index} if written else {}

    def _parts(self, choice: ChunkChoice, candidate: _WrittenCandidate) -> list[dict[str, Any]]:
        delta, reasoning = choice.delta, choice.delta.reasoning
        parts: list[dict[str, Any]] = []
        to_seal = None
        if reasoning is not None:
            candidate.field = candidate.field or reasoning.field
            if reasoning.content and self._format.include_thoughts:
                parts.append({"text": reasoning.content, "thought": True})
            if is_google(reasoning, candidate.field):
                parts += signed_parts(reasoning)
            elif reasoning.signature or reasoning.details:
                to_seal = attrs.evolve(reasoning, content=None)
        parts += [{"text": text} for text in (delta.content, delta.refusal) if text]
        parts += _audio_parts(delta.audio)
        if delta.tool_calls or to_seal is not None:
            waiting = ChunkChoice(choice.index, ChunkDelta(tool_calls=delta.tool_calls, reasoning=to_seal))
            self._accumulated.add(ChatCompletionChunk(choices=(waiting,)))
        return parts

    def _last(self) -> dict[str, Any]:
        """The event that ends every candidate that has not ended; empty if all have."""
        accumulated = {choice.index: choice.message for choice in self._accumulated.snapshot().choices}
        candidates = []
        for index in sorted(self._candidates or (0,)):
            candidate, message = self._candidates.get(index, _WrittenCandidate()), accumulated.get(index)
            if candidate.has_ended and message is None:
                continue
            calls = message.tool_calls if message else ()
            reasoning = message.reasoning if message else None
            seal = sealed(attrs.evolve(reasoning, field=candidate.field)) if reasoning else ""
            candidates.append(_ended_candidate(index, [], calls, seal, candidate.end or _STOP, self._native))
        body = {**({"candidates": candidates} if candidates else {}), **write_usage(self._usage, self._native)}
        return {**body, **_head(self._id, self._model or self._format.model)} if body else {}

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def _look_for_end(self) -> None:
        self._is_over = bool(self._candidates) and all(one.end is not None for one in self._candidates.values())

    def _hold(self, written: bytes) -> bytes:
        """*written*, unless it comes with the end or after it: then it waits for `end`."""
        if self._waiting or self._is_over:
            self._waiting.append(written)
            if self._is_over:
                return b""
            written = b"".join(self._waiting)
            self._waiting = []
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

    def _text_frame(self, chunk: ChatCompletionChunk) -> tuple[bytes, bytes]:
        """The bytes before and after a text, which are the same for nearly all of an answer's chunks."""
        self._name(chunk)
        if self._frame_key != (self._id, self._model):
            self._frame_key = (self._id, self._model)
            content = {"parts": [{"text": ""}], "role": "model"}
            body = {"candidates": [{"content": content, "index": 0}], **_head(self._id, self._model)}
            before, _, after = self._event(body).partition(b'""')
            self._frame = (before, after)
        return self._frame


# -- shared by streams and whole answers -------------------------------------------------------------------------------


def _ended_candidate(
    index: int, parts: Sequence[dict[str, Any]], calls: Iterable[ToolCall], seal: str, end: _End, native: bool
) -> dict[str, Any]:
    """A candidate with its calls and its end, which clients expect beside a part."""
    texts, whole, broken = [*parts], [], []
    for call in calls:
        if call.is_complete:
            with_id = not is_generated_id(call.id) if native else bool(call.id)
            whole.append(write_call(call, call.parse(), with_id=with_id))
        else:
            broken.append(f"{call.name or 'a call without a name'}: {call.arguments}")
    if broken:
        # Google's arguments are always an object, and it reports a model that wrote none. A model that ran out of
        # tokens was in the middle of it.
        message = f"the arguments are no JSON object: {'; '.join(broken)}"
        end = (end[0] if end[0] == "MAX_TOKENS" else MALFORMED_CALL, message)
    if seal:
        unsigned = next((part for part in whole if "thoughtSignature" not in part), None)
        if unsigned is None:
            unsigned = {"text": ""}
            texts.append(unsigned)
        unsigned["thoughtSignature"] = seal
    content = {"parts": [*texts, *whole] or [{"text": ""}], "role": "model"}
    message_key = {"finishMessage": end[1]} if end[1] else {}
    return {"content": content, "finishReason": end[0], **message_key, "index": index}


def _head(answer_id: str, model: str) -> dict[str, Any]:
    return {**({"modelVersion": model} if model else {}), **({"responseId": answer_id} if answer_id else {})}


def _audio_parts(audio: Optional[Mapping[str, Any]], *, has_text: bool = False) -> list[dict[str, Any]]:
    """The parts of audio: its transcript, unless the text has it, and its data."""
    if audio is None:
        return []
    data, transcript = audio.get("data"), audio.get("transcript")
    parts: list[dict[str, Any]] = []
    if isinstance(transcript, str) and transcript and not has_text:
        parts.append({"text": transcript})
    if isinstance(data, str) and data:
        kind = next((kind for beginning, kind in _AUDIO_TYPES.items() if data.startswith(beginning)), _PCM)
        parts.append({"inlineData": {"mimeType": kind, "data": data}})
    return parts
