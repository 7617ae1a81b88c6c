"""How a call behaves on the wire: its clocks, its retries, its bounds. Durations are seconds."""

from __future__ import annotations

import math
from typing import Any, Optional, TypeVar

import attrs

from anyllm import _convert
from anyllm._checks import check_keywords

T = TypeVar("T")


def _number(attribute: attrs.Attribute[Any], value: Any, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{attribute.name} must be {what}, not {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{attribute.name} must not be negative or NaN: {value!r}")


def _limit(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None:
        _number(attribute, value, "seconds (a number) or None")


def _duration(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    _number(attribute, value, "seconds (a number)")


def _share(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    _number(attribute, value, "a number")
    if value > 1:
        raise ValueError(f"{attribute.name} must be a share, from 0 to 1: {value!r}")


def _at_least(least: int) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{attribute.name} must be an int, not {type(value).__name__}")
        if value < least:
            raise ValueError(f"{attribute.name} must be at least {least}: {value}")

    return check


@check_keywords
@attrs.define(frozen=True, kw_only=True)
class Timeouts:
    """
    The three clocks of a call. The fourth, the total, is the Context's alone.

    They run only while we wait for the provider. Keep-alive comments, pings and empty deltas prove that the
    host is alive, not that it makes progress: they do not set a clock back. Time is monotonic.

    Attributes:
        connect: Seconds for name, connection and TLS together; None for no limit.
        first_content: Seconds from the start of a try to its first content (for a whole answer, to its
            end); None for no limit.
        idle: Seconds between one content and the next; None for no limit.
    """

    connect: Optional[float] = attrs.field(default=10.0, validator=_limit)
    first_content: Optional[float] = attrs.field(default=600.0, validator=_limit)
    idle: Optional[float] = attrs.field(default=300.0, validator=_limit)


@check_keywords
@attrs.define(frozen=True, kw_only=True)
class Retry:
    """
    What is tried again before the first content: failed connections, 408, 409, 429, 5xx, and the same errors
    sent as an event. After content nothing is tried again, so no text can come twice.

    Attributes:
        attempts: How many tries in all; 1 never tries again.
        backoff: Seconds before the second try; it doubles with each further one.
        max_backoff: The longest wait that doubling reaches, in seconds.
        jitter: The share of each wait that chance may take away, 0 to 1, so that callers spread out.
        max_retry_after: The longest ``Retry-After`` that is waited for, in seconds; asked for more, or for
            more than the Context has left, the error is raised at once.
    """

    attempts: int = attrs.field(default=3, validator=_at_least(1))
    backoff: float = attrs.field(default=0.5, validator=_duration)
    max_backoff: float = attrs.field(default=8.0, validator=_duration)
    jitter: float = attrs.field(default=0.25, validator=_share)
    max_retry_after: float = attrs.field(default=60.0, validator=_duration)


def _timeouts(value: Any) -> Timeouts:
    return _convert.structure(Timeouts, value)


def _retry(value: Any) -> Retry:
    return _convert.structure(Retry, value)


@check_keywords
@attrs.define(frozen=True, kw_only=True)
class StreamingOptions:
    """
    Everything about a call that is not said to the model. Immutable; `evolve` gives a changed copy.

    Attributes:
        timeouts: The clocks.
        retry: What is tried again, and how often.
        buffer: How many chunks may wait for a slow consumer before the provider is slowed down. The worker may have up
            to four times as many in hand, from one read: changing threads costs more than decoding.
        max_event_bytes: The largest event, whole answer or error body that is read, in bytes.
    """

    timeouts: Timeouts = attrs.field(factory=Timeouts, converter=_timeouts)
    retry: Retry = attrs.field(factory=Retry, converter=_retry)
    buffer: int = attrs.field(default=64, validator=_at_least(1))
    max_event_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=_at_least(1))

    def evolve(self, **changes: Any) -> StreamingOptions:
        """A copy with *changes*; an unknown name is a TypeError, as at construction."""
        return attrs.evolve(self, **changes)
