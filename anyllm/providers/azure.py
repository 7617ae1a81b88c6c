"""
Where Azure OpenAI is, and how it takes a key.

Sources: https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle, and .../reference
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

__all__ = ["authorize", "locate"]

#: Dated versions of the API are asked for by deployment; these are not.
_UNDATED = ("", "v1", "preview", "latest")


def locate(endpoint: str, model: str) -> str:
    """
    The base URL of a resource's endpoint, "https://NAME.openai.azure.com".

    Where OPENAI_API_VERSION is a date, that is the deployment's own, named as the model; else the one of all, which
    needs no version. A URL that has a path already is taken as it is, its query too:
    "https://NAME.openai.azure.com/openai/deployments/NAME?api-version=2024-10-21".
    """
    if urlsplit(endpoint).path.strip("/"):
        return endpoint
    host = endpoint.rstrip("/")
    version = (os.environ.get("OPENAI_API_VERSION") or os.environ.get("AZURE_API_VERSION") or "").strip()
    if version in _UNDATED:
        return f"{host}/openai/v1"
    return f"{host}/openai/deployments/{quote(model, safe='')}?api-version={quote(version)}"


def authorize(key: str) -> Mapping[str, str]:
    """A key in a header of its own; a token of Entra, which is a JWT, as others take one."""
    is_token = key.startswith("eyJ") and key.count(".") == 2
    return {"Authorization": f"Bearer {key}"} if is_token else {"api-key": key}
