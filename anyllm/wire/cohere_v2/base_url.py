"""Where the API begins, whatever version the base URL that somebody wrote down ends with."""

from __future__ import annotations

import re

_VERSION = re.compile(r"/v[12]/*$")


def host_url(base_url: str, model: str = "") -> str:
    """
    The base URL without the version of the API, which stands in the paths: chat has two of them, and the list of
    models only the first.

    Args:
        base_url: "https://api.cohere.com", or the same with "/v1" or "/v2" behind it.
        model: Of no consequence.

    Source: the official Python client, which takes URLs with "/v1" as well.
    """
    return _VERSION.sub("", base_url)
