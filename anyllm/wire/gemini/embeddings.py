"""
Embeddings and the list of models, as the Gemini API has them.

Sources: https://ai.google.dev/api/embeddings, https://ai.google.dev/api/models
"""

from __future__ import annotations

from typing import Any

from anyllm.errors import MalformedStreamError
from anyllm.types import EmbeddingParams, Embeddings, Model
from anyllm.wire._base.decode_json import no_answer
from anyllm.wire._base.vectors import vector

#: The most that one page holds; without it, lists come in pages of fifty.
LIST = "?pageSize=1000"
_FOLDER = "models/"


def embed_body(params: EmbeddingParams, model: str) -> dict[str, Any]:
    """One request for each text, in one; keys of ``extra_body`` are added to each, where Google looks for them."""
    name = model if "/" in model else f"{_FOLDER}{model}"
    more: dict[str, Any] = {} if params.dimensions is None else {"outputDimensionality": params.dimensions}
    more.update(params.extra_body or {})
    return {"requests": [{"model": name, "content": {"parts": [{"text": text}]}, **more} for text in params.input]}


def read_embeddings(answer: Any, provider: str) -> Embeddings:
    """
    The vectors of a whole answer, decoded. Google counts no tokens here.

    Raises:
        APIError: the answer is the provider's error.
        MalformedStreamError: it holds no vectors.
    """
    vectors = [vector(item.get("values"), provider) for item in _objects(answer, "embeddings", provider)]
    return Embeddings(vectors, None, "", provider, answer)


def read_models(answer: Any, provider: str) -> list[Model]:
    """
    The models of a whole answer, decoded.

    Raises:
        APIError: the answer is the provider's error.
        MalformedStreamError: it is no list of models.
    """
    items = _objects(answer, "models", provider)
    if not all(isinstance(item.get("name"), str) for item in items):
        raise MalformedStreamError("a model has no name", provider=provider)
    return [Model(item["name"].removeprefix(_FOLDER), 0, "", provider, item) for item in items]


def _objects(answer: Any, key: str, provider: str) -> list[dict[str, Any]]:
    items = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise no_answer(answer, key, provider)
    return items
