"""
Token counts of the host's own, which stand in the last event of every stream, whoever's the model is.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import Usage
from anyllm.wire._base.choices_decoder import first_count

__all__ = ["METRICS", "counted", "usage_of"]

METRICS = "amazon-bedrock-invocationMetrics"


def usage_of(payload: Mapping[str, Any]) -> Usage | None:
    """What the host counted; None when it says nothing of that."""
    raw = payload.get(METRICS)
    if not isinstance(raw, dict):
        return None
    return counted(raw, "inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")


def counted(raw: Mapping[str, Any], given: str, answer: str, read: str, written: str) -> Usage | None:
    """
    The counts that stand under these names; None when nothing was counted.

    What was read from a cache, and what was written to one, is counted beside the input here; we count it in.
    """
    prompt, completion = first_count(raw, given), first_count(raw, answer)
    if prompt is None and completion is None:
        return None
    from_cache, to_cache = first_count(raw, read), first_count(raw, written)
    prompt, completion = (prompt or 0) + (from_cache or 0) + (to_cache or 0), completion or 0
    return Usage(prompt, completion, prompt + completion, None, from_cache, to_cache, raw=dict(raw))
