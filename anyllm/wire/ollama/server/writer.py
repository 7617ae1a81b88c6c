"""
Ollama's own API: a JSON object a line until one says ``"done": true``, of ``/api/chat`` and of ``/api/generate``.

Strategy: a line that only adds text is put together from bytes that were made once, and the time. What an Ollama host
said beside the text is passed on from its own line. Ollama sends a tool call whole, with an object: fragments wait
until their call is one and something else comes, or the end. A call whose arguments never become an object is an error,
not text and not ``{}``: clients take nothing but an object, and would make the call. The last line, even a host's own,
waits for the end of the answer. A signature over reasoning has no place here, nor in what clients send back.

Source: https://docs.ollama.com/api/chat, https://docs.ollama.com/api/generate, https://docs.ollama.com/api/errors
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, ClassVar, Optional

import attrs

from anyllm.errors import InvalidRequestError, MalformedStreamError
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Reasoning,
    ToolCall,
    Usage,
    text_alone,
)
from anyllm.wire._base.client_errors import message_of
from anyllm.wire._base.writer import Writer, json_line

__all__ = ["OllamaChat", "OllamaGenerate", "time_text"]

_NANO = 10**9
#: The last second that has four digits for its year.
_LATEST = 253402300799
_COUNTS = frozenset(("prompt_eval_count", "eval_count"))
_FIGURES = frozenset((*_COUNTS, "total_duration", "load_duration", "prompt_eval_duration", "eval_duration"))
#: The keys of a line, and of its message, that are written from the chunk.
_WRITTEN = frozenset(("model", "created_at", "message", "done", "done_reason", "logprobs", "error", *_FIGURES))
_SAID = frozenset(("role", "content", "response", "thinking", "tool_calls"))
#: Ollama has no word of its own for an answer that ended with calls.
_REASONS = {"stop": "stop", "tool_calls": "stop", "length": "length"}


@attrs.define(frozen=True)
class OllamaChat:
    """
    The lines, and the whole answer, of ``/api/chat``.

    Attributes:
        model: What the answer says of its model where the provider did not say.
        call_ids: Whether tool calls have ids, as they do since Ollama 0.12.10; some older clients take none with one.
        clock: Nanoseconds that pass, from any beginning.
        now: Nanoseconds since 1970.
    """

    content_type: ClassVar[str] = "application/x-ndjson"
    whole_type: ClassVar[str] = "application/json"
    #: White space before a line's object is JSON's own, which no reader of lines minds; an empty line would be no JSON.
    keep_alive: ClassVar[bytes] = b" "
    #: What stands before and after a text that is all that a line brings.
    _around: ClassVar[tuple[bytes, bytes]] = (b'"message":{"role":"assistant","content":', b'},"done":false}\n')
    #: Keys of a host's own line that are not passed on.
    _unsaid: ClassVar[frozenset[str]] = _WRITTEN | _SAID | {"context"}

    model: str = ""
    call_ids: bool = attrs.field(default=True, kw_only=True)
    _clock: Callable[[], int] = attrs.field(default=time.monotonic_ns, kw_only=True, eq=False, repr=False)
    _now: Callable[[], int] = attrs.field(default=time.time_ns, kw_only=True, eq=False, repr=False)

    def writer(self) -> Writer:
        """A fresh writer for one answer."""
        return _LineWriter(self, self._clock, self._now)

    def whole(self, completion: ChatCompletion) -> bytes:
        """
        A whole answer: a line that is done. How long it took stands in it where a host said so.

        Raises:
            InvalidRequestError: there are several answers, or a sound.
            MalformedStreamError: the arguments of a tool call are no JSON object.
        """
        raw = _native(completion.raw)
        choice = _only(completion.choices)
        said: dict[str, Any] = {"content": ""}
        reason: Optional[str] = None
        if choice is not None:
            message, reason = choice.message, _reason(choice, raw is not None)
            _refuse_audio(message.audio)
            said = _texts(message.text or message.refusal, message.reasoning)
            said.update(_calls(message.tool_calls, raw, self.call_ids))
        seconds, rest = divmod(_instant(completion.created, self._now), _NANO)
        return json_line(
            {
                "model": completion.model or self.model,
                "created_at": time_text(seconds, rest),
                **self.said({**self.beside(raw), **said}),
                **self.unknown_fields(raw),
                **_logprobs(choice),
                "done": True,
                **({} if reason is None else {"done_reason": reason}),
                **_figures(completion.usage, raw, {}),
            }
        )

    def problem(self, error: BaseException, status: int) -> bytes:
        """An error: ``{"error": "..."}``."""
        return json_line(_error(error))

    # -- where things stand ------------------------------------------------------------------------------------

    def said(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """What the keys of a line are that say *message*: content, thinking, tool_calls."""
        return {"message": {"role": "assistant", **message}}

    def beside(self, raw: Optional[Mapping[str, Any]]) -> dict[str, Any]:
        """What else a host says in its message."""
        message = raw.get("message") if raw else None
        return (
            {key: value for key, value in message.items() if key not in _SAID} if isinstance(message, Mapping) else {}
        )

    def unknown_fields(self, raw: Optional[Mapping[str, Any]]) -> dict[str, Any]:
        """What else a host says in its line."""
        return {key: value for key, value in (raw or {}).items() if key not in self._unsaid}


@attrs.define(frozen=True)
class OllamaGenerate(OllamaChat):
    """The lines, and the whole answer, of ``/api/generate``; attributes as `OllamaChat` has them."""

    _around: ClassVar[tuple[bytes, bytes]] = (b'"response":', b',"done":false}\n')
    _unsaid: ClassVar[frozenset[str]] = _WRITTEN | _SAID

    def said(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The same, at the top of the line."""
        return {("response" if key == "content" else key): value for key, value in message.items()}


@attrs.define
class _Gathered:
    """A tool call of which fragments have come."""

    id: Optional[str] = None
    name: Optional[str] = None
    pieces: list[str] = attrs.field(factory=list)

    @property
    def call(self) -> ToolCall:
        return ToolCall(self.id, FunctionCall(self.name, "".join(self.pieces)))

    @property
    def is_whole(self) -> bool:
        """Whether nothing can follow: there are arguments, and they are a whole object."""
        return bool(self.pieces) and self.pieces[-1].rstrip().endswith("}") and self.call.is_complete


class _LineWriter(Writer):
    def __init__(self, format: OllamaChat, clock: Callable[[], int], now: Callable[[], int]) -> None:
        self._format = format
        self._clock = clock
        self._now = now
        self._made = clock()
        self._head = b""  # of every line, up to the time; made with the first
        self._offset = 0  # from the clock to the times of the lines, which begin with that of the answer
        self._second, self._second_text = -_NANO, ""  # the latest that was written
        self._begin()

    def _begin(self) -> None:
        """Forget what was not written of an answer that begins anew."""
        self._model = ""
        self._created = 0
        self._first: Optional[int] = None  # when its first content came
        self._gathered: dict[int, _Gathered] = {}
        self._places: dict[int, int] = {}  # of the calls that were sent
        self._last: Optional[tuple[dict[str, Any], dict[str, Any]]] = None  # what a host's own last line brings
        self._own: Optional[Mapping[str, Any]] = None  # that line
        self._reason: Optional[str] = None
        self._usage: Optional[Usage] = None

    def chunk(self, chunk: ChatCompletionChunk) -> bytes:
        written = super().chunk(chunk)
        if chunk.retry is not None and chunk.retry.policy == "restart":
            self._begin()
        return written

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        text = text_alone(chunk)
        if text and self._has_begun and not self._gathered and self._last is None:
            before, after = self._format._around
            return b'%b%b",%b%b%b' % (self._head, self._stamp().encode(), before, json_line(text), after)
        return self._lines(chunk)

    def end(self) -> bytes:
        calls = self._send(everything=True)
        message, unknown_fields = self._last or ({"content": ""}, {})
        took = {} if self._own is not None else self._took(self._clock())
        body = {
            **self._format.said(message),
            **unknown_fields,
            "done": True,
            **({} if self._reason is None else {"done_reason": self._reason}),
            **_figures(self._usage, self._own, took),
        }
        return calls + self._line(body)

    def error(self, error: BaseException) -> bytes:
        return self._held() + json_line(_error(error)) + b"\n"

    # -- one chunk ---------------------------------------------------------------------------------------------

    def _lines(self, chunk: ChatCompletionChunk) -> bytes:
        choice = _only(chunk.choices)
        self._usage = chunk.usage or self._usage
        self._model = self._model or chunk.model
        self._created = self._created or chunk.created
        if choice is None:
            return b""
        raw = _native(chunk.raw)
        _refuse_audio(choice.delta.audio)
        reason = _reason(choice, raw is not None)
        self._reason = self._reason if reason is None else reason
        held = self._held()
        return held + (self._foreign(choice) if raw is None else self._passed_on(choice, raw))

    def _passed_on(self, choice: ChunkChoice, raw: Mapping[str, Any]) -> bytes:
        """A host's own line; the last one waits."""
        calls = choice.delta.tool_calls or ()
        message = {
            **self._format.beside(raw),
            **_delta_texts(choice.delta),
            **_calls(calls, raw, self._format.call_ids),
        }
        unknown_fields = {**self._format.unknown_fields(raw), **_logprobs(choice)}
        if raw["done"]:
            self._last, self._own = (message, unknown_fields), raw
            return b""
        return self._line({**self._format.said(message), "done": False, **unknown_fields})

    def _foreign(self, choice: ChunkChoice) -> bytes:
        lines = []
        message, unknown_fields = _delta_texts(choice.delta), _logprobs(choice)
        if len(message) > 1 or message["content"] or unknown_fields:
            self._mark()
            lines.append(self._send())
            lines.append(self._line({**self._format.said(message), "done": False, **unknown_fields}))
        lines += [self._gather(fragment) for fragment in choice.delta.tool_calls or ()]
        if choice.finish_reason is not None:
            lines.append(self._send())
        return b"".join(lines)

    def _gather(self, fragment: ToolCall) -> bytes:
        """Take a fragment in, and send the calls before it, if nothing of them can follow."""
        self._mark()
        index, arguments = fragment.index, fragment.arguments
        if index in self._places:
            if arguments.strip():
                raise MalformedStreamError("a tool call goes on after the end of its arguments")
            return b""
        sent = b""
        call = self._gathered.get(index)
        if call is None:
            sent = self._send()
            call = self._gathered[index] = _Gathered()
        call.id = call.id or fragment.id
        call.name = call.name or fragment.name
        if arguments:
            call.pieces.append(arguments)
        return sent

    def _send(self, *, everything: bool = False) -> bytes:
        """
        A line with those calls that are whole, and before which none is missing.

        Args:
            everything: No fragment follows: what is missing by now, or not whole, stays so.
        """
        ready: list[int] = []
        for index in sorted(self._gathered):
            is_next = index == len(self._places) + len(ready)
            if not (everything or (is_next and self._gathered[index].is_whole)):
                break
            ready.append(index)
        calls = []
        for index in ready:
            place = self._places[index] = len(self._places)
            calls.append(_call(self._gathered.pop(index).call, {"index": place}, self._format.call_ids))
        if not calls:
            return b""
        return self._line({**self._format.said({"content": "", "tool_calls": calls}), "done": False})

    def _held(self) -> bytes:
        """What was the last line, once something follows it."""
        if self._last is None:
            return b""
        (message, unknown_fields), self._last, self._own = self._last, None, None
        return self._line({**self._format.said(message), "done": False, **unknown_fields})

    # -- lines and times ---------------------------------------------------------------------------------------

    def _line(self, body: Mapping[str, Any]) -> bytes:
        if not self._head:
            self._model = self._model or self._format.model
            self._head = b'{"model":%b,"created_at":"' % json_line(self._model)
            self._offset = _instant(self._created, self._now) - self._clock()
        return json_line({"model": self._model, "created_at": self._stamp(), **body}) + b"\n"

    def _stamp(self) -> str:
        """The time, of which all lines of a second share the beginning."""
        rest = self._offset + self._clock() - self._second
        if not 0 <= rest < _NANO:
            seconds, rest = divmod(self._second + rest, _NANO)
            self._second, self._second_text = seconds * _NANO, _seconds_text(seconds)
        return f"{self._second_text}.{rest:09}Z"

    def _mark(self) -> None:
        if self._first is None:
            self._first = self._clock()

    def _took(self, end: int) -> dict[str, int]:
        """
        How long it took, as we saw it: until the first content the prompt was read, from then on the answer was made.

        Nothing was loaded, which is said because some clients read all of these figures or none.
        """
        first = end if self._first is None else self._first
        return {
            "total_duration": end - self._made,
            "load_duration": 0,
            "prompt_eval_duration": first - self._made,
            "eval_duration": end - first,
        }


# -- what a stream and a whole answer share ----------------------------------------------------------------------------


def time_text(seconds: int, nanoseconds: int = 0) -> str:
    """A time as Ollama writes it, "2025-05-19T09:26:59.678947123Z"; the seconds are since 1970."""
    return f"{_seconds_text(seconds)}.{nanoseconds:09}Z"


def _seconds_text(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(min(max(0, seconds), _LATEST)))


def _instant(created: int, now: Callable[[], int]) -> int:
    """When the answer began, in nanoseconds: as the provider says, if it does."""
    return created * _NANO if 0 < created <= _LATEST else now()


def _native(raw: Any) -> Optional[Mapping[str, Any]]:
    """A provider's own event, or answer, if it is a line of this format."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("done"), bool):
        return None
    says = isinstance(raw.get("message"), Mapping) or isinstance(raw.get("response"), str)
    return raw if says or raw["done"] else None


def _only(choices: Sequence[Any]) -> Any:
    """The answer; None where there is none."""
    if any(choice.index for choice in choices):
        raise InvalidRequestError("Ollama's format has one answer, and n asks for more", status_code=400, param="n")
    return choices[0] if choices else None


def _refuse_audio(audio: Any) -> None:
    if audio is not None:
        raise InvalidRequestError("Ollama's format has no sound", status_code=400, param="audio")


def _delta_texts(delta: ChunkDelta) -> dict[str, Any]:
    return _texts((delta.content or "") + (delta.refusal or ""), delta.reasoning)


def _texts(content: Optional[str], reasoning: Optional[Reasoning]) -> dict[str, Any]:
    """The message without its calls. A refusal is text here."""
    said = {"content": content or "", "thinking": reasoning.content if reasoning is not None else None}
    return said if said["thinking"] else {"content": said["content"]}


def _calls(calls: Sequence[ToolCall], raw: Optional[Mapping[str, Any]], ids: bool) -> dict[str, Any]:
    """The calls of a message, those of a host's own with what else it says of them."""
    if not calls:
        return {}
    message = raw.get("message") if raw else None
    own = (message if isinstance(message, Mapping) else raw or {}).get("tool_calls")
    if not isinstance(own, list) or len(own) != len(calls):
        return {"tool_calls": [_call(call, {"index": place}, ids) for place, call in enumerate(calls)]}
    return {"tool_calls": [_own_call(call, given, ids) for call, given in zip(calls, own)]}


def _own_call(call: ToolCall, own: Any, ids: bool) -> dict[str, Any]:
    """A host's own call, without the id that we made up if it has none: its clients may be older than ids."""
    own = own if isinstance(own, Mapping) else {}
    function = own.get("function")
    written = _call(call, function if isinstance(function, Mapping) else {}, ids and bool(own.get("id")))
    return {**{key: value for key, value in own.items() if key not in ("id", "function")}, **written}


def _call(call: ToolCall, function: Mapping[str, Any], ids: bool) -> dict[str, Any]:
    """A call, whole; *function* is what else is said of it."""
    if not call.name:
        raise MalformedStreamError("a tool call has no name")
    written: dict[str, Any] = {"id": call.id} if ids and call.id else {}
    return {**written, "function": {**function, "name": call.name, "arguments": _arguments(call)}}


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = call.parse()
        json.dumps(arguments, allow_nan=False)  # NaN would become null
    except (ValueError, RecursionError) as exc:
        what = f"the arguments of {call.name} are no JSON object, and Ollama's format has no words for others"
        raise MalformedStreamError(what) from exc
    return arguments


def _reason(choice: Any, native: bool) -> Optional[str]:
    """A host of this format is quoted; what others say is put into Ollama's words, or ours where it has none."""
    if choice.finish_reason is None:
        return None
    known = None if native else _REASONS.get(choice.finish_reason)
    if known is None and choice.finish_reason == "content_filter" and not native:
        known = "content_filter"
    return str(known or choice.raw_finish_reason or choice.finish_reason)


def _logprobs(choice: Any) -> dict[str, Any]:
    """Probabilities as OpenAI has them, which are Ollama's too; those of other shapes have no place here."""
    content = choice.logprobs.get("content") if choice is not None and choice.logprobs else None
    if not isinstance(content, list) or not content:
        return {}
    return {"logprobs": content} if all(_is_token(token) for token in content) else {}


def _is_token(token: Any) -> bool:
    return isinstance(token, Mapping) and isinstance(token.get("token"), str) and "logprob" in token


def _figures(usage: Optional[Usage], own: Optional[Mapping[str, Any]], took: Mapping[str, int]) -> dict[str, Any]:
    """
    Tokens and times: those of a host's own line or usage as they are, else the counts, and the times that we took.
    """
    counted = (usage.raw if usage is not None else None) or {}
    said = {**(counted if _COUNTS & counted.keys() else {}), **(own or {})}
    figures = {key: value for key, value in said.items() if key in _FIGURES}
    if figures or usage is None:
        return figures or dict(took)
    return {**took, "prompt_eval_count": usage.prompt_tokens, "eval_count": usage.completion_tokens}


def _error(error: BaseException) -> dict[str, str]:
    return {"error": message_of(error) or type(error).__name__}
