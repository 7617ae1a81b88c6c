"""
How an answer ends: the reasons Google gives, by name or by number, and what they mean.

Sources: https://ai.google.dev/api/generate-content#FinishReason,
https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse#FinishReason
"""

from __future__ import annotations

from typing import Any

from anyllm.wire._base import finish_reasons
from anyllm.wire._base.getters import whole_number

#: The reasons in the order of the enum: a gateway that asks for ``enum-encoding=int`` gets their numbers.
NUMBERS = (
    *("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY", "UNEXPECTED_TOOL_CALL"),
    *("TOO_MANY_TOOL_CALLS", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "NO_IMAGE", "IMAGE_RECITATION"),
)
#: Vertex counts its own way.
VERTEX_NUMBERS = (
    *("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "MODEL_ARMOR", "IMAGE_SAFETY"),
    *("IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER", "UNEXPECTED_TOOL_CALL", "NO_IMAGE"),
)

#: Why a prompt was blocked, as far as both count alike.
_BLOCK_NUMBERS = ("BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT")

#: Reasons that are no end but a failure, and the kind of error each is: the last one is the caller's to mend.
FAILURES = {
    "MALFORMED_FUNCTION_CALL": "server_error",
    "MALFORMED_RESPONSE": "server_error",
    "UNEXPECTED_TOOL_CALL": "server_error",
    "TOO_MANY_TOOL_CALLS": "server_error",
    "MISSING_THOUGHT_SIGNATURE": "invalid_request_error",
}

_FILTERS = frozenset(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR"))


def name_of(reason: Any, numbers: tuple[str, ...]) -> str | None:
    """
    The name of a reason; None when it says that the answer goes on.

    Args:
        reason: A name, or a number where enums are sent as such; one that nobody knows stays what it is.
        numbers: The names by number.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(reason, str):
        name = reason
    elif reason is None:
        return None
    else:
        number = whole_number(reason)
        if number is None:
            raise TypeError("neither a name nor a number")
        name = numbers[number] if 0 <= number < len(numbers) else str(number)
    return None if name in ("", "FINISH_REASON_UNSPECIFIED") else name


def block_reason(reason: Any) -> str:
    """The name of the reason for which a prompt was blocked; whatever else is said in its place stays what it is."""
    number = None if isinstance(reason, str) else whole_number(reason)
    if number is None or not 0 <= number < len(_BLOCK_NUMBERS):
        return str(reason)
    return _BLOCK_NUMBERS[number]


def finish_reason(name: str, *, has_tool_calls: bool) -> str:
    """The one of `FINISH_REASONS` that a reason means."""
    if name in _FILTERS:
        return "content_filter"
    return finish_reasons.finish_reason(name, has_tool_calls=has_tool_calls)
