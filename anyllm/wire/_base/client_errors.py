"""
The provider's own errors, as the clients of a format read them. `_statuses` has the HTTP status.

Unlike what a site's visitors are told (`_told`), this is for those who call a model's API themselves: a client that
asks through us gets the error it would have got without us.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Optional

from anyllm.errors import (
    AnyLLMError,
    APIError,
    AuthenticationError,
    ContentFilterError,
    ContextLengthExceededError,
    DeadlineExceeded,
    InsufficientFundsError,
    InvalidRequestError,
    LocalUnavailableError,
    MissingAPIKeyError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    StreamTimeoutError,
    UnsupportedParameterError,
    UnsupportedProviderError,
    WaitTooLongError,
)

__all__ = ["message_of", "openai_error", "said_by_host"]

#: OpenAI's type and code, for what others say otherwise.
_OPENAI: tuple[tuple[type[BaseException], str, Optional[str]], ...] = (
    (AuthenticationError, "authentication_error", "invalid_api_key"),
    (InsufficientFundsError, "insufficient_quota", "insufficient_quota"),
    (PermissionDeniedError, "permission_error", None),
    (ModelNotFoundError, "invalid_request_error", "model_not_found"),
    (UnsupportedProviderError, "invalid_request_error", "model_not_found"),
    (ContextLengthExceededError, "invalid_request_error", "context_length_exceeded"),
    (ContentFilterError, "invalid_request_error", "content_filter"),
    (UnsupportedParameterError, "invalid_request_error", "unsupported_parameter"),
    (InvalidRequestError, "invalid_request_error", None),
    (RateLimitError, "rate_limit_error", "rate_limit_exceeded"),
    (WaitTooLongError, "rate_limit_error", "rate_limit_exceeded"),
    (OverloadedError, "overloaded_error", None),
    (ServerError, "server_error", None),
    (LocalUnavailableError, "server_error", "local_unavailable"),
    (MissingAPIKeyError, "server_error", "missing_api_key"),
    (DeadlineExceeded, "timeout_error", "timeout"),
    (StreamTimeoutError, "timeout_error", "timeout"),
    (APIError, "api_error", None),
    (AnyLLMError, "upstream_error", None),
)


def message_of(error: BaseException) -> str:
    """What happened, for the person who called; nothing of a bug of ours, which is logged."""
    if not isinstance(error, AnyLLMError):
        return "internal error"
    if isinstance(error, APIError) and error.message:
        return error.message
    if error.hint:  # which names a URL that is not theirs to see
        error = copy.copy(error)
        error.hint = None
    return str(error)


def said_by_host(error: BaseException, *keys: str) -> Mapping[str, Any]:
    """The error object of a host whose format has these *keys* in it; empty if it is none."""
    body = getattr(error, "body", None)
    said = body.get("error") if isinstance(body, Mapping) else None
    return said if isinstance(said, Mapping) and all(key in said for key in keys) else {}


def openai_error(error: BaseException) -> dict[str, Any]:
    """``{"message": ..., "type": ..., "param": ..., "code": ...}``."""
    kind, code = next(
        ((kind, code) for cls, kind, code in _OPENAI if isinstance(error, cls)), ("server_error", "internal_error")
    )
    made = {
        "message": message_of(error),
        "type": getattr(error, "type", None) or kind,
        "param": getattr(error, "param", None),
        "code": getattr(error, "code", None) or code,
    }
    return {**made, **said_by_host(error, "message", "code")}
