"""
The gateway's own keys: what clients show, and what is kept of them.

A key is random and long, so its SHA-256 is all that has to be kept: nobody can guess what it is the hash of.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Optional

__all__ = ["Keys", "hash_of", "new_key"]

_PREFIX = "sha256:"
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


def new_key() -> str:
    """A key for somebody: 256 random bits."""
    return f"anyllm-{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str:
    """What the configuration holds of a key: ``sha256:`` and 64 digits."""
    return _PREFIX + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class Keys:
    """
    Who may come in.

    Args:
        hashes: For each name what `hash_of` gave for its key; none at all lets everybody in.

    Raises:
        ValueError: a hash is none; it may be a key, so the message does not hold it.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        for name, value in hashes.items():
            if not isinstance(value, str) or not _HASH.fullmatch(value):
                raise ValueError(f"keys.{name} must be a hash, as `anyllm serve --new-key {name}` prints it")
        self._hashes = dict(hashes)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def name_of(self, key: str) -> Optional[str]:
        """Whose key it is; None if nobody's. How long that takes says nothing of how near the key was."""
        shown, found = hash_of(key), None
        for name, known in self._hashes.items():
            if hmac.compare_digest(shown, known):
                found = name
        return found
