"""The benchmarks run. What they measure is nobody's business here: a busy machine must not fail a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

pytestmark = pytest.mark.once

RUN = ROOT / "benchmarks" / "run.py"


def _run(tmp_path: Path, only: str) -> tuple[dict[str, Any], str]:
    file = tmp_path / "figures.json"
    command = [sys.executable, str(RUN), "--quick", "--only", only, "--json", str(file)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(file.read_text()), process.stdout


def test_one_stream_is_measured_beside_the_loop_by_hand(tmp_path: Path) -> None:
    """One command gives a table with its bars, and JSON."""
    figures, table = _run(tmp_path, "stream")
    assert list(figures["results"]) == ["stream"]
    clients = figures["results"]["stream"]["clients"]
    for name in ("baseline", "anyllm"):
        assert clients[name]["complete"] is True
        assert clients[name]["cpu_us"] > 0
    assert [bar["what"] for bar in figures["bars"]] == ["CPU per chunk, one stream"]
    assert "by hand" in table
    assert "bar 1.5x" in table


def test_streams_at_once_all_complete(tmp_path: Path) -> None:
    """Held by the server until all are open, then let go; none is lost on the way."""
    figures, _ = _run(tmp_path, "streams")
    for clients in figures["results"]["streams"]["streams"].values():
        assert all(client["complete"] and not client["failures"] for client in clients.values())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads figures of other processes in /proc")
def test_streams_through_the_gateway_are_complete_and_leave_nothing(tmp_path: Path) -> None:
    """Upstream, gateway and clients are processes of their own."""
    pytest.importorskip("waitress")
    figures, table = _run(tmp_path, "gateway")
    measured = figures["results"]["gateway"]["gateway"]["figures"]
    for way in ("openai", "anthropic", "ollama"):
        assert measured["paced"][way]["complete"] is True
        assert measured["memory"][f"open, {way}"]["complete"] is True
    left = measured["leave"]["left behind"]
    assert left["answers"] == 0
    assert left["threads"] <= 0
    assert left["descriptors"] <= 4  # a pooled connection or two for each worker
    assert {"what": "all complete through the gateway", "value": True, "ok": True} in figures["bars"]
    assert "gateway, leave, before the first text" in table


@pytest.mark.long
def test_paced_streams_are_received_in_each_way(tmp_path: Path) -> None:
    """No text is lost on the way, and the counters are read while all streams go on."""
    figures, table = _run(tmp_path, "paced")
    [ways] = figures["results"]["paced"]["streams"].values()
    assert list(ways) == ["baseline", "anyllm", "loop, merged", "loop, forward"]
    for measured in ways.values():
        assert measured["complete"] is True
        assert not measured["failures"]
        assert measured["cpu_us"] > 0
        assert 0 < measured["p50_ms"] <= measured["p99_ms"]
    assert [bar["what"] for bar in figures["bars"]] == ["all complete, paced streams"]
    assert "switches/chunk" in table


def test_an_unknown_name_is_a_usage_error() -> None:
    """It is said before anything is measured."""
    command = [sys.executable, str(RUN), "--only", "nothing"]
    process = subprocess.run(command, capture_output=True, timeout=200, check=False)
    assert process.returncode == 2


@pytest.mark.parametrize(
    "file", ["server.py", "formats.py", "client.py", "baseline.py", "gateway.py", "paced.py", "stamps.py"]
)
def test_each_part_is_there(file: str) -> None:
    """`run.py` starts them by name."""
    assert (RUN.parent / file).is_file()
