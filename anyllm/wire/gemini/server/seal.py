"""Reasoning of another provider, sealed into a ``thoughtSignature``, which Google's clients send back unread."""

from __future__ import annotations

import base64
import binascii
from typing import Optional

from anyllm.types import Reasoning, _convert
from anyllm.wire._base.writer import json_bytes

__all__ = ["sealed", "unsealed"]

_SEAL = b"anyllm:"


def sealed(reasoning: Reasoning) -> str:
    """A ``thoughtSignature`` that holds all of *reasoning* but its text."""
    facts = {"signature": reasoning.signature, "field": reasoning.field, "details": reasoning.details}
    present = {name: value for name, value in facts.items() if value is not None}
    return base64.urlsafe_b64encode(_SEAL + json_bytes(present)).decode()


def unsealed(signature: str) -> Optional[Reasoning]:
    """The reasoning that was `sealed`; None of any other signature."""
    text = signature.replace("+", "-").replace("/", "_").rstrip("=")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if not data.startswith(_SEAL):
            return None
        return Reasoning.from_dict(_convert.loads(data[len(_SEAL) :]))
    except (binascii.Error, ValueError, TypeError):
        return None
