"""
The list of models.

Source: https://platform.claude.com/docs/en/api/models-list
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from anyllm.types import Model
from anyllm.wire._base.decode_json import no_answer

#: One page holds them all: 1000 is the longest.
PATH = "/v1/models?limit=1000"


def read_models(answer: Any, provider: str) -> list[Model]:
    """
    The models of a whole answer, decoded.

    Raises:
        APIError: the answer is the provider's error.
        MalformedStreamError: it is no list of models.
    """
    items = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise no_answer(answer, "data", provider)
    if not all(isinstance(item.get("id"), str) for item in items):
        raise no_answer(answer, "data with ids", provider)
    return [Model(item["id"], _seconds(item.get("created_at")), "", provider, item) for item in items]


def _seconds(date: Any) -> int:
    """Unix seconds of an RFC 3339 date; 0 of what is none."""
    if not isinstance(date, str):
        return 0
    try:
        then = datetime.fromisoformat(date.replace("Z", "+00:00"))  # Python 3.9 does not know the Z
        return int((then if then.tzinfo else then.replace(tzinfo=timezone.utc)).timestamp())
    except (ValueError, OverflowError):
        return 0
