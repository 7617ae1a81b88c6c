"""
Token counts that Bedrock adds to the last event of every stream, in the same keys for all models.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import Usage
from anyllm.wire._base.block_decoder import usage_of

__all__ = ["METRICS", "invocation_usage"]

METRICS = "amazon-bedrock-invocationMetrics"
_KEYS = ("inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")


def invocation_usage(payload: Mapping[str, Any]) -> Usage | None:
    """Bedrock's token counts in an event or a whole answer; None if it has none."""
    return usage_of(payload.get(METRICS), _KEYS)
