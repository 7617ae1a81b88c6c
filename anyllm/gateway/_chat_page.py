"""
The chat page: serves the static files in ``page/``.

The Content-Security-Policy allows the page its own scripts and styles, and requests to the gateway that served it.
So a model's text could neither run nor load anything, even if it became markup.
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

_JAVASCRIPT = "text/javascript; charset=utf-8"
#: Files and their content types, by path.
_FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "/": ("index.html", "text/html; charset=utf-8"),
        **{f"/{name}": (name, _JAVASCRIPT) for name in ("page.js", "dom.js", "events.js", "markdown.js")},
        "/page.css": ("page.css", "text/css; charset=utf-8"),
        "/icon.svg": ("icon.svg", "image/svg+xml"),
    }
)
#: The paths of the page's files.
PATHS: tuple[str, ...] = tuple(_FILES)

_POLICY = (
    *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:"),
    *("form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'"),
)
_HEADERS = {
    "Cache-Control": "no-cache",  # revalidate: a page and a script of different versions do not work together
    "Content-Security-Policy": "; ".join(_POLICY),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@attrs.define(frozen=True)
class _File:
    """A file of the page, and the headers of every response for it, a 304 too."""

    body: bytes
    headers: Mapping[str, str]
    content_type: str


def page(path: str, etag: str) -> Optional[GatewayResponse]:
    """
    The file at *path*, or a 304 if *etag*, the request's ``If-None-Match`` or "", names it; None if there is none.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
    """
    if path not in _FILES:
        return None
    file = _read(path)
    if _matches(file.headers["ETag"], etag):
        return GatewayResponse(304, dict(file.headers), ())
    entity = {"Content-Type": file.content_type, "Content-Length": str(len(file.body))}
    return GatewayResponse(200, {**file.headers, **entity}, [file.body])


@cache
def _read(path: str) -> _File:
    name, content_type = _FILES[path]
    body = (resources.files("anyllm.gateway") / "page" / name).read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return _File(body, {**_HEADERS, "ETag": tag}, content_type)


def _matches(tag: str, if_none_match: str) -> bool:
    """Whether the header contains *tag*, maybe weak: a proxy that compresses makes our tag weak."""
    return any(one.strip() in ("*", tag, f"W/{tag}") for one in if_none_match.split(","))
