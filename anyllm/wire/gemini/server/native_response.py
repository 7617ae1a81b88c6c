"""
Google's own events and answers: their keys and parts that a chunk cannot hold, and the same without thoughts.
"""

from __future__ import annotations

from typing import Any

from anyllm.errors import AnyLLMError
from anyllm.types import ChatCompletion, ChatCompletionChunk, text_alone
from anyllm.types._accumulate import accumulate
from anyllm.wire.gemini.decoder import GeminiDecoder, candidates_in, parts_of
from anyllm.wire.gemini.fields import TOOL_PARTS
from anyllm.wire.gemini.signatures import without_thought_texts

__all__ = ["is_native", "is_source_of", "other_keys", "other_keys_and_parts", "reads_as", "without_thoughts"]

#: The keys of a response, of a candidate and of a part that are written from a chunk.
_RESPONSE_KEYS = frozenset(("candidates", "usageMetadata", "modelVersion", "responseId", "error"))
_CANDIDATE_KEYS = frozenset(("content", "finishReason", "finishMessage", "index"))
_PART_KEYS = frozenset(("text", "functionCall", "thoughtSignature")) | TOOL_PARTS
#: The attributes of an answer that are read from Google's.
_COMPARED = ("id", "model", "usage", "choices")


def is_native(raw: Any) -> bool:
    """Whether a provider's own event, or answer, is in this format."""
    if not isinstance(raw, dict):
        return False
    return isinstance(raw.get("candidates"), list) or any(
        isinstance(raw.get(key), dict) for key in ("usageMetadata", "promptFeedback")
    )


def reads_as(raw: Any, chunk: ChatCompletionChunk, decoder: GeminiDecoder) -> bool:
    """Whether *decoder* reads the event *raw* as *chunk*."""
    again = _read(raw, decoder)
    if again is None:
        return False
    text = text_alone(chunk)
    if text is None:
        return bool(again == chunk)
    is_same = (again.id, again.model, again.usage) == (chunk.id, chunk.model, chunk.usage)
    return is_same and text == text_alone(again)


def is_source_of(raw: Any, completion: ChatCompletion) -> bool:
    """Whether the answer *raw* is still what *completion* was read from."""
    chunk = _read(raw, GeminiDecoder(provider=completion.provider))
    again = None if chunk is None else accumulate([chunk])
    return again is not None and all(getattr(again, name) == getattr(completion, name) for name in _COMPARED)


def _read(raw: Any, decoder: GeminiDecoder) -> ChatCompletionChunk | None:
    try:
        return decoder.feed_object(raw, raw)[0] if is_native(raw) else None
    except AnyLLMError:
        return None


def other_keys(raw: Any) -> dict[str, Any]:
    """Keys of Google's own response that are not written from a chunk; none of another provider's."""
    return {key: value for key, value in raw.items() if key not in _RESPONSE_KEYS} if is_native(raw) else {}


def other_keys_and_parts(raw: Any, index: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """
    Keys and parts of Google's own candidate *index* that a chunk cannot hold: grounding, citations, safety ratings;
    images.
    """
    candidate = next((one for at, one in candidates_in(raw) if at == index), {})
    keys = {key: value for key, value in candidate.items() if key not in _CANDIDATE_KEYS}
    return keys, [part for part in parts_of(candidate) if _PART_KEYS.isdisjoint(part)]


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
