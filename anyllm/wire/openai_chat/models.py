"""
The list of models, in both directions.

Source: https://platform.openai.com/docs/api-reference/models/list
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyllm.types import Model
from anyllm.wire._base.decode_json import no_answer
from anyllm.wire._base.json_values import text, text_or_none, whole_number
from anyllm.wire._base.model_info import ModelInfo


def read_list(answer: Any, provider: str) -> list[Model]:
    """The models of ``/models``, decoded; Together sends the bare list. Errors as `Dialect.response` has them."""
    items = answer.get("data", answer.get("models")) if isinstance(answer, dict) else answer
    if not isinstance(items, list) or any(_name(item) is None for item in items):
        raise no_answer(answer, "data", provider)
    return [
        Model(_name(item) or "", whole_number(item.get("created")) or 0, text(item.get("owned_by")), provider, item)
        for item in items
    ]


def _name(item: Any) -> str | None:
    """A model's name; None of what is no model."""
    return text_or_none(item.get("id", item.get("name"))) if isinstance(item, dict) else None


def list_object(models: Sequence[ModelInfo]) -> dict[str, Any]:
    """The answer to a client's ``/v1/models``."""
    return {"object": "list", "data": [model_object(model) for model in models]}


def model_object(model: ModelInfo) -> dict[str, Any]:
    """One model; its context length has the name that OpenRouter gives it."""
    body: dict[str, Any] = {"id": model.name, "object": "model", "created": model.created, "owned_by": model.provider}
    return body if model.context_length is None else {**body, "context_length": model.context_length}
