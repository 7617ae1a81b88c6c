"""What is known of a content block between its first event and its last."""

from __future__ import annotations

import base64
import binascii

from anyllm.types import Reasoning
from anyllm.wire.bedrock_converse.reasoning import hidden, signed

#: What a block is, by what was said of it first; all others are passed on as they are.
CALL, THOUGHT, OTHER = "call", "thought", "other"


class OpenBlock:
    """
    One content block that has begun. Used by one decoder, on one thread.

    Attributes:
        kind: `CALL`, `THOUGHT` or `OTHER`.
        call: Of a tool call, its place among the calls.
        has_arguments: Whether pieces of the call's arguments came.
        texts: Of a thought, its pieces.
        signatures: The pieces of its signature.
        hidden: The pieces of what only the model's maker can read, each in base64.
    """

    __slots__ = ("call", "has_arguments", "hidden", "kind", "signatures", "texts")

    def __init__(self, kind: str, call: int = 0) -> None:
        self.kind = kind
        self.call = call
        self.has_arguments = False
        self.texts: list[str] = []
        self.signatures: list[str] = []
        self.hidden: list[str] = []

    def reasoning(self) -> list[Reasoning]:
        """
        What a thought is, once it is whole.

        Raises:
            ValueError: its hidden pieces are no base64.
        """
        found = []
        text, signature = "".join(self.texts), "".join(self.signatures)
        if text or signature:
            found.append(signed(text, signature))
        if self.hidden:
            found.append(hidden(_joined(self.hidden)))
        return found


def _joined(pieces: list[str]) -> str:
    """The pieces as one: each is encoded alone, and may end in padding."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece, validate=True) for piece in pieces)).decode()
    except (binascii.Error, ValueError) as exc:
        raise ValueError("redactedContent is no base64") from exc
