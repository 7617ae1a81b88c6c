"""What to install for an optional feature, as messages say it."""

from __future__ import annotations

import sys

__all__ = ["pip_install"]

#: The packages of each extra in setup.cfg, without lower bounds: what is not installed yet is installed new.
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
    The command that installs what *extra* of setup.cfg stands for.

    It names the packages and not the extra, which pip finds only in a clone or where this project is published.
    """
    return f"pip install {' '.join(PACKAGES[extra])}"
