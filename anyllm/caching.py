"""
Answers kept: what a call asked as a key, what it got as bytes, and an answer replayed as the stream it might have been.

Strategy: a cache holds bytes under text and knows nothing of calls. What makes a wrong answer impossible is in the key,
what makes a damaged one impossible is in the bytes, and what makes a broken cache harmless is `Guarded`. The libraries
for it are extras, loaded when a cache is made.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any, Optional, Protocol, Union

from anyllm._concurrency import waiters
from anyllm._hints.arguments import whole_number
from anyllm._hints.extras import pip_install
from anyllm.types import (
    ChatCompletion,
    CompletionParams,
)
from anyllm.types._replay import replayed

__all__ = [
    "Cache",
    "DiskCache",
    "Guarded",
    "MemoryCache",
    "RedisCache",
    "cache_key",
    "decode",
    "encode",
    "replayed",
]

_log = logging.getLogger("anyllm")

#: What kept answers look like: this, the checksum of what follows it, a line's end, JSON. Another form, another number.
_FORM = b"anyllm-answer-1"
#: Changes with what is hashed, so that keys of different versions never meet.
_KEY_FORM = 1
#: What of the parameters does not change the answer. All else does, whatever it is.
_INDIFFERENT = ("user", "stream", "stream_options", "extra_headers")


class Cache(Protocol):
    """What keeps bytes under text, for any thread. The three here are examples; so is anything with these methods."""

    def get(self, key: str) -> Optional[bytes]:
        """What was kept under *key*; None when nothing was, or it is too old."""

    def set(self, key: str, value: bytes, ttl: Optional[float] = None) -> None:
        """Keep *value* for *ttl* seconds; None for as long as the cache keeps things by itself."""


# -- the key -------------------------------------------------------------------------------------------------------


def cache_key(provider: str, base_url: Optional[str], params: CompletionParams) -> str:
    """
    The key of an answer: a SHA-256 of everything that can change it.

    That is all parameters but ``user``, ``stream`` and ``stream_options``; ``extra_body`` and ``extra_headers`` are
    among them. Headers may hold a secret, and are hashed all the same: which of them change an answer no name tells, a
    key in them makes two accounts' answers two, and nothing can be read back from the hash. A header that is new on
    each call (a trace id) makes each call a miss. An API key given elsewhere is no part of it: those who share a cache
    share its answers.

    Keys inside a dict count in their order, because the order of a schema's properties is the order of an answer's.

    Args:
        provider: Its name.
        base_url: Where the call goes, if not to the provider's own; a slash at its end says nothing.
        params: What is asked.

    Returns:
        64 hexadecimal digits, the same in every process.

    Raises:
        TypeError: the parameters hold something that JSON cannot.
    """
    asked = {name: value for name, value in params.to_dict().items() if name not in _INDIFFERENT}
    headers = sorted((name.lower(), str(value)) for name, value in (params.extra_headers or {}).items())
    everything = [_KEY_FORM, provider, (base_url or "").rstrip("/"), asked, headers]
    return hashlib.sha256(_json(everything)).hexdigest()


def _json(value: Any) -> bytes:
    # The standard library's: msgspec refuses the lone surrogates that some hosts send, and bends large numbers.
    return json.dumps(value, separators=(",", ":")).encode()


# -- the bytes -----------------------------------------------------------------------------------------------------


def encode(completion: ChatCompletion) -> bytes:
    """
    An answer as bytes for `decode`, without the provider's own (``raw``) and without what was made of it (``parsed``).

    Raises:
        TypeError: it holds something that JSON cannot.
    """
    body = _json(completion.to_dict())
    return _head(body) + body


def decode(data: Optional[bytes]) -> Optional[ChatCompletion]:
    """The answer that was encoded; None for what is no such bytes, is damaged, or comes from another version."""
    if not isinstance(data, bytes):
        return None
    end = data.find(b"\n") + 1
    body = data[end:]
    if data[:end] != _head(body):
        return None
    try:
        return ChatCompletion.from_dict(json.loads(body))
    except Exception:  # whatever it is, the answer is not in there
        return None


def _head(body: bytes) -> bytes:
    return b"%s %08x\n" % (_FORM, zlib.crc32(body))


# -- caches --------------------------------------------------------------------------------------------------------


class Guarded:
    """
    A cache whose failures break no call: what it raises is logged at WARNING, the first time, and is a miss.

    Args:
        cache: The cache, which may fail in whatever way.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._unsaid: list[None] = [None]

    def get(self, key: str) -> Optional[bytes]:
        """What the cache gives, if that is bytes; else None."""
        try:
            found = self._cache.get(key)
        except Exception as exc:
            self._complain("get", exc)
            return None
        return found if isinstance(found, bytes) else None

    def set(self, key: str, value: bytes, ttl: Optional[float] = None) -> None:
        """Keep *value*, if the cache can."""
        try:
            self._cache.set(key, value, ttl)
        except Exception as exc:
            self._complain("set", exc)

    def _complain(self, action: str, exc: Exception) -> None:
        if not waiters.take_one(self._unsaid):
            return
        # Only the kinds: the words may hold a URL with a password, or what was to be kept.
        names = (type(self._cache).__name__, action, type(exc).__name__)
        _log.warning("%s failed to %s: %s; calls go on without it, and this is not said again", *names)

    def __repr__(self) -> str:
        return f"Guarded({type(self._cache).__name__})"


class MemoryCache:
    """
    A cache in this process: of too many answers the one that was used longest ago goes.

    A child process starts with what its parent had, unless the fork caught that in the middle of a change.

    Args:
        maxsize: How many answers.
        ttl: Seconds for which each is kept; None for as long as there is room.
        clock: Gives seconds that never go back.

    Raises:
        ImportError: cachetools is not installed.
        TypeError, ValueError: *maxsize* is no int or less than 1, or *ttl* negative or NaN.
    """

    def __init__(
        self, maxsize: int = 1024, ttl: Optional[float] = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._maxsize = whole_number("maxsize", maxsize)
        self._ttl = _seconds(ttl)
        self._by_pid = {os.getpid(): _Kept(self._maxsize, clock)}

    def get(self, key: str) -> Optional[bytes]:
        """What was kept under *key*; None when nothing was, or it is too old."""
        return self._kept().get(key)

    def set(self, key: str, value: bytes, ttl: Optional[float] = None) -> None:
        """Keep *value* for *ttl* seconds; None for the cache's own."""
        self._kept().set(key, value, self._ttl if ttl is None else _seconds(ttl))

    def _kept(self) -> _Kept:
        pid = os.getpid()
        kept = self._by_pid.get(pid)
        if kept is None:
            inherited = list(self._by_pid.copy().values())[-1]
            kept = self._by_pid.setdefault(pid, inherited.in_child())
        return kept

    def __repr__(self) -> str:
        return f"MemoryCache({self._maxsize}, ttl={self._ttl})"


class _Kept:
    """cachetools' cache, which is not made for threads, and its lock."""

    def __init__(self, maxsize: int, clock: Callable[[], float], items: Any = None) -> None:
        try:
            from cachetools import TLRUCache
        except ImportError as exc:
            raise ImportError(f"MemoryCache needs cachetools: {pip_install('cache')}") from exc
        #: Held for each single operation.
        self._lock = threading.Lock()
        self._items: Any = TLRUCache(maxsize, _expiry, clock) if items is None else items
        self._anew = (maxsize, clock)

    def in_child(self) -> _Kept:
        """What a forked child goes on with: a lock that is held there is held for ever, over a change half made."""
        return _Kept(*self._anew, None if self._lock.locked() else self._items)

    def get(self, key: str) -> Optional[bytes]:
        with self._lock:
            found = self._items.get(key)
        return None if found is None else bytes(found[0])

    def set(self, key: str, value: bytes, ttl: Optional[float]) -> None:
        with self._lock:
            if ttl == 0:
                self._items.pop(key, None)  # not all versions forget what is there, told to keep something for no time
            else:
                self._items[key] = (value, math.inf if ttl is None else ttl)


def _expiry(_key: str, item: tuple[bytes, float], now: float) -> float:
    return now + item[1]


class DiskCache:
    """
    A cache in a folder, which processes of this machine may share.

    What lies there is only ever read as bytes, never unpickled. A folder that is made is for this user alone.

    Args:
        folder: Where; made if it is not there.
        ttl: Seconds for which each answer is kept; None for as long as there is room.
        size_limit: Bytes, beyond which the oldest go.

    Raises:
        ImportError: diskcache is not installed.
        OSError, sqlite3.Error: the folder cannot be used.
        TypeError, ValueError: *size_limit* is no int or less than 1, or *ttl* negative or NaN.
    """

    #: Seconds to wait while another process writes; then it is a miss.
    _PATIENCE = 1.0

    def __init__(
        self, folder: Union[str, os.PathLike[str]], ttl: Optional[float] = None, size_limit: int = 1024**3
    ) -> None:
        try:
            import diskcache
        except ImportError as exc:
            raise ImportError(f"DiskCache needs diskcache: {pip_install('cache')}") from exc

        class BytesAlone(diskcache.Disk):  # type: ignore[misc]  # which has no types
            """Whoever can write to the folder could otherwise have any code run by leaving a pickle there."""

            def fetch(self, mode: int, filename: str, value: Any, read: bool) -> Any:
                if mode == diskcache.core.MODE_PICKLE:
                    raise ValueError("a pickle lies in the cache's folder, which is not ours")
                return super().fetch(mode, filename, value, read)

        self._ttl = _seconds(ttl)
        self._folder = os.fspath(folder)
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._cache = diskcache.Cache(
            self._folder, timeout=self._PATIENCE, disk=BytesAlone, size_limit=whole_number("size_limit", size_limit)
        )

    def get(self, key: str) -> Optional[bytes]:
        """What was kept under *key*; None when nothing was, or it is too old."""
        found = self._cache.get(key)
        return found if isinstance(found, bytes) else None

    def set(self, key: str, value: bytes, ttl: Optional[float] = None) -> None:
        """Keep *value* for *ttl* seconds; None for the cache's own."""
        self._cache.set(key, value, expire=self._ttl if ttl is None else _seconds(ttl))

    def close(self) -> None:
        """Close this thread's connection to the files; a later use opens it again."""
        self._cache.close()

    def __repr__(self) -> str:
        return f"DiskCache({self._folder!r}, ttl={self._ttl})"


class RedisCache:
    """
    A cache in a Redis server, which machines may share.

    Args:
        server: A URL (``redis://host:6379/0``), or a client of the redis package; its time-outs are then yours.
        ttl: Seconds for which each answer is kept; None for as long as the server keeps it.
        prefix: What the keys there begin with.
        timeout: Seconds for which one operation waits for the server.

    Raises:
        ImportError: redis is not installed.
        ValueError: the URL is none, or *ttl* or *timeout* negative or NaN.
    """

    def __init__(
        self, server: Union[str, Any], ttl: Optional[float] = None, prefix: str = "anyllm:", *, timeout: float = 2.0
    ) -> None:
        self._ttl = _seconds(ttl)
        self._prefix = prefix
        self._client = _redis(server, timeout) if isinstance(server, str) else server

    def get(self, key: str) -> Optional[bytes]:
        """What was kept under *key*; None when nothing was, or it is too old."""
        found = self._client.get(self._prefix + key)
        return found.encode() if isinstance(found, str) else found  # a client may decode its responses

    def set(self, key: str, value: bytes, ttl: Optional[float] = None) -> None:
        """Keep *value* for *ttl* seconds; None for the cache's own."""
        seconds = self._ttl if ttl is None else _seconds(ttl)
        if seconds is None:
            self._client.set(self._prefix + key, value)
        elif seconds > 0:
            self._client.set(self._prefix + key, value, px=math.ceil(seconds * 1000))
        else:
            self._client.delete(self._prefix + key)  # Redis keeps nothing for no time

    def close(self) -> None:
        """Close the connections to the server; a later use opens new ones."""
        self._client.close()

    def __repr__(self) -> str:
        return f"RedisCache(prefix={self._prefix!r}, ttl={self._ttl})"


def _redis(url: str, timeout: float) -> Any:
    try:
        import redis
    except ImportError as exc:
        raise ImportError(f"RedisCache needs redis: {pip_install('redis')}") from exc
    seconds = _seconds(timeout)
    return redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds)


def _seconds(value: Any) -> Optional[float]:
    """Seconds to keep something; for ever is None too, as the backends have no infinity."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"ttl must be seconds (a number) or None, not {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"ttl must not be negative or NaN: {value!r}")
    return None if math.isinf(value) else float(value)
