"""Shell completion of `anyllm`, with the real shells if they are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = [pytest.mark.once, pytest.mark.skipif(os.name == "nt", reason="shells of POSIX")]

PAGE = (ROOT / "docs" / "command-line.md").read_text("utf-8")
TIMEOUT = 60  # seconds
#: Runs the command, and names on stderr whatever it does beyond this process.
WATCHED = """
import sys
OUTSIDE = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.fork", "os.posix_spawn")
sys.addaudithook(lambda event, args: event in OUTSIDE and print(event, args, file=sys.stderr))
from anyllm.cli import main
sys.argv = ["anyllm"]
sys.exit(main())
"""


def completed(line: str) -> list[str]:
    """The completions of the last word of *line*, as for bash."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OPENAI_API_KEY": "sk-test",
            "_ANYLLM_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return [reply.partition(",")[2] for reply in done.stdout.split()]


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("anyllm ", {"doctor", "models", "serve"}),
        ("anyllm pro", {"providers"}),
        ("anyllm --", {"--model", "--system", "--format", "--help"}),
        ("anyllm hello --no", {"--no-stream"}),
        ("anyllm -m open", {"openai/gpt-4o-mini"}),
        ("anyllm -m gr", {"groq/llama-3.1-8b-instant"}),
        ("anyllm -o temp", {"temperature"}),
        ("anyllm --format ", {"text", "json", "ndjson"}),
        ("anyllm models gr", {"groq"}),
        ("anyllm local ", {"download", "import"}),
        ("anyllm serve --wo", {"--workers"}),
    ],
)
def test_the_last_word_is_completed_without_requests(line: str, some: set[str]) -> None:
    found = completed(line)
    assert some <= set(found)
    assert len(set(found)) == len(found)
    assert all(word.startswith(line.split(" ")[-1]) for word in found)
    assert "prompt" not in found  # the default command


# -- the shells --------------------------------------------------------------------------------------------------------


def in_shell(shell: str, script: str, tmp_path: Path) -> str:
    """Run *script* with the page's line for *shell* before it."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (line,) = (line for line in PAGE.splitlines() if f"_ANYLLM_COMPLETE={shell}_source anyllm" in line)
    command = tmp_path / "anyllm"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m anyllm "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(
        [shell, "-c", script.replace("SETUP", line)],
        env={"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.strip()


BASH = 'SETUP\nCOMP_WORDS=(anyllm pro); COMP_CWORD=1; _anyllm_completion anyllm; echo "${COMPREPLY[@]}"'
FISH = 'SETUP\ncomplete -C "anyllm pro"'
ZSH = "autoload -U compinit; compinit -u\nSETUP\necho $_comps[anyllm]"
ZSH_ASKS = "COMP_WORDS='anyllm pro' COMP_CWORD=1 _ANYLLM_COMPLETE=zsh_complete anyllm"


@pytest.mark.parametrize(
    ("shell", "program", "output"),
    [
        ("bash", BASH, "providers"),
        ("fish", FISH, r"providers\s.*"),
        ("zsh", ZSH, "_anyllm_completion"),
        ("zsh", ZSH_ASKS, r"plain\nproviders\n.*"),
    ],
)
def test_a_shell_completes_after_the_line_of_the_page(shell: str, program: str, output: str, tmp_path: Path) -> None:
    assert re.fullmatch(output, in_shell(shell, program, tmp_path), re.DOTALL)
