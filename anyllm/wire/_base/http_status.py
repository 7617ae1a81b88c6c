"""One table of our errors for others: HTTP statuses for visitors and API clients, and OpenAI's types and codes."""

from __future__ import annotations

from typing import Optional

from anyllm import errors

__all__ = ["client_status", "openai_type", "visitor_status"]

#: For each class: the status for visitors, the one for clients if the provider sent none, OpenAI's type and code of
#: errors from other providers. The first matching class counts. Visitors did not choose the key or the account, so
#: errors of those are 502 for them. Clients get the status of the provider's API: 400 where a more specific one means
#: something else to its official client.
_ROWS: tuple[tuple[type[BaseException], int, int, str, Optional[str]], ...] = (
    (errors.AuthenticationError, 502, 401, "authentication_error", "invalid_api_key"),
    (errors.InsufficientFundsError, 502, 402, "insufficient_quota", "insufficient_quota"),
    (errors.PermissionDeniedError, 502, 403, "permission_error", None),
    (errors.MissingAPIKeyError, 500, 502, "server_error", "missing_api_key"),
    (errors.ModelNotFoundError, 404, 404, "invalid_request_error", "model_not_found"),
    (errors.UnsupportedProviderError, 404, 404, "invalid_request_error", "model_not_found"),
    (errors.ContextLengthExceededError, 413, 400, "invalid_request_error", "context_length_exceeded"),
    (errors.ContentFilterError, 422, 400, "invalid_request_error", "content_filter"),
    (errors.UnsupportedParameterError, 400, 400, "invalid_request_error", "unsupported_parameter"),
    (errors.InvalidRequestError, 400, 400, "invalid_request_error", None),
    (errors.RateLimitError, 429, 429, "rate_limit_error", "rate_limit_exceeded"),
    (errors.WaitTooLongError, 503, 429, "rate_limit_error", "rate_limit_exceeded"),
    (errors.LimitTooSmallError, 413, 413, "upstream_error", None),
    (errors.OverloadedError, 503, 503, "overloaded_error", None),
    (errors.ServerError, 502, 502, "server_error", None),
    (errors.LocalUnavailableError, 503, 503, "server_error", "local_unavailable"),
    (errors.CircuitOpenError, 503, 503, "upstream_error", None),
    (errors.Cancelled, 503, 503, "upstream_error", None),
    (errors.DeadlineExceeded, 504, 504, "timeout_error", "timeout"),
    (errors.StreamTimeoutError, 504, 504, "timeout_error", "timeout"),
    (errors.APIError, 502, 502, "api_error", None),
    (errors.AnyLLMError, 502, 502, "upstream_error", None),
    (BaseException, 500, 500, "server_error", "internal_error"),
)


def visitor_status(error: BaseException) -> int:
    """The status of an error for visitors of a web site."""
    return next(row[1] for row in _ROWS if isinstance(error, row[0]))


def client_status(error: BaseException) -> int:
    """The status of an error for API clients: the provider's, if it sent one."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 600:
        return status
    return next(row[2] for row in _ROWS if isinstance(error, row[0]))


def openai_type(error: BaseException) -> tuple[str, Optional[str]]:
    """OpenAI's type and code of an error."""
    return next((row[3], row[4]) for row in _ROWS if isinstance(error, row[0]))
