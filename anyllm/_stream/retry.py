"""When a failed try is followed by another, after how long, and with which request."""

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
from anyllm.wire._base.dialect import Request

__all__ = ["pause_after_cut", "pause_before_retry", "simpler"]

#: Enough to make any wait the longest; a float overflows after a thousand.
_MOST_DOUBLINGS = 64
#: What cuts an answer after its first content, beside the host's silence.
_CUTS = (NetworkError, APIError, IncompleteStreamError)


def pause_before_retry(error: AnyLLMError, tries: int, retry: Retry, left: Optional[float]) -> Optional[float]:
    """
    Seconds to wait before the next try, or None to give up with *error*.

    Args:
        error: Why the last try failed, before any content.
        tries: How many there have been.
        retry: The caller's policy.
        left: Seconds the Context has left; None for no limit. A wait that would use them up is not begun: the real
            error says more than a deadline.
    """
    attempts = _attempts_for(error, retry)
    if tries >= (_by_default(error, retry) if attempts is None else attempts):
        return None
    return _pause(error, tries, retry, left)


def pause_after_cut(error: AnyLLMError, tries: int, retry: Retry, left: Optional[float]) -> Optional[float]:
    """The same after content, where another try was asked for: whatever cut the answer but the caller."""
    attempts = _attempts_for(error, retry)
    if attempts is None:
        is_cut = isinstance(error, StreamTimeoutError) or (error.is_retryable and isinstance(error, _CUTS))
        attempts = retry.attempts if is_cut else 1
    return None if tries >= attempts else _pause(error, tries, retry, left)


def _attempts_for(error: AnyLLMError, retry: Retry) -> Optional[int]:
    """What the caller said of errors of this class; None if nothing. Its own verdicts are final."""
    if isinstance(error, (Cancelled, DeadlineExceeded)):
        return 1
    return next((retry.errors[kind] for kind in type(error).__mro__ if kind in retry.errors), None)


def _by_default(error: AnyLLMError, retry: Retry) -> int:
    if isinstance(error, StreamTimeoutError):
        may_pass = error.clock == "connect"
    else:
        may_pass = error.is_retryable and isinstance(error, (NetworkError, APIError))
    return retry.attempts if may_pass else 1


def _pause(error: AnyLLMError, tries: int, retry: Retry, left: Optional[float]) -> Optional[float]:
    asked = getattr(error, "retry_after", None)
    if asked is not None and asked > retry.max_retry_after:
        return None
    pause = _backoff(tries, retry) if asked is None else asked
    return None if left is not None and pause >= left else pause


def _backoff(tries: int, retry: Retry) -> float:
    pause: float = min(retry.max_backoff, retry.backoff * 2.0 ** min(tries - 1, _MOST_DOUBLINGS))
    return pause * (1 - retry.jitter * random.random())


def simpler(request: Request, error: AnyLLMError) -> Optional[Request]:
    """The request without the parameter that the host refuses, if it was we who added that; None if it was not."""
    if not isinstance(error, InvalidRequestError) or error.status_code not in (400, 422):
        return None
    said = f"{error.param} {error.message} {error.body}"
    for parameter, body in request.fallbacks.items():
        if parameter in said:
            return attrs.evolve(request, body=body, fallbacks={})
    return None
