"""Embeddings and model lists: `EmbeddingParams`, `Embeddings`, `Model`."""

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
    The parameters of an embedding call.

    Attributes:
        model: "provider/model", as in "openai/text-embedding-3-small"; without the provider if that is
            passed separately.
        input: A text, or a list of texts.
        dimensions: The length of each vector, for models that support it.
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
    The vectors that `embedding` returns.

    Attributes:
        vectors: One for each text, in the order of the texts.
        usage: Tokens; None if the provider sent none.
        model: The model that made them.
        provider: The provider's name.
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
    One model of a provider, from `list_models`.

    Attributes:
        id: The part of a model string after the provider's name.
        created: Unix seconds; 0 if the provider does not send it.
        owned_by: Its maker, if the provider sends that.
        provider: The provider's name.
        raw: The provider's own object, decoded.
    """

    id: str = ""
    created: int = 0
    owned_by: str = ""
    provider: str = ""
    raw: Optional[Any] = attrs.field(default=None, eq=False, repr=False)
