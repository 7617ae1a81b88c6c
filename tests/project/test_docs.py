"""The tables in docs/providers.md match the code."""

from __future__ import annotations

import re
from typing import Any, Dict

import pytest
from conftest import ROOT

from anyllm.providers.table import lookup
from anyllm.providers.table.row import Row
from anyllm.wire._base.protocols import Dialect

pytestmark = pytest.mark.once

PROVIDERS = (ROOT / "docs" / "providers.md").read_text("utf-8")
#: The names of wire formats, by class.
FORMATS = {
    "OpenAIChatDialect": "OpenAI chat completions",
    "OpenAIResponsesDialect": "OpenAI Responses",
    "AnthropicMessagesDialect": "Anthropic Messages",
    "GeminiDialect": "Google Gemini",
    "OllamaDialect": "Ollama",
    "CohereV2Dialect": "Cohere, version 2",
    "CohereV1Dialect": "Cohere, version 1",
    "BedrockConverseDialect": "Bedrock Converse",
    "BedrockInvokeDialect": "Bedrock InvokeModel",
    "HunyuanDialect": "Hunyuan",
    "DashScopeDialect": "DashScope",
}


# -- the tables --------------------------------------------------------------------------------------------------------


def _code(names: Any, joint: str = ", ") -> str:
    return joint.join(f"`{name}`" for name in names)


def _row(*columns: str) -> str:
    return "| " + " | ".join(columns) + " |"


def format_of(dialect: Dialect) -> str:
    return FORMATS[type(dialect).__name__]


def table_of_formats() -> str:
    lines = [_row("format", "JSON", "a message may show", "refused"), "|---|---|---|---|"]
    dialects: Dict[str, Dialect] = {format_of(row.dialect): row.dialect for row in reversed(lookup.ROWS)}
    for name in FORMATS.values():
        support = dialects[name].support
        media = {"image": "images", "file": "documents", "audio": "sounds"}
        accepted = ", ".join(media[kind] for kind in support.media)
        lines.append(_row(name, _code(support.formats) or "-", accepted or "-", _code(support.refused) or "-"))
    return "\n".join(lines)


def table_of_providers() -> str:
    lines = [_row("provider", "format", "key", "base URL", "also", "particular"), "|---|---|---|---|---|---|"]
    return "\n".join([*lines, *map(_line, lookup.ROWS)])


def _line(row: Row) -> str:
    keys = [*filter(None, [_code(row.key_pair_vars, " and ")]), *filter(None, [_code(row.key_vars)])]
    key = " or ".join(keys) + ("" if row.key_required or not keys else " (not needed)")
    places = [*filter(None, [row.base_url]), *filter(None, [_code(row.base_url_vars)])]
    can = {"embedding": row.capabilities.embedding, "models": row.capabilities.list_models}
    also = ", ".join(name for name, has in can.items() if has)
    particular = "; ".join(filter(None, ["unverified" if row.unverified else "", row.note]))
    name = _code([row.name, *row.aliases])
    return _row(name, format_of(row.dialect), key or "none", " or ".join(places) or "-", also, particular)


@pytest.mark.parametrize("table", [table_of_formats, table_of_providers])
def test_table_matches_the_code(table: Any):
    assert table() in PROVIDERS, f"docs/providers.md lacks:\n{table()}"


def test_notes_fit_a_table():
    for row in lookup.ROWS:
        assert "|" not in row.note
        assert "\n" not in row.note
        assert not row.note.endswith(".")


def test_every_link_of_the_readme_leads_to_a_file():
    readme = (ROOT / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", readme):
        assert (ROOT / target).exists(), target


def test_both_commands_are_on_lines_of_their_own():
    """The checks in .ci/run take them from the README."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert '\npip install -e ".[local]" && anyllm "What is the capital of France? Answer in one sentence."\n' in readme
    assert '\npip install -e ".[test]" && pytest\n' in readme
