"""
OpenAI's chat completions: ``chat.completion.chunk`` events and ``[DONE]``, which nearly every client reads.

Strategy: chunks have OpenAI's shape already, so most of this is leaving out what a chunk does not say. An event that
only adds text is put together from bytes that were made once. What an OpenAI-compatible host said in words of its own
(its name for reasoning, its finish reason, its usage object, further keys) is passed on; what another provider said is
put into OpenAI's words. Reasoning has no place in OpenAI's own format: it stands under ``reasoning_content``, and what
must be sent back with it under ``reasoning_details``, as DeepSeek and OpenRouter have it.

Sources: https://platform.openai.com/docs/api-reference/chat-streaming,
https://platform.openai.com/docs/guides/error-codes, https://openrouter.ai/docs/use-cases/reasoning-tokens
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, ClassVar, Optional

import attrs

from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ToolCall,
    Usage,
    text_alone,
)
from anyllm.types._openai_chunk import (
    DETAILS,
    WRITTEN,
    choice_object,
    finish_reason_of,
    function_object,
    is_native,
    reasoning_keys,
    service_fields,
    unknown_fields,
    usage_object,
)
from anyllm.wire._base.client_errors import openai_error
from anyllm.wire._base.writer import Writer, event, json_bytes

__all__ = ["OpenAIChat"]

_DONE = b"data: [DONE]\n\n"


@attrs.define(frozen=True)
class OpenAIChat:
    """
    Events of ``chat.completion.chunk``, and ``chat.completion``.

    Attributes:
        include_usage: Whether the tokens are told; OpenAI's clients ask for that with ``stream_options``.
        model: What the answer says of its model where the provider did not say.
        price: Gives what so many tokens of a model cost in US dollars, to stand under ``cost`` in the usage, as
            OpenRouter has it; None where that is not known.
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
        """The tokens, and what they cost."""
        counted = usage_object(usage, native)
        cost = self.price(usage, model) if self.price is not None and "cost" not in counted else None
        return counted if cost is None else {**counted, "cost": cost}


class _ChunkWriter(Writer):
    def __init__(self, format: OpenAIChat) -> None:
        self._format = format
        self._id = ""
        self._created = 0
        self._model = ""
        self._native: Optional[bool] = None  # whether the provider spoke this format; not known before the first chunk
        self._usage: Optional[Usage] = None  # of an answer that goes on
        self._running: set[int] = set()
        self._details: dict[int, int] = {}  # how many each answer has
        self._about: Any = None  # what the bytes around a text were made for
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
        # An answer of another format may be whole without a reason, which this one has no other sign for.
        running = () if self._native else sorted(self._running)
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
        if native:
            body.update(unknown_fields(chunk.raw, native))
        usage = self._usage_of(chunk)
        if usage is not None:
            body["usage"] = self._format.usage(usage, chunk.model or self._model, native)
        elif chunk.usage is not None and not choices and (not self._format.include_usage or body.keys() <= WRITTEN):
            return b""  # there was nothing in it but the tokens, which come last; or who did not ask expects a choice
        return event(body)

    def _usage_of(self, chunk: ChatCompletionChunk) -> Optional[Usage]:
        """
        The tokens to be told with *chunk*.

        Clients take them for those of the whole answer: running totals of other formats wait for the last.
        """
        if chunk.usage is None:
            return None
        if self._native:
            self._usage = None
            return chunk.usage if self._format.include_usage else None
        self._usage = chunk.usage
        return None

    def _choice(self, choice: ChunkChoice, native: bool) -> dict[str, Any]:
        written = choice_object(choice, native)
        if not native and DETAILS in written["delta"]:
            written["delta"][DETAILS] = self._numbered(choice.index, written["delta"][DETAILS])
        if written["finish_reason"] is None:
            self._running.add(choice.index)
        else:
            self._running.discard(choice.index)
        return written

    def _numbered(self, answer: int, details: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """
        Each with a number of its own: OpenAI's client puts lists together by ``index``, and raises where there is none.
        """
        first = self._details.get(answer, 0)
        self._details[answer] = first + len(details)
        return [{**detail, "index": index} for index, detail in enumerate(details, first)]

    def _head(self, chunk: ChatCompletionChunk) -> dict[str, Any]:
        self._id = self._id or chunk.id or _new_id()
        self._created = self._created or chunk.created or int(time.time())
        self._model = self._model or chunk.model or self._format.model
        native = bool(self._native)  # whose empty first event, as Azure has it, is no other answer's
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
        about = (chunk.id, chunk.created, chunk.model, chunk.system_fingerprint, chunk.service_tier)
        if about != self._about:
            body = {**self._head(chunk), **service_fields(chunk.system_fingerprint, chunk.service_tier)}
            head = b"data: " + json_bytes(body)[:-1]
            before = head + b',"choices":[{"index":0,"delta":{"content":'
            self._around, self._about = (before, b'},"finish_reason":null}]}\n\n'), about
        return self._around


def _whole_choice(choice: Choice, native: bool) -> dict[str, Any]:
    message = choice.message
    said: dict[str, Any] = {"role": "assistant", "content": None if message.content is None else message.text}
    said["refusal"] = message.refusal
    if message.reasoning is not None:
        said.update(reasoning_keys(message.reasoning, native))
    if message.tool_calls:
        said["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.audio is not None:
        said["audio"] = message.audio
    written = {"index": choice.index, "message": said, "finish_reason": finish_reason_of(choice, native) or "stop"}
    if choice.logprobs is not None:
        written["logprobs"] = choice.logprobs
    return written


def _call(call: ToolCall) -> dict[str, Any]:
    written: dict[str, Any] = {"id": call.id, "type": call.type}
    written.update(function_object(call))
    if call.extra_content is not None:
        written["extra_content"] = call.extra_content
    return written


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
