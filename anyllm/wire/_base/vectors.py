"""Decoding of embedding vectors: lists of numbers, or base64."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Any

from anyllm.errors import MalformedStreamError


def vector(value: Any, provider: str) -> list[float]:
    """
    One vector, from a list of numbers or from base64 of little-endian 32-bit floats.

    Raises:
        MalformedStreamError: *value* is neither.
    """
    if isinstance(value, str):
        return _unpacked(value, provider)
    if not isinstance(value, list) or not all(type(number) in (float, int) for number in value):
        raise MalformedStreamError("an embedding is no list of numbers", provider=provider)
    try:
        return [float(number) for number in value]
    except OverflowError as exc:
        raise MalformedStreamError("an embedding holds a number that is too large", provider=provider) from exc


def _unpacked(text: str, provider: str) -> list[float]:
    try:
        data = base64.b64decode(text, validate=True)
        return [number for (number,) in struct.iter_unpack("<f", data)]
    except (binascii.Error, struct.error, ValueError) as exc:
        raise MalformedStreamError(f"an embedding is no base64 of floats: {exc}", provider=provider) from exc
