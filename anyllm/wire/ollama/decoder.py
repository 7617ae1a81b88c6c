"""
The decoder of a stream: one JSON object a line, until one with ``"done": true``.

Strategy: nearly every line only adds text, which a few look-ups find out; all others are read key by key. Tool calls
come whole, so no fragments wait. The lines of ``/api/generate``, with the text under ``response`` and the reasoning at
the top, are read as the message of the other lines.

Source: https://docs.ollama.com/api/streaming
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm._framing.body_events import Event
from anyllm.errors import InvalidRequestError
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, FunctionCall, Reasoning, ToolCall, text_chunk
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.dates import unix_seconds
from anyllm.wire._base.decode_json import event_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.json_values import arguments_text
from anyllm.wire._base.request_fields import Fields
from anyllm.wire._base.surrogate_joiner import REPLACEMENT
from anyllm.wire.ollama.fields import read_call, read_logprobs, read_usage

#: Keys that a line which only adds text, and its message, do not have.
_RARE = frozenset(("error", "logprobs"))
_RARE_IN_MESSAGE = frozenset(("thinking", "tool_calls"))
#: Texts that continue from line to line.
_TEXTS = ("content", "response", "thinking")


def has_answer(body: Mapping[str, Any]) -> bool:
    """Whether a line, or a whole response, is part of an answer at all."""
    return isinstance(body.get("message"), dict) or isinstance(body.get("response"), str)


def _text_alone(body: Mapping[str, Any]) -> str | None:
    """The text of a line that only adds text; None of any other."""
    message = body.get("message")
    if type(message) is not dict or body.get("done") is not False or not _RARE.isdisjoint(body):
        return None
    content = message.get("content")
    return content if type(content) is str and _RARE_IN_MESSAGE.isdisjoint(message) else None


class OllamaDecoder(BaseDecoder):
    """Turns one response's lines into chunks. Used by one thread, for one response."""

    __slots__ = ("_began", "_calls", "_created", "_model")

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._began = False
        self._calls = 0
        self._created = 0
        self._model = ""

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """The chunks that *event* brings; errors as `Decoder.feed` has them."""
        if self._done:
            return ()
        body, raw = event_object(event, self._provider, self._mended)
        if self._waiting and raw is not body:
            body = raw = self._mended(body)
        self._events += 1
        text = _text_alone(body) if self._began else None
        if text:
            return (text_chunk("", text, self._created, self._model, None, None, self._provider, raw),)
        return self._read(body, raw)

    def feed_whole(self, answer: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        """The chunks of a whole, decoded answer; errors as `feed` has them."""
        self._events += 1
        return self._read(self._repaired(answer, "the answer"), answer)

    def _missing_end(self) -> str:
        return f'the stream ended before "done": true ({self._events} lines)'

    # -- one line --------------------------------------------------------------------------------------------

    def _read(self, body: dict[str, Any], raw: Any) -> Sequence[ChatCompletionChunk]:
        self._raise_error(body)
        message = self._message(body)
        if message is None:
            return ()  # a line of another kind, which later versions may send
        role = None if self._began else "assistant"
        self._begin(body)
        content = None if message.get("content") is None else self._text(message, "content")
        thinking = self._text(message, "thinking")
        reasoning = Reasoning(thinking, field="thinking") if thinking else None
        delta = ChunkDelta(role, content, None, self._tool_calls(message), reasoning)
        finish, raw_finish = self._finish(body)
        return (
            ChatCompletionChunk(
                "",
                (ChunkChoice(0, delta, finish, raw_finish, read_logprobs(body)),),
                self._created,
                self._model,
                usage=read_usage(body) if self._done else None,
                provider=self._provider,
                raw=raw,
            ),
        )

    def _begin(self, body: Mapping[str, Any]) -> None:
        """Use the model and the time of the first line that has each: the server stamps every line anew."""
        self._began = True
        self._model = self._model or self._text(body, "model")
        self._created = self._created or unix_seconds(body.get("created_at"))

    def _raise_error(self, body: dict[str, Any]) -> None:
        """``{"error": "..."}`` stands alone in its line; an empty one beside an answer is no error."""
        error = body.get("error")
        if not error and has_answer(body):
            return
        if error is not None or error_body.looks_like_error(body):
            raise api_errors.from_body(self._provider, body)

    def _message(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The message of a line, an empty one of a last line without it; None of a line of another kind."""
        message = body.get("message")
        if message is not None:
            return self._object(body, "message")
        if "response" in body:  # of /api/generate
            return {**body, "content": body["response"]}
        return {} if body.get("done") is True else None

    def _finish(self, body: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """The finish reason, if there is one: old versions, and a model that was cut off, end without it."""
        if body.get("done") is not True:
            return None, None
        self._done = True
        raw = self._text(body, "done_reason")
        return (finish_reason(raw, has_tool_calls=bool(self._calls)), raw) if raw else (None, None)

    def _tool_calls(self, message: Mapping[str, Any]) -> tuple[ToolCall, ...] | None:
        calls = message.get("tool_calls")
        if not calls:
            return None
        try:
            return tuple(self._tool_call(call) for call, _ in Fields({"tool_calls": calls}).objects("tool_calls"))
        except (InvalidRequestError, ValueError) as exc:
            raise self._malformed(getattr(exc, "message", None) or str(exc)) from exc

    def _tool_call(self, call: Fields) -> ToolCall:
        """A whole call. Calls are numbered as they arrive: ``function.index`` is often missing, or always 0."""
        call_id, name, arguments = read_call(call, dict, str)  # compatible servers send text
        if not name:
            raise ValueError("a tool call has no name")
        index = self._calls
        self._calls += 1
        arguments = arguments_text({} if arguments is None else arguments)
        return ToolCall(call_id or f"call_{index}", FunctionCall(name, arguments), index=index)

    # -- halves of characters --------------------------------------------------------------------------------

    def _mended(self, body: Any) -> Any:
        """*body* without halves of surrogate pairs: those of texts continue from one line to the next."""
        repaired = self._repaired(body, "a line")
        if not isinstance(body, dict):
            return repaired
        texts, target = body, repaired
        if isinstance(body.get("message"), dict):
            texts, target = body["message"], repaired["message"]
        for name in _TEXTS:
            if isinstance(texts.get(name), str):
                target[name] = self._halves.mend(texts[name], (name,))
        if body.get("done") is True and self._waiting:
            if target is repaired and "response" not in repaired and repaired.get("message") is None:
                target = repaired["message"] = {}
            for (name,) in self._halves.take():
                if isinstance(target.get(name) or "", str):
                    target[name] = (target.get(name) or "") + REPLACEMENT
        return repaired
