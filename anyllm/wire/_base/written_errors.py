"""
Error bodies for API clients of the gateway; `http_status` has their statuses.

A client gets the error that the provider itself would have sent. Visitors of a web site get less: `public_errors`.
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
from anyllm.wire._base.json_values import json_object

__all__ = ["message_of", "openai_error", "provider_error"]

#: OpenAI's type and code of errors from other providers.
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
    """The message for the client; not that of a bug of ours, which is logged."""
    if not isinstance(error, AnyLLMError):
        return "internal error"
    if isinstance(error, APIError) and error.message:
        return error.message
    if error.hint:  # it may name a URL that clients must not see
        error = copy.copy(error)
        error.hint = None
    return str(error)


def provider_error(error: BaseException, *keys: str) -> Mapping[str, Any]:
    """The provider's error object, if it has all of *keys*; else an empty one."""
    inner = json_object(json_object(getattr(error, "body", None)).get("error"))
    return inner if all(key in inner for key in keys) else {}


def openai_error(error: BaseException) -> dict[str, Any]:
    """``{"message": ..., "type": ..., "param": ..., "code": ...}``."""
    kind, code = next(
        ((kind, code) for cls, kind, code in _OPENAI if isinstance(error, cls)), ("server_error", "internal_error")
    )
    body = {
        "message": message_of(error),
        "type": getattr(error, "type", None) or kind,
        "param": getattr(error, "param", None),
        "code": getattr(error, "code", None) or code,
    }
    return {**body, **provider_error(error, "message", "code")}
