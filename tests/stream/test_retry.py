"""When a failed attempt is followed by another, and after how long."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from anyllm._stream import retry as _retry
from anyllm._stream.retry import pause_before_retry
from anyllm.errors import (
    AnyLLMError,
    APIError,
    AuthenticationError,
    Cancelled,
    DeadlineExceeded,
    IncompleteStreamError,
    InvalidRequestError,
    MalformedStreamError,
    MissingAPIKeyError,
    NetworkError,
    OverloadedError,
    RateLimitError,
    ServerError,
    StreamTimeoutError,
)
from anyllm.options import Retry

PLAIN = Retry(attempts=10, backoff=1, max_backoff=8, jitter=0)


def pause(error: AnyLLMError, failures: int = 1, retry: Retry = PLAIN, left: Optional[float] = None) -> Optional[float]:
    return pause_before_retry(error, failures, retry, left)


PASSING = [
    NetworkError("no answer"),
    RateLimitError("slow down", status_code=429),
    ServerError("oops", status_code=500),
    OverloadedError("busy", status_code=529),
    InvalidRequestError("conflict", status_code=409, is_retryable=True),
    APIError("an error event", is_retryable=True),
    StreamTimeoutError("", clock="connect", seconds=1),
]
#: Also errors that may have cost the caller an answer that the host is still working on.
FINAL = [
    NetworkError("bad certificate", is_retryable=False),
    AuthenticationError("no", status_code=401),
    InvalidRequestError("no", status_code=400),
    ServerError("the host says that it will not pass", is_retryable=False),
    StreamTimeoutError("", clock="first_content", seconds=1),
    StreamTimeoutError("", clock="idle", seconds=1),
    IncompleteStreamError("cut"),
    MalformedStreamError("what"),
    MissingAPIKeyError("", env_var="X"),
    Cancelled(),
    DeadlineExceeded(),
    AnyLLMError("a bug", is_retryable=True),
]


@pytest.mark.parametrize("error", [*PASSING, *FINAL], ids=repr)
def test_only_errors_that_may_pass_are_tried_again(error: AnyLLMError):
    assert pause(error) == (1 if error in PASSING else None)


def test_the_wait_doubles_up_to_its_limit():
    assert [pause(NetworkError(), failures) for failures in range(1, 7)] == [1, 2, 4, 8, 8, 8]


def test_the_first_attempt_counts():
    retry = Retry(attempts=3, jitter=0)
    assert [pause(NetworkError(), failures, retry) is None for failures in (1, 2, 3, 4)] == [False, False, True, True]
    assert pause(NetworkError(), 1, Retry(attempts=1)) is None


def test_any_number_of_failures_has_a_wait():
    """Two to the power of a thousand does not fit in a float."""
    retry = Retry(attempts=10**6, backoff=0.5, max_backoff=8, jitter=0)
    assert pause(NetworkError(), 5000, retry) == 8
    assert pause(NetworkError(), 5000, Retry(attempts=10**6, backoff=0)) == 0


def test_jitter_only_takes_away(monkeypatch: pytest.MonkeyPatch):
    retry = Retry(attempts=9, backoff=1, jitter=0.25)
    for chance, expected in ((0.0, 1.0), (0.5, 0.875), (1.0, 0.75)):
        monkeypatch.setattr(_retry.random, "random", lambda chance=chance: chance)
        assert pause(NetworkError(), 1, retry) == expected


def limited(seconds: Any) -> RateLimitError:
    return RateLimitError("slow down", status_code=429, retry_after=seconds)


@pytest.mark.parametrize("seconds", [0, 0.5, 7, 60])
def test_retry_after_is_the_pause(seconds: float):
    assert pause(limited(seconds), 4) == seconds


def test_beyond_a_minute_it_is_not_waited_for():
    assert pause(limited(60.1)) is None
    assert pause(limited(61), retry=Retry(max_retry_after=100)) == 61


@pytest.mark.parametrize(("left", "expected"), [(None, 5), (6.0, 5), (5.0, None), (1.0, None), (0.0, None)])
def test_a_wait_that_would_use_up_the_time_left_is_not_begun(left: Optional[float], expected: Optional[float]):
    """The real error says more than a deadline."""
    assert pause(limited(5), left=left) == expected
    assert (pause(NetworkError(), 4, left=left) is None) == (left is not None)
