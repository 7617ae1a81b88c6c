"""
Thoughts and signed parts in both directions.

Google signs parts: a thought, a piece of the text, an empty piece at the end. A signature is valid only on its own
part. A message has one text, so its ``Reasoning.details`` record where in it each such part was; parts of Google's own
tools (code it ran, searches) are stored there whole. Reasoning of another provider is sealed into a
``thoughtSignature``, which Google's clients send back unread.

Source: https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from anyllm.types import Message, Reasoning, _convert
from anyllm.wire._base.json_values import whole_number, without_none
from anyllm.wire._base.writer import json_bytes
from anyllm.wire.gemini.fields import THOUGHT
from anyllm.wire.gemini.parts import write_parts

#: How the types of all details of ours begin.
_DETAILS = "gemini."
_SIGNED, _PART = f"{_DETAILS}signed", f"{_DETAILS}part"
_SEAL = b"anyllm:"


def signed_detail(of: str, start: int, length: int, signature: str) -> dict[str, Any]:
    """The detail of a signed part of the "text" or of the "thought"; *start* and *length* are characters."""
    return {"type": _SIGNED, "of": of, "start": start, "end": start + length, "thoughtSignature": signature}


def tool_detail(start: int, part: dict[str, Any]) -> dict[str, Any]:
    """The detail of a part of Google's own tools that came before the text's character *start*."""
    return {"type": _PART, "of": "text", "start": start, "part": part}


def _details_of(reasoning: Reasoning, of: str) -> list[Mapping[str, Any]]:
    """The details of this text, in order; those of other providers mean nothing here."""
    details = [detail for detail in reasoning.details or () if detail.get("of") == of and _is_valid(detail)]
    return sorted(details, key=lambda detail: whole_number(detail.get("start")) or 0)


def _is_valid(detail: Mapping[str, Any]) -> bool:
    if detail.get("type") == _PART:
        return isinstance(detail.get("part"), Mapping)
    return detail.get("type") == _SIGNED and isinstance(detail.get("thoughtSignature"), str)


def _part_of(detail: Mapping[str, Any], text: str = "") -> dict[str, Any]:
    is_whole = detail["type"] == _PART
    return dict(detail["part"]) if is_whole else {"text": text, "thoughtSignature": detail["thoughtSignature"]}


def answer_parts(message: Message, provider: str) -> list[dict[str, Any]]:
    """
    The parts of an answer without its calls: thoughts, text and refusal, with Google's signatures on them.

    Raises:
        InvalidRequestError: a part of the content cannot be sent.
    """
    reasoning, text = message.reasoning or Reasoning(), message.text
    if reasoning.field not in (None, THOUGHT):
        reasoning = Reasoning()  # another provider's
    thought = reasoning.content or ""
    if reasoning.signature and not reasoning.details:
        of, start, length = ("thought", 0, len(thought)) if thought else ("text", len(text), 0)
        reasoning = attrs.evolve(reasoning, details=[signed_detail(of, start, length, reasoning.signature)])
    parts = [{**part, "thought": True} for part in _split(thought, reasoning, "thought")] if thought else []
    parts += write_parts(message, provider) if isinstance(message.content, tuple) else _split(text, reasoning, "text")
    return [*parts, {"text": message.refusal}] if message.refusal else parts


def _split(text: str, reasoning: Reasoning, of: str) -> list[dict[str, Any]]:
    """*text* as parts: those of the details, and the text between them."""
    parts: list[dict[str, Any]] = []
    at = 0
    for detail in _details_of(reasoning, of):
        start = max(whole_number(detail.get("start")) or 0, at)
        if text[at:start]:
            parts.append({"text": text[at:start]})
        at = start if detail["type"] == _PART else max(whole_number(detail.get("end")) or 0, start)
        parts.append(_part_of(detail, text[start:at]))
    return [*parts, {"text": text[at:]}] if text[at:] else parts


def signed_parts(reasoning: Reasoning) -> list[dict[str, Any]]:
    """The signatures, each on an empty part, for a text that is written apart; and parts of Google's own tools."""
    if reasoning.signature and not reasoning.details:
        return [{"text": "", "thought": True, "thoughtSignature": reasoning.signature}]
    thoughts = [{**_part_of(detail), "thought": True} for detail in _details_of(reasoning, "thought")]
    return thoughts + [_part_of(detail) for detail in _details_of(reasoning, "text")]


def without_thought_texts(parts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts without the text of thoughts; a thought with a signature stays, empty."""
    silent = ({**part, "text": ""} if part.get("thought") is True else part for part in parts)
    return [part for part in silent if part.get("thought") is not True or "thoughtSignature" in part]


def is_google(reasoning: Reasoning, field: str | None = None) -> bool:
    """Whether signatures and details are Google's; *field* is the origin of the reasoning, if known."""
    if reasoning.details:
        return all(str(detail.get("type")).startswith(_DETAILS) for detail in reasoning.details)
    return (reasoning.field or field) in (None, THOUGHT)


def sealed(reasoning: Reasoning) -> str:
    """A ``thoughtSignature`` that holds all of *reasoning* but its text; "" if it is only text."""
    if not (reasoning.signature or reasoning.details):
        return ""
    fields = {"signature": reasoning.signature, "field": reasoning.field, "details": reasoning.details}
    return base64.urlsafe_b64encode(_SEAL + json_bytes(without_none(fields))).decode()


def unsealed(signature: str) -> Reasoning | None:
    """The reasoning that was `sealed`; None of any other signature."""
    text = signature.replace("+", "-").replace("/", "_").rstrip("=")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return Reasoning.from_dict(_convert.loads(data[len(_SEAL) :])) if data.startswith(_SEAL) else None
    except (binascii.Error, ValueError, TypeError):
        return None
