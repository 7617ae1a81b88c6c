"""How many events came and went."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Optional

import attrs

from anyllm.events import StreamEvent

__all__ = ["Metrics", "Tally"]


@attrs.define(frozen=True, kw_only=True)
class Metrics:
    """
    What runs did up to a moment. A snapshot: it does not change.

    Attributes:
        runs: How many have begun to read.
        events_in: How many events came from the source, by type.
        events_out: How many were handed to the consumer, by type.
        dropped: How many a filter refused, or a transformer made nothing of.
        transformed: How many a transformer made something else of.
        merged: How many were added to the text of a neighbour.
        errors: How many runs ended with an exception: of the source, a filter, a transformer or a handler.
        text_characters: Characters of "text" events handed to the consumer.
        first_text: Seconds from the start of a run to the first text handed over, None if there was none; of several
            runs, the mean of those that had one.
        seconds: From the start of a run to what it handed over last; of several runs, the sum.
    """

    runs: int = 0
    events_in: Mapping[str, int] = attrs.field(factory=dict)
    events_out: Mapping[str, int] = attrs.field(factory=dict)
    dropped: int = 0
    transformed: int = 0
    merged: int = 0
    errors: int = 0
    text_characters: int = 0
    first_text: Optional[float] = None
    seconds: float = 0.0

    @property
    def events_per_second(self) -> float:
        """How many events were handed over in a second of a run; 0 while no time has passed."""
        return sum(self.events_out.values()) / self.seconds if self.seconds > 0 else 0.0


class Tally:
    """Counts, for any number of threads."""

    def __init__(self) -> None:
        #: Guards all of it. Held for a few additions only; one that its holder may take again, because the collector
        #: may run somebody's finalizer meanwhile, and that may look.
        self._lock = threading.RLock()
        self._in: Counter[str] = Counter()
        self._out: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._seconds = 0.0
        self._first_texts = 0.0  # seconds, summed
        self._runs_with_text = 0

    def add(self, more: Mapping[str, int]) -> None:
        with self._lock:
            for name, number in more.items():
                self._counts[name] += number

    def came(self, event: StreamEvent) -> None:
        with self._lock:
            self._in[event.type] += 1

    def gave(self, events: Sequence[StreamEvent], seconds: float, first_text: Optional[float]) -> None:
        with self._lock:
            for event in events:
                self._out[event.type] += 1
                if event.type == "text":
                    self._counts["text_characters"] += len(event.text)
            self._seconds += seconds
            if first_text is not None:
                self._first_texts += first_text
                self._runs_with_text += 1

    def snapshot(self) -> Metrics:
        with self._lock:
            return Metrics(
                events_in=dict(self._in),
                events_out=dict(self._out),
                first_text=self._first_texts / self._runs_with_text if self._runs_with_text else None,
                seconds=self._seconds,
                **self._counts,
            )
