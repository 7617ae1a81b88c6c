"""
What a page of one's own reads: the text as it comes, as server-sent events, lines or a list of JSON, or alone.

None of these is anybody's format but ours, and no visitor is told more than `describe` says.
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

__all__ = ["Describe", "Event", "Json", "Ndjson", "Sse", "Text"]

Event = Callable[[ChatCompletionChunk], Optional[Mapping[str, Any]]]
Describe = Callable[[BaseException], Mapping[str, Any]]

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


@attrs.define(frozen=True)
class Sse:
    """
    Server-sent events for an EventSource: ``data: {"content": ...}``, then ``event: done`` or ``event: error``.

    Attributes:
        event: What is sent of a chunk, as a dict; None skips it. Not given, it is the text, none of it twice.
        describe: What is said of an error.
    """

    content_type: ClassVar[str] = "text/event-stream"
    whole_type: ClassVar[str] = "application/json"
    keep_alive: ClassVar[bytes] = b": keep-alive\n\n"

    event: Optional[Event] = None
    describe: Describe = public_errors.describe

    def writer(self) -> Writer:
        """A fresh writer for one answer."""
        return _Writer(self)

    def whole(self, completion: ChatCompletion) -> bytes:
        """A whole answer: ``{"content": ..., "finish_reason": ..., "usage": ...}``."""
        return _json({"content": completion.content, **_facts(completion.finish_reason, completion.usage)})

    def problem(self, error: BaseException, status: int) -> bytes:
        """An error: ``{"error": {...}}``."""
        return _json({"error": dict(self.describe(error))})

    def written(self, name: str, value: Mapping[str, Any]) -> bytes:
        """One event; its *name* is "", "done" or "error"."""
        line = f"event: {name}\n".encode() if name else b""
        return b"%bdata: %b\n\n" % (line, _json(value))


@attrs.define(frozen=True)
class Ndjson(Sse):
    """
    A JSON object a line: ``{"content": ...}``, then ``{"done": true, ...}`` or ``{"error": ...}``.

    White space before one is part of JSON, so a space is all that keeps the line alive.
    """

    content_type: ClassVar[str] = "application/x-ndjson"
    keep_alive: ClassVar[bytes] = b" "

    def written(self, name: str, value: Mapping[str, Any]) -> bytes:
        """One line."""
        return in_one_line(_json({"done": True, **value} if name == "done" else value)) + b"\n"


@attrs.define(frozen=True)
class Json(Ndjson):
    """The lines of `Ndjson` as the items of one JSON list, for clients that read a response whole."""

    content_type: ClassVar[str] = "application/json"

    def writer(self) -> Writer:
        """A fresh writer for one answer."""
        return _ListWriter(self)


@attrs.define(frozen=True)
class Text(Sse):
    """The text alone, which has no place for an error."""

    content_type: ClassVar[str] = "text/plain; charset=utf-8"
    keep_alive: ClassVar[bytes] = b""

    def writer(self) -> Writer:
        """A fresh writer for one answer."""
        return _TextWriter(self)


class _Writer(Writer):
    def __init__(self, format: Sse) -> None:
        self._format = format
        self._said = TextDeduplicator()
        self._finish: Optional[str] = None
        self._usage: Optional[Usage] = None

    def chunk(self, chunk: ChatCompletionChunk) -> bytes:
        self._finish = chunk.finish_reason or self._finish
        self._usage = chunk.usage or self._usage
        if self._format.event is not None:
            told = self._format.event(chunk)
            return b"" if told is None else self._format.written("", dict(told))
        text = self._news(chunk)
        return self._format.written("", {"content": text}) if text else b""

    def _news(self, chunk: ChatCompletionChunk) -> str:
        """What a visitor has not read yet: an answer that begins anew (`Retry.after_content`) says it all again."""
        if chunk.retry is not None and chunk.retry.policy != "restart":
            return ""
        text = self._said.news(chunk)
        if text is None:
            raise IncompleteStreamError("the answer was cut off, and began anew with other words")
        return text

    def end(self) -> bytes:
        return self._format.written("done", _facts(self._finish, self._usage))

    def error(self, error: BaseException) -> bytes:
        return self._format.written("error", {"error": dict(self._format.describe(error))})


class _ListWriter(_Writer):
    _before = b"["

    def chunk(self, chunk: ChatCompletionChunk) -> bytes:
        return self._item(super().chunk(chunk))

    def end(self) -> bytes:
        return self._item(super().end()) + b"]"

    def error(self, error: BaseException) -> bytes:
        return self._item(super().error(error)) + b"]"

    def _item(self, written: bytes) -> bytes:
        if not written:
            return b""
        before, self._before = self._before, b","
        return before + written


class _TextWriter(_Writer):
    def chunk(self, chunk: ChatCompletionChunk) -> bytes:
        return self._news(chunk).encode("utf-8", "replace")

    def end(self) -> bytes:
        return b""

    def error(self, error: BaseException) -> bytes:
        raise error


def _facts(finish: Optional[str], usage: Optional[Usage]) -> dict[str, Any]:
    facts: dict[str, Any] = {} if finish is None else {"finish_reason": finish}
    if usage is not None:
        facts["usage"] = {name: getattr(usage, name) for name in _COUNTS}
    return facts


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half an emoji
        return json.dumps(value).encode()
