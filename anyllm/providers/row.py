"""
What is known of a host of models.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Optional, Union

import attrs

from anyllm.wire._base.dialect import Dialect, FormatSupport

__all__ = ["Capabilities", "PriceTable", "Row", "Signable", "bearer", "key_header"]


@attrs.define(frozen=True, kw_only=True)
class Capabilities:
    """
    What can be asked of a provider through anyllm.

    Attributes:
        completion: Whole answers and streams.
        tools: Tool calls; for a host of many models, whether some of them make any.
        reasoning: The same for reasoning.
        embedding: `embedding`.
        list_models: `list_models`.
        formats: The types of ``response_format`` that it keeps to, of "json_object" and "json_schema"; a host of many
            models does so for some of them. With ``structured="emulate"`` the others are asked for in words.
        media: What a message may show, of "image", "file" and "audio", where a model looks at such things.
        refused: Parameters that raise `UnsupportedParameterError` whatever they ask for.
        prefill: Whether a model can be asked to go on from the beginning of an answer, as `Retry.after_content` does.
    """

    completion: bool = True
    tools: bool = True
    reasoning: bool = True
    embedding: bool = False
    list_models: bool = False
    formats: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    prefill: bool = False

    def of(self, support: FormatSupport) -> Capabilities:
        """The same, with what the host's format has words for."""
        return attrs.evolve(
            self, formats=support.formats, media=support.media, refused=support.refused, prefill=support.prefill
        )


def bearer(key: str) -> Mapping[str, str]:
    """The key as most hosts want it."""
    return {"Authorization": f"Bearer {key}"}


def key_header(name: str) -> Callable[[str], Mapping[str, str]]:
    """The key in a header of its own."""
    return lambda key: {name: key}


def _as_given(base_url: str, model: str) -> str:
    return base_url


@attrs.define(frozen=True, kw_only=True)
class Signable:
    """
    A request that is about to be sent.

    Attributes:
        method: "POST" or "GET".
        url: The whole of it.
        headers: Those that will be sent, but for the signature's.
        body: The exact bytes.
        key: What the row's variables or the caller gave; None for nothing.
    """

    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    key: Optional[str] = attrs.field(repr=False)


@attrs.define(frozen=True)
class PriceTable:
    """
    How genai-prices, the price table, lists a provider's models.

    Attributes:
        provider: The provider's id there; "{}" in it stands for the host that a router's model names end in,
            "llama-3.1-8b:groq".
        list_price_of: Other providers of the table whose models cost their list price here, too.
        not_sold: Prefixes of ids that the table has for the provider and that are not sold here.
        version: The suffix of a model's name that changes no price, beside dates.
        has_regions: Whether models' names begin with a region, "us.", and prices may differ for "global.".

    Source: https://github.com/pydantic/genai-prices
    """

    provider: str
    list_price_of: tuple[str, ...] = ()
    not_sold: tuple[str, ...] = ()
    version: Optional[re.Pattern[str]] = None
    has_regions: bool = False


@attrs.define(frozen=True, kw_only=True)
class Row:
    """
    One host.

    Attributes:
        name: As in the model string.
        dialect: The format it speaks, with its switches; or a function that gives it, for formats that not every
            program needs.
        base_url: What the dialect's official client calls base_url; None where each user has their own.
        key_vars: Environment variables that may hold the key, first one first; empty for a host without keys.
        key_pair_vars: Two variables, an id and its secret, which make the key "ID:SECRET".
        base_url_vars: Environment variables that may hold another base URL.
        aliases: Other names for the same row.
        key_required: Whether the host refuses every request without a key.
        headers: Sent with each request.
        auth: The headers that carry the key.
        sign: For hosts that want each request signed: gives the headers that do it. Raises an `AnyLLMError` where that
            cannot be done.
        locate: Makes of the base URL, as users and their environment give it, and the model, where requests go; for
            hosts whose official client does that.
        endpoint: For a host that has to be started first: gives its base URL and key.
        models: The only models there are, where they are few and fixed.
        example_model: An inexpensive model, for examples and completion; None where no name is sure to exist.
        price_table: How the price table lists it; None if it does not, so that costs are unknown.
        cache_marks: Whether it can be sent Anthropic's `cache_control`; hosts of OpenAI's formats that cache by
            themselves refuse keys that they do not know, other formats leave it out where they have no word for it.
        capabilities: What can be asked of it.
        note: What is particular about it, in a line of Markdown.
        unverified: It was written from documents, the host's or others': no answer of it was ever read here.
    """

    name: str
    _dialect: Union[Dialect, Callable[[], Dialect]]
    base_url: Optional[str] = None
    key_vars: tuple[str, ...] = ()
    key_pair_vars: tuple[str, ...] = ()
    base_url_vars: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    key_required: bool = True
    headers: Mapping[str, str] = attrs.field(factory=dict)
    auth: Callable[[str], Mapping[str, str]] = bearer
    sign: Optional[Callable[[Signable], Mapping[str, str]]] = None
    locate: Callable[[str, str], str] = _as_given
    endpoint: Optional[Callable[[], tuple[str, str]]] = None
    models: tuple[str, ...] = ()
    example_model: Optional[str] = None
    price_table: Optional[PriceTable] = None
    cache_marks: bool = True
    capabilities: Capabilities = attrs.field(factory=Capabilities)
    note: str = ""
    unverified: bool = False

    @property
    def dialect(self) -> Dialect:
        """The format it speaks."""
        return self._dialect() if callable(self._dialect) else self._dialect

    def set_variable(self) -> Optional[str]:
        """What in the environment holds a key for it now: a variable, or two joined by "and"; None if nothing does."""
        pair = " and ".join(self.key_pair_vars)
        if pair and all(map(_is_set, self.key_pair_vars)):
            return pair
        return next(filter(_is_set, self.key_vars), None)


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name, "").strip())
