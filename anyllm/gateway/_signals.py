"""The signals that end a gateway, handled for a while."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["SIGNALS", "handled_by"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def handled_by(handle: Callable[[int, Any], object]) -> Iterator[None]:
    """Have *handle* called with each of `SIGNALS`, and afterwards whoever was before. For the main thread."""
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
