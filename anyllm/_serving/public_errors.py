"""What visitors of a site are told of an error: the class and a sentence of ours, no more."""

from __future__ import annotations

import math
from typing import Any, Optional

from anyllm.errors import AnyLLMError
from anyllm.wire._base.http_status import visitor_status

__all__ = ["describe", "retry_after"]


def describe(error: BaseException) -> dict[str, Any]:
    """
    What visitors are told of an error: its class, a sentence of ours, and whether to try again.

    The provider's own words may name accounts and limits; they are logged. For one's own eyes ``describe=lambda error:
    {"message": str(error)}`` tells all.
    """
    kind = type(error).__name__ if isinstance(error, AnyLLMError) else "InternalError"
    told: dict[str, Any] = {"type": kind, "message": _SENTENCES[visitor_status(error)]}
    told["is_retryable"] = isinstance(error, AnyLLMError) and error.is_retryable
    wait = retry_after(error)
    if wait is not None:
        told["retry_after"] = wait
    return told


def retry_after(error: BaseException) -> Optional[int]:
    """Whole seconds, as the header has them; None where the error names none."""
    wait = getattr(error, "retry_after", None)
    return math.ceil(wait) if wait is not None and math.isfinite(wait) else None


_SENTENCES = {
    400: "The model does not accept this request.",
    404: "There is no such model.",
    413: "The conversation is too long for the model.",
    422: "The answer was withheld by a safety filter.",
    429: "The model has too many requests now.",
    500: "Something went wrong here.",
    502: "The model's host did not give a whole answer.",
    503: "The model is not available now.",
    504: "The model took too long.",
}
