"""A model as those are told of it who ask which there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

import attrs

__all__ = ["ModelInfo"]


def _words(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@attrs.define(frozen=True)
class ModelInfo:
    """
    A model that can be asked for.

    Attributes:
        name: As clients say it.
        provider: Who hosts it.
        created: Unix seconds; 0 when nobody knows.
        context_length: The longest prompt and answer together, in tokens; None when nobody knows.
        capabilities: In Ollama's words, of "completion", "tools", "vision", "thinking", "embedding".
    """

    name: str
    provider: str = ""
    created: int = 0
    context_length: Optional[int] = None
    capabilities: tuple[str, ...] = attrs.field(default=("completion",), converter=_words)

    @property
    def tagged(self) -> str:
        """The name as Ollama lists it: clients add ``:latest`` to what has no tag, and look for that in the list."""
        return self.name if ":" in self.name.rpartition("/")[2] else f"{self.name}:latest"
