"""
The programs of the README and of the pages in docs/ run unchanged.

Strategy: starting Python and importing takes longer than the programs do, so those of one page run one after the other
in one process, each in a module of its own.
"""

from __future__ import annotations

import builtins
import inspect
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
from any_host import answer
from conftest import ROOT, TIMEOUT

import anyllm
from anyllm import agent, processing
from anyllm.agent import Agent
from anyllm.client import Client
from anyllm.events import TYPES
from anyllm.options import AFTER_CONTENT, Retry, StreamingOptions, Timeouts
from anyllm.processing import EventProcessor
from anyllm.providers.table import lookup
from anyllm.testing import Reply, Stall, serve
from anyllm.types import CompletionParams

pytestmark = pytest.mark.once

NAMES = ("guide", "troubleshooting", "migrating", "gateway", "async", "celery", "providers", "channels", "testing")
TEXTS = {name: (ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in NAMES}
TEXTS["README"] = (ROOT / "README.md").read_text("utf-8")
PROGRAMS = {name: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name, text in TEXTS.items()}

#: Code in a program, and a pattern for the output of that program.
PRINTS = {
    "if chunk.usage:": r"(?s)0 'One' \n.*0 None stop\ntest-model 7 tokens",
    "stream.completion.provider)": "answered by openai",
    "Count to a hundred": r"^One fish\.\n$",
    "the host hung up": r"the host hung up( - Once upon a time|\]\nHello world\n)",
    'ctx.cancel("the visitor left")': "stopped: the visitor left",
    'event.type == "usage"': r"Red fish.\n7 tokens after",
    "on_start=": r"(?s)Stream started\nReceived: 'One'.*Usage: 7 tokens\nComplete: One fish",
    "processor.process(stream)": r"ONE FISH. TWO FISH. RED FISH.\nout: .*'complete': 1",
    "answer.cost_usd:.6f": r"7 tokens, provider\n\$0.000004",
    "response_format=Product": "Lamp costs 12.5",
    "options=JSON_MODE": r"\{'name': 'Lamp', 'price': 12.5\}\nLamp",
    "max_turns=5": "Red fish. - 2 turns",
    'event.type == "tool_result"': r"calls multiply \{'a': 7, 'b': 7\}\ngot 49\nOne fish",
    "answer.usage.source": "provider",
    "sentences(": r"1 One fish.\n2 Two fish.\n3 Red fish.",
    "Progress()": "Red fish. - .* 29 characters",
    "tee(": r"Red fish.\nlog: One fish. Two fish. Red fish.",
    "wsgi.answer": r'(?s)data: \{"content": "One"\}.*event: done',
    "options=DEBUG": "DEBUG:anyllm:openai: call ended: complete",
    "capabilities.refused": "seed",
    "wsgi.headers": "X-Accel-Buffering",
    'stream.cancel("not interested")': "Cancelled|NoneType",
    "asgi.answer": r'(?s)200 data: \{"content": "One"\}.*event: done',
    "asgi.body": r'(?s)data: \{"content": "One"\}.*event: done',
    "ask.apply(": "^One fish. Two fish. Red fish.\n$",
    "asyncio.gather": r"^\['One fish. Two fish. Red fish.'(, 'One fish. Two fish. Red fish.'){5}\]\n$",
    ").cost)": "Cost\\(total_usd",
}

#: Runs the programs from stdin, and writes the output and the errors of each to stdout.
RUNNER = """
import contextlib, io, json, logging, sys, traceback, types

done = []
for at, program in enumerate(json.load(sys.stdin)):
    out, err = io.StringIO(), io.StringIO()
    module = sys.modules[f"program_{at}"] = types.ModuleType(f"program_{at}")  # in which annotations are resolved
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            exec(compile(program, f"program {at}", "exec"), vars(module))
        except BaseException:
            traceback.print_exc()
    logging.root.handlers.clear()  # from a program that configures logging
    done.append((out.getvalue(), err.getvalue()))
json.dump(done, sys.stdout)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The output and the errors of each program of a page, which run on first use."""
    results: Dict[str, List[Any]] = {}

    def outcomes_of(name: str) -> List[Any]:
        if name not in results:
            results[name] = _run(PROGRAMS[name], tmp_path_factory.mktemp(name))
        return results[name]

    return outcomes_of


def _environment(url: str) -> Dict[str, str]:
    """Variables that point every provider to *url*, with every key set."""
    variables: Dict[str, str] = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    for row in lookup.ROWS:
        key = "none:none" if row.name.startswith("bedrock") else "sk-test-key"
        variables.update(dict.fromkeys((*row.key_vars, *row.key_pair_vars), key))
        variables.update(dict.fromkeys(row.base_url_vars, url))
    return variables


def _run(programs: List[str], folder: Path) -> List[Any]:
    with serve(answer) as server:
        # The timer of the program that cancels would keep the process for five seconds.
        changes = {"http://localhost:8000/v1": server.url, "threading.Timer(5,": "threading.Timer(0.1,"}
        for old, new in changes.items():
            programs = [program.replace(old, new) for program in programs]
        done = subprocess.run(
            [sys.executable, "-c", RUNNER],
            env=_environment(server.url), input=json.dumps(programs), capture_output=True, text=True, timeout=200,
            cwd=folder, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # such as warnings about unclosed resources
    return json.loads(done.stdout)


@pytest.mark.parametrize(("name", "at"), [(name, at) for name in TEXTS for at in range(len(PROGRAMS[name]))])
def test_program_runs(outcomes, name: str, at: int):
    if "bedrock/" in PROGRAMS[name][at]:
        pytest.importorskip("botocore")
    output, errors = outcomes(name)[at]
    assert errors == "", PROGRAMS[name][at]
    assert output.strip()
    patterns = [pattern for code, pattern in PRINTS.items() if code in PROGRAMS[name][at]]
    if name in ("README", "providers", "channels", "testing"):
        patterns = ["One fish|weather|gpt-4o-mini|Hello"]
    for pattern in patterns:
        assert re.search(pattern, output), output


@pytest.mark.parametrize("source", ["guide", "batch.py"])
def test_ctrl_c_ends_many_prompts_at_once(source: str):
    """The models send nothing: without a cancel the pool would wait for ever."""
    if source == "guide":
        (program,) = (program for program in PROGRAMS["guide"] if "max_streams=4" in program)
    else:
        program = (ROOT / "examples" / source).read_text("utf-8")
    with serve(Reply.sse([Stall()])) as server:
        hosts = {"OPENAI_API_KEY": "sk-test-key", "OPENAI_BASE_URL": f"{server.url}/v1"}
        running = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **hosts, "PYTHONPATH": str(ROOT), "ANYLLM_MODEL": "openai/gpt-4o-mini"},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            server.wait_for_requests(4, TIMEOUT)
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=TIMEOUT)
        finally:
            running.kill()
            running.communicate()
        assert "KeyboardInterrupt" in errors
        assert len(server.requests) == 4  # no further request was sent


@pytest.mark.parametrize("code", list(PRINTS))
def test_every_pattern_belongs_to_a_program(code: str):
    assert any(code in program for programs in PROGRAMS.values() for program in programs)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_existing_files_and_headings(name: str):
    for target in re.findall(r"\]\(([^)]+)\)", TEXTS[name]):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        file = ROOT / "docs" / path if path else ROOT / "docs" / f"{name}.md"
        assert file.resolve().is_file(), target
        assert not heading or heading in _anchors(file.read_text("utf-8")), target


def _anchors(text: str) -> List[str]:
    """The anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_guide_links_each_example_in_its_text_and_in_its_index():
    text, index = TEXTS["guide"].split("## Index of patterns")
    examples = {
        path.relative_to(ROOT / "examples").as_posix()
        for folder in ("examples", "examples/providers")
        for path in (ROOT / folder).glob("*.py")
    }
    for part in (text, index):
        assert set(re.findall(r"\]\(\.\./examples/([\w/]+\.py)\)", part)) == examples


def test_guide_explains_each_type_of_event():
    rows = re.findall(r"^\| (`.*?`) \|", TEXTS["guide"].split("## Events and callbacks")[1], re.MULTILINE)
    assert set(TYPES) <= set(re.findall(r"`(\w+)`", " ".join(rows)))


def test_guide_explains_each_after_content():
    rows = re.findall(r'^\| `"(\w+)"` \|', TEXTS["guide"].split("## Retries")[1], re.MULTILINE)
    assert tuple(rows[: len(AFTER_CONTENT)]) == AFTER_CONTENT


def _names_here() -> str:
    """The second column of the tables in `migrating`."""
    rows = [re.split(r" \| ?", line.strip("| ")) for line in TEXTS["migrating"].splitlines() if line.startswith("| ")]
    assert all(len(row) == 2 for row in rows), [row for row in rows if len(row) != 2]
    return "\n".join(row[1] for row in rows)


def test_arguments_named_in_migrating_exist():
    callables = (
        *(StreamingOptions, Timeouts, Retry, CompletionParams, Client, Client.chat, Agent, Agent.run),
        *(anyllm.provider, anyllm.StreamEvent, EventProcessor.add_filter),
    )
    names = {name for function in callables for name in inspect.signature(function).parameters}
    named = set(re.findall(r"\b(\w+)=", _names_here()))
    assert len(named) > 30
    assert named <= names


@pytest.mark.parametrize("text", [TEXTS["guide"], TEXTS["troubleshooting"], _names_here()], ids=NAMES[:3])
def test_errors_and_classes_named_in_the_docs_exist(text: str):
    homes = (anyllm, anyllm.limits, anyllm.structured, anyllm.caching, agent, processing, anyllm.reading, builtins)
    code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    named = {
        name for span in re.findall(r"`([^`]+)`", code) for name in re.findall(r"^([A-Z][a-z]\w+)(?:\(.*)?$", span)
    }
    assert {"StreamTimeoutError", "RateLimit"} & named
    assert {name for name in named if not any(hasattr(home, name) for home in homes)} <= FOREIGN


#: Classes of other libraries.
FOREIGN = {"ThreadPoolExecutor", "EventSource"}
