"""Find a provider's row by its name or an alias."""

from __future__ import annotations

from typing import Optional

from anyllm.providers.table import china, openai, openai_compatible, own_formats, self_hosted
from anyllm.providers.table.row import Row

__all__ = ["ROWS", "find", "get", "listing_names", "names"]

ROWS: tuple[Row, ...] = (*openai.ROWS, *openai_compatible.ROWS, *china.ROWS, *own_formats.ROWS, *self_hosted.ROWS)


def _normalized(name: str) -> str:
    return name.strip().lower().replace("-", "_")


_BY_NAME: dict[str, Row] = {_normalized(name): row for row in ROWS for name in (row.name, *row.aliases)}


def find(name: str) -> Optional[Row]:
    """The row called *name*, in any case, or None; dashes and underscores are the same."""
    return _BY_NAME.get(_normalized(name))


def get(name: str) -> Row:
    """The row called *name*, as `find` finds it; KeyError if there is none."""
    return _BY_NAME[_normalized(name)]


def listing_names() -> list[str]:
    """The names of the providers that list their models and whose key is set now."""
    return [row.name for row in ROWS if row.capabilities.list_models and row.key_source()]


def names() -> list[str]:
    """Every name and alias."""
    return sorted(name for row in ROWS for name in (row.name, *row.aliases))
