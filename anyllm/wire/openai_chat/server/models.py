"""Lists of models as OpenAI's clients read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyllm.wire._base.model_info import ModelInfo

__all__ = ["model_object", "openai_models"]


def openai_models(models: Sequence[ModelInfo]) -> dict[str, Any]:
    """``/v1/models``. Source: https://platform.openai.com/docs/api-reference/models/list"""
    return {"object": "list", "data": [model_object(model) for model in models]}


def model_object(model: ModelInfo) -> dict[str, Any]:
    """One of them; how much it can hold stands where OpenRouter has it."""
    body: dict[str, Any] = {"id": model.name, "object": "model", "created": model.created, "owned_by": model.provider}
    return body if model.context_length is None else {**body, "context_length": model.context_length}
