"""
What is an error at Cohere, in both versions of its chat API, and of which kind, beyond what all hosts have in common.

Sources: https://docs.cohere.com/reference/errors, https://docs.cohere.com/reference/chat (finish_reason)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anyllm.errors import AnyLLMError, APIError, ContentFilterError, ContextLengthExceededError, InvalidRequestError
from anyllm.wire._base import api_errors
from anyllm.wire._base.decode_json import no_answer

__all__ = ["failure", "is_error", "no_content", "refined"]

#: Finish reasons that are no ends but failures, and the type of error that says in common words what each means. The
#: first two are documented for version 2, the others for the version before it.
_FAILURES = {
    "ERROR": "server_error",
    "TIMEOUT": "timeout",
    "ERROR_TOXIC": "content_filter",
    "ERROR_LIMIT": "context_length_exceeded",
}

#: A request or an answer that holds a token on a deny list.
_DENIED = 498
#: A prompt that is too long; "max tokens must be ..." after the same words is only a wrong parameter.
_TOO_LONG = re.compile(r"too many tokens: (?!max tokens)", re.IGNORECASE)


def failure(end: Mapping[str, Any], provider: str) -> APIError | None:
    """
    The error that the end of an answer is; None for a good end.

    Args:
        end: What says ``finish_reason``, and perhaps ``error``: a stream's last delta, or a whole answer.
        provider: Stands in the error.
    """
    reason, said = end.get("finish_reason"), end.get("error")
    kind = _FAILURES.get(reason.upper()) if isinstance(reason, str) else None
    if kind is None and not said:
        return None
    message = said if said else f"the provider ended the answer with finish_reason {reason!r}"
    if not isinstance(message, str):
        return refined(api_errors.from_body(provider, {"error": message}))
    error = {"message": message, "type": kind or "server_error", "code": reason if isinstance(reason, str) else None}
    return refined(api_errors.from_body(provider, {"error": error}))


def is_error(body: Mapping[str, Any]) -> bool:
    """Whether an event, or a whole answer, is an error: ``{"message": text}``, with an id beside it or without."""
    return bool(body.get("error")) or isinstance(body.get("message"), str)


def no_content(answer: Any, wanted: str, provider: str) -> AnyLLMError:
    """The error of a whole answer, decoded, that lacks the key *wanted*: the provider's own, if it is one."""
    if isinstance(answer, dict) and is_error(answer):
        return refined(api_errors.from_body(provider, answer))
    return no_answer(answer, wanted, provider)


def refined(error: APIError) -> APIError:
    """*error*, as the class that Cohere's own words and statuses mean."""
    if type(error) not in (APIError, InvalidRequestError):
        return error
    if error.status_code == _DENIED:
        return api_errors.as_kind(ContentFilterError, error)
    return api_errors.as_kind(ContextLengthExceededError, error) if _TOO_LONG.search(error.message) else error
