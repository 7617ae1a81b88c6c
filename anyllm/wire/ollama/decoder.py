"""
The stream: one JSON object a line, until one that says ``"done": true``.

Strategy: nearly every line adds text and says nothing else, which a few look-ups tell; all others take the long way.
Tool calls come whole, so no fragments wait. Time and model are those of the first line: the host stamps every line
anew.

The lines of ``/api/generate`` have the text under ``response`` and the reasoning at the top; they are read as the
message that they mean.

Source: https://docs.ollama.com/api/streaming
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm._framing.detect import Event
from anyllm.types import (
    ChatCompletionChunk,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Reasoning,
    ToolCall,
    text_chunk,
)
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.decode_json import event_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.getters import arguments_text, json_type
from anyllm.wire._base.surrogate_joiner import REPLACEMENT
from anyllm.wire.ollama.fields import read_logprobs, read_usage, unix_time

#: What an ordinary line, and its message, do not hold.
_RARE = frozenset(("error", "logprobs"))
_RARE_IN_MESSAGE = frozenset(("thinking", "tool_calls"))
#: The texts that grow from line to line.
_GROWING = ("content", "response", "thinking")


def has_answer(body: Mapping[str, Any]) -> bool:
    """Whether a line, or a whole answer, is part of an answer at all."""
    return isinstance(body.get("message"), dict) or isinstance(body.get("response"), str)


def _text_alone(body: Mapping[str, Any]) -> str | None:
    """The text of a line that says nothing else, as most do not; None of any other."""
    message = body.get("message")
    if type(message) is not dict or body.get("done") is not False or not _RARE.isdisjoint(body):
        return None
    content = message.get("content")
    return content if type(content) is str and _RARE_IN_MESSAGE.isdisjoint(message) else None


class OllamaDecoder(BaseDecoder):
    """
    Turns one response's lines into chunks. Used by one thread, for one response.

    Args:
        provider: Stands in every chunk and error.
    """

    __slots__ = ("_began", "_calls", "_created", "_done", "_model")

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._began = False
        self._done = False
        self._calls = 0
        self._created = 0
        self._model = ""

    @property
    def done(self) -> bool:
        """Whether ``"done": true`` was seen: nothing after it is read."""
        return self._done

    @property
    def complete(self) -> bool:
        """The same: this format has no other good end."""
        return self._done

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """
        The chunks that *event* brings.

        Raises:
            APIError: the event is the provider's error.
            MalformedStreamError: the event cannot be read.
        """
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
        """
        The chunks of a whole, decoded answer.

        Raises:
            APIError, MalformedStreamError: as `feed`.
        """
        self._events += 1
        return self._read(self._repaired(answer, "the answer"), answer)

    def _missing_end(self) -> str:
        return f'the stream ended before "done": true ({self._events} lines)'

    # -- one line --------------------------------------------------------------------------------------------

    def _read(self, body: dict[str, Any], raw: Any) -> Sequence[ChatCompletionChunk]:
        self._look_for_error(body)
        message = self._message(body)
        if message is None and body.get("done") is not True:
            return ()  # progress of something else, which later versions may report
        role = None if self._began else "assistant"
        self._begin(body)
        content = self._text_or_none(message, "content")
        thinking = self._text_or_none(message, "thinking")
        delta = ChunkDelta(
            role,
            content,
            None,
            self._tool_calls(message),
            Reasoning(thinking, field="thinking") if thinking else None,
        )
        finish, raw_finish = self._finish(body)
        choice = ChunkChoice(0, delta, finish, raw_finish, read_logprobs(body))
        return (
            ChatCompletionChunk(
                choices=(choice,),
                created=self._created,
                model=self._model,
                usage=read_usage(body) if self._done else None,
                provider=self._provider,
                raw=raw,
            ),
        )

    def _begin(self, body: Mapping[str, Any]) -> None:
        """Take model and time from the first line that has each."""
        self._began = True
        if not self._model:
            self._model = self._text(body, "model") or ""
        if not self._created:
            self._created = unix_time(body.get("created_at"))

    def _look_for_error(self, body: dict[str, Any]) -> None:
        """``{"error": "..."}`` stands alone in its line; beside an answer, an empty one is none."""
        error = body.get("error")
        if not error and has_answer(body):
            return
        if error is not None or error_body.looks_like_error(body):
            raise api_errors.from_body(self._provider, body)

    def _message(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        message = body.get("message")
        if type(message) is dict:
            return message
        if message is not None:
            raise self._malformed(f"message is {json_type(message)}")
        if "response" not in body:
            return None
        return {"content": body["response"], "thinking": body.get("thinking"), "tool_calls": body.get("tool_calls")}

    def _text_or_none(self, holder: Mapping[str, Any] | None, name: str) -> str | None:
        return None if holder is None or holder.get(name) is None else self._text(holder, name)

    def _finish(self, body: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """The end of the answer, which old versions, and a model that was cut off, give no reason for."""
        if body.get("done") is not True:
            return None, None
        self._done = True
        raw = self._text(body, "done_reason")
        return (finish_reason(raw, has_tool_calls=bool(self._calls)), raw) if raw else (None, None)

    # -- tool calls ------------------------------------------------------------------------------------------

    def _tool_calls(self, message: Mapping[str, Any] | None) -> tuple[ToolCall, ...] | None:
        calls = message.get("tool_calls") if message else None
        if not calls:
            return None
        if not isinstance(calls, list):
            raise self._malformed(f"tool_calls is {json_type(calls)}")
        return tuple(self._tool_call(call) for call in calls)

    def _tool_call(self, raw: Any) -> ToolCall:
        """A whole call. Its place is that of its arrival: ``function.index`` is often left out, or always 0."""
        function = raw.get("function") if isinstance(raw, dict) else None
        if not isinstance(function, dict):
            raise self._malformed("a tool call has no function")
        name = self._text(function, "name")
        if not name:
            raise self._malformed("a tool call has no name")
        index = self._calls
        self._calls += 1
        call_id = self._text(raw, "id") or f"call_{index}"
        return ToolCall(call_id, FunctionCall(name, self._arguments(function.get("arguments"))), index=index)

    def _arguments(self, arguments: Any) -> str:
        """An object, as JSON text; compatible hosts send the text."""
        try:
            return arguments_text({} if arguments is None else arguments)
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc

    # -- halves of characters --------------------------------------------------------------------------------

    def _mended(self, body: Any) -> Any:
        """*body* without halves of surrogate pairs: those of texts continue from one line to the next."""
        mended = self._repaired(body, "a line")
        if not isinstance(body, dict):
            return mended
        said, kept = body, mended
        if isinstance(body.get("message"), dict):
            said, kept = body["message"], mended["message"]
        for name in _GROWING:
            if isinstance(said.get(name), str):
                kept[name] = self._halves.mend(said[name], (name,))
        if body.get("done") is True and self._waiting:
            if kept is mended and "response" not in mended and mended.get("message") is None:
                kept = mended["message"] = {}
            for (name,) in self._halves.take():
                if isinstance(kept.get(name) or "", str):
                    kept[name] = (kept.get(name) or "") + REPLACEMENT
        return mended
