"""The retry policy: whether a failed attempt is followed by another, after how long, and with which request."""

from __future__ import annotations

import random
from typing import Optional

import attrs

from anyllm.errors import (
    AnyLLMError,
    APIError,
    Cancelled,
    DeadlineExceeded,
    IncompleteStreamError,
    InvalidRequestError,
    NetworkError,
    StreamTimeoutError,
)
from anyllm.options import Retry
from anyllm.wire._base.protocols import Request

#: Enough to exceed any `max_backoff`; a float overflows after a thousand.
_MAX_DOUBLINGS = 64
#: Errors that interrupt an answer after its first content, beside a clock that ran out.
_INTERRUPTIONS = (NetworkError, APIError, IncompleteStreamError)


def pause_before_retry(error: AnyLLMError, failures: int, retry: Retry, left: Optional[float]) -> Optional[float]:
    """
    Seconds to wait before the next attempt, or None to give up with *error*.

    Args:
        error: Why the last attempt failed, before any content.
        failures: How many attempts have failed.
        retry: The caller's policy.
        left: Seconds the Context has left; None for no limit. There is no wait that would use them up: the real error
            says more than a deadline.
    """
    attempts = _configured_attempts(error, retry)
    if failures >= (_default_attempts(error, retry) if attempts is None else attempts):
        return None
    return _pause(error, failures, retry, left)


def pause_after_interruption(error: AnyLLMError, failures: int, retry: Retry, left: Optional[float]) -> Optional[float]:
    """The same after content, where the caller chose to go on: after every interruption but the caller's."""
    attempts = _configured_attempts(error, retry)
    if attempts is None:
        is_interruption = isinstance(error, StreamTimeoutError) or (
            error.is_retryable and isinstance(error, _INTERRUPTIONS)
        )
        attempts = retry.attempts if is_interruption else 1
    return None if failures >= attempts else _pause(error, failures, retry, left)


def _configured_attempts(error: AnyLLMError, retry: Retry) -> Optional[int]:
    """How many attempts `Retry.errors` allows for this class of error; None for the default. A cancel allows none."""
    if isinstance(error, (Cancelled, DeadlineExceeded)):
        return 1
    return next((retry.errors[kind] for kind in type(error).__mro__ if kind in retry.errors), None)


def _default_attempts(error: AnyLLMError, retry: Retry) -> int:
    if isinstance(error, StreamTimeoutError):
        is_transient = error.clock == "connect"
    else:
        is_transient = error.is_retryable and isinstance(error, (NetworkError, APIError))
    return retry.attempts if is_transient else 1


def _pause(error: AnyLLMError, failures: int, retry: Retry, left: Optional[float]) -> Optional[float]:
    retry_after: Optional[float] = getattr(error, "retry_after", None)
    if retry_after is not None and retry_after > retry.max_retry_after:
        return None
    pause = _backoff(failures, retry) if retry_after is None else retry_after
    return None if left is not None and pause >= left else pause


def _backoff(failures: int, retry: Retry) -> float:
    pause: float = min(retry.max_backoff, retry.backoff * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
    return pause * (1 - retry.jitter * random.random())


def without_refused_parameter(request: Request, error: AnyLLMError) -> Optional[Request]:
    """*request* without the parameter that *error* refuses, if we added it ourselves; else None."""
    if not isinstance(error, InvalidRequestError) or error.status_code not in (400, 422):
        return None
    text = f"{error.param} {error.message} {error.body}"
    for parameter, body in request.fallbacks.items():
        if parameter in text:
            return attrs.evolve(request, body=body, fallbacks={})
    return None
