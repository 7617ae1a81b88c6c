"""
Errors in both versions of Cohere's chat API, and their classes.

Sources: https://docs.cohere.com/reference/errors, https://docs.cohere.com/reference/chat (finish_reason)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anyllm.errors import AnyLLMError, APIError, ContentFilterError, ContextLengthExceededError, InvalidRequestError
from anyllm.wire._base import api_errors
from anyllm.wire._base.decode_json import no_answer

__all__ = ["from_response", "is_error", "no_content", "raise_failure", "refine_error"]

#: Finish reasons that are errors, and the common type of error for each. The first two are documented for version 2,
#: the others for version 1.
_FAILURES = {
    "ERROR": "server_error",
    "TIMEOUT": "timeout",
    "ERROR_TOXIC": "content_filter",
    "ERROR_LIMIT": "context_length_exceeded",
}

#: The status of a request or an answer with a token on a deny list.
_DENIED = 498
#: The message of a prompt that is too long; with "max tokens must be ..." it is about a wrong parameter.
_TOO_LONG = re.compile(r"too many tokens: (?!max tokens)", re.IGNORECASE)


def raise_failure(end: Mapping[str, Any], provider: str) -> None:
    """
    Raise the error of an answer that failed.

    Args:
        end: The object with ``finish_reason``, and perhaps ``error``: a stream's last delta, or a whole answer.
        provider: The provider's name, for the error.
    """
    reason, message = end.get("finish_reason"), end.get("error")
    kind = _FAILURES.get(reason.upper()) if isinstance(reason, str) else None
    if kind is None and not message:
        return
    message = message or f"the provider ended the answer with finish_reason {reason!r}"
    code = reason if isinstance(reason, str) else None
    error = {"message": message, "type": kind or "server_error", "code": code} if isinstance(message, str) else message
    raise refine_error(api_errors.from_body(provider, {"error": error}))


def is_error(body: Mapping[str, Any]) -> bool:
    """Whether an event or a whole answer is an error, such as ``{"message": text}``."""
    return bool(body.get("error")) or isinstance(body.get("message"), str)


def no_content(answer: Any, key: str, provider: str) -> AnyLLMError:
    """The error of a whole, decoded answer without *key*: the provider's error, if it is one."""
    if isinstance(answer, dict) and is_error(answer):
        return refine_error(api_errors.from_body(provider, answer))
    return no_answer(answer, key, provider)


def from_response(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    """The error of an HTTP response with *status*."""
    return refine_error(api_errors.from_response(provider, status, headers, body))


def refine_error(error: APIError) -> APIError:
    """*error* as the class of Cohere's message or status."""
    if type(error) not in (APIError, InvalidRequestError):
        return error
    if error.status_code == _DENIED:
        return api_errors.as_kind(ContentFilterError, error)
    return api_errors.as_kind(ContextLengthExceededError, error) if _TOO_LONG.search(error.message) else error
