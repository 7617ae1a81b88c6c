"""Each example runs unchanged, in a separate process, against a loopback server instead of its provider."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict

import pytest
from any_host import TEXT, answer
from conftest import ROOT

from anyllm.testing import serve

pytestmark = pytest.mark.once

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PROVIDERS = sorted((ROOT / "examples" / "providers").glob("*.py"))
#: These serve pages, and are tested with `anyllm.wsgi` and `anyllm.asgi`.
SERVERS = ("django_stream.py", "flask_stream.py", "starlette_stream.py")


def run(path: Path, **environment: str) -> str:
    """The output of the program; anything on stderr fails the test."""
    done = _start(path, {**os.environ, **environment})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _start(
    path: Path, environment: Dict[str, str], seconds: float = 200, warnings: str = "error"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(path)],
        env={**environment, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": warnings},
        capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


#: Patterns for the output of each program.
PRINTS = {
    "agent.py": r"\[multiply \{'a': 7, 'b': 7\}\]\s*\[gave 49\]\s*One fish",
    "basic_stream.py": TEXT,
    "batch.py": r"number 1 in words\. 'One fish.*\n(.*\n){4}.*number 6",
    "callbacks.py": r"Stream started\nReceived: 'One'\n(.*\n)*Usage: \d+ tokens\nComplete: One fish",
    "cancellation.py": r"cancelled \(enough\) after \d+ characters|the answer ended first",
    "celery_task.py": TEXT,
    "chunks.py": r"choice 0: 'One'(.*\n)*.*choice 0: None stop\n\d+ tokens; .*'choices'",
    "collect.py": r"(One fish. Two fish. Red fish. \[stop\]\n){2}",
    "error_handling.py": "Red fish.\nstream ended",
    "event_processor.py": "ONE FISH. TWO FISH. RED FISH.",
    "fallback.py": "Red fish.\nanswered by compatible",
    "first_wins.py": "Red fish",
    "json_mode.py": r"so far: .*\n(so far: .*\n)*whole: \{'name': 'Lamp', 'price': 12.5\}\nLamp costs 12.5",
    "latency.py": r"whole answer: .* s\nstream: first word after .* s, last after .* s\n.* tokens per second",
    "gateway.py": "model assistant:latest\n(.*\n)?One fish. Two fish. Red fish.\n",
    "ollama_format.py": r'"content":"One"(.*\n)*.*"done":true,"done_reason":"stop"',
    "options.py": r"low latency: \d+ tokens\nhigh throughput: \d+ tokens\nJSON_MODE .*True; .*True",
    "pair.py": TEXT,
    "json_formats.py": r'NDJSON.*\n\{"content": "One"\}\n(.*\n)*.*"done": true.*\nJSON.*\n\[\{"content": "One"\}',
    "progress.py": r"Generating response\.+\nOne fish.*\n.*tokens",
    "prompt_caching.py": r"\d+ tokens, 0 of them from the cache",
    "provider_object.py": r"compatible: tools True, vectors True\n(One fish. Two fish. Red fish.\n){2}",
    "provider_usage.py": r"provider: \d+ tokens, provider\nauto: \d+ tokens, provider",
    "rate_limit.py": r"(One fish. Two fish. Red fish.\n){2}not sent: .* in [56]\d seconds",
    "reasoning.py": "Thinking...\nOne fish",
    "retries.py": TEXT,
    "sentences.py": "1 One fish.\n2 Two fish.\n3 Red fish.",
    "stop_button.py": "",
    "token_count.py": r"so far: about \d+.*\n\d+ tokens, provider",
    "tool_call.py": r"\[weather \{'city': 'Paris'\}\]\nOne fish",
    "usage_and_cost.py": r"Tokens: \d+ \(provider\)\nCost: \$0\.0000\d+ \(input",
}


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.name not in SERVERS], ids=lambda path: path.name)
def test_example_runs(path: Path):
    with serve(answer) as server:
        printed = run(
            path,
            ANYLLM_MODEL="compatible/test-model",
            ANYLLM_MODELS="compatible/one,compatible/two",
            COMPATIBLE_BASE_URL=f"{server.url}/v1",
            OLLAMA_HOST=server.url,
        )
    assert re.search(PRINTS[path.name], printed), printed


@pytest.mark.parametrize("path", PROVIDERS, ids=lambda path: path.name)
def test_a_providers_example_speaks_its_format(path: Path):
    urls = ("ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "OLLAMA_HOST", "HUNYUAN_BASE_URL", "ARK_BASE_URL")
    keys = dict.fromkeys(("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "ARK_API_KEY"), "key-of-the-tests")
    pair = dict.fromkeys(("TENCENT_SECRET_ID", "TENCENT_SECRET_KEY"), "half-of-the-tests")
    with serve(answer) as server:
        printed = run(path, **dict.fromkeys(urls, server.url), **keys, **pair)
    assert TEXT in printed
    assert re.search(r"\n\d+ tokens, stop", printed), printed


#: Examples that the local model cannot run, and the variable that each of them needs.
NEEDS = {
    "agent.py": "OPENAI_API_KEY",
    "tool_call.py": "OPENAI_API_KEY",
    "prompt_caching.py": "ANTHROPIC_API_KEY",
    "anthropic_streaming.py": "ANTHROPIC_API_KEY",
    "google_streaming.py": "GEMINI_API_KEY",
    "ollama_streaming.py": "OLLAMA_HOST",
    "tencent_streaming.py": "TENCENT_SECRET_ID and TENCENT_SECRET_KEY",
    "volcengine_streaming.py": "ARK_API_KEY",
}


def _newcomer() -> Dict[str, str]:
    """The environment of somebody who has set no variable for anyllm."""
    names = re.compile(r"ANYLLM_MODELS?$|COMPATIBLE_|OLLAMA_|\w+_API_KEY$|\w+_BASE_URL$|TENCENT_|\w+_TOKEN$")
    return {name: value for name, value in os.environ.items() if not names.match(name)}


@pytest.mark.parametrize(
    "path", [path for path in (*EXAMPLES, *PROVIDERS) if path.name in NEEDS], ids=lambda path: path.name
)
def test_example_without_its_key_names_the_variable_in_one_line(path: Path):
    done = _start(path, {**_newcomer(), "OLLAMA_HOST": "http://127.0.0.1:9"})
    assert re.fullmatch(f".*{NEEDS[path.name]}.*\n", done.stderr), done.stderr
    # Ollama needs a server. The other examples have a scripted answer.
    assert (done.returncode, bool(done.stdout)) == ((1, False) if "ollama" in path.name else (0, True))


@pytest.mark.model
@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if path.name not in (*NEEDS, *SERVERS)], ids=lambda path: path.name
)
def test_example_runs_with_the_local_model(path: Path):
    """
    As a newcomer runs it: it ends, and its output is text.

    The process may end while a worker returns its connection; Python then warns of the socket.
    """
    done = _start(path, _newcomer(), seconds=300, warnings="error,ignore:unclosed:ResourceWarning")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"[A-Za-z]{2}", done.stdout), done.stdout


def test_every_example_is_in_the_table():
    table = (ROOT / "examples" / "README.md").read_text("utf-8")
    named = set(re.findall(r"`([\w/]+\.py)`", table))
    assert named == {str(path.relative_to(ROOT / "examples")).replace(os.sep, "/") for path in (*EXAMPLES, *PROVIDERS)}
