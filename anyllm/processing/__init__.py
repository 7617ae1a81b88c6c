"""
What is done with events on their way: filtered, changed, batched, slowed down, counted; in a loop or on a thread.

    processor = EventProcessor(per_second=30, merge_text=True).add_filter(types=("text", "complete"))
    for event in processor.process(stream): ...

Strategy: the consumer pulls. Filters and transformers run on its thread, and so does the source, unless something must
happen although nothing comes (a batch's time is over, text is joined meanwhile): then a thread reads ahead. It knows
the source and the send end of a channel, and nothing of the consumer, whose disappearance therefore ends it. Each run
has a Context of its own, and all that waits, waits for that too.
"""

from __future__ import annotations

from anyllm.processing._metrics import Metrics
from anyllm.processing._processor import EventProcessor, Processed, Running

__all__ = ["EventProcessor", "Metrics", "Processed", "Running"]
