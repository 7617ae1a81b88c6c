"""Cohere's base URL without the version of the API."""

from __future__ import annotations

import re

_VERSION = re.compile(r"/v[12]/*$")


def host_url(base_url: str, model: str = "") -> str:
    """
    The base URL without the version of the API: the paths contain it, and chat and the list of models need different
    versions.

    Args:
        base_url: "https://api.cohere.com", or the same followed by "/v1" or "/v2".
        model: Ignored.

    Source: the official Python client, which accepts URLs with "/v1" too.
    """
    return _VERSION.sub("", base_url)
