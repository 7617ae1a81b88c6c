"""
Stream to a browser from Flask, Django, Bottle, or any other WSGI application, in one line.

    return wsgi.answer(stream)                                                                # Flask
    return StreamingHttpResponse(wsgi.body(stream), headers=wsgi.headers())                   # Django
    return HTTPResponse(*wsgi.answer(stream))                                                 # Bottle
    return wsgi.respond(environ, start_response, stream)                                      # bare WSGI

The formats are those of `anyllm.formats`: "sse", "ndjson", "json" and "text" are for your own pages, the others for
clients of OpenAI, Anthropic, Ollama and Gemini.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, Optional

from anyllm import formats
from anyllm._serving.responses import FirstContentTimeout, error_response, first_content_seconds
from anyllm.formats import KEEP_ALIVE, Body, describe, status

__all__ = ["Answer", "WsgiResponse", "answer", "body", "describe", "headers", "respond", "status"]


class WsgiResponse(NamedTuple):
    """The parts of a response, in the order of the arguments of Flask's, Werkzeug's and Bottle's."""

    body: Iterator[bytes]
    status: int
    headers: dict[str, str]


Answer = WsgiResponse  #: The former name.


def body(
    stream: Any, format: formats.Named = "sse", *, keep_alive: Optional[float] = KEEP_ALIVE, **settings: Any
) -> Iterator[bytes]:
    """
    The body of a streamed response. An error becomes its last event, because the status has been sent by then.

    In "sse" each event is ``data: {"content": "..."}``, the end ``event: done`` with ``{"finish_reason": ..., "usage":
    ...}``, an error ``event: error`` with ``{"error": {...}}``; a browser's EventSource would connect again after
    either, so close it there. In "ndjson" they are lines, ``{"content": ...}``, ``{"done": true, ...}`` and ``{"error":
    {...}}``, in "json" the items of one list. "text" is only the text and cannot express an error: it is raised, so
    that the server breaks off the connection and the client sees that the answer is not whole.

    Args:
        stream: A `Stream`; anything else with ``chunks`` and ``errors``; or an iterable of chunks or text, with
            ``cancel()`` or ``close()`` if it can be ended.
        format: One of `anyllm.formats.FORMATS`, or an instance of one.
        keep_alive: Seconds of silence before a comment ("sse") or a space ("ndjson") is sent, which shows within this
            time and half a second whether the client has left; None for never. While it waits for the next item of an
            iterable, and in "text", where everything sent would be part of the text, nothing is sent: there a client
            that has left is noticed with the next item.
        settings: Settings of the format. For the four above: ``event``, a function that makes a dict of a chunk, or
            None to skip it (by default the text, without repetitions; reasoning and tool calls are not sent); and
            ``describe``, a function that makes a dict of an error (`describe` by default).

    Raises:
        TypeError: *stream* cannot be iterated, or is a Channel, which cannot report an error.
        ValueError: *format* is unknown, or *keep_alive* is not positive.

    Source: PEP 3333; https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    return Body(stream, formats.find(format, **settings), keep_alive)


def headers(format: formats.Named = "sse") -> dict[str, str]:
    """
    The headers that go with `body`: the content type, and that no proxy may store, change or buffer the response.

    Raises:
        ValueError: *format* is unknown.
    """
    return formats.headers(format)


def answer(
    stream: Any,
    format: formats.Named = "sse",
    *,
    first_content_timeout: FirstContentTimeout = "keep_alive",
    keep_alive: Optional[float] = KEEP_ALIVE,
    **settings: Any,
) -> WsgiResponse:
    """
    Wait for the first content, so that an error before it can have its own status.

    Args:
        first_content_timeout: Seconds to wait; then the response begins with status 200, and a later error becomes an
            event in it. Nothing is written meanwhile, so a client that leaves is not noticed: by default this is as
            long as *keep_alive*, and 5 seconds where that is None. None waits without a limit.
        stream, format, keep_alive, settings: As in `body`.

    Returns:
        Body, status and headers. After an error the body is one JSON object, ``{"error": {...}}``.

    Raises:
        ValueError: *first_content_timeout* is negative; and as `body` does.
    """
    seconds = first_content_seconds(first_content_timeout, keep_alive, settings)
    chosen = formats.find(format, **settings)
    content = Body(stream, chosen, keep_alive)
    error = content.begin(seconds)
    if error is None:
        return WsgiResponse(content, 200, formats.headers(chosen))
    data, code, error_headers = error_response(error, chosen)
    return WsgiResponse(iter([data]), code, error_headers)


def respond(
    environ: Mapping[str, Any], start_response: Callable[..., Any], stream: Any, **options: Any
) -> Iterable[bytes]:
    """
    Answer a request of bare WSGI with a stream.

    Args:
        environ: The request.
        start_response: The server's function.
        stream: As in `body`.
        options: As in `answer`.
    """
    response = answer(stream, **options)
    try:
        start_response(f"{response.status} {HTTPStatus(response.status).phrase}", list(response.headers.items()))
    except BaseException:
        _close(response.body)
        raise
    if environ.get("REQUEST_METHOD") == "HEAD":
        _close(response.body)
        return []
    return response.body


def _close(body: Any) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
