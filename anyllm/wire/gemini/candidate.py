"""
One candidate: its parts, to what a chunk adds.

Source: https://ai.google.dev/api/caching#Part
"""

from __future__ import annotations

from typing import Any

from anyllm.errors import APIError
from anyllm.types import ChunkDelta, Reasoning, ToolCall
from anyllm.wire._base import api_errors
from anyllm.wire._base.getters import json_type
from anyllm.wire.gemini import finish_reasons, signatures
from anyllm.wire.gemini.tool_calls import Calls

#: A part that signs without a text; elsewhere a signature belongs to what the part holds.
_SIGNATURE_ALONE = frozenset(("thoughtSignature", "thought", "text"))


class _Pieces:
    """What the parts of one event add."""

    __slots__ = ("calls", "details", "signature", "texts", "thoughts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[ToolCall] = []
        self.details: list[dict[str, Any]] = []
        self.signature: str | None = None


class Candidate:
    """
    What is known of one candidate. Used by one decoder, on one thread.

    Attributes:
        finish: The last reason it ended for; None while it goes on.
        calls: Its tool calls.
        said: How many characters of text came.
    """

    __slots__ = ("_thought", "calls", "finish", "said")

    def __init__(self) -> None:
        self.finish: str | None = None
        self.calls = Calls()
        self.said = 0
        self._thought = 0

    def delta(self, raw: dict[str, Any], role: str | None) -> ChunkDelta:
        """
        What *raw*, a candidate of one event, adds.

        Raises:
            ValueError: it cannot be read.
        """
        pieces = _Pieces()
        for part in _parts(raw):
            self._read(part, pieces)
        thought, reasoning = "".join(pieces.thoughts) or None, None
        if thought or pieces.details:
            reasoning = Reasoning(thought, pieces.signature, signatures.FIELD, pieces.details or None)
        return ChunkDelta(role, "".join(pieces.texts) or None, None, tuple(pieces.calls) or None, reasoning)

    def end(self, name: str | None) -> tuple[str | None, str | None]:
        """
        The end, normalised and as it came; (None, None) where *name* says nothing new.

        A candidate may end twice: a filter that ran beside the answer has the last word.
        """
        if name is None or name == self.finish:
            return None, None
        self.finish = name
        return finish_reasons.finish_reason(name, has_tool_calls=bool(self.calls)), name

    def _read(self, part: dict[str, Any], pieces: _Pieces) -> None:
        text, signature = part.get("text"), part.get("thoughtSignature")
        if not isinstance(signature, str):
            signature = None
        if part.get("functionCall") is not None:
            call = self.calls.read(part["functionCall"], signature)
            if call is not None:
                pieces.calls.append(call)
        elif not signatures.TOOL_PARTS.isdisjoint(part):
            pieces.details.append(signatures.tool_part(self.said, part))
        elif text is not None or _SIGNATURE_ALONE.issuperset(part):
            self._read_text("" if text is None else text, part, signature, pieces)

    def _read_text(self, text: Any, part: dict[str, Any], signature: str | None, pieces: _Pieces) -> None:
        if not isinstance(text, str):
            raise ValueError(f"the text of a part is {json_type(text)}")
        if part.get("thought") is True:
            pieces.thoughts.append(text)
            self._thought = self._sign("thought", self._thought, text, signature, pieces)
        else:
            pieces.texts.append(text)
            self.said = self._sign("text", self.said, text, signature, pieces)

    def _sign(self, of: str, start: int, text: str, signature: str | None, pieces: _Pieces) -> int:
        """Notes the signature of a part, if it has one; where its text ends."""
        if signature:
            pieces.signature = signature
            pieces.details.append(signatures.signed(of, start, len(text), signature))
        return start + len(text)


def _parts(raw: dict[str, Any]) -> list[dict[str, Any]]:
    content = raw.get("content")
    if content is None:
        return []
    if not isinstance(content, dict):
        raise ValueError(f"the content of a candidate is {json_type(content)}")
    parts = content.get("parts")
    if parts is None:
        return []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError("the parts of a candidate are no list of objects")
    return parts


def failure(name: str, raw: dict[str, Any], provider: str) -> APIError:
    """The error that a candidate which failed is."""
    message, detail = f"the model ended the answer with {name}", raw.get("finishMessage")
    if isinstance(detail, str) and detail:
        message = f"{message}: {detail}"
    error = api_errors.from_body(
        provider, {"error": {"message": message, "code": name, "type": finish_reasons.FAILURES[name]}}
    )
    error.body = raw
    return error
