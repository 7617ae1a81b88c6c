"""``anyllm serve``: a gateway from the command line."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, List

import psutil
import pytest
from conftest import ROOT, TIMEOUT
from loopback import until

from anyllm.cli import main
from anyllm.gateway import hash_of, load

pytest.importorskip("waitress")


@pytest.fixture
def serving() -> Iterator[Any]:
    """Start the command on a free port; gives the process and where it says that it serves."""
    running: List[subprocess.Popen[str]] = []

    def start(*args: str) -> Any:
        process = subprocess.Popen(
            [sys.executable, "-m", "anyllm", "serve", "--port", "0", *args],
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"serving at http://([\d.]+):(\d+)", line)
        assert found, line
        return process, (found[1], int(found[2]))

    yield start
    for process in running:
        process.kill()
        process.communicate()


def status_of(address: Any, path: str, **headers: str) -> int:
    client = http.client.HTTPConnection(*address, timeout=TIMEOUT)
    client.request("GET", path, headers=headers)
    answer = client.getresponse()
    answer.read()
    client.close()
    return answer.status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_ends_it(serving, number):
    process, address = serving()
    assert status_of(address, "/healthz") == status_of(address, "/") == 200
    process.send_signal(number)
    _, log = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert '"path": "/healthz"' in log
    assert "Traceback" not in log


def test_quietly(serving):
    process, address = serving("--quiet")
    assert status_of(address, "/healthz") == 200
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=TIMEOUT)
    assert log == ""


def test_a_new_key_is_accepted_by_a_gateway_configured_with_it(serving, tmp_path, capsys):
    """The lines that it prints are a file; the key is in a comment."""
    assert main(["serve", "--new-key", "Alice B."]) == 0
    printed = capsys.readouterr().out
    path = tmp_path / "gateway.toml"
    path.write_text(printed)
    [key] = re.findall(r"^# (anyllm-\S+)$", printed, re.MULTILINE)
    assert load(path).keys == {"Alice B.": hash_of(key)}
    _, address = serving("--config", str(path))
    assert status_of(address, "/v1/models") == 401
    assert status_of(address, "/v1/models", Authorization=f"Bearer {key}") == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1", "did you mean 'port'"),
        ("[models]\nx = 'nobody/x'", "models.x: no provider"),
        ("nonsense", "gateway.toml"),
        ("[server]\nhost = '0.0.0.0'", "--new-key"),
    ],
)
def test_errors_are_reported_in_a_line(text, words, tmp_path: Path, capsys):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    assert main(["serve", "-c", str(path)]) == 2
    log = capsys.readouterr().err
    assert words in log
    assert log.count("\n") == 1


def test_a_missing_file_and_a_port_in_use(serving, tmp_path, capsys):
    assert main(["serve", "-c", str(tmp_path / "nothing.toml")]) == 1
    _, (_, port) = serving()
    assert main(["serve", "--port", str(port)]) == 1
    assert "nothing.toml" in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_without_its_extra_it_says_so_before_it_listens(workers, monkeypatch, capsys):
    """It used to say "serving at" first, and with several workers it began one after the other."""
    monkeypatch.setitem(sys.modules, "waitress", None)
    assert main(["serve", "--port", "0", "--workers", workers]) == 3
    assert capsys.readouterr().err.startswith("anyllm: serving needs waitress: pip install")


def test_a_file_that_needs_a_parser_says_which(monkeypatch, tmp_path, capsys):
    """Python has none before 3.11."""
    for name in ("tomllib", "tomli"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["serve", "-c", str(tmp_path / "gateway.toml")]) == 3
    assert "tomli: pip install" in capsys.readouterr().err


@pytest.mark.fork
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_workers_answer_as_one_and_are_replaced(serving):
    """One that is killed is replaced; figures are those of all; a signal ends all, and so does the parent's death."""
    process, address = serving("--workers", "2")
    until(lambda: len(children_of(process.pid)) == 2)
    until(lambda: status_of(address, "/healthz") == 200)
    victim = children_of(process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(children_of(process.pid)) == 2 and victim not in children_of(process.pid))
    until(lambda: status_of(address, "/healthz") == 200)
    assert status_of(address, "/metrics") == 200
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert "starting another" in log
    assert "Traceback" not in log


@pytest.mark.fork
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_workers_end_with_their_parent(serving):
    process, address = serving("--workers", "2")
    until(lambda: len(children_of(process.pid)) == 2)
    workers = children_of(process.pid)
    until(lambda: status_of(address, "/healthz") == 200)
    process.kill()
    until(lambda: not any(is_alive(pid) for pid in workers))


def children_of(pid: int) -> List[int]:
    return [child.pid for child in psutil.Process(pid).children()]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
