"""
Event processors: filter, change, batch, slow down and count the events of a stream, in a loop or on a thread.

    processor = EventProcessor(per_second=30, merge_text=True).add_filter(types=("text", "complete"))
    for event in processor.process(stream): ...

Strategy: the consumer pulls. Filters and transformers run on its thread, and so does the source, unless something must
happen while the source is silent (a batch's time ends, text is joined): then a thread reads ahead (see `read_ahead`).
Each run has its own Context, and every wait of the run ends with it.
"""

from __future__ import annotations

from anyllm.processing._metrics import Metrics
from anyllm.processing._processor import EventProcessor, Processed, Running

__all__ = ["EventProcessor", "Metrics", "Processed", "Running"]
