"""
Lists of models in both directions: a provider's list, and ours for clients of this format.

Source: https://platform.claude.com/docs/en/api/models-list
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from anyllm.types import Model
from anyllm.wire._base.dates import unix_seconds
from anyllm.wire._base.decode_json import no_answer, objects_of
from anyllm.wire._base.model_info import ModelInfo

__all__ = ["PATH", "anthropic_model", "anthropic_models", "read_models"]

#: The longest page, which holds all models.
PATH = "/v1/models?limit=1000"

#: In Unix seconds.
_YEAR_10000 = 253402300800


def read_models(answer: Any, provider: str) -> list[Model]:
    """
    The models of a whole answer, decoded.

    Raises:
        APIError: the answer is the provider's error.
        MalformedStreamError: it is no list of models.
    """
    items = objects_of(answer, "data", provider)
    if not all(isinstance(item.get("id"), str) for item in items):
        raise no_answer(answer, "data with ids", provider)
    return [Model(item["id"], unix_seconds(item.get("created_at")), "", provider, item) for item in items]


def anthropic_models(models: Sequence[ModelInfo]) -> dict[str, Any]:
    """The body of ``/v1/models``, for clients of this format."""
    data = [anthropic_model(model) for model in models]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}


def anthropic_model(model: ModelInfo) -> dict[str, Any]:
    """One model of the list."""
    return {"type": "model", "id": model.name, "display_name": model.name, "created_at": _date(model.created)}


def _date(seconds: int) -> str:
    """RFC 3339 of Unix seconds; 1970 where they are outside of the years that it can write."""
    then = datetime.fromtimestamp(seconds if 0 <= seconds < _YEAR_10000 else 0, timezone.utc)
    return then.isoformat().replace("+00:00", "Z")
