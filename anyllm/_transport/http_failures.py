"""Translates exceptions of requests, urllib3 and ssl into our errors, without the caller's secrets."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from http.client import HTTPException
from typing import Optional
from urllib.parse import urlsplit

import requests
import urllib3

from anyllm._transport.redaction import redact_url
from anyllm.errors import (
    AnyLLMError,
    APIError,
    InvalidRequestError,
    MalformedStreamError,
    NetworkError,
    StreamTimeoutError,
)

#: Characters of a foreign error's message that are shown: some quote their whole input.
_MAX_REASON_LENGTH = 300
#: Messages of servers and proxies that have nothing at the path of the request.
_NO_PATH = re.compile(
    r"^\W*(404\W*)?((error|http|page|file|resource|route|path|url|endpoint|api)\W*)*(404\W*)?((was|is)\W*)?"
    r"(not[ _]?found|method not allowed)?\W*$"
    r"|\b(no|unknown|invalid|unexpected|unsupported) (such )?(request )?(url|path|route|endpoint|handler|page)\b"
    r"|\b(requested (url|resource|path|endpoint)|cannot (get|post))\b",
    re.IGNORECASE,
)
#: Paths of OpenAI's formats, which follow a base URL that ends in a version.
_OPENAI_PATHS = ("/chat/completions", "/responses", "/embeddings", "/models")
_VERSION = re.compile(r"/v\d\w*(?=/|$)")
#: All exceptions of sending; ValueError comes from headers and URLs that cannot be sent.
FOREIGN = (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError)
#: The only time-out we set is the one for connecting; in the TLS handshake it is raised as a read time-out.
_TIMED_OUT = (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.ReadTimeoutError)
_NO_URL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    urllib3.exceptions.LocationValueError,
)


def no_url(url: str) -> InvalidRequestError:
    """The error for a URL that is not http or https."""
    return InvalidRequestError(f"cannot send to {redact_url(url)!r}: it is no http or https URL; check base_url")


def wrong_url(error: AnyLLMError, url: str, base_url: Optional[str], is_page: bool) -> Optional[str]:
    """
    A hint about *url*, if *error* looks like that of a wrong one; None if it does not.

    Args:
        base_url: The base URL if the user set it; None for the provider's own, which is right.
        is_page: Whether the answer was a web page.
    """
    if not (
        _is_about_the_path(error)
        if isinstance(error, APIError)
        else is_page and isinstance(error, MalformedStreamError)
    ):
        return None
    address, base = redact_url(url), redact_url(base_url or "").rstrip("/")
    path = address[len(base) :]
    if not base or not address.startswith(base) or len(path) < 2:
        return f"requested {address}"
    if path in _OPENAI_PATHS and not _VERSION.search(base):
        return f"requested {address}; base_url usually ends in /v1"
    start = "/".join(path.split("/")[:3])
    if _VERSION.match(path) and _VERSION.search(base):
        return f"requested {address}; base_url must end before {start}, without a version"
    return f"requested {address}; base_url is the part before {start}"


def _is_about_the_path(error: APIError) -> bool:
    """Whether a 404 is about the path: errors about a model or an earlier answer name it."""
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
        return InvalidRequestError(f"the {kind} cannot be sent to {host}: {type(exc).__name__}")
    if connect_timeout is not None and any(_is_timeout(cause) for cause in _causes(exc)):
        # The same error as from the pump's own clock, which may be a moment later.
        message = f"waited {connect_timeout:g} s for a connection"
        return StreamTimeoutError(message, clock="connect", seconds=connect_timeout)
    for cause in _causes(exc):
        error = _network_error(cause, host, port)
        if error is not None:
            return error
    return NetworkError(f"no answer from {host}: {reason(exc)}")


def _is_timeout(cause: BaseException) -> bool:
    # In urllib3 a refused connection and an unknown name are kinds of time-out.
    return isinstance(cause, _TIMED_OUT) and not isinstance(cause, urllib3.exceptions.NewConnectionError)


def _network_error(cause: BaseException, host: str, port: Optional[int]) -> Optional[NetworkError]:
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
    """*exc* and the exceptions that caused it; requests and urllib3 store causes in three different places."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        inner = getattr(exc, "reason", None) or next((arg for arg in exc.args if isinstance(arg, BaseException)), None)
        exc = inner if isinstance(inner, BaseException) else exc.__cause__ or exc.__context__


def reason(exc: BaseException) -> str:
    """The message of the innermost cause; the outer ones only repeat it, with addresses of objects."""
    innermost = list(_causes(exc))[-1]
    return " ".join(str(innermost).split())[:_MAX_REASON_LENGTH] or type(innermost).__name__
