"""
What of an answer is neither text nor a call, and must go back in its place with the next turn.

Google signs parts: a thought, a piece of the text, an empty piece at the end. The signature counts only on the part
it came with. A message holds one text, so its ``Reasoning.details`` say where in it each such part lay; parts of
Google's own tools (code it ran, searches) are kept there whole.

Source: https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.types import Reasoning
from anyllm.wire._base.getters import whole_number

#: `Reasoning.field` of what came from here.
FIELD = "thought"

#: Parts of Google's own tools, which are sent back as they came.
TOOL_PARTS = frozenset(("executableCode", "codeExecutionResult", "toolCall", "toolResponse"))

_SIGNED, _PART = "gemini.signed", "gemini.part"


def signed(of: str, start: int, length: int, signature: str) -> dict[str, Any]:
    """
    The detail for a signed part.

    Args:
        of: "text" or "thought".
        start: Where in that text it begins, in characters.
        length: How long it is; 0 for an empty part.
        signature: As it came.
    """
    return {"type": _SIGNED, "of": of, "start": start, "end": start + length, "thoughtSignature": signature}


def tool_part(start: int, part: dict[str, Any]) -> dict[str, Any]:
    """The detail for a part of Google's own tools that came before the text's character *start*."""
    return {"type": _PART, "of": "text", "start": start, "part": part}


def thought_parts(reasoning: Reasoning | None) -> list[dict[str, Any]]:
    """An earlier turn's reasoning as it is sent back; none that another host's model thought."""
    if reasoning is None or reasoning.field not in (None, FIELD) or not reasoning.content:
        return []
    parts = _cut(reasoning.content, _marks(reasoning, "thought"))
    if reasoning.signature and not reasoning.details:
        parts[-1]["thoughtSignature"] = reasoning.signature
    return [{**part, "thought": True} for part in parts]


def text_parts(text: str, reasoning: Reasoning | None) -> list[dict[str, Any]]:
    """An earlier turn's text as it is sent back, with what came in between."""
    if reasoning is None or reasoning.field not in (None, FIELD):
        return _cut(text, [])
    parts = _cut(text, _marks(reasoning, "text"))
    if reasoning.signature and not reasoning.details and not reasoning.content:
        parts.append({"text": "", "thoughtSignature": reasoning.signature})
    return parts


def _marks(reasoning: Reasoning, of: str) -> list[Mapping[str, Any]]:
    """The details that lie in this text, in order; those of other hosts mean nothing here."""
    marks = [mark for mark in reasoning.details or () if mark.get("of") == of and _is_ours(mark)]
    return sorted(marks, key=lambda mark: whole_number(mark.get("start")) or 0)


def _is_ours(mark: Mapping[str, Any]) -> bool:
    kind = mark.get("type")
    if kind == _PART:
        return isinstance(mark.get("part"), Mapping)
    return kind == _SIGNED and isinstance(mark.get("thoughtSignature"), str)


def _cut(text: str, marks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """*text* as parts: the marked ones, and what lies between them."""
    parts: list[dict[str, Any]] = []
    at = 0
    for mark in marks:
        start = max(whole_number(mark.get("start")) or 0, at)
        if text[at:start]:
            parts.append({"text": text[at:start]})
        at = start
        if mark["type"] == _PART:
            parts.append(dict(mark["part"]))
        else:
            at = max(whole_number(mark.get("end")) or 0, start)
            parts.append({"text": text[start:at], "thoughtSignature": mark["thoughtSignature"]})
    if text[at:]:
        parts.append({"text": text[at:]})
    return parts
