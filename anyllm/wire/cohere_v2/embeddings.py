"""
Embeddings and the list of models in Cohere's format.

Sources: https://docs.cohere.com/reference/embed, https://docs.cohere.com/reference/list-models
"""

from __future__ import annotations

from typing import Any

from anyllm.errors import MalformedStreamError
from anyllm.types import EmbeddingParams, Embeddings, Model
from anyllm.wire._base.cohere.errors import no_content
from anyllm.wire._base.cohere.usage import read_usage
from anyllm.wire._base.vectors import vector

#: The types of vectors, the most precise first: of several types in an answer, the first of these is read.
_TYPES = ("float", "base64", "int8", "uint8", "binary", "ubinary")


def embed_body(params: EmbeddingParams, model: str) -> dict[str, Any]:
    """The body of an embedding request; ``extra_body`` wins."""
    body: dict[str, Any] = {
        "model": model,
        "texts": params.input,
        "input_type": "search_document",  # the provider requires one; this is for texts to store and search
        "embedding_types": ["float"],
    }
    if params.dimensions is not None:
        body["output_dimension"] = params.dimensions
    return {**body, **(params.extra_body or {})}


def read_embeddings(answer: Any, provider: str) -> Embeddings:
    """
    The embeddings in a whole, decoded answer.

    Raises:
        APIError: the answer is the provider's error.
        MalformedStreamError: it contains no vectors.
    """
    by_type = answer.get("embeddings") if isinstance(answer, dict) else None
    if by_type is None:
        raise no_content(answer, "embeddings", provider)
    vectors = by_type
    if isinstance(by_type, dict):
        vectors = next((by_type[kind] for kind in _TYPES if by_type.get(kind) is not None), None)
    if not isinstance(vectors, list):
        raise MalformedStreamError("the answer has no embeddings of a known type", provider=provider)
    return Embeddings(
        [vector(values, provider) for values in vectors], read_usage(answer.get("meta")), "", provider, answer
    )


def read_models(answer: Any, provider: str) -> list[Model]:
    """
    The models in a whole, decoded answer.

    Raises:
        APIError: the answer is the provider's error.
        MalformedStreamError: it is not a list of models.
    """
    items = answer.get("models") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise no_content(answer, "models", provider)
    return [_model(item, provider) for item in items]


def _model(item: Any, provider: str) -> Model:
    name = item.get("name") if isinstance(item, dict) else None
    if not isinstance(name, str) or not name:
        raise MalformedStreamError("a model has no name", provider=provider)
    return Model(name, 0, "", provider, item)
