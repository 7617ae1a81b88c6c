"""Requests for vectors, and vectors as Ollama's clients read them."""

from __future__ import annotations

from typing import Any

from anyllm.types import EmbeddingParams, Embeddings
from anyllm.wire._base.request_fields import Fields, texts_in

__all__ = ["embedded", "read_embed"]


def read_embed(body: Any) -> EmbeddingParams:
    """
    A request to ``/api/embed``.

    Raises:
        InvalidRequestError: it cannot be understood.

    Source: https://docs.ollama.com/api/embed
    """
    fields = Fields(body)
    return EmbeddingParams(fields.need("model", str), texts_in(fields), fields.take("dimensions", int))


def embedded(made: Embeddings, wanted: EmbeddingParams) -> dict[str, Any]:
    """The answer to it."""
    said = {"model": wanted.model, "embeddings": made.vectors}
    return said if made.usage is None else {**said, "prompt_eval_count": made.usage.prompt_tokens}
