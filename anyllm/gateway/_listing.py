"""Lists of models as OpenAI's and Anthropic's clients read them, and vectors as OpenAI's do."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Optional

from anyllm.errors import ModelNotFoundError
from anyllm.gateway._asked import Fields, wrong
from anyllm.gateway._models import Known
from anyllm.types import Embeddings

__all__ = ["anthropic_models", "embeddings_object", "model_object", "openai_models", "read_embeddings"]


def openai_models(models: Sequence[Known]) -> dict[str, Any]:
    """``/v1/models``. Source: https://platform.openai.com/docs/api-reference/models/list"""
    return {"object": "list", "data": [model_object(model) for model in models]}


def model_object(model: Known) -> dict[str, Any]:
    """One of them; how much it can hold stands where OpenRouter has it."""
    body: dict[str, Any] = {"id": model.name, "object": "model", "created": model.created, "owned_by": model.provider}
    return body if model.context_length is None else {**body, "context_length": model.context_length}


def anthropic_models(models: Sequence[Known]) -> dict[str, Any]:
    """``/v1/models``, for Anthropic's clients. Source: https://platform.claude.com/docs/en/api/models-list"""
    data = [anthropic_model(model) for model in models]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": False, **ends}


def anthropic_model(model: Known) -> dict[str, Any]:
    """One of them."""
    made = datetime.fromtimestamp(model.created, timezone.utc).isoformat().replace("+00:00", "Z")
    return {"type": "model", "id": model.name, "display_name": model.name, "created_at": made}


def named(models: Sequence[Known], name: str) -> Known:
    """
    The one of that name.

    Raises:
        ModelNotFoundError: there is none.
    """
    for model in models:
        if model.name == name:
            return model
    raise ModelNotFoundError(f"there is no model {name!r} here", status_code=404, code="model_not_found", param="model")


def read_embeddings(body: Any) -> tuple[str, tuple[str, ...], Optional[int], bool]:
    """
    A request for vectors: the model, the texts, how long the vectors are to be, and whether as base64.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    fields = Fields(body)
    model = fields.need("model", str)
    given = fields.need("input", str, list)
    texts = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(text, str) for text in texts):
        raise wrong("input", "input must be a text or a list of texts: tokens are another model's")
    kind = fields.take("encoding_format", str) or "float"
    if kind not in ("float", "base64"):
        raise wrong("encoding_format", "encoding_format must be float or base64")
    return model, texts, fields.take("dimensions", int), kind == "base64"


def embeddings_object(made: Embeddings, model: str, in_base64: bool) -> dict[str, Any]:
    """``/v1/embeddings``. Source: https://platform.openai.com/docs/api-reference/embeddings/create"""
    data = [
        {"object": "embedding", "index": place, "embedding": _packed(vector) if in_base64 else vector}
        for place, vector in enumerate(made.vectors)
    ]
    usage = made.usage
    counts = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens} if usage else None
    return {
        "object": "list",
        "data": data,
        "model": made.model or model,
        "usage": counts or {"prompt_tokens": 0, "total_tokens": 0},
    }


def _packed(vector: Sequence[float]) -> str:
    """Numbers of 32 bits, the low byte first."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
