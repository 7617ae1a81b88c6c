"""
The chat page: a few files of this package, as they are.

The Content-Security-Policy says all that the page may do: run its own script, use its own style, and ask the gateway
that it came from. What a model writes could neither run nor load anything, even if it became markup.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Optional

import attrs

from anyllm.gateway._responses import GatewayResponse

__all__ = ["PATHS", "page"]

_JAVASCRIPT = "text/javascript; charset=utf-8"
#: For each path a file and its type.
_FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "/": ("index.html", "text/html; charset=utf-8"),
        **{f"/{name}": (name, _JAVASCRIPT) for name in ("page.js", "dom.js", "events.js", "markdown.js")},
        "/page.css": ("page.css", "text/css; charset=utf-8"),
        "/icon.svg": ("icon.svg", "image/svg+xml"),
    }
)
#: Where the page's files are.
PATHS: tuple[str, ...] = tuple(_FILES)

_POLICY = (
    *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:"),
    *("form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'"),
)
_HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked for again: a page and a script of two versions do not fit
    "Content-Security-Policy": "; ".join(_POLICY),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@attrs.define(frozen=True)
class _File:
    """
    One of them.

    Attributes:
        body: Its bytes.
        headers: Those of a response that has it, or that says that the client has.
        type: The type of its content.
    """

    body: bytes
    headers: Mapping[str, str]
    type: str


def page(path: str, etag: str) -> Optional[GatewayResponse]:
    """
    The response for one of `PATHS`.

    Args:
        path: As in the request.
        etag: The request's ``If-None-Match``; "" for none.

    Returns:
        The file; a 304 without one, where the client has it already; None where nothing of the page is at *path*.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
    """
    if path not in _FILES:
        return None
    file = _read(path)
    if _is_among(file.headers["ETag"], etag):
        return GatewayResponse(304, dict(file.headers), ())
    more = {"Content-Type": file.type, "Content-Length": str(len(file.body))}
    return GatewayResponse(200, {**file.headers, **more}, [file.body])


@cache
def _read(path: str) -> _File:
    name, kind = _FILES[path]
    body = (resources.files("anyllm.gateway") / "page" / name).read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return _File(body, {**_HEADERS, "ETag": tag}, kind)


def _is_among(tag: str, said: str) -> bool:
    """Whether a tag is one of those in a header. A weak one is as good: a proxy that compresses makes it of ours."""
    return any(one.strip() in ("*", tag, f"W/{tag}") for one in said.split(","))
