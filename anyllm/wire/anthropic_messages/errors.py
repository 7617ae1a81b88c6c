"""
Our errors as Anthropic's, for clients of this format. A provider's errors are read by `wire/_base/api_errors`.

Source: https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm import errors
from anyllm.wire._base.written_errors import message_of, provider_error

__all__ = ["error_object"]

#: The types of our classes of errors; the first row that fits counts.
_TYPES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (errors.AuthenticationError, "authentication_error"),
    (errors.InsufficientFundsError, "billing_error"),
    (errors.PermissionDeniedError, "permission_error"),
    ((errors.ModelNotFoundError, errors.UnsupportedProviderError), "not_found_error"),
    (errors.LimitTooSmallError, "request_too_large"),
    (errors.InvalidRequestError, "invalid_request_error"),
    ((errors.RateLimitError, errors.WaitTooLongError), "rate_limit_error"),
    ((errors.OverloadedError, errors.LocalUnavailableError, errors.CircuitOpenError), "overloaded_error"),
    (errors.Cancelled, "overloaded_error"),
    ((errors.DeadlineExceeded, errors.StreamTimeoutError), "timeout_error"),
)
#: The types of invalid requests by their status.
_TYPES_BY_STATUS: dict[int | None, str] = {404: "not_found_error", 409: "conflict_error", 413: "request_too_large"}
#: Words by which clients tell errors of one type apart, and how a message without them begins.
_WORDS: tuple[tuple[type[BaseException], str, str], ...] = (
    (errors.ContextLengthExceededError, "prompt is too long", "prompt is too long: "),
    (errors.ContentFilterError, "content filter", "Output blocked by content filtering policy: "),
    (errors.ModelNotFoundError, "model", "model: "),
)


def error_object(error: BaseException) -> dict[str, Any]:
    """``{"type": "error", "error": {"type": ..., "message": ...}, "request_id": ...}``."""
    body = getattr(error, "body", None)
    is_native = isinstance(body, Mapping) and body.get("type") == "error"
    inner = dict(provider_error(error, "type", "message")) if is_native else {}
    if not inner:
        kind = next((kind for cls, kind in _TYPES if isinstance(error, cls)), "api_error")
        if isinstance(error, errors.InvalidRequestError):
            kind = _TYPES_BY_STATUS.get(error.status_code, kind)
        message = message_of(error)
        rows = (row for row in _WORDS if isinstance(error, row[0]) and row[1] not in message.lower())
        inner = {"type": kind, "message": next((beginning for _, _, beginning in rows), "") + message}
    return {"type": "error", "error": inner, "request_id": getattr(error, "request_id", None)}
