"""Requests for vectors, and vectors as OpenAI's clients read them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

from anyllm.types import EmbeddingParams, Embeddings, Usage
from anyllm.wire._base.request_fields import Fields, texts_in, wrong

__all__ = ["embeddings_object", "read_embeddings"]


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
