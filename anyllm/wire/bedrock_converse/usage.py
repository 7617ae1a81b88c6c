"""
Token counts, from Converse's to `Usage`.

Bedrock counts what was read from a cache, and what was written to one, beside the input; we count it in.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html
"""

from __future__ import annotations

from typing import Any

from anyllm.types import Usage
from anyllm.wire._base.getters import count


def read_usage(raw: Any) -> Usage | None:
    """What the host counted; None when it counted nothing."""
    if not isinstance(raw, dict):
        return None
    given, answer = count(raw, "inputTokens"), count(raw, "outputTokens")
    if given is None and answer is None:
        return None
    read, written = count(raw, "cacheReadInputTokens"), count(raw, "cacheWriteInputTokens")
    prompt, completion = (given or 0) + (read or 0) + (written or 0), answer or 0
    return Usage(prompt, completion, prompt + completion, None, read, written, raw=raw)
