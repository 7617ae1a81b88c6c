"""
Stream to a browser from Flask, Django, Bottle, or any other WSGI application, in one line.

    return wsgi.answer(stream)                                                                # Flask
    return StreamingHttpResponse(wsgi.body(stream), headers=wsgi.headers())                   # Django
    return HTTPResponse(*wsgi.answer(stream))                                                 # Bottle
    return wsgi.respond(environ, start_response, stream)                                      # none of them

Strategy: a server notices that its client has gone when it writes, and then calls the body's ``close()`` (PEP 3333).
So a silent model must not mean that nothing is written: the body waits for the next chunk only so long, then gives
something that every client ignores. ``close()``, letting go of the body, and any exception in it cancel the stream.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Optional

from anyllm._stream import Said
from anyllm._wsgi_sources import END, SILENCE, Source, source_of
from anyllm.errors import (
    AnyLLMError,
    APIError,
    Cancelled,
    ContentFilterError,
    ContextLengthExceededError,
    DeadlineExceeded,
    IncompleteStreamError,
    InvalidRequestError,
    LocalUnavailableError,
    MissingAPIKeyError,
    ModelNotFoundError,
    OverloadedError,
    RateLimitError,
    StreamTimeoutError,
    UnsupportedProviderError,
)
from anyllm.limits import CircuitOpenError, LimitTooSmallError, WaitTooLongError
from anyllm.types import ChatCompletionChunk

__all__ = ["Answer", "answer", "body", "describe", "headers", "respond", "status"]

_log = logging.getLogger("anyllm")

#: Seconds of silence before something is written that only proves that the client is there.
KEEP_ALIVE = 5.0
#: Seconds to wait for the first content before the answer begins without it, and can no longer fail with a status.
PATIENCE = 20.0

Event = Callable[[ChatCompletionChunk], Optional[Mapping[str, Any]]]
Describe = Callable[[BaseException], Mapping[str, Any]]


class Answer(NamedTuple):
    """What a response is made of, in the order in which Flask, Werkzeug and Bottle take it."""

    body: Iterator[bytes]
    status: int
    headers: dict[str, str]


# -- what people call --------------------------------------------------------------------------------------------------


def body(
    stream: Any,
    format: str = "sse",
    *,
    keep_alive: Optional[float] = KEEP_ALIVE,
    event: Optional[Event] = None,
    describe: Optional[Describe] = None,
) -> Iterator[bytes]:
    """
    The body of a response, as it comes. An error becomes its last event, because the status has been sent by then.

    In "sse" each piece is ``data: {"content": "..."}``, the end ``event: done`` with ``{"finish_reason": ..., "usage":
    ...}``, an error ``event: error`` with ``{"error": {...}}``; a browser's EventSource would connect again after
    either, so close it there. In "ndjson" they are lines, ``{"content": ...}``, ``{"done": true, ...}`` and ``{"error":
    {...}}``. "text" is the text alone and has no place for an error: it is raised, so that the server breaks the
    connection off and the client sees that the answer is not whole.

    Args:
        stream: A `Stream`; anything else with ``chunks`` and ``errors``; or an iterable of chunks or text, with
            ``cancel()`` or ``close()`` if it can be ended.
        format: "sse", "ndjson" or "text".
        keep_alive: Seconds of silence before a comment ("sse") or a space ("ndjson") is sent, which is how a client
            that has left is noticed; None for never. An iterable cannot be waited for only so long, and "text" has
            nothing to send that would not be part of it: there the client is missed at the next piece.
        event: What is sent of a chunk, as a dict; None skips it. Not given, it is the text, none of it twice; reasoning
            and tool calls are the application's own business.
        describe: What is said of an error. `describe` if not given.

    Raises:
        TypeError: *stream* cannot be iterated, or is a Channel, which cannot say that it failed.
        ValueError: *format* is unknown, or *keep_alive* is not positive.

    Source: PEP 3333; https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    if keep_alive is not None and not keep_alive > 0:
        raise ValueError(f"keep_alive must be positive, or None: {keep_alive!r}")
    return _Body(source_of(stream), _writer(format, event, describe), keep_alive)


def headers(format: str = "sse") -> dict[str, str]:
    """
    The headers that go with `body`: its type, and that nobody on the way may keep, change or buffer it.

    Raises:
        ValueError: *format* is unknown.
    """
    return {
        "Content-Type": _type_of(format),
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",  # nginx
        "X-Content-Type-Options": "nosniff",  # what a model writes may look like a page
    }


def answer(
    stream: Any,
    format: str = "sse",
    *,
    patience: Optional[float] = PATIENCE,
    keep_alive: Optional[float] = KEEP_ALIVE,
    event: Optional[Event] = None,
    describe: Optional[Describe] = None,
) -> Answer:
    """
    Wait for the first content, so that an error before it has a status of its own.

    Args:
        patience: Seconds to wait; after that the answer begins, with 200, and an error becomes an event in it. None
            waits as long as it takes. Meanwhile nothing is written, so a client that leaves is not noticed.
        stream: As in `body`, and so are the others.

    Returns:
        Body, status and headers. After an error the body is one JSON object, ``{"error": {...}}``.

    Raises:
        ValueError: *patience* is negative; and as `body` does.
    """
    if patience is not None and not patience >= 0:
        raise ValueError(f"patience must not be negative: {patience!r}")
    if keep_alive is not None and not keep_alive > 0:
        raise ValueError(f"keep_alive must be positive, or None: {keep_alive!r}")
    made = _Body(source_of(stream), _writer(format, event, describe), keep_alive)
    error = made.begin(patience)
    if error is None:
        return Answer(made, 200, headers(format))
    extra = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    wait = _retry_after(error)
    if wait is not None:
        extra["Retry-After"] = str(wait)
    return Answer(iter([_json({"error": made.writer.describe(error)})]), status(error), extra)


def respond(
    environ: Mapping[str, Any], start_response: Callable[..., Any], stream: Any, **options: Any
) -> Iterable[bytes]:
    """
    Answer a request of bare WSGI, with `answer`.

    Args:
        environ: The request.
        start_response: The server's.
        stream: As in `body`.
        options: As in `answer`.
    """
    made = answer(stream, **options)
    try:
        start_response(f"{made.status} {_REASONS[made.status]}", list(made.headers.items()))
    except BaseException:
        _end(made.body)
        raise
    if environ.get("REQUEST_METHOD") == "HEAD":
        _end(made.body)
        return []
    return made.body


def status(error: BaseException) -> int:
    """
    The HTTP status that an error is to a visitor.

    What the provider holds against us (the key, the account) is no fault of theirs: 401 and 403 do not come of it.
    """
    return next((code for kind, code in _STATUSES if isinstance(error, kind)), 500)


def describe(error: BaseException) -> dict[str, Any]:
    """
    What visitors are told of an error: its class, a sentence of ours, and whether to try again.

    The provider's own words may name accounts and limits; they are logged. For one's own eyes ``describe=lambda error:
    {"message": str(error)}`` tells all.
    """
    kind = type(error).__name__ if isinstance(error, AnyLLMError) else "InternalError"
    told: dict[str, Any] = {"type": kind, "message": _SENTENCES[status(error)]}
    told["is_retryable"] = isinstance(error, AnyLLMError) and error.is_retryable
    wait = _retry_after(error)
    if wait is not None:
        told["retry_after"] = wait
    return told


def _retry_after(error: BaseException) -> Optional[int]:
    """Whole seconds, as the header has them."""
    wait = getattr(error, "retry_after", None)
    return math.ceil(wait) if wait is not None and math.isfinite(wait) else None


_STATUSES: tuple[tuple[type[BaseException], int], ...] = (
    (RateLimitError, 429),
    (OverloadedError, 503),
    (ContextLengthExceededError, 413),
    (ContentFilterError, 422),
    (InvalidRequestError, 400),
    (ModelNotFoundError, 404),
    (UnsupportedProviderError, 404),
    (MissingAPIKeyError, 500),
    (LocalUnavailableError, 503),
    (CircuitOpenError, 503),
    (LimitTooSmallError, 413),
    (WaitTooLongError, 503),
    (Cancelled, 503),
    (DeadlineExceeded, 504),
    (StreamTimeoutError, 504),
    (APIError, 502),
    (AnyLLMError, 502),
)
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    413: "Content Too Large",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_SENTENCES = {
    400: "The model does not accept this request.",
    404: "There is no such model.",
    413: "The conversation is too long for the model.",
    422: "The answer was withheld by a safety filter.",
    429: "The model has too many requests now.",
    500: "Something went wrong here.",
    502: "The model's host did not give a whole answer.",
    503: "The model is not available now.",
    504: "The model took too long.",
}


# -- formats -----------------------------------------------------------------------------------------------------------


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half an emoji
        return json.dumps(value).encode()


class _Sse:
    """Server-sent events. A writer makes bytes of what comes; b"" is nothing to send."""

    type = "text/event-stream"
    keep_alive = b": keep-alive\n\n"

    def __init__(self, event: Optional[Event], describe: Optional[Describe]) -> None:
        self._event = event
        self._said = Said()
        self.describe: Describe = describe or _describe

    def piece(self, item: Any) -> bytes:
        if self._event is not None and not isinstance(item, str):
            told = self._event(item)
            return b"" if told is None else self._written("", dict(told))
        text = self._text_of(item)
        return self._written("", {"content": text}) if text else b""

    def _text_of(self, item: Any) -> str:
        """What a visitor has not read yet: an answer that begins anew (`Retry.after_content`) says it all again."""
        if isinstance(item, str):
            return item
        if item.retry is not None and item.retry.policy != "restart":
            return ""
        text = self._said.news(item)
        if text is None:
            raise IncompleteStreamError("the answer was cut off, and began anew with other words")
        return text

    def end(self, facts: dict[str, Any]) -> bytes:
        return self._written("done", facts)

    def error(self, error: BaseException) -> bytes:
        return self._written("error", {"error": dict(self.describe(error))})

    def _written(self, name: str, value: dict[str, Any]) -> bytes:
        line = f"event: {name}\n".encode() if name else b""
        return b"%bdata: %b\n\n" % (line, _json(value))


class _Ndjson(_Sse):
    """A JSON object a line. White space before one is part of JSON, so a space is all that keeps the line alive."""

    type = "application/x-ndjson"
    keep_alive = b" "

    def _written(self, name: str, value: dict[str, Any]) -> bytes:
        return _json({"done": True, **value} if name == "done" else value) + b"\n"


class _Text(_Sse):
    """The text alone."""

    type = "text/plain; charset=utf-8"
    keep_alive = b""

    def piece(self, item: Any) -> bytes:
        return self._text_of(item).encode("utf-8", "replace")

    def end(self, facts: dict[str, Any]) -> bytes:
        return b""

    def error(self, error: BaseException) -> bytes:
        raise error


_FORMATS: dict[str, type[_Sse]] = {"sse": _Sse, "ndjson": _Ndjson, "text": _Text}


def _format(name: str) -> type[_Sse]:
    try:
        return _FORMATS[name]
    except (KeyError, TypeError):
        raise ValueError(f"format must be one of {', '.join(_FORMATS)}: {name!r}") from None


def _type_of(format: str) -> str:
    return _format(format).type


_describe = describe  # an argument has this name too


def _writer(format: str, event: Optional[Event], describe: Optional[Describe]) -> _Sse:
    return _format(format)(event, describe)


# -- the body ----------------------------------------------------------------------------------------------------------


class _Body:
    """
    The iterable that the server gets. One thread iterates it; any may close it.

    No generator: closing one that has not begun would not run a line of it, and the stream would go on.
    """

    def __init__(self, source: Source, writer: _Sse, keep_alive: Optional[float]) -> None:
        self.writer = writer
        self._source: Optional[Source] = source  # None once the stream is over, or ended
        self._keep_alive = keep_alive if writer.keep_alive else None
        self._ready = b""  # what `begin` has received
        self._facts: dict[str, Any] = {}

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        ready, self._ready = self._ready, b""
        if ready:
            return ready
        try:
            written = self._next_bytes(self._keep_alive)
        except Exception as exc:
            if self._source is None:  # closed meanwhile: the error is that it was cancelled, and nobody is there
                raise StopIteration from None
            self._note(exc)
            self.close()
            return self.writer.error(exc)
        except BaseException:
            self.close()
            raise
        if written is None:
            raise StopIteration
        return written or self.writer.keep_alive

    def begin(self, patience: Optional[float]) -> Optional[BaseException]:
        """Wait for the first bytes and keep them; the error, if there are none because of one."""
        try:
            self._ready = self._next_bytes(patience) or b""
        except Exception as exc:
            self._note(exc)
            self.close()
            return exc
        except BaseException:
            self.close()
            raise
        return None

    def close(self) -> None:
        """End the stream, unless it is over. The server calls it, whatever happened."""
        source, self._source = self._source, None
        self._ready = b""
        if source is not None:
            source.cancel()

    def __del__(self) -> None:
        # Cancelling a stream is safe in a finalizer; what else has a `close` runs it in its own as well.
        if self.__dict__.get("_source") is not None:
            self.close()

    def _next_bytes(self, seconds: Optional[float]) -> Optional[bytes]:
        """
        The next bytes to send; None when all is said; b"" when there are none in so many *seconds*, whatever comes.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            source = self._source
            if source is None:
                return None
            item = source.next(None if until is None else max(0.0, until - time.monotonic()))
            if item is SILENCE:
                return b""
            if item is END:
                self.close()
                return self.writer.end(self._facts) or None
            self._learn(item)
            written = self.writer.piece(item)
            if written or (until is not None and time.monotonic() >= until):
                return written

    def _learn(self, item: Any) -> None:
        if isinstance(item, str):
            return
        if not isinstance(item, ChatCompletionChunk):
            raise TypeError(f"expected chunks or text, not {type(item).__name__}")
        if item.finish_reason is not None:
            self._facts["finish_reason"] = item.finish_reason
        if item.usage is not None:
            self._facts["usage"] = {
                name: getattr(item.usage, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
            }

    @staticmethod
    def _note(error: Exception) -> None:
        if isinstance(error, AnyLLMError):
            _log.warning("a streamed response ended with an error: %s: %s", type(error).__name__, error)
        else:
            _log.error("a bug ended a streamed response", exc_info=error)


def _end(body: Any) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
