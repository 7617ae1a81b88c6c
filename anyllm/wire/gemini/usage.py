"""
Token counts: from ``usageMetadata`` to one `Usage`.

Source: https://ai.google.dev/api/generate-content#UsageMetadata
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import Usage
from anyllm.wire._base.finish_reasons import whole_number


def read_usage(raw: Any) -> Usage | None:
    """
    What the host counted so far; None when it counted nothing, as Vertex does until the last event.

    What tools of the host put into the prompt (``toolUsePromptTokenCount``) belongs to the prompt, unless the total
    says that it was counted in already.
    """
    if not isinstance(raw, dict):
        return None
    prompt, answer = _count(raw, "promptTokenCount"), _count(raw, "candidatesTokenCount")
    total, thoughts = _count(raw, "totalTokenCount"), _count(raw, "thoughtsTokenCount")
    if prompt is None and answer is None and total is None:
        return None
    prompt, completion = prompt or 0, (answer or 0) + (thoughts or 0)
    if total != prompt + completion:
        prompt += _count(raw, "toolUsePromptTokenCount") or 0
    return Usage(
        prompt,
        completion,
        total or prompt + completion,
        thoughts,
        _count(raw, "cachedContentTokenCount"),
        raw=raw,
    )


def _count(raw: Mapping[str, Any], name: str) -> int | None:
    count = whole_number(raw.get(name))
    return count if count is not None and count >= 0 else None
