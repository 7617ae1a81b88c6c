"""
Who hosts models: one row a host. A host with a quirk is a row with a switch; only a new wire format is new code.

The rows lie in `_table`; here is how they are found.
"""

from __future__ import annotations

from typing import Optional

from anyllm.providers.row import Row
from anyllm.providers.table import china, openai, openai_compatible, own_formats, self_hosted

__all__ = ["ROWS", "find", "names"]

ROWS: tuple[Row, ...] = (*openai.ROWS, *openai_compatible.ROWS, *china.ROWS, *own_formats.ROWS, *self_hosted.ROWS)


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_")


_BY_NAME: dict[str, Row] = {_plain(name): row for row in ROWS for name in (row.name, *row.aliases)}


def find(name: str) -> Optional[Row]:
    """The row called *name*, in any case, or None; dashes and underscores are the same."""
    return _BY_NAME.get(_plain(name))


def names() -> list[str]:
    """Every name and alias."""
    return sorted(name for row in ROWS for name in (row.name, *row.aliases))
