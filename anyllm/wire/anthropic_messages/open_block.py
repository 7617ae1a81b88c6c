"""What is known of a content block between its start and its stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Types of blocks that are read; all others are passed on as they are.
TEXT, THINKING, REDACTED, TOOL_USE = "text", "thinking", "redacted_thinking", "tool_use"


class OpenBlock:
    """
    One content block that has begun.

    Used by one decoder, on one thread.

    Attributes:
        kind: Its type.
        start: As it was announced, whole.
        texts: The pieces of what was thought.
        signatures: The pieces of the signature.
        call: Of a tool call, its place among the calls.
        place: Of a thinking block, how many came before it.
        has_arguments: Whether pieces of the call's arguments came.
    """

    __slots__ = ("call", "has_arguments", "kind", "place", "signatures", "start", "texts")

    def __init__(self, kind: str, start: Mapping[str, Any]) -> None:
        self.kind = kind
        self.start = start
        self.texts: list[str] = []
        self.signatures: list[str] = []
        self.call = 0
        self.place = 0
        self.has_arguments = False
