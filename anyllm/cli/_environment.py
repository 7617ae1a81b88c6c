"""What surrounds us: the local model, keys, proxies, certificates. Values that are secret are not shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.request import getproxies

from anyllm.cli._findings import Finding, fail, ok, warn
from anyllm.errors import LocalUnavailableError
from anyllm.providers import _rows

__all__ = ["certificates", "keys", "local_model", "offline", "proxies"]


def local_model() -> Iterator[Finding]:
    """Could the local model run, and are its weights here?"""
    from anyllm.providers.local import SMOLLM2, _llama
    from anyllm.providers.local._cache import cache_dir

    try:
        _llama.require()
        _llama.probe()  # in a process of its own: on some processors the library dies
    except LocalUnavailableError as exc:
        yield warn("local", str(exc))
    else:
        yield ok("local", f"xllamacpp {metadata.version('xllamacpp')} works")
    path = cache_dir() / SMOLLM2.file
    if path.is_file() and path.stat().st_size == SMOLLM2.size:
        yield ok("weights", str(path))
    elif _is_offline():
        yield warn("weights", f"{path} is not there, and ANYLLM_OFFLINE forbids to download it: `anyllm local import`")
    else:
        yield ok("weights", f"{path} is not there yet: the first local prompt, or `anyllm local download`, brings it")


def keys() -> Iterator[Finding]:
    """For which hosts is there a key?"""
    hosts: dict[str, list[str]] = {}
    for row in _rows.ROWS:
        for name in (*row.key_vars, *row.key_pair_vars):
            if os.environ.get(name, "").strip():
                hosts.setdefault(name, []).append(row.name)
    found = [f"{name} ({', '.join(rows)})" for name, rows in hosts.items()]
    yield ok("keys", ", ".join(found) or "none in the environment; the local model needs none")


def proxies() -> Iterator[Finding]:
    """Through which proxies do requests go?"""
    found = {scheme: _without_credentials(url) for scheme, url in sorted(getproxies().items())}
    direct = found.pop("no", None)
    said = ", ".join(f"{scheme} through {url}" for scheme, url in found.items())
    yield ok("proxies", (said or "none") + (f", but not to {direct}" if said and direct else ""))


def _without_credentials(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def certificates() -> Iterator[Finding]:
    """Which authorities are trusted?"""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # in the order in which requests looks
        value = os.environ.get(name)
        if value:
            if Path(value).exists():
                yield ok("certificates", f"{value} ({name})")
            else:
                yield fail("certificates", f"{name} names {value}, which does not exist: no https host can be reached")
            return
    unread = " (SSL_CERT_FILE is set, but requests reads REQUESTS_CA_BUNDLE)" if os.environ.get("SSL_CERT_FILE") else ""
    yield ok("certificates", f"those of certifi{unread}")


def offline() -> Iterator[Finding]:
    """May the weights be downloaded?"""
    yield ok("offline", "ANYLLM_OFFLINE is set: no weights are downloaded" if _is_offline() else "no")


def _is_offline() -> bool:
    return os.environ.get("ANYLLM_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")
