"""Arguments and errors that the limits share."""

from __future__ import annotations

import copy
import pickle

import pytest

from anyllm.context import Context
from anyllm.limits import (
    CircuitBreaker,
    CircuitOpenError,
    LimitTooSmallError,
    RateLimit,
    StreamLimit,
    WaitTooLongError,
)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: RateLimit(0), ValueError),
        (lambda: RateLimit(None, -1), ValueError),
        (lambda: RateLimit(1.5), TypeError),
        (lambda: RateLimit(True), TypeError),
        (lambda: RateLimit(1).acquire(None), TypeError),
        (lambda: RateLimit(1).acquire(Context(), -1), ValueError),
        (lambda: RateLimit(1).acquire(Context()).settle(-1), ValueError),
        (lambda: StreamLimit(0), ValueError),
        (lambda: StreamLimit(1).acquire(5), TypeError),
        (lambda: CircuitBreaker(0), ValueError),
        (lambda: CircuitBreaker(window=float("nan")), ValueError),
        (lambda: CircuitBreaker(cooldown="1"), TypeError),
        (lambda: CircuitBreaker().before("ctx"), TypeError),
    ],
)
def test_invalid_limits_are_refused(make, kind):
    with pytest.raises(kind):
        make()


@pytest.mark.parametrize(
    "error",
    [
        CircuitOpenError("m", retry_after=2.5),
        WaitTooLongError("m", seconds=3.0),
        LimitTooSmallError("m", tokens=2, tokens_per_minute=1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_errors_survive_pickle_and_copy(error):
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert vars(other) == vars(error)
