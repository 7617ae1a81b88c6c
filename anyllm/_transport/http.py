"""
The transport: sends requests with requests, so that another thread can abort them.

Each provider has one `Transport` in a process, with one Session and one pool of connections, which calls never change:
keys are headers of each request. Foreign exceptions are translated here, where they enter (see `http_failures`).
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Optional, Union

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth

from anyllm.__version__ import __version__
from anyllm._concurrency import monkey_patch
from anyllm._transport.connections import POOLS
from anyllm._transport.http_failures import FOREIGN, no_url, translate
from anyllm._transport.response import Response
from anyllm._transport.sockets import AbortableCall, serving
from anyllm.errors import AnyLLMError, InvalidRequestError

#: Idle connections to one host. Each costs a descriptor, and only after that many streams ran at once.
_POOL_SIZE = 1000
#: A longer time-out, in seconds, counts as none.
_MAX_TIMEOUT = 1e6
#: Every transport of this process.
_transports: weakref.WeakSet[Transport] = weakref.WeakSet()


class Transport:
    """
    Sends requests to one provider. Shared between threads; after a fork it starts with fresh connections.

    Args:
        direct: Ignore the environment's proxies, for a host inside this process.
        verify: Whether the host's certificate is checked: None as the environment says, False not at all, or the
            path of a CA bundle.
        session: The caller's own `requests.Session`, which is used as it is: headers, proxies, adapters and so on. Its
            adapters cannot be interrupted while they connect or wait for headers: a cancel frees the caller at once,
            but the worker thread only when the host answers.
    """

    def __init__(
        self,
        *,
        verify: Union[bool, str, None] = None,
        session: Optional[requests.Session] = None,
        direct: bool = False,
    ) -> None:
        self._verify = verify
        self._caller_session = session
        self._direct = direct
        self._reset()
        _transports.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()  # guards the creation of the session
        self._session: Optional[requests.Session] = None

    def _drop_connections(self) -> None:
        """Use new connections from now on; those in use are closed after their call. Does not wait."""
        old = self._session
        self._reset()
        if old is not None:
            old.close()
        if self._caller_session is not None:
            for adapter in self._caller_session.adapters.values():
                for manager in (getattr(adapter, "poolmanager", None), *getattr(adapter, "proxy_manager", {}).values()):
                    if manager is not None:
                        manager.clear()

    def session(self) -> requests.Session:
        """The session of this process."""
        if self._caller_session is not None:
            return self._caller_session
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
            connect_timeout: Seconds to connect to each address of the host.
            on_request: Called with method, URL, headers and body just before they are sent.

        Raises:
            NetworkError: there was no answer.
            StreamTimeoutError: the connection was not made in time.
            InvalidRequestError: the URL or a header cannot be sent.
            AnyLLMError: greenlets would wait on native sockets, which cannot be interrupted.
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
            if not _reports_connection(adapter, prepared.url or url, settings["proxies"]):
                call.connected()  # nothing else calls it; the time-out of `requests` limits the connection
            with serving(call):
                # Not session.send(): it follows redirects, or reads the body to prepare for that.
                answer = adapter.send(prepared, **settings)
        except FOREIGN as exc:
            call.release()
            if isinstance(exc, requests.RequestException):
                exc.request = None  # it holds the key, and this exception becomes the cause of ours
            raise translate(exc, url, connect_timeout) from exc
        return Response(call, answer)

    def close(self) -> None:
        """Close idle connections. The transport can be used again."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


class _Adapter(HTTPAdapter):
    """Requests' adapter with connections that can be shut down from another thread, through proxies too."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # they have their own connection classes
            manager.pool_classes_by_scheme = POOLS
        return manager

    def close(self) -> None:
        # urllib3 only drops its pools; one that is still referenced, by a traceback for example, would stay open.
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118  # a container of urllib3's, which refuses to be iterated
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        super().close()


def _reports_connection(adapter: Any, url: str, proxies: Mapping[str, str]) -> bool:
    """Whether the connection is of our classes, which call `AbortableCall.connected`."""
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
            # Compression delays small events and saves little. A body that is compressed all the same is decoded.
            "Accept-Encoding": "identity",
            "Connection": "keep-alive",
        }
    )
    return session


def _socket_timeout(seconds: Optional[float]) -> Optional[float]:
    """*seconds* for a socket: not 0, which means non-blocking there, and None beyond the largest time-out."""
    return None if seconds is None or seconds > _MAX_TIMEOUT else max(seconds, 0.001)


def _check_url(url: str) -> None:
    """Raise for a bad URL, without user and password in the message; requests would print them."""
    try:
        parts = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationValueError:
        parts = urllib3.util.Url()
    if parts.scheme not in ("http", "https") or not parts.host or not url.isprintable() or " " in url:
        raise no_url(url)


def _check_headers(headers: Mapping[str, str]) -> None:
    """Raise for a bad header, without its value, which may be a key; requests would print it."""
    for name, value in headers.items():
        if not isinstance(value, str) or not value.isprintable() or not value.isascii() or value[:1] == " ":
            raise InvalidRequestError(f"the header {name!r} has characters that cannot be sent; is the key whole?")


def _auth(url: str, headers: Mapping[str, str]) -> Any:
    """The user in the URL as requests would use it, unless a key is set. Any `auth` stops it from reading .netrc."""
    user = requests.utils.get_auth_from_url(url)
    if any(user) and not any(name.lower() == "authorization" for name in headers):
        return HTTPBasicAuth(*user)
    return lambda request: request


def _after_fork() -> None:
    """In a child: threads that are not here may hold the locks, and the connections are the parent's."""
    for transport in tuple(_transports):
        transport._reset()


def _after_patch() -> None:
    """Idle connections are native sockets, on which a greenlet would block all others."""
    for transport in tuple(_transports):
        transport._drop_connections()


monkey_patch.on_patch(_after_patch)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
