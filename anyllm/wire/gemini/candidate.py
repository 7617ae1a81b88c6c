"""
One candidate of an answer: from its parts to the deltas of chunks.

Source: https://ai.google.dev/api/caching#Part
"""

from __future__ import annotations

from typing import Any

from anyllm.types import ChunkDelta, Reasoning, ToolCall
from anyllm.wire._base.json_values import json_type
from anyllm.wire.gemini.content import FIELD, TOOL_PARTS, signed_detail, tool_detail
from anyllm.wire.gemini.fields import read_finish_reason
from anyllm.wire.gemini.tool_calls import GeminiToolCalls

#: The keys of a part that may sign without a text; in others the signature belongs to the content of the part.
_SIGNATURE_ALONE = frozenset(("thoughtSignature", "thought", "text"))


class _Pieces:
    """The additions of one event's parts."""

    __slots__ = ("calls", "details", "signature", "texts", "thoughts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[ToolCall] = []
        self.details: list[dict[str, Any]] = []
        self.signature: str | None = None


class Candidate:
    """
    The state of one candidate. Used by one decoder, on one thread.

    Attributes:
        finish: Its last finish reason; None while it goes on.
        calls: Its tool calls.
        text_length: How many characters of text came.
    """

    __slots__ = ("_thought_length", "calls", "finish", "text_length")

    def __init__(self) -> None:
        self.finish: str | None = None
        self.calls = GeminiToolCalls()
        self.text_length = 0
        self._thought_length = 0

    def delta(self, raw: dict[str, Any], role: str | None) -> ChunkDelta:
        """
        The delta of *raw*, a candidate of one event.

        Raises:
            ValueError: it is malformed.
        """
        pieces = _Pieces()
        for part in _parts(raw):
            self._read(part, pieces)
        thought, reasoning = "".join(pieces.thoughts) or None, None
        if thought or pieces.details:
            reasoning = Reasoning(thought, pieces.signature, FIELD, pieces.details or None)
        return ChunkDelta(role, "".join(pieces.texts) or None, None, tuple(pieces.calls) or None, reasoning)

    def end(self, name: str | None) -> tuple[str | None, str | None]:
        """
        The finish reason, normalised and as it came; (None, None) where *name* is not a new one.

        A candidate may end twice: the reason of a filter that ran beside the answer comes last and counts.
        """
        if name is None or name == self.finish:
            return None, None
        self.finish = name
        return read_finish_reason(name, has_tool_calls=bool(self.calls)), name

    def _read(self, part: dict[str, Any], pieces: _Pieces) -> None:
        text, signature = part.get("text"), part.get("thoughtSignature")
        if not isinstance(signature, str):
            signature = None
        if part.get("functionCall") is not None:
            call = self.calls.read(part["functionCall"], signature)
            if call is not None:
                pieces.calls.append(call)
        elif not TOOL_PARTS.isdisjoint(part):
            pieces.details.append(tool_detail(self.text_length, part))
        elif text is not None or _SIGNATURE_ALONE.issuperset(part):
            self._read_text("" if text is None else text, part, signature, pieces)

    def _read_text(self, text: Any, part: dict[str, Any], signature: str | None, pieces: _Pieces) -> None:
        if not isinstance(text, str):
            raise ValueError(f"the text of a part is {json_type(text)}")
        if part.get("thought") is True:
            pieces.thoughts.append(text)
            self._thought_length = self._sign("thought", self._thought_length, text, signature, pieces)
        else:
            pieces.texts.append(text)
            self.text_length = self._sign("text", self.text_length, text, signature, pieces)

    def _sign(self, of: str, start: int, text: str, signature: str | None, pieces: _Pieces) -> int:
        """Record the signature of a part, if it has one, and return where its text ends."""
        if signature:
            pieces.signature = signature
            pieces.details.append(signed_detail(of, start, len(text), signature))
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
