"""Arguments that the limits refuse."""

from __future__ import annotations

import pytest

from anyllm.context import Context
from anyllm.limits import CircuitBreaker, RateLimit, StreamLimit


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
