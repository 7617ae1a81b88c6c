"""Values of environment variables, and whether a URL is one of a cloud's own hosts."""

from __future__ import annotations

import os
import re
from typing import Optional
from urllib.parse import SplitResult, urlsplit

__all__ = ["first_set", "is_own_host", "split_url"]


def first_set(*names: str) -> Optional[str]:
    """The value of the first of these environment variables that is set and not blank."""
    return next(filter(None, (os.environ.get(name, "").strip() for name in names)), None)


def split_url(url: str) -> Optional[SplitResult]:
    """The parts of a URL; None for a malformed one."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises only when it is read
    except ValueError:
        return None
    return parts


def is_own_host(url: SplitResult, host: re.Pattern[str], endpoint_vars: tuple[str, ...]) -> bool:
    """
    Whether credentials from the environment may be sent to *url*.

    It is a host of the cloud's own (*host* matches its name), with TLS, or the endpoint that the environment names.
    """
    if url.scheme == "https" and host.fullmatch(url.hostname or ""):
        return True
    endpoints = filter(None, (split_url(first_set(name) or "") for name in endpoint_vars))
    return any(own.netloc and (own.scheme, own.netloc) == (url.scheme, url.netloc) for own in endpoints)
