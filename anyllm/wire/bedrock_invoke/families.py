"""
Families of models with one format, and the recognition of their answers.

A stream does not name its model, and an id not always: an inference profile can have any name. So the keys of the first
event, or of a whole answer, identify the family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

import attrs

from anyllm._framing.event import Event, JSONEvent
from anyllm.errors import AnyLLMError, MalformedStreamError
from anyllm.types import Usage
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.protocols import Dialect
from anyllm.wire._base.surrogate_joiner import mend

__all__ = ["Family", "family_of", "is_openai_chat", "is_cohere_chat", "is_anthropic_messages", "unknown_format"]

_Object = Mapping[str, Any]

#: The ``type`` of Anthropic's events, and of a whole answer.
_ANTHROPIC_TYPES = (
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
    *("message_stop", "message", "ping", "error"),
)
#: Prefix of the keys that Bedrock adds to the maker's.
BEDROCK_PREFIX = "amazon-bedrock-"
_MAX_KEYS = 8


@attrs.define(frozen=True, kw_only=True)
class Family:
    """
    Models that answer in one format.

    Attributes:
        dialect: Reads and writes the format.
        matches: Whether an object is the first event, or a whole answer, in this format.
        model_prefixes: Prefixes of the ids of its models, such as "anthropic."; none if the format is only read.
        convert_event: From an event's text and the decoded event to the event for the dialect; None to skip it.
        convert_body: From the body that the dialect wrote, and the provider for errors, to that of InvokeModel.
            Raises an `AnyLLMError` if that is impossible.
        splits_reasoning: Whether the text contains reasoning between tags (`reasoning_tags`).
        read_usage: The usage in an event or a whole answer, if its names are not the dialect's; else None.
    """

    dialect: Dialect
    matches: Callable[[_Object], bool]
    model_prefixes: tuple[str, ...] = ()
    splits_reasoning: bool = False
    convert_event: Callable[[str, _Object], Optional[Event]] = lambda text, payload: JSONEvent(text)
    convert_body: Callable[[dict[str, Any], str], dict[str, Any]] = lambda body, provider: body
    read_usage: Callable[[_Object], Optional[Usage]] = lambda payload: None


def family_of(first: _Object, families: Iterable[Family]) -> Family | None:
    """The family of an answer that begins with, or is, *first*; None if no family matches."""
    return next((family for family in families if family.matches(first)), None)


def unknown_format(first: _Object, provider: str) -> AnyLLMError:
    """The error of an answer of no family that begins with, or is, *first*: the provider's error, if it is one."""
    error = bedrock_errors.error_in("", first, provider)
    if error is not None:
        return error
    if isinstance(first.get("message"), str):
        return bedrock_errors.from_event(provider, first)
    keys = ", ".join(sorted(key for key in first if not key.startswith(BEDROCK_PREFIX))[:_MAX_KEYS])
    what = f"the answer is in no known format: it has the keys {keys}" if keys else "the answer is empty"
    return MalformedStreamError(mend(what)[:200], provider=provider)


# -- recognition of answers --------------------------------------------------------------------------------------------


def is_anthropic_messages(first: _Object) -> bool:
    """Whether an answer is in Anthropic's Messages format."""
    return first.get("type") in _ANTHROPIC_TYPES


def is_openai_chat(first: _Object) -> bool:
    """Whether an answer is in OpenAI's chat format, with ``finish_reason`` and not ``stop_reason``."""
    choices = first.get("choices")
    if not isinstance(choices, list):
        return False
    choice = choices[0] if choices else None
    return not isinstance(choice, dict) or "stop_reason" not in choice or "finish_reason" in choice


def is_cohere_chat(first: _Object) -> bool:
    """Whether an answer is in version 1 of Cohere's chat format."""
    if isinstance(first.get("event_type"), str):
        return True
    return "text" in first and not {"generation_id", "response_id", "chat_history"}.isdisjoint(first)
