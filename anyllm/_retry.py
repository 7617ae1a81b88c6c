"""When a failed try is followed by another, and after how long."""

from __future__ import annotations

import random
from typing import Optional

from anyllm.errors import AnyLLMError, APIError, NetworkError, StreamTimeoutError
from anyllm.options import Retry

__all__ = ["pause_before_retry"]

#: Enough to make any wait the longest; a float overflows after a thousand.
_MOST_DOUBLINGS = 64


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
    if tries >= retry.attempts or not _may_pass(error):
        return None
    asked = getattr(error, "retry_after", None)
    if asked is not None and asked > retry.max_retry_after:
        return None
    pause = _backoff(tries, retry) if asked is None else asked
    return None if left is not None and pause >= left else pause


def _may_pass(error: AnyLLMError) -> bool:
    if isinstance(error, StreamTimeoutError):
        return error.clock == "connect"
    return error.is_retryable and isinstance(error, (NetworkError, APIError))


def _backoff(tries: int, retry: Retry) -> float:
    pause: float = min(retry.max_backoff, retry.backoff * 2.0 ** min(tries - 1, _MOST_DOUBLINGS))
    return pause * (1 - retry.jitter * random.random())
