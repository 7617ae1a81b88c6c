"""
The only place that touches the xllamacpp package: is it there, does it work on this machine, start a server.

Strategy: a processor that lacks an instruction kills the process that runs it, and no `except` sees that. So
the first time, a child process loads the library and the model with the very parameters we use; when it
survives, a small file in the cache remembers that, for this version on this machine.
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
from anyllm.providers.local.known_weights import MODEL
from anyllm.providers.local.pip import interpreter

#: Streams that run at once; a further request waits in llama.cpp's queue.
SLOTS = 4
#: Tokens that each slot gets for prompt and answer together. llama.cpp divides its `n_ctx` by the slots, so
#: that a runaway answer in one cannot starve its neighbours. The 16,384 tokens in all cost 380 MB.
SLOT_CONTEXT = 4096

_PROBE_TIMEOUT = 120.0  # seconds; a cold disk and a slow processor need a few

#: What we set on `CommonParams` besides the model and the key.
_PARAMETERS: dict[str, Any] = {
    # The log: everything is above this threshold, errors included, on stdout and on stderr; failures come as
    # exceptions. 0 would still let through what llama.cpp calls output.
    "verbosity": -1,
    "hostnames": ["127.0.0.1"],
    "port": 0,  # the system picks a free one, so there is no race for it
    "n_parallel": SLOTS,
    "n_ctx": SLOTS * SLOT_CONTEXT,
    "use_jinja": True,  # the chat template in the model file
    "model_alias": {MODEL},  # else answers name the file's full path as the model
    # So small a model gains nothing from a graphics processor, whose memory may be full.
    "n_gpu_layers": 0,
    "fit_params": False,  # measuring what fits loads the model twice: 1.1 s instead of 0.5 s
    "cache_ram_mib": 0,  # prompts of the past would be kept, up to 8 GiB of them
    "ui": False,
    # A worker of llama.cpp waits this long (seconds) for the next token, even when the server is stopping:
    # with the default 30 an exit with a stream under way took 30 s.
    "sse_ping_interval": 1,
}

#: How tokens are chosen where a request does not say, on `CommonParams.sampling`. At llama.cpp's own temperature, 0.8,
#: so small a model is often wrong: it named the capital of France for 2 seeds of 6. A penalty on repetition makes that
#: worse, because it covers the words of the question.
_SAMPLING: dict[str, Any] = {"temp": 0.2}


def require() -> None:
    """
    Check that xllamacpp is installed, without importing it.

    Raises:
        LocalUnavailableError: It is not; the message depends on whether it could be.
    """
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
    Try the library in a child process, once for each version and machine.

    Args:
        model: Loaded and run for one token; without it the library is only imported, which is worth
            doing before 93 MB are downloaded for nothing.

    Raises:
        LocalUnavailableError: The child crashed, failed, or did not end.
    """
    seal, python = _seal(), interpreter()
    if python is None or seal.exists():
        return
    command = [python, "-c", _script(), *([str(model)] if model else [])]
    # With `-c` Python looks in the current folder first, so the child is sure to try the package that we use.
    spec = importlib.util.find_spec("xllamacpp")
    home = Path(spec.origin).parent.parent if spec and spec.origin else None
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=home,
            timeout=_PROBE_TIMEOUT,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise LocalUnavailableError(f"xllamacpp could not be tried on this machine: {exc}. {_ELSE}") from exc
    if done.returncode != 0:
        raise LocalUnavailableError(_diagnosis(done.returncode, done.stderr))
    if model is not None:
        try:
            seal.parent.mkdir(parents=True, exist_ok=True)
            seal.touch()
        except OSError:
            pass  # a cache that cannot be written costs a second at each start, nothing else


def start(model: Path, api_key: str) -> Any:
    """
    Load the model and start llama.cpp's HTTP server in this process.

    xllamacpp keeps the interpreter lock meanwhile, for about half a second: no other thread runs.

    Args:
        model: The GGUF file.
        api_key: What requests must show as their bearer token.

    Returns:
        The `xllamacpp.Server`; it stops when its last reference goes.

    Raises:
        LocalUnavailableError: The library cannot be imported, or the model cannot be loaded.
    """
    try:
        xllamacpp = importlib.import_module("xllamacpp")
    except ImportError as exc:
        raise LocalUnavailableError(f"xllamacpp is installed but cannot be loaded: {exc}. {_ELSE}") from exc
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.api_keys = [api_key]
    for name, value in _PARAMETERS.items():
        if hasattr(params, name):  # llama.cpp renames its switches now and then; we can live without one
            setattr(params, name, value)
    for name, value in _SAMPLING.items():
        setattr(params.sampling, name, value)
    try:
        return xllamacpp.Server(params)
    except (RuntimeError, ValueError, MemoryError) as exc:
        raise LocalUnavailableError(
            f"llama.cpp could not load {model}: {exc} Is there enough free memory (about 550 MB)? {_ELSE}"
        ) from exc


_ELSE = "Choose another model with `-m`, or another machine"


def _script() -> str:
    """Write the program that the child runs: our own parameters, set in the same way."""
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
        "os._exit(0)\n"  # only the start is being tried
    )


def _diagnosis(code: int, stderr: str) -> str:
    # POSIX reports a crash as minus the signal, Windows as a large status (0xC000001D: illegal instruction).
    if code < 0 or code >= 0xC0000000:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = hex(code)
        return (
            f"xllamacpp crashes on this machine ({name}): its wheel needs instructions that the processor "
            f"({platform.machine()}) has not got, or is broken. {_ELSE}"
        )
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    why = lines[-1] if lines else f"exit status {code}"
    return f"xllamacpp does not work on this machine: {why}. {_ELSE}"


def _seal() -> Path:
    """Name the file that remembers a success; with the host in it, for machines may share a cache."""
    try:
        version = importlib.metadata.version("xllamacpp")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    facts = (version, platform.machine(), platform.node())
    return cache_dir() / ("works-" + re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(facts)))
