"""
Vectors and the list of models, as Ollama has them.

Sources: https://docs.ollama.com/api/embed, https://docs.ollama.com/api/tags
"""

from __future__ import annotations

from typing import Any

from anyllm.errors import MalformedStreamError
from anyllm.types import EmbeddingParams, Embeddings, Model
from anyllm.wire._base.decode_json import no_answer
from anyllm.wire._base.vectors import vector
from anyllm.wire.ollama.fields import read_usage, unix_time


def embed_body(params: EmbeddingParams, model: str) -> dict[str, Any]:
    """The body of a request for vectors; ``extra_body`` wins."""
    body: dict[str, Any] = {"model": model, "input": params.input}
    if params.dimensions is not None:
        body["dimensions"] = params.dimensions
    return {**body, **(params.extra_body or {})}


def read_embeddings(answer: Any, provider: str) -> Embeddings:
    """
    The vectors of a whole answer, decoded.

    Raises:
        APIError: the answer is the provider's error.
        MalformedStreamError: it holds no vectors.
    """
    vectors = answer.get("embeddings") if isinstance(answer, dict) else None
    if not isinstance(vectors, list):
        raise no_answer(answer, "embeddings", provider)
    model = answer.get("model")
    return Embeddings(
        [vector(values, provider) for values in vectors],
        read_usage(answer),
        model if isinstance(model, str) else "",
        provider,
        answer,
    )


def read_models(answer: Any, provider: str) -> list[Model]:
    """
    The models of a whole answer, decoded; ``created`` is when the host got or made the model.

    Raises:
        APIError: the answer is the provider's error.
        MalformedStreamError: it is no list of models.
    """
    items = answer.get("models") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise no_answer(answer, "models", provider)
    return [_model(item, provider) for item in items]


def _model(item: Any, provider: str) -> Model:
    """One model; its name stood under ``name`` before it stood under ``model`` too."""
    names = [item.get("model"), item.get("name")] if isinstance(item, dict) else []
    name = next((name for name in names if isinstance(name, str) and name), None)
    if name is None:
        raise MalformedStreamError("a model has no name", provider=provider)
    return Model(name, unix_time(item.get("modified_at")), "", provider, item)
