"""Lists of models as OpenAI's and Anthropic's clients read them, and vectors as OpenAI's do."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from anyllm.gateway._asked import Fields, wrong
from anyllm.gateway._known import Known
from anyllm.types import EmbeddingParams, Embeddings, Usage

__all__ = [
    "anthropic_model",
    "anthropic_models",
    "embeddings_object",
    "model_object",
    "openai_models",
    "read_embeddings",
    "texts_in",
]


#: In Unix seconds.
_YEAR_10000 = 253402300800


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
    return {"type": "model", "id": model.name, "display_name": model.name, "created_at": _time(model.created)}


def _time(seconds: int) -> str:
    """As text; what is no second of a four-digit year, as some hosts say it, is as good as none."""
    made = datetime.fromtimestamp(seconds if 0 <= seconds < _YEAR_10000 else 0, timezone.utc)
    return made.isoformat().replace("+00:00", "Z")


def read_embeddings(body: Any) -> EmbeddingParams:
    """
    A request for vectors; how the client wants them written stands in ``extra_body``.

    Raises:
        InvalidRequestError: it cannot be understood.

    Source: https://platform.openai.com/docs/api-reference/embeddings/create
    """
    fields = Fields(body)
    model, texts = fields.need("model", str), texts_in(fields)
    kind = fields.take("encoding_format", str) or "float"
    if kind not in ("float", "base64"):
        raise wrong("encoding_format", "encoding_format must be float or base64")
    return EmbeddingParams(model, texts, fields.take("dimensions", int), extra_body={"encoding_format": kind})


def texts_in(fields: Fields) -> tuple[str, ...]:
    """
    What vectors are wanted of.

    Raises:
        InvalidRequestError: it is no text.
    """
    given = fields.need("input", str, list)
    texts = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(text, str) for text in texts):
        raise wrong("input", "input must be a text or a list of texts: tokens are another model's")
    return texts


def embeddings_object(made: Embeddings, wanted: EmbeddingParams) -> dict[str, Any]:
    """``/v1/embeddings``."""
    in_base64 = (wanted.extra_body or {}).get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": place, "embedding": _packed(vector) if in_base64 else vector}
        for place, vector in enumerate(made.vectors)
    ]
    usage = made.usage or Usage()
    counts = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens}
    return {"object": "list", "data": data, "model": made.model or wanted.model, "usage": counts}


def _packed(vector: Sequence[float]) -> str:
    """Numbers of 32 bits, the low byte first."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
