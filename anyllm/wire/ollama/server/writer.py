"""
Answers for clients of ``/api/chat`` and ``/api/generate``: lines of JSON until one with ``"done": true``.

Strategy: a line that only adds text is put together from bytes that were made once, and the time. Further fields of an
Ollama server's own line are passed on. Ollama sends a tool call whole, with an object: fragments wait until their call
is whole and something else comes, or the end. A call whose arguments never become an object is an error, not text and
not ``{}``: clients accept nothing but an object, and would make the call. The last line, even a server's own, waits for
the end of the answer.

Source: https://docs.ollama.com/api/chat, https://docs.ollama.com/api/generate, https://docs.ollama.com/api/errors
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, ClassVar, Optional, Union

import attrs

from anyllm.errors import InvalidRequestError, MalformedStreamError
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    FunctionCall,
    Message,
    ToolCall,
    Usage,
    text_alone,
)
from anyllm.wire._base.writer import Writer, json_line
from anyllm.wire._base.written_errors import message_of
from anyllm.wire.ollama import fields
from anyllm.wire.ollama.fields import NANO

__all__ = ["OllamaChat", "OllamaGenerate"]

#: Keys of a message, and of a line, that are written from the chunk.
_MESSAGE_KEYS = frozenset(("role", "content", "response", "thinking", "tool_calls"))
_LINE_KEYS = frozenset(
    ("model", "created_at", "message", "done", "done_reason", "logprobs", "error", *fields.USAGE_KEYS)
)

_Object = Mapping[str, Any]


@attrs.define(frozen=True)
class OllamaChat:
    """
    The lines, and the whole answer, of ``/api/chat``.

    Attributes:
        model: The model of the answer where the provider does not name it.
        call_ids: Whether tool calls have ids, as they do since Ollama 0.12.10; some older clients accept none with one.
        clock: Nanoseconds that pass, from any beginning.
        now: Nanoseconds since 1970.
    """

    content_type: ClassVar[str] = "application/x-ndjson"
    whole_type: ClassVar[str] = "application/json"
    #: White space before a line's object is JSON's own, which no reader of lines minds; an empty line would be no JSON.
    keep_alive: ClassVar[bytes] = b" "
    #: What stands before and after a text that is all that a line brings.
    _around: ClassVar[tuple[bytes, bytes]] = (b'"message":{"role":"assistant","content":', b'},"done":false}\n')
    #: Keys of a server's own line that are not passed on.
    _omitted: ClassVar[frozenset[str]] = _LINE_KEYS | _MESSAGE_KEYS | {"context"}

    model: str = ""
    call_ids: bool = attrs.field(default=True, kw_only=True)
    _clock: Callable[[], int] = attrs.field(default=time.monotonic_ns, kw_only=True, eq=False, repr=False)
    _now: Callable[[], int] = attrs.field(default=time.time_ns, kw_only=True, eq=False, repr=False)

    def writer(self) -> Writer:
        """A fresh writer for one answer."""
        return _LineWriter(self)

    def whole(self, completion: ChatCompletion) -> bytes:
        """
        A whole answer: a last line. It has times where the provider sent some.

        Raises:
            InvalidRequestError: there are several answers, or audio.
            MalformedStreamError: the arguments of a tool call are no JSON object.
        """
        raw, choice = _native(completion.raw), _only(completion.choices)
        message, further = ({"content": ""}, {}) if choice is None else self.content_of(choice, raw)
        usage = fields.usage_fields(completion.usage, raw, {})
        created = fields.time_text(self.start_time(completion.created))
        last = self.last_fields(message, further, fields.done_reason(choice, raw is not None), usage)
        return json_line({"model": completion.model or self.model, "created_at": created, **last})

    def problem(self, error: BaseException, status: int) -> bytes:
        """An error: ``{"error": "..."}``."""
        return json_line({"error": message_of(error) or type(error).__name__})

    # -- fields of a line ----------------------------------------------------------------------------------------

    def message_fields(self, message: _Object) -> dict[str, Any]:
        """The fields of a line for a message with content, thinking, tool_calls."""
        return {"message": {"role": "assistant", **message}}

    def last_fields(self, message: _Object, further: _Object, reason: Optional[str], usage: _Object) -> dict[str, Any]:
        """The fields of a last line; *further* are those of the line that are not of the message."""
        ended = {"done": True} if reason is None else {"done": True, "done_reason": reason}
        return {**self.message_fields(message), **further, **ended, **usage}

    def content_of(
        self, choice: Union[Choice, ChunkChoice], raw: Optional[_Object], *, with_calls: bool = True
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The message of a choice, and further fields of its line; *raw* is a server's own line. A refusal is text."""
        turn = choice.message if isinstance(choice, Choice) else choice.delta
        if turn.audio is not None:
            raise InvalidRequestError("Ollama's format has no audio", status_code=400, param="audio")
        raw_message = (raw or {}).get("message")
        raw_message = raw_message if isinstance(raw_message, Mapping) else {}
        message = {key: value for key, value in raw_message.items() if key not in _MESSAGE_KEYS}
        text = turn.text if isinstance(turn, Message) else turn.content
        message.update(fields.texts_object((text or "") + (turn.refusal or ""), turn.reasoning))
        if with_calls and turn.tool_calls:
            own = (raw_message or raw or {}).get("tool_calls")
            items = own if isinstance(own, list) and len(own) == len(turn.tool_calls) else itertools.repeat(None)
            calls = enumerate(zip(turn.tool_calls, items))
            message["tool_calls"] = [_call(call, place, self.call_ids, item) for place, (call, item) in calls]
        further = {key: value for key, value in (raw or {}).items() if key not in self._omitted}
        return message, {**further, **fields.logprobs_field(choice.logprobs)}

    def start_time(self, created: int) -> int:
        """The time at which the answer began, in nanoseconds: the provider's, or now."""
        return created * NANO if 0 < created <= fields.LATEST else self._now()


@attrs.define(frozen=True)
class OllamaGenerate(OllamaChat):
    """The lines, and the whole answer, of ``/api/generate``; attributes as `OllamaChat` has them."""

    _around: ClassVar[tuple[bytes, bytes]] = (b'"response":', b',"done":false}\n')
    _omitted: ClassVar[frozenset[str]] = _LINE_KEYS | _MESSAGE_KEYS

    def message_fields(self, message: _Object) -> dict[str, Any]:
        """The fields of the message at the top of the line."""
        return {("response" if key == "content" else key): value for key, value in message.items()}


@attrs.define
class _PartialCall:
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
    def __init__(self, format: OllamaChat) -> None:
        self._format = format
        self._clock = format._clock
        self._start = self._clock()
        self._head = b""  # of every line, up to the time; made with the first
        self._offset = 0  # from the clock to the times of the lines, which begin with that of the answer
        self._second, self._second_text = -NANO, ""  # the latest that was written
        self._reset()

    def _reset(self) -> None:
        self._model = ""
        self._created = 0
        self._first = 0  # when its first content came; 0 before that
        self._calls: dict[int, _PartialCall] = {}  # those that were not sent yet
        self._places: dict[int, int] = {}  # of those that were
        self._last: Optional[tuple[_Object, _Object, _Object]] = None  # a server's own last line: its parts, and itself
        self._reason: Optional[str] = None
        self._usage: Optional[Usage] = None

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        text = text_alone(chunk)
        if text and self._has_begun and not self._calls and self._last is None:
            before, after = self._format._around
            return b'%b%b",%b%b%b' % (self._head, self._stamp().encode(), before, json_line(text), after)
        return self._lines(chunk)

    def end(self) -> bytes:
        calls = self._send(everything=True)
        message, further, raw = self._last or ({"content": ""}, {}, None)
        usage = fields.usage_fields(self._usage, raw, self._durations(self._clock()) if raw is None else {})
        return calls + self._line(self._format.last_fields(message, further, self._reason, usage))

    def error(self, error: BaseException) -> bytes:
        return self._late_last() + self._format.problem(error, 0) + b"\n"

    # -- one chunk ---------------------------------------------------------------------------------------------

    def _lines(self, chunk: ChatCompletionChunk) -> bytes:
        choice = _only(chunk.choices)
        self._usage = chunk.usage or self._usage
        self._model = self._model or chunk.model
        self._created = self._created or chunk.created
        if choice is None:
            return b""
        raw = _native(chunk.raw)
        self._reason = fields.done_reason(choice, raw is not None) or self._reason
        lines = [self._late_last()]
        message, further = self._format.content_of(choice, raw, with_calls=raw is not None)
        if raw is not None and raw["done"]:
            self._last = (message, further, raw)
        elif raw is not None:
            lines.append(self._content_line(message, further))
        else:
            if message != {"content": ""} or further:
                self._first = self._first or self._clock()
                lines += [self._send(), self._content_line(message, further)]
            lines += [self._gather(fragment) for fragment in choice.delta.tool_calls or ()]
            if choice.finish_reason is not None:
                lines.append(self._send())
        return b"".join(lines)

    def _gather(self, fragment: ToolCall) -> bytes:
        """Add a fragment to its call, and send the calls before it, if nothing of them can follow."""
        self._first = self._first or self._clock()
        index, arguments = fragment.index, fragment.arguments
        if index in self._places:
            if arguments.strip():
                raise MalformedStreamError("a tool call goes on after the end of its arguments")
            return b""
        sent = b""
        call = self._calls.get(index)
        if call is None:
            sent = self._send()
            call = self._calls[index] = _PartialCall()
        call.id = call.id or fragment.id
        call.name = call.name or fragment.name
        if arguments:
            call.pieces.append(arguments)
        return sent

    def _send(self, *, everything: bool = False) -> bytes:
        """A line with those calls that are whole and before which none is missing; *everything*: with all calls."""
        calls = []
        for index in sorted(self._calls):
            if not (everything or (index == len(self._places) and self._calls[index].is_whole)):
                break
            place = self._places[index] = len(self._places)
            calls.append(_call(self._calls.pop(index).call, place, self._format.call_ids))
        return self._content_line({"content": "", "tool_calls": calls}, {}) if calls else b""

    def _late_last(self) -> bytes:
        """The line of a server's own that was to be the last, once something follows it."""
        if self._last is None:
            return b""
        (message, further, _), self._last = self._last, None
        return self._content_line(message, further)

    # -- lines and times ---------------------------------------------------------------------------------------

    def _content_line(self, message: _Object, further: _Object) -> bytes:
        return self._line({**self._format.message_fields(message), "done": False, **further})

    def _line(self, body: _Object) -> bytes:
        if not self._head:
            self._model = self._model or self._format.model
            self._head = b'{"model":%b,"created_at":"' % json_line(self._model)
            self._offset = self._format.start_time(self._created) - self._clock()
        return json_line({"model": self._model, "created_at": self._stamp(), **body}) + b"\n"

    def _stamp(self) -> str:
        """The time; all lines of one second share its beginning."""
        fraction = self._offset + self._clock() - self._second
        if not 0 <= fraction < NANO:
            seconds, fraction = divmod(self._second + fraction, NANO)
            self._second, self._second_text = seconds * NANO, fields.second_text(seconds)
        return f"{self._second_text}.{fraction:09}Z"

    def _durations(self, end: int) -> dict[str, int]:
        """Times as we measured them: the prompt was read until the first content, from then on the answer was made."""
        first = self._first or end  # the load time is 0: some clients read all of these fields or none
        return dict(zip(fields.DURATIONS, (end - self._start, 0, first - self._start, end - first)))


# -- answers of providers ----------------------------------------------------------------------------------------------


def _native(raw: Any) -> Optional[_Object]:
    """A provider's own event, or answer, if it is a line of this format."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("done"), bool):
        return None
    has_content = isinstance(raw.get("message"), Mapping) or isinstance(raw.get("response"), str)
    return raw if has_content or raw["done"] else None


def _only(choices: Sequence[Any]) -> Any:
    """The choice; None where there is none."""
    if any(choice.index for choice in choices):
        raise InvalidRequestError("Ollama's format has one answer, and n asks for more", status_code=400, param="n")
    return choices[0] if choices else None


def _call(call: ToolCall, place: int, with_id: bool, own: Any = None) -> dict[str, Any]:
    """A whole call. A server's *own* has further keys, and no id if it had none: its clients may be older than ids."""
    if not call.name:
        raise MalformedStreamError("a tool call has no name")
    try:
        arguments = call.parse()
        json.dumps(arguments, allow_nan=False)  # NaN would become null
    except (ValueError, RecursionError) as exc:
        reason = f"the arguments of {call.name} are no JSON object, which Ollama's format requires"
        raise MalformedStreamError(reason) from exc
    if not isinstance(own, Mapping):
        return fields.call_object(call, arguments, {"index": place}, with_id=with_id)
    further = {key: value for key, value in own.items() if key not in ("id", "function")}
    function = own.get("function") if isinstance(own.get("function"), Mapping) else None
    return {**further, **fields.call_object(call, arguments, function, with_id=with_id and bool(own.get("id")))}
