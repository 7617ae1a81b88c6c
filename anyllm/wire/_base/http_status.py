"""The HTTP status of an error, in one table: for the visitors of a site, and for the clients of a provider's API."""

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

#: For each class, the status for visitors, and the one for clients where the provider named none. The first class that
#: fits counts. Visitors have not chosen the key or the account: what is wrong with those is 502 to them. Clients get
#: what the provider's own API would answer: 400, where more exact codes mean something else to its official client.
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
    """The status of an error for the visitors of a site."""
    return next((visitor for kind, visitor, _ in _STATUSES if isinstance(error, kind)), 500)


def client_status(error: BaseException) -> int:
    """The status of an error for clients of a provider's API: the provider's own, where it named one."""
    named = getattr(error, "status_code", None)
    if isinstance(named, int) and 400 <= named < 600:
        return named
    return next((client for kind, _, client in _STATUSES if isinstance(error, kind)), 500)
