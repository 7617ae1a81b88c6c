"""What comes off the wire, whatever its framing."""

from __future__ import annotations

from typing import Protocol

import attrs

from anyllm.errors import MalformedStreamError

__all__ = ["Event", "JSONEvent", "too_large"]


class Event(Protocol):
    """One event from the wire: its name ("message" if it has none) and its data."""

    event: str
    data: str


@attrs.define
class JSONEvent:
    """An event of a body that is JSON documents one after the other; they have no names."""

    data: str
    event: str = "message"


def too_large(limit: int) -> MalformedStreamError:
    """The error of an event of more than *limit* bytes."""
    return MalformedStreamError(f"one event is larger than max_event_bytes ({limit} bytes)")
