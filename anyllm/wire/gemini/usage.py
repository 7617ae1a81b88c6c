"""
Token counts: from ``usageMetadata`` to one `Usage`.

Source: https://ai.google.dev/api/generate-content#UsageMetadata
"""

from __future__ import annotations

from typing import Any

from anyllm.types import Usage
from anyllm.wire._base.getters import count


def read_usage(raw: Any) -> Usage | None:
    """
    What the host counted so far; None when it counted nothing, as Vertex does until the last event.

    What tools of the host put into the prompt (``toolUsePromptTokenCount``) belongs to the prompt, unless the total
    says that it was counted in already.
    """
    if not isinstance(raw, dict):
        return None
    prompt, answer = count(raw, "promptTokenCount"), count(raw, "candidatesTokenCount")
    total, thoughts = count(raw, "totalTokenCount"), count(raw, "thoughtsTokenCount")
    if prompt is None and answer is None and total is None:
        return None
    prompt, completion = prompt or 0, (answer or 0) + (thoughts or 0)
    if total != prompt + completion:
        prompt += count(raw, "toolUsePromptTokenCount") or 0
    return Usage(
        prompt,
        completion,
        total or prompt + completion,
        thoughts,
        count(raw, "cachedContentTokenCount"),
        raw=raw,
    )
