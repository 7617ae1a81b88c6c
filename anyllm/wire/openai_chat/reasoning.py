"""
Reasoning: read from answers and from a client's history, and sent back to providers.

Its names are ``reasoning_content`` (DeepSeek, xAI, Z.AI, Qwen), ``reasoning`` (Groq, Cerebras, OpenRouter, newer vLLM),
``reasoning_details`` (OpenRouter's structured form), ``thought``, ``thinking``, or parts of the content (Mistral). The
name stays with the reasoning, because providers want it back under the same one: DeepSeek refuses a turn without it,
Cerebras one with another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.types import Reasoning
from anyllm.types._openai_chunk import DETAILS, REASONING_NAMES
from anyllm.wire._base.conversation import OUTPUT_ITEMS

KEYS = frozenset((DETAILS, *REASONING_NAMES))
#: The value of `Reasoning.field` for reasoning that came as parts of the content.
CONTENT = "content"
#: The same for reasoning that stood in the text, between tags; it goes back there.
TAGS = "<think>"
#: The keys that reasoning goes back under if it came under them; those of other formats mean nothing here.
_OWN_KEYS = frozenset((CONTENT, TAGS, *KEYS))
#: The types of details in Anthropic's own form.
_ANTHROPIC_TYPES = ("thinking", "redacted_thinking")
#: How the types of OpenRouter's, Gemini's and Bedrock's details begin; those of Responses are output items of any type.
_DETAIL_TYPES = ("reasoning.", "gemini.", "reasoningContent")

# -- answers -----------------------------------------------------------------------------------------------------------


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
        text, field = "".join(map(text_in, details)), DETAILS
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
    for field in REASONING_NAMES:
        value = delta.get(field)
        if value and (text := value if type(value) is str else text_in(value)):
            return text, field
    return "", None


def _details(value: Any) -> list[dict[str, Any]] | None:
    """OpenRouter's ``reasoning_details``. Source: https://openrouter.ai/docs/use-cases/reasoning-tokens"""
    return [detail for detail in value if isinstance(detail, dict)] if isinstance(value, list) else None


# -- turns of a history ------------------------------------------------------------------------------------------------


def read_history(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    The reasoning in a message of a client's history, as the fields of `Reasoning`; None when there is none.

    Its details, where it has any, tell which provider it came from.
    """
    field = next((name for name in REASONING_NAMES if isinstance(message.get(name), str)), None)
    details = _details(message.get(DETAILS))
    if field is None and not details:
        return None
    types = [detail.get("type") for detail in details or ()]
    origin = None if field == REASONING_NAMES[0] else field  # the first also stands for no name
    if any(kind in _ANTHROPIC_TYPES for kind in types):
        origin = "thinking"
    elif types and all(isinstance(kind, str) and not kind.startswith(_DETAIL_TYPES) for kind in types):
        origin = OUTPUT_ITEMS
    return {
        "content": message[field] if field else None,
        "field": origin,
        "signature": next((detail["signature"] for detail in details or () if detail.get("signature")), None),
        "details": None if details is None else [_without_index(detail) for detail in details],
    }


def add_reasoning(body: dict[str, Any], reasoning: Reasoning, reasoning_key: str) -> None:
    """
    Put reasoning back where it came from: a key of its own, the details, or the content's parts.

    Args:
        body: The message in OpenAI's shape.
        reasoning: Its reasoning.
        reasoning_key: The key for reasoning of other formats; "content" for a provider that knows no other.
    """
    key = reasoning.field if reasoning.field in _OWN_KEYS and reasoning_key != CONTENT else reasoning_key
    if key == CONTENT and reasoning.content:
        content = body.get("content") or []
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        thought: dict[str, Any] = {"type": "thinking", "thinking": [{"type": "text", "text": reasoning.content}]}
        if reasoning.signature and reasoning.field == CONTENT:
            thought["signature"] = reasoning.signature
        body["content"] = [thought, *parts]
    elif key == TAGS and reasoning.content and not isinstance(body.get("content"), list):
        body["content"] = f"<think>\n{reasoning.content}\n</think>\n\n{body.get('content') or ''}"
    elif key not in (CONTENT, DETAILS, TAGS) and reasoning.content is not None:
        body[key] = reasoning.content
    details = [detail for detail in reasoning.details or () if _is_numbered(detail)]
    if details and reasoning_key != CONTENT:
        body[DETAILS] = details


def _is_numbered(detail: Mapping[str, Any]) -> bool:
    """Whether a detail is OpenRouter's, with a number of its own."""
    return str(detail.get("type")).startswith("reasoning.")


def _without_index(detail: dict[str, Any]) -> dict[str, Any]:
    """A detail without the number that we gave it, which its provider would refuse."""
    return detail if _is_numbered(detail) else {key: value for key, value in detail.items() if key != "index"}
