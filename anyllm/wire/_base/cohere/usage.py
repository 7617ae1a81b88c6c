"""
Token counts in both versions of Cohere's API.

``tokens`` counts all tokens that the model read and wrote; ``billed_units`` leaves out those that Cohere adds to the
prompt.

Source: https://docs.cohere.com/reference/chat (usage)
"""

from __future__ import annotations

from typing import Any

from anyllm.types import Usage
from anyllm.wire._base.json_values import count

__all__ = ["read_usage"]


def read_usage(raw: Any) -> Usage | None:
    """
    The usage in an answer; None if there is none.

    Args:
        raw: The ``usage`` of an answer; in version 1, and of embeddings, the ``meta``.
    """
    if not isinstance(raw, dict):
        return None
    tokens = _counts(raw.get("tokens")) or _counts(raw.get("billed_units"))
    if tokens is None:
        return None
    prompt, completion = tokens
    cached = count(raw, "cached_tokens")
    if cached is not None and cached > prompt:
        cached = None  # not a part of this prompt
    return Usage(prompt, completion, prompt + completion, None, cached, raw=dict(raw))


def _counts(raw: Any) -> tuple[int, int] | None:
    if not isinstance(raw, dict):
        return None
    prompt, completion = count(raw, "input_tokens"), count(raw, "output_tokens")
    return None if prompt is None and completion is None else (prompt or 0, completion or 0)
