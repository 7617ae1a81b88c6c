"""Events: what a framing produces and a decoder reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import attrs

from anyllm.errors import MalformedStreamError

__all__ = ["Event", "JSONEvent", "Parser", "too_large"]


class Event(Protocol):
    """One event: its name ("message" if it has none) and its data."""

    event: str
    data: str


@attrs.define
class JSONEvent:
    """An event that was made here, not by sseclient-py."""

    data: str
    event: str = "message"


class Parser(Protocol):
    """Turns a body into events, while another reads it."""

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that *data* completes; to be exhausted before more is fed."""

    def finish(self) -> Iterator[Event]:
        """The events of the rest, at the end of the body."""


def too_large(limit: int) -> MalformedStreamError:
    """The error for an event of more than *limit* bytes."""
    return MalformedStreamError(f"one event is larger than max_event_bytes ({limit} bytes)")
