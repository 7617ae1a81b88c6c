"""
Embeddings and the list of models, as OpenAI-compatible hosts have them.

Sources: https://platform.openai.com/docs/api-reference/embeddings and .../models
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyllm.types import Embeddings, Model
from anyllm.wire._base.decode_json import no_answer
from anyllm.wire._base.getters import whole_number
from anyllm.wire._base.vectors import vector
from anyllm.wire.openai_chat.usage import read_usage


def read_embeddings(answer: Any, provider: str) -> Embeddings:
    """
    The vectors of a whole answer, decoded, in the order of the texts.

    Raises:
        APIError: the answer is the provider's error.
        MalformedStreamError: it holds no vectors.
    """
    items = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise no_answer(answer, "data", provider)
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


def read_models(answer: Any, provider: str) -> list[Model]:
    """
    The models of a whole answer, decoded; some hosts (Together) send the bare list.

    Raises:
        APIError: the answer is the provider's error.
        MalformedStreamError: it is no list of models.
    """
    items = answer.get("data", answer.get("models")) if isinstance(answer, dict) else answer
    if not isinstance(items, list) or not _are_models(items):
        raise no_answer(answer, "data", provider)
    return [_model(item, provider) for item in items]


def _are_models(items: Sequence[Any]) -> bool:
    return all(isinstance(item, dict) and isinstance(item.get("id", item.get("name")), str) for item in items)


def _model(item: dict[str, Any], provider: str) -> Model:
    owner = item.get("owned_by")
    return Model(
        str(item.get("id", item.get("name"))),
        whole_number(item.get("created")) or 0,
        owner if isinstance(owner, str) else "",
        provider,
        item,
    )
