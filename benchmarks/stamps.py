"""
Events whose text is the time at which they are written, and quantiles of the latency that readers measure with them.

The clock is `time.perf_counter_ns`: on Linux, processes share it. Digits look the same in every format.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import formats

#: The text of an event, in any format.
STAMP = re.compile(rb"at (\d{20})")


class StampedEvents:
    """OpenAI's event, over and over, with the time in it, and *size* more bytes of text."""

    def __init__(self, size: int) -> None:
        event = formats.format_of("").events[0].partition(b"\r\n")[2][:-2]
        before, after = event.split(b" word")
        before += b" at "
        after = b"x" * size + after
        self._before = b"%x\r\n%b" % (len(before) + 20 + len(after), before)
        self._after = after + b"\r\n"
        self.count = 0

    def __len__(self) -> int:
        return 1

    def __getitem__(self, number: int) -> bytes:
        self.count += 1
        return b"%b%020d%b" % (self._before, time.perf_counter_ns(), self._after)


def quantiles(nanoseconds: Sequence[int]) -> dict[str, float]:
    """The median, the 99th percentile and the maximum, in milliseconds."""
    values = sorted(nanoseconds)
    places = {"p50": len(values) // 2, "p99": len(values) * 99 // 100, "max": len(values) - 1}
    return {f"{name}_ms": values[place] / 1e6 for name, place in places.items()}
