"""
`Reply`: a scripted HTTP response, as a head and the steps of its body.

Strategy: a `Reply` is plain data and does nothing; `_connection` plays its steps.
"""

from __future__ import annotations

import http.client
import itertools
import json
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

import attrs

from ._chat import chat_completion, chat_events
from ._steps import FAULTS, Cut, SSEData, SSEEvent, Stall, Step, checked_steps

#: These have no body, whatever their headers say: https://www.rfc-editor.org/rfc/rfc9110#section-6.4.1
BODILESS = frozenset([204, 304])


@attrs.frozen(kw_only=True)
class Reply:
    """
    One scripted response. The constructors `sse`, `recorded`, `json`, `text` and `error` cover most tests; `chat`
    answers streamed and whole calls.

    Args:
        status: The status code; its usual reason phrase is added.
        headers: Added to the default headers, or replacing them (case-insensitive); None removes one.
        content_type: The `Content-Type` header.
        body: Steps, played in order. `bytes` are one write and, in a chunked body, one HTTP chunk.
        framing: How the body ends: "chunked"; "length" (a `Content-Length` of all bytes in *body*, which an "eof"
            cut does not reach); "close" (the end of the connection).
        before_headers: Steps before the head. `bytes` are sent as they are, for a head in pieces.
        raw_headers: Bytes to send instead of the head: status line, headers and an empty line. They need not agree
            with *framing*.

    Raises:
        TypeError: A step is of a wrong type.
        ValueError: *framing* is unknown.
    """

    status: int = 200
    headers: Mapping[str, Optional[str]] = attrs.field(factory=dict)
    content_type: str = "text/event-stream"
    body: Tuple[Step, ...] = attrs.field(default=(), converter=checked_steps)
    framing: str = attrs.field(default="chunked", validator=attrs.validators.in_(("chunked", "length", "close")))
    before_headers: Tuple[Step, ...] = attrs.field(default=(), converter=checked_steps)
    raw_headers: Optional[bytes] = None

    @classmethod
    def sse(
        cls, events: Iterable[SSEEvent], *, done: bool = True, event_per_write: bool = True, **fields: Any
    ) -> Reply:
        """
        A stream of server-sent events.

        Args:
            events: Each is sent as `data: ...`: a str or bytes unchanged, a dict as compact JSON. A tuple
                `(name, data)` also has an `event:` line. Faults may be between events.
            done: Whether to end with `data: [DONE]`, as OpenAI does.
            event_per_write: False sends all events between two faults in one write.
            fields: Other arguments of `Reply`.

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
        An answer of OpenAI's chat completions, streamed or whole according to the request's ``stream``.

        Args:
            text_or_pieces, tool_calls, model, finish_reason, usage: As in `chat_completion`.
            fields: Other arguments of `Reply`, for both.

        Returns:
            A function for `serve` that makes the reply to a request.

        Example::

            with serve(Reply.chat("Hello")) as server: ...
        """
        pieces = text_or_pieces if isinstance(text_or_pieces, str) else tuple(text_or_pieces or ())
        options: Dict[str, Any] = {
            "tool_calls": tool_calls,
            "model": model,
            "finish_reason": finish_reason,
            "usage": usage,
        }
        events, whole = chat_events(pieces, **options), chat_completion(pieces, **options)

        def reply(request: Any) -> Reply:
            streams = request.body and request.json().get("stream")
            return cls.sse(events, **fields) if streams else cls.json(whole, **fields)

        return reply

    @classmethod
    def ndjson(cls, lines: Iterable[Union[Mapping[str, Any], Step]], **fields: Any) -> Reply:
        """A stream of JSON objects, one per line and write, as Ollama sends; faults may be between them."""
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
        A recorded body, split into writes, with an optional cut or stall.

        Args:
            body: The body as it was received.
            sizes: Bytes in each write: a number for all of them, or a sequence, after which the rest is one write;
                None is one write.
            cut_at: The offset of the cut, in bytes.
            cut: The kind of cut: see `Cut`.
            stall_at: The offset of an endless stall, in bytes.
            fields: Other arguments of `Reply`.

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
        """Plain text in UTF-8, with a Content-Length."""
        fields.setdefault("content_type", "text/plain; charset=utf-8")
        fields.setdefault("framing", "length")
        return cls(status=status, body=[text.encode()], **fields)

    @classmethod
    def json(cls, value: Any, status: int = 200, **fields: Any) -> Reply:
        """A JSON value, with a Content-Length."""
        fields.setdefault("content_type", "application/json")
        return cls.text(_compact(value), status, **fields)

    @classmethod
    def error(cls, status: int, value_or_text: Any = "", **fields: Any) -> Reply:
        """An error response: plain text for a str, else JSON."""
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


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _sse_step(event: SSEEvent) -> Step:
    if isinstance(event, FAULTS):
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
    """The steps with adjacent bytes joined. The server ignores empty bytes."""
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
    """The offsets at which writes end, except the last."""
    if sizes is None:
        return []
    if any(size <= 0 for size in ([sizes] if isinstance(sizes, int) else sizes)):
        raise ValueError(f"the size of a write is at least 1 byte: {sizes!r}")
    if isinstance(sizes, int):
        return list(range(sizes, length, sizes))
    return [end for end in itertools.accumulate(sizes) if end < length]


def _split(body: bytes, ends: Sequence[int], faults: Sequence[Tuple[int, Step]]) -> List[Step]:
    """*body* split at *ends* and at each fault, with the faults inserted."""
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
            # Any other cut falls short of the length, even if nothing follows it.
            return before if step.how == "clean" else before + (after or 1)
    return size(body)
