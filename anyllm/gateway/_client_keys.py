"""
API keys of the gateway's clients.

Only their SHA-256 is stored. A key is 256 random bits, so nobody can guess it from its hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Optional

_PREFIX = "sha256:"
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


def new_key() -> str:
    """A new random key."""
    return f"anyllm-{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str:
    """The hash of *key* for the configuration: ``sha256:`` and 64 hexadecimal digits."""
    return _PREFIX + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class Keys:
    """
    The keys that the gateway accepts, as hashes by the names of their owners; without any it needs none.

    Raises:
        ValueError: a value is no hash. It may be a key, so the message does not contain it.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        for name, value in hashes.items():
            if not isinstance(value, str) or not _HASH.fullmatch(value):
                raise ValueError(f"keys.{name} must be a hash, as `anyllm serve --new-key {name}` prints it")
        self._hashes = dict(hashes)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def owner(self, key: str) -> Optional[str]:
        """
        The name of the key's owner; None for an unknown key.

        It compares with every hash in constant time, so that timing does not help to guess a key.
        """
        hashed, owner = hash_of(key), None
        for name, value in self._hashes.items():
            if hmac.compare_digest(hashed, value):
                owner = name
        return owner
