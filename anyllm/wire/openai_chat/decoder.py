"""
The decoder of OpenAI-compatible streams: events to chunks.

Strategy: after an event that only added text, the next is expected to do the same, and is read as a `text_event`; one
that is refused, and every other event, is decoded to dictionaries. Each choice has a state of its own (that it began,
its calls, its end), because servers send choices in any order, late and twice.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional, Tuple

from anyllm._framing.body_events import Event
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, Reasoning, ToolCall, Usage, _convert, text_chunk
from anyllm.types._openai_chunk import REASONING_NAMES
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.choices_decoder import BaseChoicesDecoder, ChoiceState
from anyllm.wire._base.decode_json import no_json, no_object
from anyllm.wire._base.json_values import json_type, whole_number
from anyllm.wire._base.surrogate_joiner import REPLACEMENT, mend_all
from anyllm.wire._base.think_tags import ThinkTags
from anyllm.wire.openai_chat.reasoning import KEYS, TAGS, read_parts, read_reasoning
from anyllm.wire.openai_chat.text_event import SPECIAL_KEYS, decode_text_event, text_alone
from anyllm.wire.openai_chat.usage import object_in, read_usage

DONE = "[DONE]"
_loads_strictly = _convert.loads_strictly

#: Finish reasons of an answer that failed: the first two are OpenRouter's and Z.AI's, the third
#: (``function_call_filter: MALFORMED_FUNCTION_CALL``) and the fourth Gemini's OpenAI endpoint's, the last DeepSeek's.
_FAILURES = (
    *("error", "network_error", "function_call_filter", "malformed_function_call", "unexpected_tool_call"),
    "insufficient_system_resource",
)


#: Id, time, model, fingerprint, tier: as the provider sent them, and as they stand in our chunks.
_RawHead = Tuple[Any, Any, Any, Any, Any]
_Head = Tuple[str, int, str, Optional[str], Optional[str]]


class _Choice(ChoiceState):
    __slots__ = ("has_delta", "has_reasoning", "think")

    def __init__(self, *, splits_think_tags: bool) -> None:
        super().__init__()
        #: Takes the reasoning out of the text; None where none can come any more.
        self.think = ThinkTags() if splits_think_tags else None
        self.has_delta = False
        self.has_reasoning = False


def _raw_head(event: Mapping[str, Any]) -> _RawHead:
    get = event.get
    return get("id"), get("created"), get("model"), get("system_fingerprint"), get("service_tier")


def _without_tags(
    choice: _Choice, think: ThinkTags, content: str | None, reasoning: Reasoning | None
) -> tuple[str | None, Reasoning | None]:
    """The content without the reasoning between tags, and the reasoning; all of both once the choice has ended."""
    thought, text = think.feed(content or "")
    if choice.ended:
        last_thought, last_text = think.finish()
        thought, text = thought + last_thought, text + last_text
    if choice.ended or think.is_over:
        choice.think = None
    if thought:
        reasoning = Reasoning((reasoning.content or "" if reasoning else "") + thought, None, TAGS)
    return (text if text or content is not None else None), reasoning


class OpenAIChatDecoder(BaseChoicesDecoder[_Choice]):
    """
    Turns one response's events into chunks. Used by one thread, for one response.

    Args:
        provider: Stands in every chunk and error.
        done_is_complete: Whether ``[DONE]`` is a good end although no finish reason came.
        splits_think_tags: Whether the text contains reasoning between tags.
    """

    __slots__ = ("_counted", "_done_is_complete", "_expects_text", "_head", "_raw_head", "_splits_think_tags")

    def __init__(self, *, provider: str, done_is_complete: bool = False, splits_think_tags: bool = False) -> None:
        super().__init__(provider=provider)
        self._splits_think_tags = splits_think_tags
        self._done_is_complete = done_is_complete
        self._counted = False
        self._expects_text = False  # the last event only added text to choice 0
        self._raw_head: _RawHead = (None, None, None, None, None)
        self._head: _Head = ("", 0, "", None, None)

    @property
    def complete(self) -> bool:
        """Whether every choice that began has ended."""
        if not self._choices:
            return False
        return self._running == 0 or (self._done and self._done_is_complete)

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """The chunks that *event* brings; errors as `Decoder.feed` has them."""
        if self._done:
            return ()
        data = event.data
        if self._expects_text and not self._waiting and event.event != "error":
            try:
                short = decode_text_event(data)
            except _convert.NOT_JSON:
                self._expects_text = False
            else:
                text = short.choices[0].delta.content
                if text:
                    self._events += 1
                    head = (short.id, short.created, short.model, short.system_fingerprint, short.service_tier)
                    return (self._text_chunk(text, head, data),)
        may_hold_half = False
        try:
            body = _loads_strictly(data)
        except _convert.NOT_JSON:
            try:
                body = _convert.loads(data)
            except ValueError as exc:
                return self._not_json(event, exc)
            may_hold_half = True  # which the strict reading refuses and the other accepts
        if type(body) is not dict:
            raise no_object(body, event, self._provider)
        if "error" in body or event.event == "error":
            self._raise_error(body, event.event)
        if self._waiting or may_hold_half:
            body = self._mended(body)
            return (self._chunk(body, body),)
        return (self._chunk(body, data),)

    def feed_whole(self, body: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        """The chunks of a whole, decoded answer; errors as `feed` has them."""
        if "error" in body:
            self._raise_error(body)
        body = self._mended(body)
        return (self._chunk(body, body), *self._left_over())

    def finish(self) -> Sequence[ChatCompletionChunk]:
        """The chunks that were held back, at the end of the bytes; errors as `Decoder.finish` has them."""
        super().finish()
        return self._left_over()

    # -- one event ---------------------------------------------------------------------------------------

    def _chunk(self, body: dict[str, Any], raw: Any) -> ChatCompletionChunk:
        self._events += 1
        raw_choices = body.get("choices")
        usage = body.get("usage")
        choices: tuple[ChunkChoice, ...]
        if type(raw_choices) is list and len(raw_choices) == 1 and type(raw_choices[0]) is dict:
            raw_choice = raw_choices[0]
            first = self._choices.get(0)
            ordinary = first is not None and first.has_delta and first.think is None and not usage
            text = text_alone(raw_choice) if ordinary else None
            if text and "x_groq" not in body:
                self._expects_text = True
                return self._text_chunk(text, _raw_head(body), raw)
            choices = (self._choice(raw_choice, 0, body),)
            if not usage and "usage" in raw_choice:
                usage = raw_choice["usage"]  # Moonshot
        else:
            choices = self._many(raw_choices, body)
        if not usage and "x_groq" in body:
            usage = object_in(body, "x_groq").get("usage")
        chunk_id, created, model, fingerprint, tier = self._head_of(_raw_head(body))
        return ChatCompletionChunk(
            chunk_id,
            choices,
            created,
            model,
            "chat.completion.chunk",
            self._usage(usage) if usage else None,
            fingerprint,
            tier,
            self._provider,
            raw,
        )

    def _text_chunk(self, text: str, raw_head: _RawHead, raw: Any) -> ChatCompletionChunk:
        chunk_id, created, model, fingerprint, tier = self._head_of(raw_head)
        return text_chunk(chunk_id, text, created, model, fingerprint, tier, self._provider, raw)

    def _head_of(self, raw: _RawHead) -> _Head:
        """
        The id, the time, the model, the fingerprint and the tier.

        They are mostly the same in every event. One object for all keeps the chunks small, and cheap to hand to
        another core.
        """
        if raw != self._raw_head:
            chunk_id, created, model, fingerprint, tier = raw
            self._raw_head = raw
            self._head = (
                self._text_or_number(chunk_id, "id"),
                created if type(created) is int else (whole_number(created) or 0),
                self._text_or_number(model, "model"),
                fingerprint if isinstance(fingerprint, str) else None,
                tier if isinstance(tier, str) else None,
            )
        return self._head

    def _choice(self, raw: dict[str, Any], position: int, body: Mapping[str, Any]) -> ChunkChoice:
        index = raw.get("index", position)
        if type(index) is not int:
            index = self._index(index, position)
        choice = self._choices.get(index)
        role = None
        if choice is None:
            role = "assistant"  # once for each choice, whether the provider sends it never, once or always
            choice = self._choices[index] = _Choice(splits_think_tags=self._splits_think_tags)
            self._running += 1
        delta = raw.get("delta")
        if type(delta) is dict:
            choice.has_delta = True
        else:
            delta = self._without_delta(raw, choice, body)
        content = delta.get("content")
        refusal = reasoning = calls = audio = None
        if content is not None and type(content) is not str:
            content, reasoning = self._odd_content(content)
        for key in delta:
            if key in SPECIAL_KEYS and delta[key] is not None:
                refusal, reasoning, calls, audio = self._special(delta, choice, reasoning)
                break
        finish, raw_finish = raw.get("finish_reason"), None
        if finish is not None:
            finish, raw_finish = self._finish(finish, choice)
        if choice.think is not None:
            content, reasoning = _without_tags(choice, choice.think, content, reasoning)
        logprobs = raw.get("logprobs")
        return ChunkChoice(
            index,
            ChunkDelta(role, content, refusal, calls, reasoning, audio),
            finish,
            raw_finish,
            logprobs if type(logprobs) is dict else None,
        )

    def _finish(self, raw: Any, choice: _Choice) -> tuple[str | None, str | None]:
        if isinstance(raw, str) and raw != choice.finish and raw.lower().startswith(_FAILURES):
            kind, _, detail = raw.partition(":")
            message = f"the provider ended the answer with finish_reason {raw!r}"
            error = {"message": message, "type": kind, "code": detail.strip() or kind}
            raise api_errors.from_body(self._provider, {"error": error})
        return super()._finish(raw, choice)

    # -- what only some providers send --------------------------------------------------------------------

    def _special(
        self, delta: Mapping[str, Any], choice: _Choice, reasoning: Reasoning | None
    ) -> tuple[str | None, Reasoning | None, tuple[ToolCall, ...] | None, dict[str, Any] | None]:
        calls = self._tool_calls(delta, choice) if "tool_calls" in delta or "function_call" in delta else None
        if not KEYS.isdisjoint(delta):
            found = read_reasoning(delta, texts_from_details=not choice.has_reasoning)
            if found is not None:
                reasoning = found
                choice.has_reasoning = choice.has_reasoning or found.field in REASONING_NAMES
        audio = delta.get("audio")
        audio = audio if audio and isinstance(audio, dict) else None
        if audio and audio.get("expires_at"):
            self._end(choice)  # OpenAI's audio models never send a finish reason
        refusal = delta.get("refusal")
        return refusal if isinstance(refusal, str) else None, reasoning, calls, audio

    def _tool_calls(self, delta: Mapping[str, Any], choice: _Choice) -> tuple[ToolCall, ...] | None:
        calls, legacy = delta.get("tool_calls"), delta.get("function_call")
        if not calls and isinstance(legacy, dict):
            calls = [{"index": 0, "function": legacy}]  # the form before tools
        if not calls:
            return None
        try:
            return choice.calls.read(calls)
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc

    def _odd_content(self, content: Any) -> tuple[str | None, Reasoning | None]:
        """Content that is no text: a list of parts (Mistral), one part, or a number in place of its text."""
        if isinstance(content, (int, float)) and not isinstance(content, bool):
            return str(content), None
        if isinstance(content, dict):
            content = [content]
        if not isinstance(content, list):
            raise self._malformed(f"content is {json_type(content)}")
        try:
            return read_parts(content)
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc

    def _without_delta(self, raw: Mapping[str, Any], choice: _Choice, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """
        What a choice without a delta adds.

        Nothing, when it is the late verdict of a filter (Azure) or the last event (MiniMax). Its ``message``, when that
        is all that the provider sends: a whole answer. Never a message that repeats the deltas.
        """
        delta, message = raw.get("delta"), raw.get("message")
        if delta is not None:
            raise self._malformed(f"delta is {json_type(delta)}")
        if choice.has_delta:
            return {}
        if isinstance(message, dict):
            if body.get("object") == "chat.completion":
                self._end(choice)  # with or without a reason
            return message
        text = raw.get("text")  # the older completions format
        return {"content": text} if isinstance(text, str) else {}

    def _many(self, raw_choices: Any, body: Mapping[str, Any]) -> tuple[ChunkChoice, ...]:
        """The choices of an event that has none, several, or something else."""
        if not raw_choices:
            if error_body.looks_like_error(body):
                raise api_errors.from_body(self._provider, body)
            return ()
        if not isinstance(raw_choices, list):
            raise self._malformed(f"choices is {json_type(raw_choices)}")
        choices = []
        for position, raw in enumerate(raw_choices):
            if isinstance(raw, dict):
                choices.append(self._choice(raw, position, body))
            elif raw is not None:
                raise self._malformed(f"a choice is {json_type(raw)}")
        return tuple(choices)

    def _usage(self, raw: Any) -> Usage | None:
        usage = read_usage(raw) if isinstance(raw, dict) else None
        if usage is None or not (usage.total_tokens or not self._counted):
            return None  # zeros after counts are an empty form
        self._counted = self._counted or bool(usage.total_tokens)
        return usage

    # -- errors, types and text --------------------------------------------------------------------------

    def _raise_error(self, body: dict[str, Any], event_name: str = "") -> None:
        """Raise the error of an event that has an ``error`` key or is named so; null beside choices is none."""
        error = body.get("error")
        is_empty_form = error is None or error is False or "choices" in body
        if error or event_name == "error" or not is_empty_form:
            raise api_errors.from_body(self._provider, body)

    def _not_json(self, event: Event, exc: Exception) -> Sequence[ChatCompletionChunk]:
        text = event.data.strip()
        if not text:
            return ()
        if text.upper() == DONE:
            self._done = True
            return self._left_over()
        raise no_json(event, self._provider) from exc

    def _text_or_number(self, value: Any, name: str) -> str:
        """An id or a model, which providers leave out, send as null, or as a number."""
        if value is None:
            return ""
        if isinstance(value, (int, float)):
            return str(value)
        if isinstance(value, str):
            return value
        raise self._malformed(f"{name} is {json_type(value)}")

    def _mended(self, body: dict[str, Any]) -> dict[str, Any]:
        """*body* without halves of surrogate pairs: strings in deltas continue from one event to the next."""
        try:
            mended: dict[str, Any] = mend_all(body)
            choices = body.get("choices")
            for position, raw in enumerate(choices if isinstance(choices, list) else ()):
                if isinstance(raw, dict) and isinstance(raw.get("delta"), dict):
                    index = raw.get("index")
                    path = (index if isinstance(index, (int, str)) else position,)
                    mended["choices"][position]["delta"] = self._halves.mend(raw["delta"], path)
        except RecursionError as exc:
            raise self._malformed("an event is nested too deeply") from exc
        return mended

    def _left_over(self) -> Sequence[ChatCompletionChunk]:
        """Chunks with U+FFFD for the halves of characters that nothing came to join."""
        events = [{"choices": [{"index": index, "delta": _nested(steps)}]} for index, *steps in self._halves.take()]
        return tuple(self._chunk(event, event) for event in events)


def _nested(steps: list[Any]) -> Any:
    """A delta with U+FFFD at the place that *steps* lead to."""
    value: Any = REPLACEMENT
    for step in reversed(steps):
        # A number is a place in a list: of tool calls, which know their index, or of parts.
        value = [{**value, "index": step}] if isinstance(step, int) and isinstance(value, dict) else {step: value}
    return value
