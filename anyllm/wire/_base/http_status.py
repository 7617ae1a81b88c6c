"""HTTP statuses of errors: for visitors of a web site, and for API clients of the gateway."""

from __future__ import annotations

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
    MissingAPIKeyError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    StreamTimeoutError,
    UnsupportedProviderError,
    WaitTooLongError,
)

__all__ = ["client_status", "visitor_status"]

#: For each class, the status for visitors, and the one for clients if the provider sent none. The first matching class
#: counts. Visitors did not choose the key or the account, so errors of those are 502 for them. Clients get the status
#: of the provider's API: 400 where a more specific one means something else to its official client.
_STATUSES: tuple[tuple[type[BaseException], int, int], ...] = (
    (AuthenticationError, 502, 401),
    (InsufficientFundsError, 502, 402),
    (PermissionDeniedError, 502, 403),
    (MissingAPIKeyError, 500, 502),
    (ModelNotFoundError, 404, 404),
    (UnsupportedProviderError, 404, 404),
    (ContextLengthExceededError, 413, 400),
    (ContentFilterError, 422, 400),
    (InvalidRequestError, 400, 400),
    (RateLimitError, 429, 429),
    (WaitTooLongError, 503, 429),
    (LimitTooSmallError, 413, 413),
    (OverloadedError, 503, 503),
    (LocalUnavailableError, 503, 503),
    (CircuitOpenError, 503, 503),
    (Cancelled, 503, 503),
    (DeadlineExceeded, 504, 504),
    (StreamTimeoutError, 504, 504),
    (AnyLLMError, 502, 502),
)


def visitor_status(error: BaseException) -> int:
    """The status of an error for visitors of a web site."""
    return next((visitor for kind, visitor, _ in _STATUSES if isinstance(error, kind)), 500)


def client_status(error: BaseException) -> int:
    """The status of an error for API clients: the provider's, if it sent one."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 600:
        return status
    return next((client for kind, _, client in _STATUSES if isinstance(error, kind)), 500)
