"""Which of several models is asked first, and which next."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import attrs

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

__all__ = ["STRATEGIES", "Router", "Target", "may_fall_back"]

STRATEGIES = ("order", "round_robin", "cheapest", "fastest")
#: The prompt and answer whose cost models are compared by.
_SAMPLE = Usage(1000, 1000, 2000)
#: How much the latest wait counts against those before it.
_WEIGHT = 0.3
#: Seconds that a failure counts as, and after which what was measured says nothing any more.
_FAILURE, _STALE = 60.0, 300.0


@attrs.define(frozen=True)
class Target:
    """
    A model and who hosts it.

    Attributes:
        host: The provider.
        model: Its name there, bare.
        api_key: The key for it, if not the provider's own.
        base_url: The server for it, if not the provider's own.
        is_own: Whether the provider was made for it, connections and all.
    """

    host: Provider
    model: str
    api_key: ApiKey = attrs.field(default=None, repr=False)
    base_url: Optional[str] = None
    is_own: bool = False

    @property
    def where(self) -> dict[str, Any]:
        """The key and the server, as the provider's calls take them."""
        return {"api_key": self.api_key, "base_url": self.base_url}

    @property
    def name(self) -> str:
        """As in a model string."""
        return f"{self.host.name}/{self.model}"


class Router:
    """
    Puts models into the order in which a call tries them. Shared between threads.

    Args:
        targets: The first, and those to fall back to.
        strategy: "order": as given. "round_robin": each call begins with the next one. "cheapest": by price; those
            without a known one come last. "fastest": by how soon their first content, or whole answer, came of late;
            those that were not measured in the last minutes come first, and one that fails is as slow as a minute.
        prices: As `pricing.cost_of` takes them.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        strategy: str,
        prices: Optional[Mapping[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
        self._targets = tuple(targets)
        self._strategy = strategy
        self._calls = itertools.count()  # next() is one step
        self._clock = clock
        self._waits: dict[str, tuple[float, float]] = {}  # by name: seconds to the first content, and when
        if strategy == "cheapest":
            self._targets = tuple(sorted(targets, key=lambda target: _price(target, prices)))

    def order(self) -> tuple[Target, ...]:
        """The models, in the order to be tried by the next call."""
        targets = self._targets
        if self._strategy == "round_robin":
            first = next(self._calls) % len(targets)
            return targets[first:] + targets[:first]
        if self._strategy == "fastest":
            return tuple(sorted(targets, key=lambda target: self._wait_of(target) or 0.0))
        return targets

    def note(self, target: Target, seconds: float) -> None:
        """*target* took so long to its first content."""
        before = self._wait_of(target)
        average = seconds if before is None else before + _WEIGHT * (seconds - before)
        self._waits[target.name] = (average, self._clock())

    def failed(self, target: Target) -> None:
        """*target* failed, however quickly."""
        self.note(target, _FAILURE)

    def _wait_of(self, target: Target) -> Optional[float]:
        seconds, at = self._waits.get(target.name, (0.0, -math.inf))
        return seconds if self._clock() - at < _STALE else None


def _price(target: Target, prices: Optional[Mapping[str, Any]]) -> float:
    cost = cost_of(_SAMPLE, target.model, target.host.name, prices=prices)
    return float("inf") if cost is None else cost.total_usd


def may_fall_back(error: AnyLLMError) -> bool:
    """Whether another model may do better: not where the caller stopped, nor where the question itself is wrong."""
    if isinstance(error, (UnsupportedParameterError, ContextLengthExceededError)):
        return True  # the next may have words for it, or room
    return not isinstance(error, (Cancelled, DeadlineExceeded, InvalidRequestError, ContentFilterError))
