"""
One HTTP request: its headers and body, its Context, and what the access log and the metrics record of it.

The record contains neither content nor keys: only names, counts, times and how the request ended.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Optional
from urllib.parse import parse_qs

from anyllm._concurrency import waiters
from anyllm.context import Context
from anyllm.errors import InvalidRequestError
from anyllm.types import ChatCompletionChunk, Usage
from anyllm.wire._base.request_fields import wrong

_log = logging.getLogger("anyllm.gateway")

#: In the environment of a server that notices at once that a client has left: a function that registers a callback.
CLIENT_LEFT = "anyllm.client_left"
#: In the environment of a server in which other threads may write the response: an `Outlet`.
OUTLET = "anyllm.outlet"
#: The cause with which the request's Context is cancelled when its client has left.
_LEFT = "the client has left"


class BodyTooLarge(InvalidRequestError):
    """The body of a request is larger than the gateway accepts (413)."""


class RequestHead:
    """A request, of which at least the headers have been read: *environ* is a WSGI environment, or a part of one."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self.environ = environ

    def header(self, name: str) -> str:
        """A header; "" if there is none."""
        value: str = self.environ.get(f"HTTP_{name.upper().replace('-', '_')}") or ""
        return value

    def query(self, name: str) -> str:
        """The first value of *name* in the URL's query; "" if there is none."""
        values: dict[str, list[str]] = parse_qs(self.environ.get("QUERY_STRING") or "")
        return values.get(name, [""])[0]


class RequestContext(RequestHead):
    """
    One request. One thread answers it; another may abort or finish it.

    Args:
        environ: The WSGI environment.
        max_seconds: The limit of the whole request; None for no limit.
        on_finish: Called once, when the request is over.
        clock: Monotonic seconds.

    Attributes:
        id: Made up here; the client gets it as ``x-request-id``.
        ctx: Ends the call to the provider.
        endpoint: The operation's path, without what a client made up; "" if there is no such operation.
        key_name: The name of the key's owner; "" without keys.
        first_content: Seconds from the start; None if there was no content.
        seconds: From the start to the end; 0 while the request is running.

    Source: PEP 3333.
    """

    def __init__(
        self,
        environ: Mapping[str, Any],
        max_seconds: Optional[float],
        on_finish: Callable[[RequestContext], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(environ)
        self.id = f"req_{uuid.uuid4().hex}"
        self.method: str = environ["REQUEST_METHOD"]
        self.path = _decode(environ.get("PATH_INFO") or "/")
        self.ctx = Context(max_seconds)
        self.endpoint = ""
        self.key_name = ""
        self.model = ""
        self.provider = ""
        self.status = 0
        self.usage: Optional[Usage] = None
        self.error: Optional[BaseException] = None
        self.is_stream = False
        self.chunks = 0
        self.has_slot = False
        self.first_content: Optional[float] = None
        self.seconds = 0.0
        self._clock = clock
        self._start = clock()
        self._on_finish = on_finish
        self._finish_permits: list[None] = [None]
        on_client_left = environ.get(CLIENT_LEFT)
        if on_client_left is not None:
            on_client_left(self.abort)

    # -- the request -----------------------------------------------------------------------------------------------

    def json(self, limit: int) -> Any:
        """
        The body, decoded.

        Raises:
            BodyTooLarge: the body is larger than *limit* bytes.
            InvalidRequestError: the body is not JSON.
        """
        body = self._body(limit)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise wrong(None, f"the body is not JSON: {str(exc)[:200]}") from exc

    def _body(self, limit: int) -> bytes:
        header = str(self.environ.get("CONTENT_LENGTH") or "").strip()
        if header and not header.isdecimal():
            raise wrong(None, "Content-Length must be a number")
        if int(header or 0) > limit:
            raise _too_large(limit)
        stream, pieces, remaining = self.environ["wsgi.input"], [], int(header) if header else limit + 1
        while remaining > 0:
            piece = stream.read(min(remaining, 1 << 16))
            if not piece:
                break
            pieces.append(piece)
            remaining -= len(piece)
        if not header and remaining <= 0:
            raise _too_large(limit)
        return b"".join(pieces)

    # -- the answer ------------------------------------------------------------------------------------------------

    def record(self, chunk: ChatCompletionChunk) -> None:
        """Record the counts and times of a chunk."""
        self.chunks += 1
        if self.first_content is None and (chunk.content or chunk.reasoning or chunk.tool_calls):
            self.first_content = self._clock() - self._start
        if chunk.usage is not None:
            self.usage = chunk.usage

    def abort(self) -> None:
        """Cancel the call, because the client has left."""
        self.ctx.cancel(_LEFT)

    def finish(self) -> None:
        """End and log the request; a second call does nothing."""
        if not waiters.take_one(self._finish_permits):
            return
        self.seconds = self._clock() - self._start
        self.ctx.cancel()
        self._on_finish(self)
        self._write_log()

    @property
    def client_left(self) -> bool:
        """Whether the client left before its answer was complete."""
        return self.ctx.cause == _LEFT

    def _write_log(self) -> None:
        fields: dict[str, Any] = {
            "request": self.id,
            "key": self.key_name or None,
            "method": self.method,
            "path": self.endpoint or "(unknown)",
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "model": self.model[:200] or None,
            "provider": self.provider or None,
            "stream": self.is_stream or None,
            "first_content": None if self.first_content is None else round(self.first_content, 3),
            "prompt_tokens": self.usage and self.usage.prompt_tokens,
            "completion_tokens": self.usage and self.usage.completion_tokens,
            "error": type(self.error).__name__ if self.error is not None else None,
            "client_left": self.client_left or None,
        }
        _log.info("%s", json.dumps({name: value for name, value in fields.items() if value is not None}))


def _decode(path: str) -> str:
    """A path as text: WSGI decodes its bytes as Latin-1."""
    try:
        return path.encode("latin-1").decode()
    except UnicodeError:
        return path


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes", status_code=413)
