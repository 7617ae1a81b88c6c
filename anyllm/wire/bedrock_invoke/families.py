"""
Families of models, and how their answers are told apart.

A stream does not say whose it is, and an id does not always: an inference profile has any name. The first event says
it, by its keys, and so does a whole answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

import attrs

from anyllm._framing.event import Event, JSONEvent
from anyllm.errors import AnyLLMError, MalformedStreamError
from anyllm.types import Usage
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.dialect import Dialect
from anyllm.wire._base.surrogate_joiner import mend

__all__ = ["Family", "family_of", "is_chat", "is_cohere_chat", "is_messages", "no_family"]

_Object = Mapping[str, Any]

#: What Anthropic calls its events, and a whole answer.
_MESSAGES = (
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
    *("message_stop", "message", "ping", "error"),
)
#: Keys of what Bedrock itself says, beside what the model's maker does.
_OF_BEDROCK = "amazon-bedrock-"
_MANY = 8


def _as_it_came(text: str, payload: _Object) -> Optional[Event]:
    return JSONEvent(text)


def _as_written(body: dict[str, Any], provider: str) -> dict[str, Any]:
    return body


def _as_read(payload: _Object) -> Optional[Usage]:
    return None


@attrs.define(frozen=True, kw_only=True)
class Family:
    """
    Models that answer in one format.

    Attributes:
        dialect: Reads the format, and writes it.
        begins: Whether an answer in this format begins with that object, or is it, when it comes whole.
        makers: How the ids of the models begin that are asked in it, "anthropic."; none for a format that is only read.
        event_of: What the dialect is fed for an event, from the event's text and the same decoded; None for nothing.
        body_of: The body that this host wants, from the one that the dialect wrote, and the provider for errors.
            Raises an `AnyLLMError` where that cannot be.
        usage_of: What an event, or a whole answer, counted, where the dialect does not know the names; else None.
    """

    dialect: Dialect
    begins: Callable[[_Object], bool]
    makers: tuple[str, ...] = ()
    event_of: Callable[[str, _Object], Optional[Event]] = _as_it_came
    body_of: Callable[[dict[str, Any], str], dict[str, Any]] = _as_written
    usage_of: Callable[[_Object], Optional[Usage]] = _as_read


def family_of(first: _Object, families: Iterable[Family]) -> Family | None:
    """Whose an answer is that begins with *first*, or is that; None of no family."""
    return next((family for family in families if family.begins(first)), None)


def no_family(first: _Object, provider: str) -> AnyLLMError:
    """The error of an answer that begins with *first*, which is of no family: the provider's own, if it is one."""
    error = bedrock_errors.error_in("", first, provider)
    if error is not None:
        return error
    if isinstance(first.get("message"), str):
        return bedrock_errors.from_event(provider, first)
    keys = ", ".join(sorted(key for key in first if not key.startswith(_OF_BEDROCK))[:_MANY])
    what = f"the answer is in no format that is known here: it has the keys {keys}" if keys else "the answer is empty"
    return MalformedStreamError(mend(what)[:200], provider=provider)


# -- how answers begin -------------------------------------------------------------------------------------------------


def is_messages(first: _Object) -> bool:
    """Whether it is Anthropic's Messages."""
    return first.get("type") in _MESSAGES


def is_chat(first: _Object) -> bool:
    """Whether it is OpenAI's chat completions, whose choices say ``finish_reason``; others say ``stop_reason``."""
    choices = first.get("choices")
    if not isinstance(choices, list):
        return False
    choice = choices[0] if choices else None
    return not isinstance(choice, dict) or "stop_reason" not in choice or "finish_reason" in choice


def is_cohere_chat(first: _Object) -> bool:
    """Whether it is version 1 of Cohere's chat."""
    if isinstance(first.get("event_type"), str):
        return True
    return "text" in first and not {"generation_id", "response_id", "chat_history"}.isdisjoint(first)
