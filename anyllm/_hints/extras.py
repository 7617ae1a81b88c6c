"""Installation commands for optional features, for error messages."""

from __future__ import annotations

import sys

__all__ = ["pip_install"]

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


def pip_install(extra: str) -> str:
    """
    The command that installs the packages of *extra* in setup.cfg.

    It names the packages, because pip finds the extra only in a clone or where this project is published.
    """
    return f"pip install {' '.join(PACKAGES[extra])}"
