"""
The halves of characters that nothing came to join, as events of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anyllm.wire._base.encode_json import put
from anyllm.wire._base.surrogate_joiner import REPLACEMENT, Halves

#: The texts that grow from event to event, by their place in ``delta``.
_GROWING = {
    ("message", "content", "text"),
    ("message", "content", "thinking"),
    ("message", "tool_plan"),
    ("message", "tool_calls", "function", "arguments"),
}


def events_for(halves: Halves) -> Iterator[dict[str, Any]]:
    """Events that bring, where each of *halves* was cut off, the mark that stands for it."""
    for kind, index, *steps in halves.take():
        if tuple(steps) in _GROWING:
            event = {"type": kind, "index": index}
            put(event, ".".join(("delta", *steps)), REPLACEMENT)
            yield event
