"""Model metadata for the listing endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

import attrs

__all__ = ["ModelInfo"]


def _strings(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@attrs.define(frozen=True)
class ModelInfo:
    """
    A model that the gateway offers.

    Attributes:
        name: The name that clients use.
        provider: The name of its provider.
        created: Unix seconds; 0 if unknown.
        context_length: The maximum of prompt and answer together, in tokens; None if unknown.
        capabilities: Ollama's names of capabilities, of "completion", "tools", "vision", "thinking", "embedding".
    """

    name: str
    provider: str = ""
    created: int = 0
    context_length: Optional[int] = None
    capabilities: tuple[str, ...] = attrs.field(default=("completion",), converter=_strings)

    @property
    def tagged(self) -> str:
        """The name with a tag: Ollama's clients add ``:latest`` to a name without one, and look that up in the list."""
        return self.name if ":" in self.name.rpartition("/")[2] else f"{self.name}:latest"
