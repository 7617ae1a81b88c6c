"""
Caches of whole answers: the key of a request, an answer as bytes, and caches in memory, on disk and in Redis.

Strategy: a cache maps text to bytes and knows nothing of calls. The key contains everything that can change an answer,
the bytes contain a checksum, and `Guarded` makes the failures of a cache harmless. The libraries for the caches are
extras, imported when a cache is made.
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
from anyllm._concurrency.per_process import PerProcess
from anyllm._hints.arguments import non_negative, whole_number
from anyllm._hints.extras import import_extra
from anyllm.types import ChatCompletion, CompletionParams
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

#: The first word of an encoded answer; the checksum of the JSON, a line feed and the JSON follow. A new format gets a
#: new number.
_FORMAT = b"anyllm-answer-1"
#: Part of each key. A change of the key's contents changes this number, so that keys of different versions differ.
_KEY_VERSION = 1
#: The parameters that are not part of a key, because they do not change the answer; headers are added separately.
_NOT_IN_KEY = ("user", "stream", "stream_options", "extra_headers")


class Cache(Protocol):
    """A cache: maps text to bytes, for any number of threads. The three here, or any object with these methods."""

    def get(self, key: str) -> Optional[bytes]:
        """The value of *key*; None if there is none, or it has expired."""

    def set(self, key: str, value: bytes, ttl: Optional[float] = None) -> None:
        """Store *value* for *ttl* seconds; None for the cache's default."""


# -- the key -------------------------------------------------------------------------------------------------------


def cache_key(provider: str, base_url: Optional[str], params: CompletionParams) -> str:
    """
    The key of an answer: a SHA-256 of everything that can change it.

    That is all parameters but ``user``, ``stream`` and ``stream_options``; ``extra_body`` and ``extra_headers`` are
    included. All headers are hashed, also secret ones: any of them may change the answer, a key in them separates the
    answers of two accounts, and nothing can be read back from the hash. A header that is new for each call (a trace id)
    makes each call a miss. An API key that is no header is not included: users of one cache share its answers.

    The order of the keys of a dict counts, because the order of a schema's properties is the order of an answer's.

    Args:
        provider: The name of the provider.
        base_url: The server, if it is not the provider's; a slash at its end is ignored.
        params: The request.

    Returns:
        64 hexadecimal digits, the same in every process.

    Raises:
        TypeError: a parameter has a value that JSON cannot express.
    """
    request = {name: value for name, value in params.to_dict().items() if name not in _NOT_IN_KEY}
    headers = sorted((name.lower(), str(value)) for name, value in (params.extra_headers or {}).items())
    contents = [_KEY_VERSION, provider, (base_url or "").rstrip("/"), request, headers]
    return hashlib.sha256(_json(contents)).hexdigest()


def _json(value: Any) -> bytes:
    # Not msgspec, which refuses the lone surrogates that some providers send, and changes large numbers.
    return json.dumps(value, separators=(",", ":")).encode()


# -- the bytes -----------------------------------------------------------------------------------------------------


def encode(completion: ChatCompletion) -> bytes:
    """
    An answer as bytes for `decode`, without the provider's data (``raw``) and without ``parsed``.

    Raises:
        TypeError: it has a value that JSON cannot express.
    """
    body = _json(completion.to_dict())
    return _head(body) + body


def decode(data: Optional[bytes]) -> Optional[ChatCompletion]:
    """The answer that was encoded; None for other or damaged bytes, and for those of another version."""
    if not isinstance(data, bytes):
        return None
    end = data.find(b"\n") + 1
    body = data[end:]
    if data[:end] != _head(body):
        return None
    try:
        return ChatCompletion.from_dict(json.loads(body))
    except Exception:  # not the JSON of an answer
        return None


def _head(body: bytes) -> bytes:
    return b"%s %08x\n" % (_FORMAT, zlib.crc32(body))


# -- caches --------------------------------------------------------------------------------------------------------


class Guarded:
    """
    A cache whose failures break no call: an exception is a miss, and the first one is logged at WARNING.

    Args:
        cache: The cache, which may raise any exception.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._warnings: list[None] = [None]

    def get(self, key: str) -> Optional[bytes]:
        """The value of *key*, if it is bytes; else None."""
        try:
            value = self._cache.get(key)
        except Exception as exc:
            self._warn("get", exc)
            return None
        return value if isinstance(value, bytes) else None

    def set(self, key: str, value: bytes, ttl: Optional[float] = None) -> None:
        """Store *value*, unless the cache fails."""
        try:
            self._cache.set(key, value, ttl)
        except Exception as exc:
            self._warn("set", exc)

    def _warn(self, action: str, exc: Exception) -> None:
        if not waiters.take_one(self._warnings):
            return
        # Only class names: the message may have a URL with a password, or the answer.
        names = (type(self._cache).__name__, action, type(exc).__name__)
        _log.warning("%s failed to %s: %s; calls go on without it, and this is not logged again", *names)

    def __repr__(self) -> str:
        return f"Guarded({type(self._cache).__name__})"


class MemoryCache:
    """
    A cache in this process. When it is full, the answer that was used longest ago is removed.

    A child process starts with its parent's answers, unless the parent forked in the middle of a change.

    Args:
        maxsize: The most answers.
        ttl: Seconds for which each is stored; None for as long as there is room.
        clock: Monotonic seconds.

    Raises:
        ImportError: cachetools is not installed.
        TypeError, ValueError: *maxsize* is no int or less than 1, or *ttl* negative or NaN.
    """

    def __init__(
        self, maxsize: int = 1024, ttl: Optional[float] = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._maxsize = whole_number("maxsize", maxsize)
        self._ttl = _optional_seconds("ttl", ttl)
        self._entries = PerProcess(lambda inherited: _Entries(self._maxsize, clock, inherited))

    def get(self, key: str) -> Optional[bytes]:
        """The value of *key*; None if there is none, or it has expired."""
        return self._entries().get(key)

    def set(self, key: str, value: bytes, ttl: Optional[float] = None) -> None:
        """Store *value* for *ttl* seconds; None for the cache's default."""
        self._entries().set(key, value, self._ttl if ttl is None else _optional_seconds("ttl", ttl))

    def __repr__(self) -> str:
        return f"MemoryCache({self._maxsize}, ttl={self._ttl})"


class _Entries:
    """cachetools' cache, which is not safe between threads, and a lock for it."""

    def __init__(self, maxsize: int, clock: Callable[[], float], inherited: Optional[_Entries]) -> None:
        cachetools = import_extra("cachetools", "cache", "MemoryCache needs cachetools")
        #: Held for each single operation.
        self._lock = threading.Lock()
        # In a child process, a parent's lock that is held stays held for ever, and its cache may be half changed.
        is_usable = inherited is not None and not inherited._lock.locked()
        self._items: Any = (
            inherited._items if inherited and is_usable else cachetools.TLRUCache(maxsize, _expiry, clock)
        )

    def get(self, key: str) -> Optional[bytes]:
        with self._lock:
            found = self._items.get(key)
        return None if found is None else bytes(found[0])

    def set(self, key: str, value: bytes, ttl: Optional[float]) -> None:
        with self._lock:
            if ttl == 0:
                self._items.pop(key, None)  # some versions of cachetools leave the old value for a ttl of 0
            else:
                self._items[key] = (value, math.inf if ttl is None else ttl)


def _expiry(_key: str, item: tuple[bytes, float], now: float) -> float:
    return now + item[1]


class DiskCache:
    """
    A cache in a folder, which processes of this machine may share.

    Its files are only read as bytes, never unpickled. A folder that this creates is accessible to this user only.

    Args:
        folder: The folder; created if it does not exist.
        ttl: Seconds for which each answer is stored; None for as long as there is room.
        size_limit: The most bytes; then the oldest answers are removed.

    Raises:
        ImportError: diskcache is not installed.
        OSError, sqlite3.Error: the folder cannot be used.
        TypeError, ValueError: *size_limit* is no int or less than 1, or *ttl* negative or NaN.
    """

    #: Seconds to wait while another process writes; then it is a miss.
    _LOCK_TIMEOUT = 1.0

    def __init__(
        self, folder: Union[str, os.PathLike[str]], ttl: Optional[float] = None, size_limit: int = 1024**3
    ) -> None:
        diskcache = import_extra("diskcache", "cache", "DiskCache needs diskcache")

        class BytesOnly(diskcache.Disk):  # type: ignore[misc, name-defined]  # it has no types
            """Refuses pickles: with one, anybody who can write to the folder could run any code."""

            def fetch(self, mode: int, filename: str, value: Any, read: bool) -> Any:
                if mode == diskcache.core.MODE_PICKLE:
                    raise ValueError("a file in the cache's folder is a pickle, which this cache does not write")
                return super().fetch(mode, filename, value, read)

        self._ttl = _optional_seconds("ttl", ttl)
        self._folder = os.fspath(folder)
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._cache = diskcache.Cache(
            self._folder, timeout=self._LOCK_TIMEOUT, disk=BytesOnly, size_limit=whole_number("size_limit", size_limit)
        )

    def get(self, key: str) -> Optional[bytes]:
        """The value of *key*; None if there is none, or it has expired."""
        found = self._cache.get(key)
        return found if isinstance(found, bytes) else None

    def set(self, key: str, value: bytes, ttl: Optional[float] = None) -> None:
        """Store *value* for *ttl* seconds; None for the cache's default."""
        self._cache.set(key, value, expire=self._ttl if ttl is None else _optional_seconds("ttl", ttl))

    def close(self) -> None:
        """Close this thread's connection to the files; a later use opens it again."""
        self._cache.close()

    def __repr__(self) -> str:
        return f"DiskCache({self._folder!r}, ttl={self._ttl})"


class RedisCache:
    """
    A cache in a Redis server, which machines may share.

    Args:
        server: A URL (``redis://host:6379/0``), or a client of the redis package, with its own timeouts.
        ttl: Seconds for which each answer is stored; None for as long as the server stores it.
        prefix: The beginning of all keys.
        timeout: Seconds for one operation.

    Raises:
        ImportError: redis is not installed.
        ValueError: the URL is invalid, or *ttl* or *timeout* negative or NaN.
    """

    def __init__(
        self, server: Any, ttl: Optional[float] = None, prefix: str = "anyllm:", *, timeout: float = 2.0
    ) -> None:
        self._ttl = _optional_seconds("ttl", ttl)
        self._prefix = prefix
        if isinstance(server, str):
            seconds = _optional_seconds("timeout", timeout)
            redis = import_extra("redis", "redis", "RedisCache needs redis")
            server = redis.Redis.from_url(server, socket_timeout=seconds, socket_connect_timeout=seconds)
        self._client = server

    def get(self, key: str) -> Optional[bytes]:
        """The value of *key*; None if there is none, or it has expired."""
        found = self._client.get(self._prefix + key)
        return found.encode() if isinstance(found, str) else found  # a client may decode its responses

    def set(self, key: str, value: bytes, ttl: Optional[float] = None) -> None:
        """Store *value* for *ttl* seconds; None for the cache's default."""
        seconds = self._ttl if ttl is None else _optional_seconds("ttl", ttl)
        if seconds is None:
            self._client.set(self._prefix + key, value)
        elif seconds > 0:
            self._client.set(self._prefix + key, value, px=math.ceil(seconds * 1000))
        else:
            self._client.delete(self._prefix + key)  # Redis refuses a ttl of 0

    def close(self) -> None:
        """Close the connections to the server; a later use opens new ones."""
        self._client.close()

    def __repr__(self) -> str:
        return f"RedisCache(prefix={self._prefix!r}, ttl={self._ttl})"


def _optional_seconds(name: str, value: Any) -> Optional[float]:
    """*value* as seconds; None also for infinity, which the libraries do not support."""
    seconds = None if value is None else non_negative(name, value)
    return None if seconds is None or math.isinf(seconds) else seconds
