"""
Token counts, from Anthropic's to `Usage`.

Anthropic counts what was read from a cache, and what was written to one, beside the input; we count it in.

Source: https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import Usage
from anyllm.wire._base.getters import count


class Counted:
    """What one answer's events have counted so far. Used by one decoder, on one thread."""

    __slots__ = ("_raw",)

    def __init__(self) -> None:
        self._raw: dict[str, Any] = {}

    def add(self, raw: Any) -> Usage | None:
        """
        All counts, with those of *raw*, a ``usage`` object; None when it is none, or nothing was counted.

        Later counts are totals: they replace earlier ones. What they leave out stays.
        """
        if not isinstance(raw, dict):
            return None
        for key, value in raw.items():
            if value is not None or key not in self._raw:
                self._raw[key] = value
        return read_usage(self._raw)


def read_usage(raw: Mapping[str, Any]) -> Usage | None:
    """What the host counted; None when it counted nothing."""
    given, answer = count(raw, "input_tokens"), count(raw, "output_tokens")
    if given is None and answer is None:
        return None
    read, written = count(raw, "cache_read_input_tokens"), count(raw, "cache_creation_input_tokens")
    prompt, completion = (given or 0) + (read or 0) + (written or 0), answer or 0
    details = raw.get("output_tokens_details")
    reasoning = count(details, "thinking_tokens") if isinstance(details, dict) else None
    return Usage(prompt, completion, prompt + completion, reasoning, read, written, raw=dict(raw))
