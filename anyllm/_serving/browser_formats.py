"""
Formats for browsers: the text of a stream as server-sent events, JSON lines, a JSON list, or plain text.

They are ours, not a provider's. Errors are described by `describe`, which leaves out the provider's message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Optional

import attrs

from anyllm._serving import public_errors
from anyllm._stream.stream import TextDeduplicator
from anyllm.errors import IncompleteStreamError
from anyllm.types import ChatCompletion, ChatCompletionChunk, Usage
from anyllm.wire._base.writer import Writer, in_one_line

Event = Callable[[ChatCompletionChunk], Optional[Mapping[str, Any]]]
Describe = Callable[[BaseException], Mapping[str, Any]]

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


@attrs.define(frozen=True)
class Sse:
    """
    Server-sent events for an EventSource: ``data: {"content": ...}``, then ``event: done`` or ``event: error``.

    Attributes:
        event: Makes a dict of a chunk, or None to skip it. By default the text is sent, without repetitions.
        describe: Makes a dict of an error.
    """

    content_type: ClassVar[str] = "text/event-stream"
    whole_type: ClassVar[str] = "application/json"
    keep_alive: ClassVar[bytes] = b": keep-alive\n\n"

    event: Optional[Event] = None
    describe: Describe = public_errors.describe

    def writer(self) -> Writer:
        """A new writer for one answer."""
        return _BrowserWriter(self)

    def whole(self, completion: ChatCompletion) -> bytes:
        """A whole answer as JSON: ``{"content": ..., "finish_reason": ..., "usage": ...}``."""
        return _json({"content": completion.content, **_summary(completion.finish_reason, completion.usage)})

    def problem(self, error: BaseException, status: int) -> bytes:
        """The body of an error response: ``{"error": {...}}``."""
        return _json({"error": dict(self.describe(error))})

    def encode_event(self, name: str, value: Mapping[str, Any]) -> bytes:
        """One event; its *name* is "", "done" or "error"."""
        line = f"event: {name}\n".encode() if name else b""
        return b"%bdata: %b\n\n" % (line, _json(value))


@attrs.define(frozen=True)
class Ndjson(Sse):
    """
    A JSON object a line: ``{"content": ...}``, then ``{"done": true, ...}`` or ``{"error": ...}``.

    The keep-alive is a space: JSON allows white space before a value.
    """

    content_type: ClassVar[str] = "application/x-ndjson"
    keep_alive: ClassVar[bytes] = b" "

    def encode_event(self, name: str, value: Mapping[str, Any]) -> bytes:
        """One line."""
        return in_one_line(_json({"done": True, **value} if name == "done" else value)) + b"\n"


@attrs.define(frozen=True)
class Json(Ndjson):
    """The lines of `Ndjson` as the items of one JSON list, for clients that read a response whole."""

    content_type: ClassVar[str] = "application/json"

    def writer(self) -> Writer:
        """A new writer for one answer."""
        return _ListWriter(self)


@attrs.define(frozen=True)
class Text(Sse):
    """The text alone, which cannot express an error."""

    content_type: ClassVar[str] = "text/plain; charset=utf-8"
    keep_alive: ClassVar[bytes] = b""

    def writer(self) -> Writer:
        """A new writer for one answer."""
        return _TextWriter(self)


class _BrowserWriter(Writer):
    def __init__(self, format: Sse) -> None:
        self._format = format
        self._deduplicator = TextDeduplicator()
        self._finish_reason: Optional[str] = None
        self._usage: Optional[Usage] = None

    def chunk(self, chunk: ChatCompletionChunk) -> bytes:
        self._finish_reason = chunk.finish_reason or self._finish_reason
        self._usage = chunk.usage or self._usage
        if self._format.event is not None:
            data = self._format.event(chunk)
            return b"" if data is None else self._format.encode_event("", dict(data))
        text = self._new_text(chunk)
        return self._format.encode_event("", {"content": text}) if text else b""

    def _new_text(self, chunk: ChatCompletionChunk) -> str:
        """The text that was not sent yet: an answer that restarts (`Retry.after_content`) repeats its beginning."""
        if chunk.retry is not None and chunk.retry.policy != "restart":
            return ""
        text = self._deduplicator.new_text(chunk)
        if text is None:
            raise IncompleteStreamError("the answer was cut off, and restarted with a different text")
        return text

    def end(self) -> bytes:
        return self._format.encode_event("done", _summary(self._finish_reason, self._usage))

    def error(self, error: BaseException) -> bytes:
        return self._format.encode_event("error", {"error": dict(self._format.describe(error))})


class _ListWriter(_BrowserWriter):
    _separator = b"["

    def chunk(self, chunk: ChatCompletionChunk) -> bytes:
        return self._item(super().chunk(chunk))

    def end(self) -> bytes:
        return self._item(super().end()) + b"]"

    def error(self, error: BaseException) -> bytes:
        return self._item(super().error(error)) + b"]"

    def _item(self, item: bytes) -> bytes:
        if not item:
            return b""
        separator, self._separator = self._separator, b","
        return separator + item


class _TextWriter(_BrowserWriter):
    def chunk(self, chunk: ChatCompletionChunk) -> bytes:
        return self._new_text(chunk).encode("utf-8", "replace")

    def end(self) -> bytes:
        return b""

    def error(self, error: BaseException) -> bytes:
        raise error


def _summary(finish_reason: Optional[str], usage: Optional[Usage]) -> dict[str, Any]:
    summary: dict[str, Any] = {} if finish_reason is None else {"finish_reason": finish_reason}
    if usage is not None:
        summary["usage"] = {name: getattr(usage, name) for name in _COUNTS}
    return summary


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate
        return json.dumps(value).encode()
