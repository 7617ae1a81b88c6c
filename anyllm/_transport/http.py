"""
The transport: requests, made cancellable, and silent about the caller's secrets.

One `Transport` a provider and process, with one Session and one pool of connections that calls never change: keys
travel with each request. Foreign exceptions are translated where they enter, once (see `http_failures`).
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from io import BufferedReader
from typing import Any, Optional, Union

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from urllib3.util import wait_for_read

from anyllm.__version__ import __version__
from anyllm._concurrency import monkey_patch
from anyllm._transport import sockets
from anyllm._transport.dechunk import Dechunker
from anyllm._transport.http_failures import FOREIGN, no_url, reason, translate
from anyllm._transport.sockets import AbortableCall
from anyllm.errors import AnyLLMError, ConnectionLostError, InvalidRequestError, MalformedStreamError

__all__ = ["AbortableCall", "Response", "Transport"]

#: Idle connections kept for one host. Each costs a descriptor, and only when that many streams ran at once.
_POOL_SIZE = 1000
#: The most bytes one read gives.
_READ_SIZE = 64 * 1024
#: A time-out beyond this many seconds is none.
_LONGEST = 1e6
#: After the end of a stream, hosts send at most an end mark or a last line of accounting.
_DRAIN_READS = 4
#: Every transport of this process.
_transports: weakref.WeakSet[Transport] = weakref.WeakSet()


class Transport:
    """
    Sends requests to one provider. Shared between threads; after a fork it starts with fresh connections.

    Args:
        direct: For a host inside this process, which no proxy of the environment can reach.
        verify: Whether the host's certificate is checked: None as the environment says, False not at all, or the
            path of a CA bundle.
        session: A `requests.Session` of the caller's, whose headers, proxies, adapters and so on are then used as
            they are. Its own adapters cannot be interrupted while they connect or wait for headers: the caller is
            freed at once all the same, the worker thread when the host answers.
    """

    def __init__(
        self,
        *,
        verify: Union[bool, str, None] = None,
        session: Optional[requests.Session] = None,
        direct: bool = False,
    ) -> None:
        self._verify = verify
        self._given = session
        self._direct = direct
        self._start_anew()
        _transports.add(self)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()  # guards the making of the session
        self._session: Optional[requests.Session] = None

    def _drop_connections(self) -> None:
        """Start with fresh connections; those that serve a call now are closed after it. Does not wait."""
        made = self._session
        self._start_anew()
        if made is not None:
            made.close()
        if self._given is not None:
            for adapter in self._given.adapters.values():
                for manager in (getattr(adapter, "poolmanager", None), *getattr(adapter, "proxy_manager", {}).values()):
                    if manager is not None:
                        manager.clear()

    def session(self) -> requests.Session:
        """The session of this process."""
        if self._given is not None:
            return self._given
        with self._lock:
            if self._session is None:
                self._session = _new_session()
                self._session.trust_env = not self._direct
            return self._session

    def send(
        self,
        call: AbortableCall,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        connect_timeout: Optional[float] = None,
        on_request: Optional[Callable[[str, str, Mapping[str, Any], bytes], object]] = None,
    ) -> Response:
        """
        Send a request and wait for the status and headers of its answer.

        Args:
            call: Aborting it ends this call, and every read of the response.
            connect_timeout: Seconds for each address of the host to be connected to.
            on_request: Called with method, URL, headers and body as they are sent, before they are.

        Raises:
            NetworkError: there was no answer.
            StreamTimeoutError: there was no connection in time.
            InvalidRequestError: the URL or a header cannot be sent.
            AnyLLMError: greenlets would wait on native sockets, which nothing could end.
        """
        _check_url(url)
        _check_headers(headers)
        problem = monkey_patch.problem(tls=url.lower().startswith("https:"))
        if problem is not None:
            raise AnyLLMError(problem)
        try:
            session = self.session()
            request = requests.Request(method, url, dict(headers), data=body or None, auth=_auth(url, headers))
            prepared = session.prepare_request(request)
            settings: dict[str, Any] = {
                **session.merge_environment_settings(prepared.url, {}, True, self._verify, None),
                "timeout": (_socket_timeout(connect_timeout), None),
            }
            if on_request is not None:
                on_request(method, prepared.url or url, prepared.headers, body)
            adapter = session.get_adapter(prepared.url or url)
            if not _says_when_connected(adapter, prepared.url or url, settings["proxies"]):
                call.connected()  # so nobody else does; the time-out of `requests` is the connect clock there
            with sockets.serving(call):
                # Not session.send(): it would follow redirects, or read a body only to prepare to.
                answer = adapter.send(prepared, **settings)
        except FOREIGN as exc:
            call.let_go()
            if isinstance(exc, requests.RequestException):
                exc.request = None  # which holds the key, and this exception stays behind ours as its cause
            raise translate(exc, url, connect_timeout) from exc
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
        read_size: The most bytes one read gives.
        broken: Why the body ended early; None when it ended well, or has not ended.
    """

    def __init__(self, call: AbortableCall, answer: requests.Response) -> None:
        self._call = call
        self._raw: Any = answer.raw
        self.status: int = answer.status_code
        self.headers: Mapping[str, str] = answer.headers
        self.read_size = _READ_SIZE
        self.broken: Optional[BaseException] = None
        self._body = self._reads()

    def reads(self) -> Iterator[bytes]:
        """
        The body as it comes, never empty; called again, it goes on. An early end is not raised but noted in `broken`.
        """
        return self._body

    def watch(self, first: Callable[[bytes], object]) -> None:
        """Have *first* called with the first bytes of the body; before anybody reads them."""
        self._body = _with_notice(self._body, first)

    def has_more(self) -> bool:
        """Whether the next read has something to read, or the end, without waiting. False also where nobody knows."""
        sock = self._socket()
        if sock is None:
            return False
        try:
            pending = getattr(sock, "pending", None)  # TLS: read from the network, and decrypted
            return bool(pending and pending()) or (wait_for_read(sock, 0) and (not pending or _has_whole_record(sock)))
        except (OSError, ValueError):  # closed, by an abort
            return True

    def _socket(self) -> Any:
        return getattr(getattr(self._raw, "connection", None), "sock", None)

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
            data = stream.read1(self.read_size)
            if not data:
                raise urllib3.exceptions.ProtocolError("the connection ended inside the body")
            payload = framing.feed(data)
            if payload or not framing.done:
                yield payload  # b"" where it was framing alone: nobody is to wait for more with chunks in hand
        if framing.broken is not None:
            raise framing.broken
        if framing.excess and self._raw.connection is not None:
            self._raw.connection.close()  # host and we disagree on where the answer ends: it must not serve again
        # As urllib3 does at the end of a body that it read itself: the connection can serve again.
        self._raw._fp.close()
        self._raw.release_conn()

    def _reads_decoded(self) -> Iterator[bytes]:
        decode = bool(self.headers.get("content-encoding"))
        while True:
            data = self._raw.read1(self.read_size, decode_content=decode)
            if not data:
                return
            yield data

    def read(self, limit: int) -> bytes:
        """
        The whole body.

        Raises:
            MalformedStreamError: it is larger than *limit* bytes.
            ConnectionLostError: it ended early.
        """
        parts, size = [], 0
        for data in self.reads():
            parts.append(data)
            size += len(data)
            if size > limit:
                raise MalformedStreamError(f"the answer is larger than max_event_bytes ({limit} bytes)")
        if self.broken is not None:
            raise ConnectionLostError(f"the answer ended early: {reason(self.broken)}") from self.broken
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
        sock = self._socket()
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


def _with_notice(reads: Iterator[bytes], first: Callable[[bytes], object]) -> Iterator[bytes]:
    for data in reads:
        if data:
            first(data)
            yield data
            break
        yield data
    yield from reads


def _has_whole_record(sock: Any) -> bool:
    """Whether a TLS record has come whole: of half of one a read gives nothing, and waits. True at the end."""
    plain = getattr(sock, "socket", sock)
    peek = sockets.plain_class(plain).recv
    head = peek(plain, 5, socket.MSG_PEEK)
    size = 5 + int.from_bytes(head[3:], "big")
    return not head or (len(head) == 5 and len(peek(plain, size, socket.MSG_PEEK)) == size)


class _Adapter(HTTPAdapter):
    """Requests' adapter with connections that can be shut down from another thread, through proxies too."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = sockets.POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # those bring connection classes of their own
            manager.pool_classes_by_scheme = sockets.POOLS
        return manager

    def close(self) -> None:
        # urllib3 only forgets its pools; one that something else refers to, an error's traceback, stays open.
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118  # a container of urllib3's, which refuses to be iterated
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        super().close()


def _says_when_connected(adapter: Any, url: str, proxies: Mapping[str, str]) -> bool:
    """Whether the connection will be of our classes, which tell the call."""
    proxy = requests.utils.select_proxy(url, proxies) or ""
    return isinstance(adapter, _Adapter) and not proxy.lower().startswith("socks")


def _new_session() -> requests.Session:
    session = requests.Session()
    adapter = _Adapter(pool_connections=10, pool_maxsize=_POOL_SIZE, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    session.headers.update(
        {
            "User-Agent": f"anyllm-channels/{__version__} Python/{sys.version_info[0]}.{sys.version_info[1]}",
            # Compressing a stream of small events delays them and saves little; what is compressed anyway is decoded.
            "Accept-Encoding": "identity",
            "Connection": "keep-alive",
        }
    )
    return session


def _socket_timeout(seconds: Optional[float]) -> Optional[float]:
    """What a socket takes: neither 0, which means something else there, nor more than its clock can count."""
    return None if seconds is None or seconds > _LONGEST else max(seconds, 0.001)


def _check_url(url: str) -> None:
    """What is wrong with a URL is said without what stands before its host; requests would print it all."""
    try:
        parts = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationValueError:
        parts = urllib3.util.Url()
    if parts.scheme not in ("http", "https") or not parts.host or not url.isprintable() or " " in url:
        raise no_url(url)


def _check_headers(headers: Mapping[str, str]) -> None:
    """What is wrong with a header is said without its value, which may be a key; requests would print it."""
    for name, value in headers.items():
        if not isinstance(value, str) or not value.isprintable() or not value.isascii() or value[:1] == " ":
            raise InvalidRequestError(f"the header {name!r} has characters that cannot be sent; is the key whole?")


def _auth(url: str, headers: Mapping[str, str]) -> Any:
    """What requests would make of a user in the URL, unless a key is given. Any `auth` keeps it from .netrc."""
    user = requests.utils.get_auth_from_url(url)
    if any(user) and not any(name.lower() == "authorization" for name in headers):
        return HTTPBasicAuth(*user)
    return _no_auth


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _after_fork() -> None:
    """In a child: locks may be held by threads that are not here, and connections are the parent's."""
    for transport in tuple(_transports):
        transport._start_anew()


def _after_patch() -> None:
    """Idle connections are native sockets, on which a greenlet would block all others."""
    for transport in tuple(_transports):
        transport._drop_connections()


monkey_patch.on_patch(_after_patch)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
