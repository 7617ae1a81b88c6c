"""The loop people write by hand. Written once, and never tuned: it is what everything else is compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import requests


def stream(session: requests.Session, url: str, body: dict[str, Any]) -> Iterator[str]:
    """The text of a streamed chat completion, piece by piece."""
    with session.post(url, json=body, headers={"Authorization": "Bearer none"}, stream=True) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                content = event["choices"][0]["delta"].get("content")
                if content:
                    yield content
