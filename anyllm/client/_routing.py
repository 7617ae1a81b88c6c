"""Router: the order in which a call tries several models."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import attrs

from anyllm._hints.arguments import one_of
from anyllm.errors import (
    AnyLLMError,
    Cancelled,
    ContentFilterError,
    ContextLengthExceededError,
    DeadlineExceeded,
    InvalidRequestError,
    UnsupportedParameterError,
)
from anyllm.pricing import cost_of
from anyllm.providers.provider import ApiKey, Provider
from anyllm.types import Usage

STRATEGIES = ("order", "round_robin", "cheapest", "fastest")
#: The usage by whose cost models are compared.
_SAMPLE = Usage(1000, 1000, 2000)
#: The weight of the latest wait in the average of all.
_WEIGHT = 0.3
#: The wait that a failure counts as, and the age at which an average is dropped; seconds.
_FAILURE_WAIT, _MAX_AGE = 60.0, 300.0


@attrs.define(frozen=True)
class Target:
    """
    A model at a provider.

    Attributes:
        provider: The provider.
        model: The bare name of the model.
        api_key: The key, if it is not the provider's.
        base_url: The server, if it is not the provider's.
        is_own: Whether the provider object was made for this target, with its own connections.
    """

    provider: Provider
    model: str
    api_key: ApiKey = attrs.field(default=None, repr=False)
    base_url: Optional[str] = None
    is_own: bool = False

    @property
    def host(self) -> Provider:
        """The former name of `provider`."""
        return self.provider

    @property
    def credentials(self) -> dict[str, Any]:
        """The key and the server, as keyword arguments of the provider's calls."""
        return {"api_key": self.api_key, "base_url": self.base_url}

    @property
    def name(self) -> str:
        """The model string, "provider/model"."""
        return f"{self.provider.name}/{self.model}"


class Router:
    """
    Orders the models that a call tries. Shared between threads.

    Args:
        targets: The first model and its fallbacks.
        strategy: "order": as given. "round_robin": each call begins with the next one. "cheapest": by price; models
            without a known price come last. "fastest": by the recent time to the first content, or to a whole answer;
            models without a measurement in the last five minutes come first, and a failure counts as a minute.
        prices: As in `pricing.cost_of`.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        strategy: str,
        prices: Optional[Mapping[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        one_of("strategy", strategy, STRATEGIES)
        self._targets = tuple(targets)
        self._strategy = strategy
        self._calls = itertools.count()  # next() is atomic
        self._clock = clock
        #: By name: the average of the seconds to the first content, and the time of the last measurement.
        self._waits: dict[str, tuple[float, float]] = {}
        if strategy == "cheapest":
            self._targets = tuple(sorted(targets, key=lambda target: _price(target, prices)))

    def order(self) -> tuple[Target, ...]:
        """The models in the order in which the next call tries them."""
        targets = self._targets
        if self._strategy == "round_robin":
            first = next(self._calls) % len(targets)
            return targets[first:] + targets[:first]
        if self._strategy == "fastest":
            return tuple(sorted(targets, key=lambda target: self._wait_of(target) or 0.0))
        return targets

    def record_wait(self, target: Target, seconds: float) -> None:
        """Record that *target* took *seconds* to its first content."""
        before = self._wait_of(target)
        average = seconds if before is None else before + _WEIGHT * (seconds - before)
        self._waits[target.name] = (average, self._clock())

    def record_failure(self, target: Target) -> None:
        """Record that *target* failed, however quickly."""
        self.record_wait(target, _FAILURE_WAIT)

    def _wait_of(self, target: Target) -> Optional[float]:
        seconds, at = self._waits.get(target.name, (0.0, -math.inf))
        return seconds if self._clock() - at < _MAX_AGE else None


def _price(target: Target, prices: Optional[Mapping[str, Any]]) -> float:
    cost = cost_of(_SAMPLE, target.model, target.provider.name, prices=prices)
    return float("inf") if cost is None else cost.total_usd


def may_fall_back(error: AnyLLMError) -> bool:
    """Whether another model may succeed: not after the caller cancelled, nor where the request itself is wrong."""
    if isinstance(error, (UnsupportedParameterError, ContextLengthExceededError)):
        return True  # the next model may support the parameter, or have a longer context
    return not isinstance(error, (Cancelled, DeadlineExceeded, InvalidRequestError, ContentFilterError))
