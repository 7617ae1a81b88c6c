"""The tables in docs/providers.md match the code, and its programs run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any, Dict, List

import pytest
from conftest import ROOT

from anyllm.providers.table import lookup
from anyllm.providers.table.row import Row
from anyllm.testing import Reply, chat_events, serve
from anyllm.wire._base.protocols import Dialect

pytestmark = pytest.mark.once

PROVIDERS = (ROOT / "docs" / "providers.md").read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PROVIDERS, re.DOTALL)
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


# -- the programs ------------------------------------------------------------------------------------------------------


def _hello(request: Any) -> Reply:
    """The answer of a server with any of the formats."""
    path, body = request.path, request.json() if request.body else {}
    if path == "/api/pull":
        return Reply.ndjson([{"status": "pulling", "total": 2, "completed": 2}, {"status": "success"}])
    if path == "/api/show":
        about = {"general.architecture": "llama", "llama.context_length": 8192}
        return Reply.json({"details": {}, "model_info": about})
    if path == "/api/chat":
        return Reply.ndjson([{"message": {"content": "Hello"}, "done": True, "done_reason": "stop"}])
    if path.endswith("/responses"):
        text = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
        return Reply.json({"id": "r", "object": "response", "status": "completed", "output": [text]})
    if path.endswith("/v1/messages"):
        return Reply.json(
            {"type": "message", "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn"}
        )
    if ":streamGenerateContent" in path:
        candidate = {"content": {"parts": [{"text": "Hello"}], "role": "model"}, "finishReason": "STOP"}
        return Reply.sse([{"candidates": [candidate]}], done=False)
    if path.endswith("/v2/chat"):
        message = {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}
        return Reply.json({"id": "c", "finish_reason": "COMPLETE", "message": message})
    if path.endswith("/converse-stream"):
        return Reply(body=[_frames()], content_type="application/vnd.amazon.eventstream")
    if "Messages" in body:
        return Reply.sse([{"Choices": [{"Delta": {"Content": "Hello"}, "FinishReason": "stop"}]}], done=False)
    if "input" in body:
        choice = {"message": {"content": "Hello"}, "finish_reason": "stop"}
        return Reply.sse([{"output": {"choices": [choice]}}], done=False)
    if body.get("stream"):
        return Reply.sse(chat_events("Hello"))
    message = {"role": "assistant", "content": "Hello"}
    return Reply.json({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def _frames() -> bytes:
    from aws_frames import event

    text = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello"}})
    return event("messageStart", {"role": "assistant"}) + text + event("messageStop", {"stopReason": "end_turn"})


def _environment(url: str) -> Dict[str, str]:
    """Variables that point every provider to *url*, with every key set."""
    variables: Dict[str, str] = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    for row in lookup.ROWS:
        names: List[str] = [*row.key_vars, *row.key_pair_vars]
        variables.update((name, "none:none" if row.name.startswith("bedrock") else "none") for name in names)
        variables.update((name, url) for name in row.base_url_vars)
    return variables


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_program_of_the_page_runs(program: str):
    if "bedrock/" in program:
        pytest.importorskip("botocore")
    with serve(_hello) as server:
        local = program.replace("http://localhost:8000/v1", server.url)
        done = subprocess.run(
            [sys.executable, "-c", local],
            env=_environment(server.url),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Hello" in done.stdout


def test_every_link_of_the_readme_leads_to_a_file():
    readme = (ROOT / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", readme):
        assert (ROOT / target).exists(), target
