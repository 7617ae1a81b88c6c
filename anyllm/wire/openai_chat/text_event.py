"""
Reads an event that only adds text to choice 0, as most do.

Strategy: msgspec decodes it to these few objects in half the time that dictionaries take, and refuses any other event:
whatever else has a meaning in an event must be null or missing. All other keys are only checked to be JSON.
"""

from __future__ import annotations

from typing import Any, Literal, Tuple

import msgspec

from anyllm.wire.openai_chat.reasoning import KEYS

__all__ = ["SPECIAL_KEYS", "TextEvent", "decode_text_event", "text_alone"]

#: The keys of a delta beside role and content that are read at all.
SPECIAL_KEYS = frozenset(("refusal", "tool_calls", "function_call", "audio", *KEYS))

# These objects live for a moment and refer to no other that lives longer: the garbage collector need not track them.
_Delta: Any = msgspec.defstruct("_Delta", [("content", str), *((key, None, None) for key in SPECIAL_KEYS)], gc=False)


class _Choice(msgspec.Struct, gc=False):
    index: Literal[0]
    delta: _Delta
    finish_reason: None = None
    logprobs: None = None
    usage: None = None


class TextEvent(msgspec.Struct, gc=False):
    """The event; `id` to `service_tier` are as the provider sent them, of any type."""

    choices: Tuple[_Choice]
    id: Any = None
    created: Any = None
    model: Any = None
    system_fingerprint: Any = None
    service_tier: Any = None
    error: None = None
    usage: None = None
    x_groq: None = None


#: A `TextEvent` of an event's data; for any other event it raises one of `_convert.NOT_JSON`.
decode_text_event = msgspec.json.Decoder(TextEvent).decode


def text_alone(choice: dict[str, Any]) -> str | None:
    """The text of an event that only adds text to choice 0; None of any other."""
    delta, index = choice.get("delta"), choice.get("index")
    if type(delta) is not dict or type(index) is not int or index:
        return None
    content = delta.get("content")
    if type(content) is not str or not SPECIAL_KEYS.isdisjoint(delta):
        return None
    if choice.get("finish_reason") is not None or choice.get("logprobs") is not None or "usage" in choice:
        return None
    return content
