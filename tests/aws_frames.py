"""Frames of AWS's event streams, as the documentation describes them."""

from __future__ import annotations

import binascii
import json
import struct
from typing import Any


def frame(payload: bytes, headers: dict[str, str], *, broken: str = "") -> bytes:
    """One frame; *broken* is "prelude" or "payload" for one bad checksum."""
    head = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    prelude += struct.pack("!I", binascii.crc32(prelude) ^ (broken == "prelude"))
    message = prelude + head + payload
    return message + struct.pack("!I", binascii.crc32(message) ^ (broken == "payload"))


def event(name: str, body: Any) -> bytes:
    """The frame of an event whose payload is JSON."""
    about = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return frame(json.dumps(body).encode(), about)
