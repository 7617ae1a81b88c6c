"""
The transport: requests, made cancellable, and silent about the caller's secrets.

One `Transport` a provider and process, with one Session and one pool of connections that calls never change: keys
travel with each request. Foreign exceptions are translated here, once.
"""

from __future__ import annotations

import os
import platform
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from io import BufferedReader
from typing import Any, Optional, Union
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from anyllm import _sockets
from anyllm._chunked import Dechunker
from anyllm._sockets import Call
from anyllm._version import __version__
from anyllm.errors import AnyLLMError, IncompleteStreamError, InvalidRequestError, MalformedStreamError, NetworkError

__all__ = ["Call", "Response", "Transport"]

#: Idle connections kept for one host. Each costs a descriptor, and only when that many streams ran at once.
_POOL_SIZE = 1000
#: The most bytes one read gives.
_READ_SIZE = 64 * 1024
#: After the end of a stream, hosts send at most an end mark or a last line of accounting.
_DRAIN_READS = 4
_FOREIGN = (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError)


class Transport:
    """
    Sends requests to one provider. Shared between threads; after a fork it starts with fresh connections.

    Args:
        verify: Whether the host's certificate is checked: None as the environment says, False not at all, or the
            path of a CA bundle.
        session: A `requests.Session` of the caller's, whose headers, proxies, adapters and so on are then used as
            they are. Its own adapters cannot be interrupted while they connect or wait for headers: the caller is
            freed at once all the same, the worker thread when the host answers.
    """

    def __init__(self, *, verify: Union[bool, str, None] = None, session: Optional[requests.Session] = None) -> None:
        self._verify = verify
        self._given = session
        self._lock = threading.Lock()  # guards the making of the session, for one process
        self._session: Optional[requests.Session] = None
        self._pid = 0

    def session(self) -> requests.Session:
        """The session of this process."""
        if self._given is not None:
            return self._given
        if self._pid != os.getpid():
            # A lock held in the parent by a thread that does not exist here must not stop us.
            self._lock = threading.Lock()
            self._session = None
            self._pid = os.getpid()
        with self._lock:
            if self._session is None:
                self._session = _new_session()
            return self._session

    def send(
        self,
        call: Call,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        connect_timeout: Optional[float] = None,
    ) -> Response:
        """
        Send a request and wait for the status and headers of its answer.

        Args:
            call: Aborting it ends this call, and every read of the response.
            connect_timeout: Seconds for each address of the host to be connected to.

        Raises:
            NetworkError: there was no answer.
            InvalidRequestError: the URL or a header cannot be sent.
        """
        _check_headers(headers)
        try:
            session = self.session()
            # Any `auth` keeps requests from looking into .netrc; this one adds nothing.
            request = requests.Request(method, url, dict(headers), data=body or None, auth=_no_auth)
            prepared = session.prepare_request(request)
            settings: dict[str, Any] = {
                **session.merge_environment_settings(prepared.url, {}, True, self._verify, None),
                "timeout": (connect_timeout, None),
            }
            adapter = session.get_adapter(prepared.url or url)
            with _sockets.serving(call):
                # Not session.send(): it would follow redirects, or read a body only to prepare to.
                answer = adapter.send(prepared, **settings)
        except _FOREIGN as exc:
            call.let_go()
            raise _translate(exc, url) from exc
        return Response(call, answer)

    def close(self) -> None:
        """Close idle connections. The transport can be used again."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


class Response:
    """
    An answer whose body is still coming. Used by one thread.

    Attributes:
        status: The HTTP status.
        headers: The headers, names in any case.
        broken: Why the body ended early; None when it ended well, or has not ended.
    """

    def __init__(self, call: Call, answer: requests.Response) -> None:
        self._call = call
        self._raw: Any = answer.raw
        self.status: int = answer.status_code
        self.headers: Mapping[str, str] = answer.headers
        self.broken: Optional[BaseException] = None
        self._body = self._reads()

    def reads(self) -> Iterator[bytes]:
        """
        The body as it comes, never empty; called again, it goes on. An early end is not raised but noted in `broken`.
        """
        return self._body

    def _reads(self) -> Iterator[bytes]:
        try:
            stream = self._chunked_stream()
            yield from self._reads_decoded() if stream is None else self._reads_dechunked(stream)
        except (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as exc:
            # ValueError: broken framing, or a file closed under the read, which an abort may do on some systems.
            self.broken = exc

    def _chunked_stream(self) -> Optional[BufferedReader]:
        """The bytes below the chunked framing, where nothing else is to be taken off; None otherwise."""
        if not getattr(self._raw, "chunked", False) or self.headers.get("content-encoding"):
            return None
        stream = getattr(getattr(self._raw, "_fp", None), "fp", None)
        return stream if isinstance(stream, BufferedReader) else None

    def _reads_dechunked(self, stream: BufferedReader) -> Iterator[bytes]:
        framing = Dechunker()
        while not framing.done:
            data = stream.read1(_READ_SIZE)
            if not data:
                raise urllib3.exceptions.ProtocolError("the connection ended inside the body")
            payload = framing.feed(data)
            if payload:
                yield payload
        # As urllib3 does at the end of a body that it read itself: the connection can serve again.
        self._raw._fp.close()
        self._raw.release_conn()

    def _reads_decoded(self) -> Iterator[bytes]:
        decode = bool(self.headers.get("content-encoding"))
        while True:
            data = self._raw.read1(_READ_SIZE, decode_content=decode)
            if not data:
                return
            yield data

    def read(self, limit: int) -> bytes:
        """
        The whole body.

        Raises:
            MalformedStreamError: it is larger than *limit* bytes.
            IncompleteStreamError: it ended early.
        """
        parts, size = [], 0
        for data in self.reads():
            parts.append(data)
            size += len(data)
            if size > limit:
                raise MalformedStreamError(f"the answer is larger than max_event_bytes ({limit} bytes)")
        if self.broken is not None:
            raise IncompleteStreamError(f"the answer ended early: {_reason(self.broken)}") from self.broken
        return b"".join(parts)

    def text_so_far(self, limit: int) -> bytes:
        """The body up to *limit* bytes, or to wherever it ends: for errors, where a cut explanation beats none."""
        parts, size = [], 0
        for data in self.reads():
            parts.append(data[: limit - size])
            size += len(data)
            if size >= limit:
                break
        return b"".join(parts)

    def drain(self, seconds: float) -> None:
        """Read what is left for *seconds* at most, so that the connection can serve again; else it is closed."""
        sock = getattr(getattr(self._raw, "connection", None), "sock", None)
        try:
            if sock is not None:
                sock.settimeout(seconds)
                for _ in range(_DRAIN_READS):
                    next(self._body)
        except (StopIteration, OSError):
            pass

    def close(self) -> None:
        """Give the connection back if the body was read to its end, or close it."""
        self._call.let_go()
        try:
            self._raw.close()
        except (urllib3.exceptions.HTTPError, HTTPException, OSError):
            pass


class _Adapter(HTTPAdapter):
    """Requests' adapter with connections that can be shut down from another thread, through proxies too."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _sockets.POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # those bring connection classes of their own
            manager.pool_classes_by_scheme = _sockets.POOLS
        return manager


def _new_session() -> requests.Session:
    session = requests.Session()
    adapter = _Adapter(pool_connections=10, pool_maxsize=_POOL_SIZE, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    session.headers.update(
        {
            "User-Agent": f"anyllm-channels/{__version__} Python/{platform.python_version()}",
            # Compressing a stream of small events delays them and saves little; what is compressed anyway is decoded.
            "Accept-Encoding": "identity",
            "Connection": "keep-alive",
        }
    )
    return session


def _check_headers(headers: Mapping[str, str]) -> None:
    """What is wrong with a header is said without its value, which may be a key; requests would print it."""
    for name, value in headers.items():
        if not isinstance(value, str) or not value.isprintable() or not value.isascii():
            raise InvalidRequestError(f"the header {name!r} has characters that cannot be sent; is the key whole?")


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


# -- foreign errors ----------------------------------------------------------------------------------------------------


def _translate(exc: BaseException, url: str) -> AnyLLMError:
    parts = urlsplit(url)
    host = parts.hostname or url
    if isinstance(exc, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema)) or not parts.scheme:
        return InvalidRequestError(f"cannot send to {url!r}: it is no URL; check base_url")
    if isinstance(exc, (requests.exceptions.InvalidSchema, requests.exceptions.InvalidHeader, ValueError)):
        kind = "header" if isinstance(exc, requests.exceptions.InvalidHeader) else "request"
        return InvalidRequestError(f"the {kind} cannot be sent to {host}: {_kind_of(exc)}")
    for cause in _causes(exc):
        known = _known(cause, host, parts.port)
        if known is not None:
            return known
    return NetworkError(f"no answer from {host}: {_reason(exc)}")


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
        return NetworkError(f"no TLS connection to {host}: {cause.reason or _reason(cause)}")
    if isinstance(cause, ConnectionRefusedError):
        where = f"{host}:{port}" if port else host
        return NetworkError(f"{where} refused the connection: is a server running there?")
    if isinstance(cause, urllib3.exceptions.ProxyError):
        return NetworkError(f"no connection to {host} through the proxy: {_reason(cause)}")
    return None


def _causes(exc: Optional[BaseException]) -> Iterator[BaseException]:
    """*exc* and what is behind it; requests and urllib3 keep causes in three different places."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        inner = getattr(exc, "reason", None) or next((arg for arg in exc.args if isinstance(arg, BaseException)), None)
        exc = inner if isinstance(inner, BaseException) else exc.__cause__ or exc.__context__


def _reason(exc: BaseException) -> str:
    """The innermost cause in words; the outer ones only repeat it with addresses of objects."""
    innermost = list(_causes(exc))[-1]
    return _kind_of(innermost) if not str(innermost) else " ".join(str(innermost).split())


def _kind_of(exc: BaseException) -> str:
    return type(exc).__name__
