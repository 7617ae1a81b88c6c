"""
Azure OpenAI: URLs and authorization.

Sources: https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle, and .../reference
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from anyllm.providers.table.row import bearer
from anyllm.providers.url_env import first_set

__all__ = ["authorize", "resolve_url"]

#: API versions without a date; their URL does not name the deployment.
_UNDATED = ("", "v1", "preview", "latest")


def resolve_url(base_url: str, model: str) -> str:
    """
    The base URL of a resource's endpoint, "https://NAME.openai.azure.com".

    If OPENAI_API_VERSION is a date, the URL is that of the deployment, whose name is the model; else the URL of all
    deployments, without a version. A URL with a path is returned unchanged, with its query:
    "https://NAME.openai.azure.com/openai/deployments/NAME?api-version=2024-10-21".
    """
    if urlsplit(base_url).path.strip("/"):
        return base_url
    host = base_url.rstrip("/")
    version = first_set("OPENAI_API_VERSION", "AZURE_API_VERSION") or ""
    if version in _UNDATED:
        return f"{host}/openai/v1"
    return f"{host}/openai/deployments/{quote(model, safe='')}?api-version={quote(version)}"


def authorize(key: str) -> Mapping[str, str]:
    """The header for a key; a token of Entra, which is a JWT, is a bearer token."""
    is_token = key.startswith("eyJ") and key.count(".") == 2
    return bearer(key) if is_token else {"api-key": key}
