"""
Access control: the client's key, and the origin of browser requests.

A gateway without keys listens on loopback only. Even so, a web page could make the user's browser send requests to it:
from another origin, which the Origin header names, or under a domain that resolves to loopback (DNS rebinding), which
the Host header names.
"""

from __future__ import annotations

import ipaddress
from typing import Optional
from urllib.parse import urlsplit

from anyllm.errors import AuthenticationError, PermissionDeniedError
from anyllm.gateway._client_keys import Keys
from anyllm.gateway._config import ServerConfig
from anyllm.gateway._request_context import RequestHead


def is_loopback(host: str) -> bool:
    """Whether *host* is a loopback address, which only this machine can reach."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def check_key(request: RequestHead, keys: Keys) -> str:
    """The owner of the client's key, "" if the gateway has no keys; AuthenticationError without a valid key."""
    if not keys:
        return ""
    key = _key_in(request)
    owner = keys.owner(key) if key else None
    if owner is None:
        message = "the key is wrong" if key else "a key is needed: Authorization: Bearer KEY, or x-api-key: KEY"
        raise AuthenticationError(message, status_code=401, code="invalid_api_key")
    return owner


def _key_in(request: RequestHead) -> str:
    """The client's key, from where clients of each format put it; Google's older ones put it into the URL."""
    kind, _, value = request.header("Authorization").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    key = next(filter(None, map(request.header, ("x-api-key", "api-key", "x-goog-api-key"))), "")
    return (key or request.query("key")).strip()


def check_origin(request: RequestHead, server: ServerConfig) -> None:
    """
    Reject requests of pages of other origins.

    Only for gateways without keys: a browser sends a key only if the page knows it.

    Raises:
        PermissionDeniedError: the request is of such a page.
    """
    origin = request.header("Origin")
    if origin and allowed_origin(request, server) is None:
        raise PermissionDeniedError(f"the origin {origin[:200]} is not allowed: see `origins`", status_code=403)
    # Images and scripts in other pages are fetched without an Origin header; following a link to our page is allowed.
    is_elsewhere = request.header("Sec-Fetch-Site") in ("cross-site", "same-site")
    if is_elsewhere and not origin and request.header("Sec-Fetch-Mode") != "navigate":
        raise PermissionDeniedError("requests from within pages of other origins are not allowed", status_code=403)
    host = _part_of(f"//{request.header('Host')}", "hostname").rstrip(".")
    if host and not is_loopback(host) and host not in {server.host.lower(), *server.hosts}:
        raise PermissionDeniedError(f"the host name {host[:200]} is not allowed: see `hosts`", status_code=403)


def allowed_origin(request: RequestHead, server: ServerConfig) -> Optional[str]:
    """The request's origin, if it is the gateway's own or allowed by the configuration; else None."""
    origin = request.header("Origin")
    authority = _part_of(origin, "netloc")
    is_own = bool(authority) and authority == request.header("Host").lower()
    return origin if is_own or (origin and origin.lower() in server.origins) else None


def _part_of(url: str, name: str) -> str:
    """A part of a URL, in lower case; "" if it has none."""
    try:
        return str(getattr(urlsplit(url), name) or "").lower()
    except ValueError:
        return "(unreadable)"
