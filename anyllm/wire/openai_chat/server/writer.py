"""
Answers for OpenAI's clients: ``chat.completion.chunk`` events and ``[DONE]``, whole answers, errors.

Strategy: chunks have OpenAI's shape already, so most of this leaves out what a chunk does not have. An event that only
adds text is put together from bytes that were made once. The JSON of a chunk is in `anyllm.types._openai_chunk`; here
is what makes a stream of chunks: one id and time for all, usage at the end, the end itself. Reasoning has no place in
OpenAI's own format: it is ``reasoning_content``, and what must be sent back with it ``reasoning_details``, as DeepSeek
and OpenRouter have it.

Sources: https://platform.openai.com/docs/api-reference/chat-streaming,
https://platform.openai.com/docs/guides/error-codes, https://openrouter.ai/docs/use-cases/reasoning-tokens
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, ClassVar, Optional

import attrs

from anyllm.types import ChatCompletion, ChatCompletionChunk, Choice, ChunkChoice, Usage, text_alone
from anyllm.types._openai_chunk import (
    DETAILS,
    WRITTEN,
    call_object,
    choice_object,
    finish_reason_of,
    is_native,
    service_fields,
    turn_object,
    unknown_fields,
    usage_object,
)
from anyllm.wire._base.writer import Writer, event, json_bytes
from anyllm.wire._base.written_errors import openai_error

__all__ = ["OpenAIChat"]

_DONE = b"data: [DONE]\n\n"


@attrs.define(frozen=True)
class OpenAIChat:
    """
    Events of ``chat.completion.chunk``, and ``chat.completion``.

    Attributes:
        include_usage: Whether streams end with the usage; OpenAI's clients ask for that with ``stream_options``.
        model: The model of the answer where the provider does not name it.
        price: The cost in US dollars of the usage of a model, None if unknown: ``cost`` in the usage, as OpenRouter
            has it.
    """

    content_type: ClassVar[str] = "text/event-stream"
    whole_type: ClassVar[str] = "application/json"
    keep_alive: ClassVar[bytes] = b": keep-alive\n\n"

    include_usage: bool = True
    model: str = ""
    price: Optional[Callable[[Usage, str], Optional[float]]] = None

    def writer(self) -> Writer:
        """A fresh writer for one answer."""
        return _ChunkWriter(self)

    def whole(self, completion: ChatCompletion) -> bytes:
        """A whole answer: a ``chat.completion``."""
        native = is_native(completion.raw)
        body = {
            "id": completion.id or _new_id(),
            "object": "chat.completion",
            "created": completion.created or int(time.time()),
            "model": completion.model or self.model,
            "choices": [_whole_choice(choice, native) for choice in completion.choices],
            **service_fields(completion.system_fingerprint, completion.service_tier),
            **unknown_fields(completion.raw, native),
        }
        if completion.usage is not None:
            body["usage"] = self.usage(completion.usage, completion.model, native)
        return json_bytes(body)

    def problem(self, error: BaseException, status: int) -> bytes:
        """An error: ``{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}``."""
        return json_bytes({"error": openai_error(error)})

    def usage(self, usage: Usage, model: str, native: bool) -> dict[str, Any]:
        """The tokens, and their cost."""
        counts = usage_object(usage, native)
        cost = self.price(usage, model) if self.price is not None and "cost" not in counts else None
        return counts if cost is None else {**counts, "cost": cost}


class _ChunkWriter(Writer):
    def __init__(self, format: OpenAIChat) -> None:
        self._format = format
        self._id = ""
        self._created = 0
        self._model = ""
        self._native: Optional[bool] = None  # whether the provider speaks this format; unknown before the first chunk
        self._usage: Optional[Usage] = None  # of an answer that goes on
        self._running: dict[int, bool] = {}  # whether each choice goes on
        self._details: dict[int, int] = {}  # how many each choice has
        self._framed: Any = None  # what the bytes around a text were made of
        self._around = (b"", b"")

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        text = text_alone(chunk)
        if text is not None and self._has_begun:
            before, after = self._frame(chunk)
            return b"%b%b%b" % (before, json_bytes(text), after)
        if self._native is None:
            self._native = is_native(chunk.raw)
        return self._event(chunk)

    def end(self) -> bytes:
        # An answer of another format may be whole without a reason, which is the only sign of an end here.
        running = () if self._native else sorted(index for index, runs in self._running.items() if runs)
        ends = [self._bare([{"index": index, "delta": {}, "finish_reason": "stop"}]) for index in running]
        if self._usage is not None and self._format.include_usage:
            usage = self._format.usage(self._usage, self._model, bool(self._native))
            ends.append({**self._bare([]), "usage": usage})
        return b"".join(map(event, ends)) + _DONE

    def error(self, error: BaseException) -> bytes:
        return event({"error": openai_error(error)})

    def _event(self, chunk: ChatCompletionChunk) -> bytes:
        native = bool(self._native)
        choices = [self._choice(choice, native) for choice in chunk.choices]
        body = {**self._head(chunk), "choices": choices, **service_fields(chunk.system_fingerprint, chunk.service_tier)}
        body.update(unknown_fields(chunk.raw, native))
        usage = chunk.usage
        if usage is None:
            return event(body)
        if not native:
            self._usage = usage  # a running total, perhaps: clients read each for that of the whole answer
        elif self._format.include_usage:
            body["usage"] = self._format.usage(usage, chunk.model or self._model, native)
            return event(body)
        # An event with nothing but its usage is left out, as is one without a choice for who did not ask for usage.
        is_rest = not choices and (not self._format.include_usage or body.keys() <= WRITTEN)
        return b"" if is_rest else event(body)

    def _choice(self, choice: ChunkChoice, native: bool) -> dict[str, Any]:
        written = choice_object(choice, native)
        if not native and DETAILS in written["delta"]:
            written["delta"][DETAILS] = self._numbered(choice.index, written["delta"][DETAILS])
        if written["finish_reason"] is not None:
            self._running[choice.index] = False
        else:
            self._running.setdefault(choice.index, True)  # a delta after the end, as OpenRouter's with usage, is none
        return written

    def _numbered(self, index: int, details: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Details with numbers: OpenAI's client puts lists together by ``index``, and raises where there is none."""
        first = self._details.get(index, 0)
        self._details[index] = first + len(details)
        return [{**detail, "index": number} for number, detail in enumerate(details, first)]

    def _head(self, chunk: ChatCompletionChunk) -> dict[str, Any]:
        """The keys of an event beside its choices; a native one keeps its own: Azure's empty first event has no id."""
        self._id = self._id or chunk.id or _new_id()
        self._created = self._created or chunk.created or int(time.time())
        self._model = self._model or chunk.model or self._format.model
        native = bool(self._native)
        return {
            "id": chunk.id if native else self._id,
            "object": "chat.completion.chunk",
            "created": chunk.created if native else self._created,
            "model": chunk.model or ("" if native else self._model),
        }

    def _bare(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = ChatCompletionChunk(self._id, created=self._created, model=self._model)
        return {**self._head(chunk), "choices": choices}

    def _frame(self, chunk: ChatCompletionChunk) -> tuple[bytes, bytes]:
        """The bytes before and after a text, which are the same for nearly all of an answer's chunks."""
        framed = (chunk.id, chunk.created, chunk.model, chunk.system_fingerprint, chunk.service_tier)
        if framed != self._framed:
            body = {**self._head(chunk), **service_fields(chunk.system_fingerprint, chunk.service_tier)}
            before = b"data: " + json_bytes(body)[:-1] + b',"choices":[{"index":0,"delta":{"content":'
            self._around, self._framed = (before, b'},"finish_reason":null}]}\n\n'), framed
        return self._around


def _whole_choice(choice: Choice, native: bool) -> dict[str, Any]:
    message = choice.message
    content = None if message.content is None else message.text
    turn = turn_object(message, content, [call_object(call) for call in message.tool_calls] or None, native)
    written = {
        "index": choice.index,
        "message": {**dict.fromkeys(("role", "content", "refusal")), **turn, "role": "assistant"},
        "finish_reason": finish_reason_of(choice, native) or "stop",
    }
    return written if choice.logprobs is None else {**written, "logprobs": choice.logprobs}


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
