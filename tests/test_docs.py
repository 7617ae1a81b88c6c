"""The pages of docs/ say what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import List

from anyllm.providers import _rows
from anyllm.providers._row import Row

ROOT = Path(__file__).resolve().parents[1]
PROVIDERS = (ROOT / "docs" / "providers.md").read_text("utf-8")


def _code(names: List[str], joint: str) -> str:
    return joint.join(f"`{name}`" for name in names)


def _line(row: Row) -> str:
    keys = [*filter(None, [_code(list(row.key_pair_vars), " and ")]), *filter(None, [_code(list(row.key_vars), ", ")])]
    key = " or ".join(keys) + ("" if row.key_required or not keys else " (not needed)")
    places = [*filter(None, [row.base_url]), *filter(None, [_code(list(row.base_url_vars), ", ")])]
    also = [
        name
        for name, has in (("embedding", row.capabilities.embedding), ("models", row.capabilities.list_models))
        if has
    ]
    name = _code([row.name, *row.aliases], ", ")
    columns = [name, type(row.dialect).__name__, key or "none", " or ".join(places) or "-", ", ".join(also)]
    return "| " + " | ".join(columns) + " |"


def test_the_table_of_providers_is_that_of_the_code():
    head = ["| provider | dialect | key | base URL | also |", "|---|---|---|---|---|"]
    wanted = "\n".join([*head, *(_line(row) for row in _rows.ROWS)])
    assert wanted in PROVIDERS, f"docs/providers.md lacks:\n{wanted}"


def test_every_link_of_the_readme_is_there():
    readme = (ROOT / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", readme):
        assert (ROOT / target).exists(), target
