"""The programs of the README and two pages run unchanged, each in its own process, against a loopback server."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from anyllm.testing import Reply, chat_events, serve

pytestmark = pytest.mark.once

README = (ROOT / "README.md").read_text("utf-8")
PAGES = {name: (ROOT / name).read_text("utf-8") for name in ("README.md", "docs/channels.md", "docs/testing.md")}
PROGRAMS = [
    pytest.param(program, id=f"{name}-{place}")
    for name, text in PAGES.items()
    for place, program in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
]


def _run(program: str, server_url: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "OPENAI_API_KEY": "sk-test-key",
        "OPENAI_BASE_URL": server_url,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
    }
    return subprocess.run(
        [sys.executable, "-c", program.replace("http://localhost:8000", server_url)],
        env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def _reply(request):
    if request.path.endswith("/models"):
        return Reply.json({"data": [{"id": "Hello"}]})
    body = request.json()
    if "input" in body:
        return Reply.json({"data": [{"index": at, "embedding": [0.5]} for at, _ in enumerate(body["input"])]})
    if not body.get("stream"):
        message = {"role": "assistant", "content": "Hello there"}
        return Reply.json({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    if "tools" in body and all(message["role"] != "tool" for message in body["messages"]):
        function = {"name": "weather", "arguments": '{"city": "P"}'}
        call = {"index": 0, "id": "c1", "type": "function", "function": function}
        delta = {"role": "assistant", "content": None, "tool_calls": [call]}
        return Reply.sse(
            [
                {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
                {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
            ]
        )
    return Reply.sse(chat_events("Hello there"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_runs(program):
    with serve(_reply) as server:
        # The timer of the program that cancels would keep the process for five seconds.
        done = _run(program.replace("threading.Timer(5,", "threading.Timer(0.1,"), server.url)
    assert done.stderr == ""
    assert done.returncode == 0
    assert re.search("Hello|weather", done.stdout)


def test_both_commands_are_on_lines_of_their_own():
    """The checks in .ci/run take them from here."""
    assert '\npip install -e ".[local]" && anyllm "What is the capital of France? Answer in one sentence."\n' in README
    assert '\npip install -e ".[test]" && pytest\n' in README
