"""
Token counts of a response, as one `Usage`.

Source: https://platform.openai.com/docs/api-reference/responses/object (usage)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import Usage
from anyllm.wire._base.getters import count


def read_usage(raw: Any) -> Usage | None:
    """What the host counted, from a response's ``usage``; None when it counted nothing."""
    if not isinstance(raw, dict):
        return None
    prompt, completion, total = (count(raw, name) for name in ("input_tokens", "output_tokens", "total_tokens"))
    if prompt is None and completion is None and total is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    before, after = _details(raw, "input_tokens_details"), _details(raw, "output_tokens_details")
    return Usage(
        prompt,
        completion,
        total or prompt + completion,
        count(after, "reasoning_tokens"),
        count(before, "cached_tokens"),
        count(before, "cache_write_tokens"),
        raw=dict(raw),
    )


def _details(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, dict) else {}
