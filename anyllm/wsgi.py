"""
Stream to a browser from Flask, Django, Bottle, or any other WSGI application, in one line.

    return wsgi.answer(stream)                                                                # Flask
    return StreamingHttpResponse(wsgi.body(stream), headers=wsgi.headers())                   # Django
    return HTTPResponse(*wsgi.answer(stream))                                                 # Bottle
    return wsgi.respond(environ, start_response, stream)                                      # none of them

Any of `anyllm.formats` can be named: "sse", "ndjson", "json" and "text" are for pages of one's own, the others are what
clients of OpenAI, Anthropic, Ollama and Gemini read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Literal, NamedTuple, Optional, Union

from anyllm import formats
from anyllm._serving.public_errors import retry_after
from anyllm.formats import KEEP_ALIVE, Body, describe, status

__all__ = ["Answer", "answer", "body", "describe", "headers", "respond", "status"]


#: Seconds, or "keep_alive" for as many as that; None for as long as it takes.
Patience = Union[float, Literal["keep_alive"], None]


class Answer(NamedTuple):
    """What a response is made of, in the order in which Flask, Werkzeug and Bottle take it."""

    body: Iterator[bytes]
    status: int
    headers: dict[str, str]


def body(
    stream: Any, format: formats.Named = "sse", *, keep_alive: Optional[float] = KEEP_ALIVE, **settings: Any
) -> Iterator[bytes]:
    """
    The body of a response, as it comes. An error becomes its last event, because the status has been sent by then.

    In "sse" each piece is ``data: {"content": "..."}``, the end ``event: done`` with ``{"finish_reason": ..., "usage":
    ...}``, an error ``event: error`` with ``{"error": {...}}``; a browser's EventSource would connect again after
    either, so close it there. In "ndjson" they are lines, ``{"content": ...}``, ``{"done": true, ...}`` and ``{"error":
    {...}}``, in "json" the items of one list. "text" is the text alone and has no place for an error: it is raised, so
    that the server breaks the connection off and the client sees that the answer is not whole.

    Args:
        stream: A `Stream`; anything else with ``chunks`` and ``errors``; or an iterable of chunks or text, with
            ``cancel()`` or ``close()`` if it can be ended.
        format: One of `anyllm.formats.FORMATS`, or an instance of one.
        keep_alive: Seconds of silence before a comment ("sse") or a space ("ndjson") is sent, which is how a client
            that has left is noticed, within this time and half a second; None for never. An iterable cannot be waited
            for only so long, and "text" has nothing to send that would not be part of it: there the client is missed
            at the next piece.
        settings: Those of the format. Of the four above: ``event``, what is sent of a chunk, as a dict (None skips it;
            not given, it is the text, none of it twice: reasoning and tool calls are the application's own business);
            and ``describe``, what is said of an error (`describe` if not given).

    Raises:
        TypeError: *stream* cannot be iterated, or is a Channel, which cannot say that it failed.
        ValueError: *format* is unknown, or *keep_alive* is not positive.

    Source: PEP 3333; https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    return Body(stream, formats.find(format, **settings), keep_alive)


def headers(format: formats.Named = "sse") -> dict[str, str]:
    """
    The headers that go with `body`: its type, and that nothing on the way may store, change or buffer it.

    Raises:
        ValueError: *format* is unknown.
    """
    return formats.headers(format)


def answer(
    stream: Any,
    format: formats.Named = "sse",
    *,
    patience: Patience = "keep_alive",
    keep_alive: Optional[float] = KEEP_ALIVE,
    **settings: Any,
) -> Answer:
    """
    Wait for the first content, so that an error before it has a status of its own.

    Args:
        patience: Seconds to wait; after that the answer begins, with 200, and an error becomes an event in it.
            Meanwhile nothing is written, so a client that leaves is not noticed: by default it is no longer than the
            silences of *keep_alive* are, 5 seconds where that is None. None waits as long as it takes.
        stream: As in `body`, and so are the others.

    Returns:
        Body, status and headers. After an error the body is one JSON object, ``{"error": {...}}``.

    Raises:
        ValueError: *patience* is negative; and as `body` does.
    """
    how = formats.find(format, **settings)
    seconds = seconds_to_wait(patience, keep_alive)
    made = Body(stream, how, keep_alive)
    error = made.begin(seconds)
    if error is None:
        return Answer(made, 200, headers(how))
    written, code, extra = failure(how, error)
    return Answer(iter([written]), code, extra)


def seconds_to_wait(patience: Patience, keep_alive: Optional[float]) -> Optional[float]:
    """How long *patience* is; None for as long as it takes."""
    if patience == "keep_alive":
        return KEEP_ALIVE if keep_alive is None else keep_alive
    if patience is not None and not patience >= 0:
        raise ValueError(f"patience must not be negative: {patience!r}")
    return patience


def failure(format: formats.Format, error: BaseException) -> tuple[bytes, int, dict[str, str]]:
    """Body, status and headers of a response that says why there is no answer."""
    code = status(error, format)
    extra = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    wait = retry_after(error)
    if wait is not None:
        extra["Retry-After"] = str(wait)
    return format.problem(error, code), code, extra


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
        start_response(f"{made.status} {HTTPStatus(made.status).phrase}", list(made.headers.items()))
    except BaseException:
        _end(made.body)
        raise
    if environ.get("REQUEST_METHOD") == "HEAD":
        _end(made.body)
        return []
    return made.body


def _end(body: Any) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
