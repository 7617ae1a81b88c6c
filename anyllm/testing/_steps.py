"""The steps of a scripted reply: bytes, and faults such as pauses, stalls and cuts."""

from __future__ import annotations

import threading
from typing import Any, Iterable, List, Mapping, Optional, Tuple, Union

import attrs


@attrs.frozen
class Pause:
    """
    Send nothing for some time, then continue; ends at once when the client leaves.

    Args:
        seconds: The duration, on the monotonic clock.
    """

    seconds: float


@attrs.frozen
class Stall:
    """
    Send nothing until the event is set, the client leaves, or the server closes.

    Args:
        event: Set it from any thread to continue the reply; without one, the stall is endless.
    """

    event: Optional[threading.Event] = None


@attrs.frozen
class Cut:
    """
    End the reply here; later steps are not sent.

    Args:
        how: "clean" ends the HTTP body properly: with the terminating chunk, at the Content-Length, or, where the
            body ends with the connection, with TLS's close_notify and FIN. "eof" is FIN in the middle of the body:
            no terminating chunk, less than the Content-Length, no close_notify. "reset" is RST, which, as on a real
            network, also drops bytes that the client's system has not received yet.
    """

    how: str = attrs.field(validator=attrs.validators.in_(("clean", "eof", "reset")))


@attrs.frozen
class Signal:
    """
    Set an event when the reply reaches this point, so that a test can order its threads without sleeping.

    Args:
        event: Set when all earlier bytes have been passed to the system.
    """

    event: threading.Event


Step = Union[bytes, Pause, Stall, Cut, Signal]
SSEData = Union[str, bytes, Mapping[str, Any]]
SSEEvent = Union[SSEData, Tuple[str, SSEData], Pause, Stall, Cut, Signal]

FAULTS = (Pause, Stall, Cut, Signal)


def checked_steps(steps: Iterable[Step]) -> Tuple[Step, ...]:
    if isinstance(steps, (bytes, str)):  # which are iterables of numbers and characters
        raise TypeError(f"steps are a sequence such as [b'...', Pause(1)], not {type(steps).__name__}")
    steps = tuple(steps)
    for step in steps:
        if not isinstance(step, (bytes, *FAULTS)):
            raise TypeError(f"a step is bytes, Pause, Stall, Cut or Signal, not {type(step).__name__}")
    return steps


def keep_alive_comments(n: int, seconds: float, comment: bytes = b": keep-alive\n\n") -> List[Step]:
    """
    Steps of a server that sends only keep-alives: *n* comments, each followed by a pause.

    Args:
        n: The number of comments.
        seconds: The pause after each.
        comment: The bytes of a comment, one write each.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes
    """
    return [comment, Pause(seconds)] * n
