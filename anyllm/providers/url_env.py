"""
What rows of clouds share: where a URL leads, and whether what the environment holds may be shown there.
"""

from __future__ import annotations

import os
import re
from typing import Optional
from urllib.parse import SplitResult, urlsplit

__all__ = ["is_own", "parts_of", "variable"]


def variable(*names: str) -> Optional[str]:
    """The first of these environment variables that says something."""
    return next(filter(None, (os.environ.get(name, "").strip() for name in names)), None)


def parts_of(url: str) -> Optional[SplitResult]:
    """The parts of a URL; None of one that cannot be read."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # is read by then
    except ValueError:
        return None
    return parts


def is_own(place: SplitResult, host: re.Pattern[str], endpoint_vars: tuple[str, ...]) -> bool:
    """Whether *place* is one of the cloud's own hosts, with TLS, or the one that the environment names."""
    if place.scheme == "https" and host.fullmatch(place.hostname or ""):
        return True
    named = filter(None, (parts_of(variable(name) or "") for name in endpoint_vars))
    return any(own.netloc and (own.scheme, own.netloc) == (place.scheme, place.netloc) for own in named)
