"""
One request and its answer: what is known of it, and what the access log and the metrics are told when it is over.

Neither content nor keys get here: a model's name, whose key it was, counts, and how it ended.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Optional
from urllib.parse import parse_qs

from anyllm.context import Context
from anyllm.errors import InvalidRequestError
from anyllm.types import ChatCompletionChunk, Usage
from anyllm.wire._base.request_fields import wrong

__all__ = ["CLIENT_LEFT", "OUTLET", "BodyTooLarge", "RequestContext", "in_query"]

_log = logging.getLogger("anyllm.gateway")

#: Where a server that notices at once that a client has left lets us ask to be told: a function that takes a function.
CLIENT_LEFT = "anyllm.client_left"
#: Where a server that lets other threads write says how: an `Outlet`.
OUTLET = "anyllm.outlet"
#: Why an exchange whose client has left is cancelled.
GONE = "the client has left"


class BodyTooLarge(InvalidRequestError):
    """A request's body is larger than the gateway takes (413)."""


class RequestContext:
    """
    One request. One thread answers it; its end may come from another.

    Args:
        environ: As PEP 3333 has it.
        max_seconds: The longest that it may take.
        on_over: Called once, when it is over.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        environ: Mapping[str, Any],
        max_seconds: Optional[float],
        on_over: Callable[[RequestContext], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.environ = environ
        self.id = f"req_{uuid.uuid4().hex}"
        self.method: str = environ["REQUEST_METHOD"]
        self.path = _decoded(environ.get("PATH_INFO") or "/")
        self.ctx = Context(max_seconds)
        self.endpoint = ""  # the path as it stands in the table; "" for one that does not
        self.key_name = ""
        self.model = ""
        self.provider = ""
        self.status = 0
        self.usage: Optional[Usage] = None
        self.error: Optional[BaseException] = None
        self.is_stream = False
        self.chunks = 0
        self.holds_slot = False
        self.first_content: Optional[float] = None  # seconds from the start
        self.seconds = 0.0
        self._clock = clock
        self._since = clock()
        self._on_over: list[Callable[[RequestContext], object]] = [on_over]
        watch = environ.get(CLIENT_LEFT)
        if watch is not None:
            watch(self.leave)

    # -- what came -------------------------------------------------------------------------------------------------

    def header(self, name: str) -> str:
        """A header of the request; "" when there is none."""
        value: str = self.environ.get(f"HTTP_{name.upper().replace('-', '_')}") or ""
        return value

    def query(self, name: str) -> str:
        """The value that the query of the URL gives a name; "" when it gives none."""
        return in_query(self.environ.get("QUERY_STRING") or "", name)

    def json(self, limit: int) -> Any:
        """
        The body, decoded.

        Raises:
            BodyTooLarge: it is larger than *limit* bytes.
            InvalidRequestError: it is no JSON.
        """
        body = self._body(limit)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise wrong(None, f"the body is no JSON: {str(exc)[:200]}") from exc

    def _body(self, limit: int) -> bytes:
        said = str(self.environ.get("CONTENT_LENGTH") or "").strip()
        if said and not said.isdecimal():
            raise wrong(None, "Content-Length must be a number")
        if int(said or 0) > limit:
            raise _too_large(limit)
        length = int(said) if said else limit + 1
        source, pieces, left = self.environ["wsgi.input"], [], length
        while left > 0:
            piece = source.read(min(left, 1 << 16))
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        if not said and left <= 0:
            raise _too_large(limit)
        return b"".join(pieces)

    # -- what is answered ------------------------------------------------------------------------------------------

    def chunk(self, chunk: ChatCompletionChunk) -> None:
        """Take note of what a chunk says beside its content."""
        self.chunks += 1
        if self.first_content is None and (chunk.content or chunk.reasoning or chunk.tool_calls):
            self.first_content = self._clock() - self._since
        if chunk.usage is not None:
            self.usage = chunk.usage

    def leave(self) -> None:
        """The client has gone: end what is done for it."""
        self.ctx.cancel(GONE)

    def over(self) -> None:
        """It is over, in whatever way; a second time does nothing."""
        try:
            on_over = self._on_over.pop()
        except IndexError:
            return
        self.seconds = self._clock() - self._since
        self.ctx.cancel()
        on_over(self)
        self._write_log()

    @property
    def client_left(self) -> bool:
        """Whether the client went before its answer was whole."""
        return self.ctx.cause == GONE

    def _write_log(self) -> None:
        facts: dict[str, Any] = {
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
        _log.info("%s", json.dumps({name: value for name, value in facts.items() if value is not None}))


def in_query(query: str, name: str) -> str:
    """The value that a query gives a name; "" when it gives none."""
    return parse_qs(query).get(name, [""])[0]


def _decoded(path: str) -> str:
    """WSGI has the bytes of a path as Latin-1."""
    try:
        return path.encode("latin-1").decode()
    except UnicodeError:
        return path


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes", status_code=413)
