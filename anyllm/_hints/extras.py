"""Imports of optional packages, and the commands that install them, for error messages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, Optional

#: The packages of each extra in setup.cfg, without lower bounds: pip installs the newest.
PACKAGES: dict[str, tuple[str, ...]] = {
    "bedrock": ("botocore",),
    "cache": ("cachetools", "diskcache"),
    "jsonschema": ("jsonschema",),
    "local": ("xllamacpp",),
    "prices": ("genai-prices",),
    "redis": ("redis",),
    "serve": ('"waitress<4"', "prometheus-client", *(() if sys.version_info >= (3, 11) else ("tomli",))),
    "tiktoken": ("tiktoken",),
    "vertex": ("google-auth",),
}


def import_extra(module: str, extra: str, purpose: str, new_error: Optional[Callable[[str], Exception]] = None) -> Any:
    """
    Import *module*, which is part of *extra*.

    Raises:
        ImportError: it is not installed; the message is *purpose* and the command that installs it. *new_error* makes
            another error of the message.
    """
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        message = f"{purpose}: {pip_install(extra)}"
        raise (type(exc)(message, name=exc.name) if new_error is None else new_error(message)) from exc


def pip_install(extra: str) -> str:
    """
    The command that installs the packages of *extra* in setup.cfg.

    It names the packages, because pip finds the extra only in a clone or where this project is published.
    """
    return f"pip install {' '.join(PACKAGES[extra])}"
