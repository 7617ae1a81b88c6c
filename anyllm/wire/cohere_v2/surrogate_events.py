"""Events that replace surrogate halves without a partner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anyllm.wire._base.encode_json import put
from anyllm.wire._base.surrogate_joiner import REPLACEMENT, Halves

#: The texts that continue from event to event, by their path in ``delta``.
_STREAMED_TEXTS = {
    ("message", "content", "text"),
    ("message", "content", "thinking"),
    ("message", "tool_plan"),
    ("message", "tool_calls", "function", "arguments"),
}


def replacement_events(halves: Halves) -> Iterator[dict[str, Any]]:
    """Events that add U+FFFD to the text of each of *halves*."""
    for kind, index, *steps in halves.take():
        if tuple(steps) in _STREAMED_TEXTS:
            event = {"type": kind, "index": index}
            put(event, ".".join(("delta", *steps)), REPLACEMENT)
            yield event
