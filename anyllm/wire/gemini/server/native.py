"""
Google's own events and answers: which of their keys and parts a chunk cannot hold, and what they are without thoughts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.errors import AnyLLMError
from anyllm.types import ChatCompletion
from anyllm.types._accumulate import accumulate
from anyllm.wire.gemini.content import TOOL_PARTS
from anyllm.wire.gemini.decoder import GeminiDecoder

__all__ = [
    "candidate_in",
    "is_native",
    "is_source_of",
    "other_keys",
    "other_parts",
    "without_thought_texts",
    "without_thoughts",
]

#: The keys of a part that are written from a chunk.
_WRITTEN_OF_PART = frozenset(("text", "functionCall", "thoughtSignature")) | TOOL_PARTS


def is_native(raw: Any) -> bool:
    """Whether a provider's own event, or answer, is in this format."""
    if not isinstance(raw, dict):
        return False
    return isinstance(raw.get("candidates"), list) or any(
        isinstance(raw.get(key), dict) for key in ("usageMetadata", "promptFeedback")
    )


def is_source_of(raw: dict[str, Any], completion: ChatCompletion) -> bool:
    """Whether *raw* is still what *completion* was read from."""
    try:
        again = accumulate(GeminiDecoder(provider=completion.provider).feed_object(raw, raw))
    except AnyLLMError:
        return False
    is_same = (again.id, again.model, again.usage) == (completion.id, completion.model, completion.usage)
    return is_same and again.choices == completion.choices


def other_keys(raw: Mapping[str, Any], written: frozenset[str]) -> dict[str, Any]:
    """Keys of Google's own that are not written from a chunk: grounding, citations, safety ratings."""
    return {key: value for key, value in raw.items() if key not in written}


def candidate_in(raw: Any, index: int) -> Mapping[str, Any]:
    """Google's own candidate with that index; it leaves out 0 where others have one."""
    candidates = raw.get("candidates") if isinstance(raw, Mapping) else None
    found = [one for one in candidates if isinstance(one, Mapping)] if isinstance(candidates, list) else []
    numbered = any(one.get("index") is not None for one in found)
    places = ((one.get("index", 0) if numbered else at, one) for at, one in enumerate(found))
    return next((one for place, one in places if place == index), {})


def parts_of(candidate: Mapping[str, Any]) -> list[Any]:
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, Mapping) else None
    return parts if isinstance(parts, list) else []


def other_parts(candidate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Parts that a chunk cannot hold: images."""
    return [part for part in parts_of(candidate) if isinstance(part, dict) and _WRITTEN_OF_PART.isdisjoint(part)]


def without_thoughts(raw: dict[str, Any]) -> dict[str, Any]:
    """The event without thoughts; candidates stay, and so do signatures."""
    candidates = raw.get("candidates") or []
    if not any(part.get("thought") is True for one in candidates for part in parts_of(one)):
        return raw
    changed = [
        {**one, "content": {**one["content"], "parts": without_thought_texts(parts_of(one))}} if parts_of(one) else one
        for one in candidates
    ]
    return {**raw, "candidates": changed}


def without_thought_texts(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts without the text of thoughts; a thought with a signature stays, empty."""
    silent = ({**part, "text": ""} if part.get("thought") is True else part for part in parts)
    return [part for part in silent if part.get("thought") is not True or "thoughtSignature" in part]
