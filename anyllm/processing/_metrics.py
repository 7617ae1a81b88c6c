"""Counts of a processor's events and runs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Optional

import attrs

from anyllm.events import StreamEvent


@attrs.define(frozen=True, kw_only=True)
class Metrics:
    """
    The counts of one or several runs. A snapshot: it does not change.

    Attributes:
        runs: The number of runs that have begun to read.
        events_in: The number of events that came from the source, by type.
        events_out: The number of events that the consumer got, by type.
        dropped: The number of events that a filter or a transformer dropped.
        transformed: The number of events that a transformer replaced.
        merged: The number of events whose text was joined to a neighbour's.
        errors: The number of runs that ended with an exception of the source, a filter, a transformer or a handler.
        text_characters: Characters of the "text" events that the consumer got.
        first_text: Seconds from the start of a run to its first text, None if there was none; of several runs, the mean
            of those that had one.
        seconds: Seconds from the start of a run to the last event that the consumer got; of several runs, the sum.
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
        """Events that the consumer got, by `seconds`; 0 while no time has passed."""
        return sum(self.events_out.values()) / self.seconds if self.seconds > 0 else 0.0


class Tally:
    """The counts while runs go on, for any number of threads."""

    def __init__(self) -> None:
        #: Guards all counts. Held for a few additions only. Reentrant, because the collector may run a finalizer
        #: meanwhile, and that may take a snapshot.
        self._lock = threading.RLock()
        self._in: Counter[str] = Counter()
        self._out: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._seconds = 0.0
        self._first_texts = 0.0  # seconds, summed
        self._runs_with_text = 0

    def add(self, counts: Mapping[str, int]) -> None:
        with self._lock:
            for name, number in counts.items():
                self._counts[name] += number

    def count_input(self, event: StreamEvent) -> None:
        with self._lock:
            self._in[event.type] += 1

    def count_output(self, events: Sequence[StreamEvent], seconds: float, first_text: Optional[float]) -> None:
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
