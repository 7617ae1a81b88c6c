"""
The interface to the xllamacpp package: whether it is installed, whether it works here, and its server.

Strategy: if the processor lacks an instruction of the library, the process dies, and no `except` can catch that. So a
child process first loads the library and the model with our parameters. If it survives, a file in the cache records the
success, for this version on this machine.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from anyllm._hints.extras import pip_install
from anyllm.errors import LocalUnavailableError
from anyllm.providers.local.cache_folder import cache_dir
from anyllm.providers.local.model_file import MODEL
from anyllm.providers.local.pip import interpreter

#: Concurrent streams; more requests wait in llama.cpp's queue.
SLOTS = 4
#: Tokens for prompt and answer in each slot. llama.cpp divides `n_ctx` by the slots, so that a long answer in one slot
#: does not affect the others. All 16,384 tokens need 380 MB.
SLOT_CONTEXT = 4096

_PROBE_TIMEOUT = 120.0  # seconds; a cold disk and a slow processor need some

#: Attributes of `CommonParams` that we set, besides the model and the key.
_PARAMETERS: dict[str, Any] = {
    # No log on stdout or stderr, not even errors, which are exceptions. 0 would allow what llama.cpp calls output.
    "verbosity": -1,
    "hostnames": ["127.0.0.1"],
    "port": 0,  # the system chooses a free one, so there is no race for it
    "n_parallel": SLOTS,
    "n_ctx": SLOTS * SLOT_CONTEXT,
    "use_jinja": True,  # the chat template in the model file
    "model_alias": {MODEL},  # else answers name the file's full path as the model
    # A model this small gains nothing from a GPU, whose memory may be full.
    "n_gpu_layers": 0,
    "fit_params": False,  # measuring what fits loads the model twice: 1.1 s instead of 0.5 s
    "cache_ram_mib": 0,  # else up to 8 GiB of former prompts are cached
    "ui": False,
    # A worker of llama.cpp waits this long (seconds) for the next token, even when the server stops: with the default
    # of 30 an exit during a stream took 30 s.
    "sse_ping_interval": 1,
}

#: Default sampling parameters, attributes of `CommonParams.sampling`. With llama.cpp's own temperature, 0.8, a model
#: this small is often wrong: it named the capital of France for 2 seeds of 6. A repetition penalty makes that worse,
#: because it penalizes the words of the question.
_SAMPLING: dict[str, Any] = {"temp": 0.2}


def require() -> None:
    """Raise a `LocalUnavailableError`, without importing xllamacpp, if it is not installed."""
    if importlib.util.find_spec("xllamacpp") is not None:
        return
    here = f"Python {platform.python_version()} on {sys.platform} {platform.machine()}"
    if sys.version_info < (3, 10):
        raise LocalUnavailableError(
            "the provider local needs Python 3.10 or newer and a platform that xllamacpp has a wheel for; "
            f"this is {here}. Choose another model, or a newer Python and `{pip_install('local')}`"
        )
    raise LocalUnavailableError(
        "the provider local needs the package xllamacpp, which is not installed: "
        f"`{pip_install('local')}`. It needs Python 3.10 or newer and a platform with a wheel; "
        f"if pip finds none for {here}, choose another model"
    )


def probe(model: Path | None = None) -> None:
    """
    Test the library in a child process, once for each version and machine.

    Args:
        model: Loaded by the child; without it the child only imports the library, as a test before the download of
            93 MB.

    Raises:
        LocalUnavailableError: The child crashed, failed, or did not end.
    """
    marker, python = _marker(), interpreter()
    if python is None or marker.exists():
        return
    command = [python, "-c", _script(), *([str(model)] if model else [])]
    # With `-c` Python looks into the current folder first, so that the child imports the same package.
    spec = importlib.util.find_spec("xllamacpp")
    home = Path(spec.origin).parent.parent if spec and spec.origin else None
    try:
        child = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=home,
            timeout=_PROBE_TIMEOUT,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise LocalUnavailableError(f"xllamacpp could not be tested on this machine: {exc}. {_ALTERNATIVE}") from exc
    if child.returncode != 0:
        raise LocalUnavailableError(_failure(child.returncode, child.stderr))
    if model is not None:
        try:
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
        except OSError:
            pass  # without a writable cache the test runs at each start, for a second


def start(model: Path, api_key: str) -> Any:
    """
    Load *model*, a GGUF file, and start llama.cpp's HTTP server, for the bearer token *api_key*, in this process.

    xllamacpp holds the interpreter lock for about half a second: no other thread runs. The `xllamacpp.Server` stops
    when its last reference is deleted.

    Raises:
        LocalUnavailableError: The library cannot be imported, or the model cannot be loaded.
    """
    try:
        xllamacpp = importlib.import_module("xllamacpp")
    except ImportError as exc:
        raise LocalUnavailableError(f"xllamacpp is installed but cannot be loaded: {exc}. {_ALTERNATIVE}") from exc
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.api_keys = [api_key]
    for name, value in _PARAMETERS.items():
        if hasattr(params, name):  # llama.cpp renames parameters now and then; none is essential
            setattr(params, name, value)
    for name, value in _SAMPLING.items():
        setattr(params.sampling, name, value)
    try:
        return xllamacpp.Server(params)
    except (RuntimeError, ValueError, MemoryError) as exc:
        raise LocalUnavailableError(
            f"llama.cpp could not load {model}: {exc} Is there enough free memory (about 550 MB)? {_ALTERNATIVE}"
        ) from exc


_ALTERNATIVE = "Choose another model with `-m`, or another machine"


def _script() -> str:
    """The child's program: it sets the same parameters as `start`."""
    plain = {name: value for name, value in _PARAMETERS.items() if name != "model_alias"}
    return (
        "import os, sys, xllamacpp\n"
        "if len(sys.argv) > 1:\n"
        "    params = xllamacpp.CommonParams()\n"
        f"    for name, value in {plain!r}.items():\n"
        "        if hasattr(params, name):\n"
        "            setattr(params, name, value)\n"
        "    params.model.path = sys.argv[1]\n"
        "    server = xllamacpp.Server(params)\n"
        "os._exit(0)\n"  # without a shutdown, which is not tested
    )


def _failure(code: int, stderr: str) -> str:
    # After a crash the status is minus the signal on POSIX, a large number on Windows (0xC000001D: illegal
    # instruction).
    if code < 0 or code >= 0xC0000000:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = hex(code)
        return (
            f"xllamacpp crashes on this machine ({name}): its wheel needs instructions that the processor "
            f"({platform.machine()}) lacks, or is broken. {_ALTERNATIVE}"
        )
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    reason = lines[-1] if lines else f"exit status {code}"
    return f"xllamacpp does not work on this machine: {reason}. {_ALTERNATIVE}"


def _marker() -> Path:
    """The file that records a success; its name contains the host name, because machines may share a cache."""
    try:
        version = importlib.metadata.version("xllamacpp")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    parts = (version, platform.machine(), platform.node())
    return cache_dir() / ("works-" + re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(parts)))
