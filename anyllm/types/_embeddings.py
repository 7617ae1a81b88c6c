"""Texts as vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import attrs

from anyllm._hints.arguments import check_keywords, explain_frozen
from anyllm.types._base import Serializable
from anyllm.types._parts import Usage


def _texts(value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"input must be a str or a list of str, not {type(value).__name__}")
    return tuple(texts)


@check_keywords
@explain_frozen
@attrs.define(frozen=True)
class EmbeddingParams(Serializable):
    """
    What to make vectors of.

    Attributes:
        model: "provider/model", as in "openai/text-embedding-3-small"; bare where a provider is given beside it.
        input: A text, or a list of texts.
        dimensions: How long each vector is to be, for models that can choose.
        extra_body: Keys added to the request's JSON; they win over everything else.
        extra_headers: Headers added to the request; they win over everything else.
    """

    model: str = attrs.field(validator=attrs.validators.instance_of(str))
    input: Union[str, Sequence[str]] = attrs.field(converter=_texts)
    dimensions: Optional[int] = None
    extra_body: Optional[Mapping[str, Any]] = attrs.field(default=None, kw_only=True)
    extra_headers: Optional[Mapping[str, str]] = attrs.field(default=None, kw_only=True, repr=False)  # may hold a key


@attrs.define
class Embeddings(Serializable):
    """
    Vectors: from `embedding`.

    Attributes:
        vectors: One for each text, in the order of the texts.
        usage: Tokens; None when the provider sent none.
        model: The model that made them.
        provider: Who sent them.
        raw: The provider's own answer, decoded.
    """

    vectors: list[list[float]] = attrs.field(factory=list, repr=False)
    usage: Optional[Usage] = None
    model: str = ""
    provider: str = ""
    raw: Optional[Any] = attrs.field(default=None, eq=False, repr=False)


@attrs.define
class Model(Serializable):
    """
    One model that a provider has: from `list_models`.

    Attributes:
        id: What stands behind the provider's name in a model string.
        created: Unix seconds; 0 if not said.
        owned_by: Who made it, where the provider says so.
        provider: Who has it.
        raw: What the provider says of it.
    """

    id: str = ""
    created: int = 0
    owned_by: str = ""
    provider: str = ""
    raw: Optional[Any] = attrs.field(default=None, eq=False, repr=False)
