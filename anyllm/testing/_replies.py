"""
What the server says: replies, the steps of their bodies, and the faults among the steps.

Strategy: a `Reply` is plain data and does nothing. It knows its head and its steps; `_server` plays them.
"""

from __future__ import annotations

import http.client
import itertools
import json
import re
import threading
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

import attrs

__all__ = [
    "Cut",
    "Pause",
    "Reply",
    "SSEData",
    "SSEEvent",
    "Signal",
    "Stall",
    "Step",
    "chat_completion",
    "chat_events",
    "keep_alive_comments",
]  # fmt: skip

# These have no body, whatever their header says: https://www.rfc-editor.org/rfc/rfc9110#section-6.4.1
BODILESS = frozenset([204, 304])


@attrs.frozen
class Pause:
    """
    Send nothing for a while, then go on; over at once when the client leaves.

    Args:
        seconds: How long, on the monotonic clock.
    """

    seconds: float


@attrs.frozen
class Stall:
    """
    Send nothing until the event is set, the client leaves, or the server closes.

    Args:
        event: Set it from any thread to let the reply go on; without one, it never does.
    """

    event: Optional[threading.Event] = None


@attrs.frozen
class Cut:
    """
    End the reply here; the steps after it are never sent.

    Args:
        how: "clean" ends the HTTP body properly: the terminating chunk, the announced length, or, where the
            body ends with the connection, TLS's farewell and FIN. "eof" is FIN in the middle of the body:
            no terminating chunk, short of the announced length, no farewell of TLS. "reset" is RST, which,
            as on a real network, also drops bytes that the client's system has not taken yet.
    """

    how: str = attrs.field(validator=attrs.validators.in_(("clean", "eof", "reset")))


@attrs.frozen
class Signal:
    """
    Set an event when the reply reaches this point, so that a test orders its threads without sleeping.

    Args:
        event: Set once everything before this step has been handed to the system for sending.
    """

    event: threading.Event


Step = Union[bytes, Pause, Stall, Cut, Signal]
SSEData = Union[str, bytes, Mapping[str, Any]]
SSEEvent = Union[SSEData, Tuple[str, SSEData], Pause, Stall, Cut, Signal]

_FAULTS = (Pause, Stall, Cut, Signal)


def _as_steps(steps: Iterable[Step]) -> Tuple[Step, ...]:
    if isinstance(steps, (bytes, str)):  # iterating it would give numbers or characters
        raise TypeError(f"steps are a sequence such as [b'...', Pause(1)], not {type(steps).__name__}")
    steps = tuple(steps)
    for step in steps:
        if not isinstance(step, (bytes, *_FAULTS)):
            raise TypeError(f"a step is bytes, Pause, Stall, Cut or Signal, not {type(step).__name__}")
    return steps


@attrs.frozen(kw_only=True)
class Reply:
    """
    One scripted response. The constructors (`sse`, `recorded`, `json`, `text`, `error`) cover most tests;
    `chat` answers streamed and whole calls alike.

    Args:
        status: The status code; its usual reason phrase is added.
        headers: Added to the default ones or, compared without case, replacing them; None takes one away.
        content_type: The `Content-Type` header.
        body: Steps, played in order. `bytes` are one write and, in a chunked body, one HTTP chunk.
        framing: How the client learns where the body ends: "chunked"; "length" (a `Content-Length`: all the
            bytes in *body*, so an "eof" cut falls short of it); "close" (the end of the connection).
        before_headers: Steps before the head. `bytes` are sent raw, to trickle a head.
        raw_headers: Sent instead of the head, as it is: status line, headers and the empty line after them.
            Make it agree with *framing*, or not.

    Raises:
        TypeError: A step is of a wrong type.
        ValueError: *framing* is unknown.
    """

    status: int = 200
    headers: Mapping[str, Optional[str]] = attrs.field(factory=dict)
    content_type: str = "text/event-stream"
    body: Tuple[Step, ...] = attrs.field(default=(), converter=_as_steps)
    framing: str = attrs.field(default="chunked", validator=attrs.validators.in_(("chunked", "length", "close")))
    before_headers: Tuple[Step, ...] = attrs.field(default=(), converter=_as_steps)
    raw_headers: Optional[bytes] = None

    @classmethod
    def sse(
        cls, events: Iterable[SSEEvent], *, done: bool = True, event_per_write: bool = True, **fields: Any
    ) -> Reply:
        """
        A stream of server-sent events.

        Args:
            events: Each is sent as `data: ...`: a str or bytes as it is, a dict as compact JSON. A tuple
                `(name, data)` also has an `event:` line. Faults may stand between events.
            done: End with `data: [DONE]`, as OpenAI does.
            event_per_write: False sends all the events between two faults in one write.
            fields: Anything else `Reply` takes.

        Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
        """
        steps = [_sse_step(event) for event in events]
        if done:
            steps.append(_sse_step("[DONE]"))
        return cls(body=steps if event_per_write else _joined(steps), **fields)

    @classmethod
    def chat(
        cls,
        text_or_pieces: Union[str, Iterable[str], None] = None,
        *,
        tool_calls: Sequence[Any] = (),
        model: str = "test-model",
        finish_reason: Optional[str] = "stop",
        usage: Union[bool, Mapping[str, Any]] = True,
        **fields: Any,
    ) -> Callable[[Any], Reply]:
        """
        An answer of OpenAI's chat completions, streamed or whole as each request's ``stream`` asks for.

        Args:
            text_or_pieces: What the model says, as in `chat_events`; None with *tool_calls* alone.
            tool_calls: The calls that it makes: `ToolCall`s (`tool_call` makes one), or dicts in OpenAI's shape.
            model: Its name.
            finish_reason: Why it ends; "tool_calls" instead of "stop" where there are some.
            usage: As in `chat_events`.
            fields: Anything else `Reply` takes, for either.

        Returns:
            A function for `serve`, which makes the reply to a request.

        Example::

            with serve(Reply.chat("Hello")) as server: ...
        """
        pieces = text_or_pieces if isinstance(text_or_pieces, str) else tuple(text_or_pieces or ())
        about: Dict[str, Any] = {
            "tool_calls": tool_calls,
            "model": model,
            "finish_reason": finish_reason,
            "usage": usage,
        }
        events, whole = chat_events(pieces, **about), chat_completion(pieces, **about)

        def reply(request: Any) -> Reply:
            streams = request.body and request.json().get("stream")
            return cls.sse(events, **fields) if streams else cls.json(whole, **fields)

        return reply

    @classmethod
    def ndjson(cls, lines: Iterable[Union[Mapping[str, Any], Step]], **fields: Any) -> Reply:
        """A stream of JSON objects, one a line and a write, as Ollama has it; faults may stand between them."""
        fields.setdefault("content_type", "application/x-ndjson")
        steps = [f"{_compact(line)}\n".encode() if isinstance(line, Mapping) else line for line in lines]
        return cls(body=steps, **fields)

    @classmethod
    def recorded(
        cls,
        body: bytes,
        *,
        sizes: Union[Sequence[int], int, None] = None,
        cut_at: Optional[int] = None,
        cut: str = "eof",
        stall_at: Optional[int] = None,
        **fields: Any,
    ) -> Reply:
        """
        A recorded body, cut into writes as a network would, and broken where the test wants it.

        Args:
            body: The body as it was received.
            sizes: Bytes in each write: a number is the size of all, a sequence is used up and the rest is
                one write, None is one write.
            cut_at: The offset in bytes where *cut* happens.
            cut: How: see `Cut`.
            stall_at: The offset in bytes where the server falls silent for ever.
            fields: Anything else `Reply` takes.

        Raises:
            ValueError: A size is not positive, or an offset lies outside the body.
        """
        faults: List[Tuple[int, Step]] = []
        if stall_at is not None:
            faults.append((stall_at, Stall()))
        if cut_at is not None:
            faults.append((cut_at, Cut(cut)))
        for offset, _ in faults:
            if not 0 <= offset <= len(body):
                raise ValueError(f"offset {offset} is outside the body of {len(body)} bytes")
        return cls(body=_split(body, _write_ends(len(body), sizes), faults), **fields)

    @classmethod
    def text(cls, text: str, status: int = 200, **fields: Any) -> Reply:
        """A plain text in UTF-8, with its length announced."""
        fields.setdefault("content_type", "text/plain; charset=utf-8")
        fields.setdefault("framing", "length")
        return cls(status=status, body=[text.encode()], **fields)

    @classmethod
    def json(cls, value: Any, status: int = 200, **fields: Any) -> Reply:
        """Anything `json.dumps` takes, with its length announced."""
        fields.setdefault("content_type", "application/json")
        return cls.text(_compact(value), status, **fields)

    @classmethod
    def error(cls, status: int, value_or_text: Any = "", **fields: Any) -> Reply:
        """An error response: a str becomes plain text, anything else JSON."""
        make = cls.text if isinstance(value_or_text, str) else cls.json
        return make(value_or_text, status, **fields)

    @property
    def closes(self) -> bool:
        """Whether the server closes the connection after this reply."""
        _, connection = self._headers().get("connection", ("", None))
        return self.framing == "close" or (connection or "").lower() == "close"

    def head(self) -> bytes:
        """The bytes before the body."""
        if self.raw_headers is not None:
            return self.raw_headers
        lines = [f"HTTP/1.1 {self.status} {http.client.responses.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self._headers().values() if value is not None]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _headers(self) -> Dict[str, Tuple[str, Optional[str]]]:
        headers: Dict[str, Optional[str]] = {}
        if self.status not in BODILESS:
            headers["Content-Type"] = self.content_type
            if self.framing == "chunked":
                headers["Transfer-Encoding"] = "chunked"
            elif self.framing == "length":
                headers["Content-Length"] = str(_announced_length(self.body))
        if self.framing == "close":
            headers["Connection"] = "close"
        merged = {name.lower(): (name, value) for name, value in headers.items()}
        merged.update((name.lower(), (name, value)) for name, value in self.headers.items())
        return merged


def keep_alive_comments(n: int, seconds: float, comment: bytes = b": keep-alive\n\n") -> List[Step]:
    """
    Steps of a host that proves it is alive and says nothing: *n* comments, each followed by a pause.

    Args:
        n: How many comments.
        seconds: The pause after each.
        comment: What is sent, one write each.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes
    """
    return [comment, Pause(seconds)] * n


def chat_events(
    text_or_pieces: Union[str, Iterable[str]],
    *,
    model: str = "test-model",
    finish_reason: Optional[str] = "stop",
    usage: Union[bool, Mapping[str, Any]] = True,
    role: bool = True,
    id: str = "chatcmpl-test",
    tool_calls: Sequence[Any] = (),
) -> List[Dict[str, Any]]:
    """
    The events of one OpenAI chat completion, ready for `Reply.sse`.

    Args:
        text_or_pieces: What the model says: a str is cut into words that join to the same str again,
            anything else is one chunk for each piece.
        model: The `model` of every chunk.
        finish_reason: That of the chunk after the text, "tool_calls" instead of "stop" where there are some; None
            leaves this chunk out.
        usage: End with a chunk of usage and no choices: True counts each piece as a token, a dict is sent
            as it is.
        role: Begin with a chunk that has the role and an empty content.
        id: The `id` of every chunk.
        tool_calls: Calls after the text: `ToolCall`s, or dicts in OpenAI's shape. Each comes as two fragments, id and
            name first, then the arguments.

    Returns:
        Dicts in the shape of `chat.completion.chunk`.

    Source: https://platform.openai.com/docs/api-reference/chat-streaming
    """
    if isinstance(text_or_pieces, str):
        text_or_pieces = re.findall(r"\s*\S+|\s+$", text_or_pieces)
    pieces = list(text_or_pieces)

    def chunk(choices: List[Dict[str, Any]], **more: Any) -> Dict[str, Any]:
        fixed = {"id": id, "object": "chat.completion.chunk", "created": 1700000000, "model": model}
        return {**fixed, "choices": choices, **more}

    def choice(delta: Dict[str, Any], reason: Optional[str] = None) -> List[Dict[str, Any]]:
        return [{"index": 0, "delta": delta, "finish_reason": reason}]

    events = [chunk(choice({"role": "assistant", "content": ""}))] if role else []
    events += [chunk(choice({"content": piece})) for piece in pieces]
    for index, call in enumerate(_as_calls(tool_calls)):
        function = call["function"]
        begun = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
        events.append(chunk(choice({"tool_calls": [begun]})))
        rest = {"index": index, "function": {"arguments": function["arguments"]}}
        events.append(chunk(choice({"tool_calls": [rest]})))
    if finish_reason is not None:
        events.append(chunk(choice({}, _reason(finish_reason, tool_calls))))
    if usage is True:
        n = len(pieces)
        usage = {"prompt_tokens": 1, "completion_tokens": n, "total_tokens": n + 1}
    if usage:
        events.append(chunk([], usage=usage))
    return events


def chat_completion(
    text_or_pieces: Union[str, Iterable[str], None],
    *,
    model: str = "test-model",
    finish_reason: Optional[str] = "stop",
    usage: Union[bool, Mapping[str, Any]] = True,
    id: str = "chatcmpl-test",
    tool_calls: Sequence[Any] = (),
) -> Dict[str, Any]:
    """
    One whole OpenAI chat completion, ready for `Reply.json`: what the events of `chat_events` add up to.

    Args:
        text_or_pieces: What the model says; None for calls alone.
        model: The `model` of the answer.
        finish_reason: Why it ended; "tool_calls" instead of "stop" where there are some.
        usage: True counts each piece as a token, a dict is sent as it is, False leaves it out.
        id: The `id` of the answer.
        tool_calls: `ToolCall`s, or dicts in OpenAI's shape.

    Returns:
        A dict in the shape of ``chat.completion``.

    Source: https://platform.openai.com/docs/api-reference/chat/object
    """
    events = chat_events(text_or_pieces or (), usage=usage)
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])
    message: Dict[str, Any] = {"role": "assistant", "content": text or None if tool_calls else text}
    if tool_calls:
        message["tool_calls"] = _as_calls(tool_calls)
    choice = {"index": 0, "message": message, "finish_reason": _reason(finish_reason, tool_calls)}
    body = {"id": id, "object": "chat.completion", "created": 1700000000, "model": model, "choices": [choice]}
    counted = events[-1].get("usage")
    return {**body, "usage": counted} if counted else body


def _as_calls(calls: Sequence[Any]) -> List[Dict[str, Any]]:
    """In OpenAI's shape, each with an id."""
    made = []
    for number, call in enumerate(calls, 1):
        plain = call if isinstance(call, Mapping) else call.to_dict()
        function = {"name": plain["function"]["name"], "arguments": plain["function"].get("arguments", "")}
        made.append(
            {"id": plain.get("id") or f"call_{number}", "type": plain.get("type", "function"), "function": function}
        )
    return made


def _reason(finish_reason: Optional[str], tool_calls: Sequence[Any]) -> Optional[str]:
    return "tool_calls" if tool_calls and finish_reason == "stop" else finish_reason


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _sse_step(event: SSEEvent) -> Step:
    if isinstance(event, _FAULTS):
        return event
    if isinstance(event, tuple):
        name, data = event
        return f"event: {name}\n".encode() + _sse_data(data)
    return _sse_data(event)


def _sse_data(data: SSEData) -> bytes:
    if isinstance(data, bytes):
        return b"data: %b\n\n" % data
    text = data if isinstance(data, str) else _compact(data)
    return "data: {}\n\n".format(text.replace("\n", "\ndata: ")).encode()


def _joined(steps: Sequence[Step]) -> List[Step]:
    """The same steps, with neighbouring bytes in one; empty bytes are no step to the server."""
    joined: List[Step] = []
    writes: List[bytes] = []
    for step in steps:
        if isinstance(step, bytes):
            writes.append(step)
        else:
            joined += [b"".join(writes), step]
            writes = []
    return [*joined, b"".join(writes)]


def _write_ends(length: int, sizes: Union[Sequence[int], int, None]) -> List[int]:
    """The offsets at which writes end, the last one excepted."""
    if sizes is None:
        return []
    if any(size <= 0 for size in ([sizes] if isinstance(sizes, int) else sizes)):
        raise ValueError(f"the size of a write is at least 1 byte: {sizes!r}")
    if isinstance(sizes, int):
        return list(range(sizes, length, sizes))
    return [end for end in itertools.accumulate(sizes) if end < length]


def _split(body: bytes, ends: Sequence[int], faults: Sequence[Tuple[int, Step]]) -> List[Step]:
    """*body* cut at *ends* and at each fault, with the faults in their places."""
    steps: List[Step] = []
    start = 0
    for end in sorted({*ends, *(offset for offset, _ in faults), len(body)}):
        steps += [body[start:end]] if end > start else []
        steps += [fault for offset, fault in faults if offset == end]
        start = end
    return steps


def _announced_length(body: Sequence[Step]) -> int:
    def size(steps: Sequence[Step]) -> int:
        return sum(len(step) for step in steps if isinstance(step, bytes))

    for index, step in enumerate(body):
        if isinstance(step, Cut):
            before, after = size(body[:index]), size(body[index:])
            # A cut that is not clean falls short of the length also when nothing was to come after it.
            return before if step.how == "clean" else before + (after or 1)
    return size(body)
