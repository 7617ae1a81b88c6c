"""
Embeddings: requests and answers of ``/api/embed``, in both directions.

Source: https://docs.ollama.com/api/embed
"""

from __future__ import annotations

from typing import Any

from anyllm.types import EmbeddingParams, Embeddings
from anyllm.wire._base.decode_json import no_answer
from anyllm.wire._base.json_values import text
from anyllm.wire._base.request_fields import Fields, texts_in
from anyllm.wire._base.vectors import vector
from anyllm.wire.ollama.fields import read_usage


def read_request(body: Any) -> EmbeddingParams:
    """A client's request, decoded; errors as `read_chat` has them."""
    fields = Fields(body)
    return EmbeddingParams(fields.need("model", str), texts_in(fields), fields.take("dimensions", int))


def read_answer(answer: Any, provider: str) -> Embeddings:
    """The vectors of a whole answer, decoded; errors as `Dialect.response` has them."""
    vectors = answer.get("embeddings") if isinstance(answer, dict) else None
    if not isinstance(vectors, list):
        raise no_answer(answer, "embeddings", provider)
    values = [vector(item, provider) for item in vectors]
    return Embeddings(values, read_usage(answer), text(answer.get("model")), provider, answer)


def embeddings_object(embeddings: Embeddings, params: EmbeddingParams) -> dict[str, Any]:
    """The answer for a client whose request was *params*."""
    body = {"model": params.model, "embeddings": embeddings.vectors}
    return body if embeddings.usage is None else {**body, "prompt_eval_count": embeddings.usage.prompt_tokens}
