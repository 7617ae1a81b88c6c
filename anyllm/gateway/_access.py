"""
Who may come in: by key, and from where.

Without keys a gateway listens on loopback only, and even there a page that a user looks at could make the browser ask
it: by its address, which the Origin header tells, or by a name that was made to point there, as the Host header does.
"""

from __future__ import annotations

import ipaddress
from typing import Optional
from urllib.parse import urlsplit

from anyllm.errors import AuthenticationError, PermissionDeniedError
from anyllm.gateway._config import Server
from anyllm.gateway._exchange import Exchange
from anyllm.gateway._keys import Keys

__all__ = ["allowed_origin", "check_key", "check_origin", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_key(exchange: Exchange, keys: Keys) -> str:
    """
    Whose key the client shows; "" where none is needed.

    Raises:
        AuthenticationError: nobody's.
    """
    if not keys:
        return ""
    shown = _key_in(exchange)
    name = keys.name_of(shown) if shown else None
    if name is None:
        what = "the key is wrong" if shown else "a key is needed: Authorization: Bearer KEY, or x-api-key: KEY"
        raise AuthenticationError(what, status_code=401, code="invalid_api_key")
    return name


def _key_in(exchange: Exchange) -> str:
    """Where each format's clients put it."""
    kind, _, value = exchange.header("Authorization").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    shown = next(filter(None, map(exchange.header, ("x-api-key", "api-key", "x-goog-api-key"))), "")
    return (shown or exchange.query("key")).strip()


def check_origin(exchange: Exchange, server: Server, has_keys: bool) -> None:
    """
    Refuse what a browser asks for a page of somebody else's.

    Raises:
        PermissionDeniedError: it does.
    """
    origin = exchange.header("Origin")
    if origin and allowed_origin(exchange, server) is None:
        raise PermissionDeniedError(f"pages of {origin} may not call: see `origins`", status_code=403)
    if has_keys:
        return
    host = _name_in(f"//{exchange.header('Host')}")
    if host and not is_loopback(host) and host not in {server.host.lower(), *map(str.lower, server.hosts)}:
        raise PermissionDeniedError(f"the name {host} is none of this gateway's: see `hosts`", status_code=403)


def allowed_origin(exchange: Exchange, server: Server) -> Optional[str]:
    """The request's origin, if it is the gateway's own or one that may call; None if it is neither."""
    origin = exchange.header("Origin")
    own = urlsplit(origin).netloc.lower() == exchange.header("Host").lower()
    return origin if origin and (own or origin in server.origins) else None


def _name_in(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return url
