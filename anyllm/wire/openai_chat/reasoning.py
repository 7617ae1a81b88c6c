"""
Reasoning: what a model thought, under the names that hosts give it.

``reasoning_content`` (DeepSeek, xAI, Z.AI, Qwen), ``reasoning`` (Groq, Cerebras, OpenRouter, newer vLLM),
``reasoning_details`` (OpenRouter's structured form), ``thought``, ``thinking``, or parts of the content
(Mistral). The name is kept, because hosts want it back under the same one: DeepSeek refuses a turn without it,
Cerebras one with another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.types import Reasoning

#: In the order they are looked for: hosts that rename the field send both for a while.
FIELDS = ("reasoning_content", "reasoning", "thinking", "thought")
DETAILS = "reasoning_details"
KEYS = frozenset((DETAILS, *FIELDS))
#: Stands in `Reasoning.field` for reasoning that came as parts of the content.
CONTENT = "content"
#: The same for reasoning that stood in the text, between tags; it goes back there.
TAGS = "<think>"


def read_reasoning(delta: Mapping[str, Any], *, texts_from_details: bool) -> Reasoning | None:
    """
    The reasoning in a delta; None when there is none.

    Args:
        delta: A choice's ``delta`` or ``message``.
        texts_from_details: Whether the text may come from the details: not when it comes beside them.
    """
    text, field = _plain(delta)
    details = _details(delta.get(DETAILS))
    if not details:
        return Reasoning(text, None, field) if text else None
    signature = None
    for detail in details:
        if (signed := detail.get("signature")) and isinstance(signed, str):
            signature = signed
    if not text and texts_from_details:
        text, field = _detailed(details), DETAILS
    return Reasoning(text or None, signature, field if text else None, details)


def read_parts(parts: Sequence[Any]) -> tuple[str | None, Reasoning | None]:
    """
    The text and the reasoning in a content that is a list of parts.

    Source: https://docs.mistral.ai/capabilities/reasoning

    Raises:
        ValueError: a part is neither an object nor text.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    signature = None
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            thought = part.get("thinking")
            if thought is None and part.get("type") in ("reasoning", "thinking"):
                thought = part.get("reasoning") or part.get("text")
            if thought is None:
                texts.append(text_in(part))
            else:
                thoughts.append(text_in(thought))
                if (signed := part.get("signature")) and isinstance(signed, str):
                    signature = signed
        elif part is not None:
            raise ValueError("a part of the content is neither an object nor text")
    thought = "".join(thoughts)
    has_reasoning = thought or signature
    return ("".join(texts) if texts else None, Reasoning(thought, signature, CONTENT) if has_reasoning else None)


def text_in(value: Any) -> str:
    """The text in a string, in an object that holds one, or in a list of either; "" when there is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return next((value[key] for key in ("text", "content", "summary") if isinstance(value.get(key), str)), "")
    if isinstance(value, list):
        return "".join(text_in(item) for item in value if not isinstance(item, list))
    return ""


def _plain(delta: Mapping[str, Any]) -> tuple[str, str | None]:
    for field in FIELDS:
        value = delta.get(field)
        if value and (text := value if type(value) is str else text_in(value)):
            return text, field
    return "", None


def _details(value: Any) -> list[dict[str, Any]] | None:
    """
    OpenRouter's ``reasoning_details``.

    Source: https://openrouter.ai/docs/use-cases/reasoning-tokens
    """
    if not isinstance(value, list):
        return None
    return [detail for detail in value if isinstance(detail, dict)]


def _detailed(details: Sequence[Mapping[str, Any]]) -> str:
    return "".join(text_in(detail) for detail in details)
