"""
What requests, urllib3 and ssl raise, in our words: once, where it enters, and without the caller's secrets.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Optional
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import requests
import urllib3

from anyllm.errors import (
    AnyLLMError,
    APIError,
    InvalidRequestError,
    MalformedStreamError,
    NetworkError,
    StreamTimeoutError,
)

__all__ = ["FOREIGN", "is_secret", "no_url", "reason", "secrets_in", "translate", "without_secrets", "wrong_url"]

#: Characters of a foreign error's words that are kept: some quote the whole of what they choked on.
_LONGEST_REASON = 300
#: Names of headers and of parameters that hold what nobody may be shown.
_SECRET = re.compile(r"auth|key|token|secret|\bsig\b|signature|password|cookie", re.IGNORECASE)
#: Messages of hosts, and of what stands before them, that have nothing at the path.
_NO_PATH = re.compile(
    r"^\W*(404\W*)?((error|http|page|file|resource|route|path|url|endpoint|api)\W*)*(404\W*)?((was|is)\W*)?"
    r"(not[ _]?found|method not allowed)?\W*$"
    r"|\b(no|unknown|invalid|unexpected|unsupported) (such )?(request )?(url|path|route|endpoint|handler|page)\b"
    r"|\b(requested (url|resource|path|endpoint)|cannot (get|post))\b",
    re.IGNORECASE,
)
#: What OpenAI's formats append to a base URL that ends in a version.
_OPENAI_PATHS = ("/chat/completions", "/responses", "/embeddings", "/models")
_VERSION = re.compile(r"/v\d\w*(?=/|$)")
#: All that sending may raise; ValueError is what headers and URLs become that cannot be sent.
FOREIGN = (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError)
#: We have no time-out but the one for connecting; in the TLS handshake it comes as that of a read.
_TIMED_OUT = (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.ReadTimeoutError)
_NO_URL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    urllib3.exceptions.LocationValueError,
)


def without_secrets(url: str) -> str:
    """*url* as far as it may be shown: a user's password may stand before the host, and anything in the query."""
    where = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = where.rpartition("//")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def is_secret(name: str) -> bool:
    """Whether a header or parameter of this name holds what nobody may be shown."""
    return _SECRET.search(name) is not None


def secrets_in(key: Optional[str], headers: Mapping[str, str], url: str) -> tuple[str, ...]:
    """What of a request nobody may be shown, as it was sent and as it stands in URLs, should the host repeat it."""
    found = [] if key is None else [key, *key.split(":")[1:]]  # a pair's first half is no secret
    for name, value in headers.items():
        if is_secret(name):
            found += [value, value.rpartition(" ")[2]]
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        found += [value for name, value in parse_qsl(parts.query) if is_secret(name)]
        found += [unquote(parts.password)] if parts.password else []
    return tuple(dict.fromkeys([*found, *(quote(secret, safe="") for secret in found)]))


def no_url(url: str) -> InvalidRequestError:
    """The error of a URL that nothing can be sent to."""
    return InvalidRequestError(f"cannot send to {without_secrets(url)!r}: it is no http or https URL; check base_url")


def wrong_url(error: AnyLLMError, url: str, base_url: Optional[str], is_page: bool) -> Optional[str]:
    """
    What to say of the URL that was asked, if *error* is that of a wrong one; None if it speaks of something else.

    Args:
        error: What became of the answer.
        url: What was asked.
        base_url: The beginning of it that somebody chose; None for a provider's own, which is right.
        is_page: Whether the answer was a web page.
    """
    if not (
        _is_about_the_path(error)
        if isinstance(error, APIError)
        else is_page and isinstance(error, MalformedStreamError)
    ):
        return None
    address, base = without_secrets(url), without_secrets(base_url or "").rstrip("/")
    path = address[len(base) :]
    if not base or not address.startswith(base) or len(path) < 2:
        return f"asked {address}"
    if path in _OPENAI_PATHS and not _VERSION.search(base):
        return f"asked {address}; base_url usually ends in /v1"
    start = "/".join(path.split("/")[:3])
    if _VERSION.match(path) and _VERSION.search(base):
        return f"asked {address}; base_url ends before {start}, without a version of its own"
    return f"asked {address}; base_url is what stands before {start}"


def _is_about_the_path(error: APIError) -> bool:
    """Whether a 404 is about the path. When a model or an earlier answer is missing, hosts name it."""
    if error.status_code not in (404, 405) or type(error) is not InvalidRequestError or error.param:
        return False
    return not isinstance(error.body, (dict, list)) or _NO_PATH.search(error.message) is not None


def translate(exc: BaseException, url: str, connect_timeout: Optional[float]) -> AnyLLMError:
    """Our error for what sending to *url* raised, with *connect_timeout* seconds to connect."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if isinstance(exc, _NO_URL) or not host:
        return no_url(url)
    if any(isinstance(cause, urllib3.exceptions.InvalidHeader) for cause in _causes(exc)):
        return NetworkError(f"the answer of {host} has headers that contradict each other: {reason(exc)}")
    if isinstance(exc, (requests.exceptions.InvalidHeader, ValueError)):
        kind = "header" if isinstance(exc, requests.exceptions.InvalidHeader) else "request"
        return InvalidRequestError(f"the {kind} cannot be sent to {host}: {_kind_of(exc)}")
    if connect_timeout is not None and any(_is_timeout(cause) for cause in _causes(exc)):
        # The same as the pump's own clock says, which may be a moment later.
        message = f"waited {connect_timeout:g} s for a connection"
        return StreamTimeoutError(message, clock="connect", seconds=connect_timeout)
    for cause in _causes(exc):
        known = _known(cause, host, port)
        if known is not None:
            return known
    return NetworkError(f"no answer from {host}: {reason(exc)}")


def _is_timeout(cause: BaseException) -> bool:
    # A refused connection and an unknown name are, to urllib3, kinds of time-out.
    return isinstance(cause, _TIMED_OUT) and not isinstance(cause, urllib3.exceptions.NewConnectionError)


def _known(cause: BaseException, host: str, port: Optional[int]) -> Optional[NetworkError]:
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return NetworkError(f"the name {host!r} cannot be resolved: check base_url and the network")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NetworkError(
            f"the certificate of {host} is not trusted: {cause.verify_message}; name your CA bundle in "
            "REQUESTS_CA_BUNDLE or with verify=",
            is_retryable=False,
        )
    if isinstance(cause, ssl.SSLError):
        return NetworkError(f"no TLS connection to {host}: {cause.reason or reason(cause)}")
    if isinstance(cause, ConnectionRefusedError):
        where = f"{host}:{port}" if port else host
        return NetworkError(f"{where} refused the connection: is a server running there?")
    if isinstance(cause, urllib3.exceptions.ProxyError):
        return NetworkError(f"no connection to {host} through the proxy: {reason(cause)}")
    return None


def _causes(exc: Optional[BaseException]) -> Iterator[BaseException]:
    """*exc* and what is behind it; requests and urllib3 keep causes in three different places."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        inner = getattr(exc, "reason", None) or next((arg for arg in exc.args if isinstance(arg, BaseException)), None)
        exc = inner if isinstance(inner, BaseException) else exc.__cause__ or exc.__context__


def reason(exc: BaseException) -> str:
    """The innermost cause in words; the outer ones only repeat it with addresses of objects."""
    innermost = list(_causes(exc))[-1]
    return " ".join(str(innermost).split())[:_LONGEST_REASON] or _kind_of(innermost)


def _kind_of(exc: BaseException) -> str:
    return type(exc).__name__
