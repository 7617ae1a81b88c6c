"""
Errors in Anthropic's words.

Source: https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.errors import (
    AnyLLMError,
    AuthenticationError,
    Cancelled,
    CircuitOpenError,
    ContentFilterError,
    ContextLengthExceededError,
    DeadlineExceeded,
    InsufficientFundsError,
    InvalidRequestError,
    LimitTooSmallError,
    LocalUnavailableError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    StreamTimeoutError,
    UnsupportedProviderError,
    WaitTooLongError,
)
from anyllm.wire._base.client_errors import message_of, said_by_host

__all__ = ["anthropic_error"]

_ERRORS: tuple[tuple[type[BaseException], str], ...] = (
    (AuthenticationError, "authentication_error"),
    (InsufficientFundsError, "billing_error"),
    (PermissionDeniedError, "permission_error"),
    (ModelNotFoundError, "not_found_error"),
    (UnsupportedProviderError, "not_found_error"),
    (LimitTooSmallError, "request_too_large"),
    (InvalidRequestError, "invalid_request_error"),
    (RateLimitError, "rate_limit_error"),
    (WaitTooLongError, "rate_limit_error"),
    (OverloadedError, "overloaded_error"),
    (LocalUnavailableError, "overloaded_error"),
    (CircuitOpenError, "overloaded_error"),
    (Cancelled, "overloaded_error"),
    (DeadlineExceeded, "timeout_error"),
    (StreamTimeoutError, "timeout_error"),
    (AnyLLMError, "api_error"),
)
#: Refusals of a request that have a type of their own.
_REFUSALS = {404: "not_found_error", 409: "conflict_error", 413: "request_too_large"}
#: The words by which clients tell errors of one type apart, and how those that lack them begin.
_TELLING: tuple[tuple[type[BaseException], str, str], ...] = (
    (ContextLengthExceededError, "prompt is too long", "prompt is too long: "),
    (ContentFilterError, "content filter", "Output blocked by content filtering policy: "),
    (ModelNotFoundError, "model", "model: "),
)


def anthropic_error(error: BaseException) -> dict[str, Any]:
    """``{"type": "error", "error": {"type": ..., "message": ...}, "request_id": ...}``."""
    body = getattr(error, "body", None)
    native = isinstance(body, Mapping) and body.get("type") == "error"
    said = dict(said_by_host(error, "type", "message")) if native else {}
    if not said:
        said = {"type": _error_type(error), "message": _told_apart(error)}
    return {"type": "error", "error": said, "request_id": getattr(error, "request_id", None)}


def _error_type(error: BaseException) -> str:
    if isinstance(error, InvalidRequestError) and error.status_code in _REFUSALS:
        return _REFUSALS[error.status_code]
    return next((kind for cls, kind in _ERRORS if isinstance(error, cls)), "api_error")


def _told_apart(error: BaseException) -> str:
    message = message_of(error)
    for cls, words, beginning in _TELLING:
        if isinstance(error, cls) and words not in message.lower():
            return beginning + message
    return message
