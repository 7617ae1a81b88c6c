"""Descriptions of errors for visitors of a site: the class and a general sentence, without the provider's message."""

from __future__ import annotations

import math
from typing import Any, Optional

from anyllm.errors import AnyLLMError
from anyllm.wire._base.http_status import visitor_status


def describe(error: BaseException) -> dict[str, Any]:
    """
    Describe an error for visitors: its class, a general sentence, and whether to try again.

    The provider's message may name accounts and limits, so it is only logged. ``describe=lambda error: {"message":
    str(error)}`` shows it.
    """
    kind = type(error).__name__ if isinstance(error, AnyLLMError) else "InternalError"
    description: dict[str, Any] = {"type": kind, "message": _SENTENCES[visitor_status(error)]}
    description["is_retryable"] = isinstance(error, AnyLLMError) and error.is_retryable
    seconds = retry_after(error)
    if seconds is not None:
        description["retry_after"] = seconds
    return description


def retry_after(error: BaseException) -> Optional[int]:
    """Whole seconds, for the header Retry-After; None where the error has none."""
    seconds = getattr(error, "retry_after", None)
    return math.ceil(seconds) if seconds is not None and math.isfinite(seconds) else None


_SENTENCES = {
    400: "The model does not accept this request.",
    404: "There is no such model.",
    413: "The conversation is too long for the model.",
    422: "The answer was withheld by a safety filter.",
    429: "The model has too many requests now.",
    500: "Something went wrong here.",
    502: "The model's provider sent no complete answer.",
    503: "The model is not available now.",
    504: "The model took too long.",
}
