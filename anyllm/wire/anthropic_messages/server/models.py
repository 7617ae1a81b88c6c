"""Lists of models as Anthropic's clients read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from anyllm.wire._base.model_info import ModelInfo

__all__ = ["anthropic_model", "anthropic_models"]

#: In Unix seconds.
_YEAR_10000 = 253402300800


def anthropic_models(models: Sequence[ModelInfo]) -> dict[str, Any]:
    """``/v1/models``, for Anthropic's clients. Source: https://platform.claude.com/docs/en/api/models-list"""
    data = [anthropic_model(model) for model in models]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": False, **ends}


def anthropic_model(model: ModelInfo) -> dict[str, Any]:
    """One of them."""
    return {"type": "model", "id": model.name, "display_name": model.name, "created_at": _time(model.created)}


def _time(seconds: int) -> str:
    """As text; what is no second of a four-digit year, as some hosts say it, is as good as none."""
    made = datetime.fromtimestamp(seconds if 0 <= seconds < _YEAR_10000 else 0, timezone.utc)
    return made.isoformat().replace("+00:00", "Z")
