"""
Embeddings: requests and answers of ``/embeddings``, in both directions.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
import struct
from typing import Any

from anyllm.types import EmbeddingParams, Embeddings, Usage
from anyllm.wire._base.decode_json import objects_of
from anyllm.wire._base.json_values import whole_number
from anyllm.wire._base.request_fields import Fields, texts_in
from anyllm.wire._base.vectors import vector
from anyllm.wire.openai_chat.usage import read_usage


def read_request(body: Any) -> EmbeddingParams:
    """A client's request, decoded, with its ``encoding_format`` in ``extra_body``; errors as `read_chat` has them."""
    fields = Fields(body)
    model, texts = fields.need("model", str), texts_in(fields)
    encoding = fields.take("encoding_format", str) or "float"
    if encoding not in ("float", "base64"):
        raise fields.wrong("encoding_format", "must be float or base64")
    return EmbeddingParams(model, texts, fields.take("dimensions", int), extra_body={"encoding_format": encoding})


def read_answer(answer: Any, provider: str) -> Embeddings:
    """The vectors of a whole answer, decoded, in the order of the texts; errors as `Dialect.response` has them."""
    items = objects_of(answer, "data", provider)
    places = [whole_number(item.get("index")) for item in items]
    if sorted(place for place in places if place is not None) == list(range(len(items))):
        items = [item for _, item in sorted(zip(places, items), key=lambda pair: pair[0] or 0)]
    usage = answer.get("usage")
    return Embeddings(
        [vector(item.get("embedding"), provider) for item in items],
        read_usage(usage) if isinstance(usage, dict) else None,
        str(answer.get("model") or ""),
        provider,
        answer,
    )


def embeddings_object(embeddings: Embeddings, params: EmbeddingParams) -> dict[str, Any]:
    """The answer for a client whose request was *params*."""
    vectors: list[Any] = embeddings.vectors
    if (params.extra_body or {}).get("encoding_format") == "base64":  # floats of four bytes, the low byte first
        vectors = [base64.b64encode(struct.pack(f"<{len(item)}f", *item)).decode() for item in vectors]
    data = [{"object": "embedding", "index": index, "embedding": item} for index, item in enumerate(vectors)]
    usage = embeddings.usage or Usage()
    counts = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens}
    return {"object": "list", "data": data, "model": embeddings.model or params.model, "usage": counts}
