"""
Who may come in: by key, and from where.

Without keys a gateway listens on loopback only, and even there a page that a user looks at could make the browser ask
it: by its address, which the Origin header tells, or by a name that was made to point there, as the Host header does.
"""

from __future__ import annotations

import ipaddress
from typing import Optional, Protocol
from urllib.parse import urlsplit

from anyllm.errors import AuthenticationError, PermissionDeniedError
from anyllm.gateway._config import Server
from anyllm.gateway._keys import Keys

__all__ = ["allowed_origin", "check_key", "check_origin", "is_loopback"]


class Asking(Protocol):
    """A request, as far as it is known before its body."""

    def header(self, name: str) -> str:
        """A header; "" when there is none."""

    def query(self, name: str) -> str:
        """The value that the query of the URL gives a name; "" when it gives none."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def check_key(asking: Asking, keys: Keys) -> str:
    """
    Whose key the client shows; "" where none is needed.

    Raises:
        AuthenticationError: nobody's.
    """
    if not keys:
        return ""
    shown = _key_in(asking)
    name = keys.name_of(shown) if shown else None
    if name is None:
        what = "the key is wrong" if shown else "a key is needed: Authorization: Bearer KEY, or x-api-key: KEY"
        raise AuthenticationError(what, status_code=401, code="invalid_api_key")
    return name


def _key_in(asking: Asking) -> str:
    """Where each format's clients put it; Google's older ones put it into the URL."""
    kind, _, value = asking.header("Authorization").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    shown = next(filter(None, map(asking.header, ("x-api-key", "api-key", "x-goog-api-key"))), "")
    return (shown or asking.query("key")).strip()


def check_origin(asking: Asking, server: Server) -> None:
    """
    Refuse what a browser asks for a page of somebody else's. Where there are keys it need not be called: no browser
    sends one unasked.

    Raises:
        PermissionDeniedError: it does.
    """
    origin = asking.header("Origin")
    if origin and allowed_origin(asking, server) is None:
        raise PermissionDeniedError(f"pages of {origin[:200]} may not call: see `origins`", status_code=403)
    # Images and the like of other pages are asked for without an Origin; a link to ours is none of those.
    is_elsewhere = asking.header("Sec-Fetch-Site") in ("cross-site", "same-site")
    if is_elsewhere and not origin and asking.header("Sec-Fetch-Mode") != "navigate":
        raise PermissionDeniedError("parts of other pages may not call", status_code=403)
    host = _part_of(f"//{asking.header('Host')}", "hostname").rstrip(".")
    if host and not is_loopback(host) and host not in {server.host.lower(), *server.hosts}:
        raise PermissionDeniedError(f"the name {host[:200]} is none of this gateway's: see `hosts`", status_code=403)


def allowed_origin(asking: Asking, server: Server) -> Optional[str]:
    """The request's origin, if it is the gateway's own or one that may call; None if it is neither."""
    origin = asking.header("Origin")
    place = _part_of(origin, "netloc")
    is_own = bool(place) and place == asking.header("Host").lower()
    return origin if is_own or (origin and origin.lower() in server.origins) else None


def _part_of(url: str, name: str) -> str:
    """A part of a URL, in lower case; "" of what is none."""
    try:
        return str(getattr(urlsplit(url), name) or "").lower()
    except ValueError:
        return "(unreadable)"
