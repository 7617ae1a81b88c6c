"""A row of the provider table: all facts about one provider."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Optional, Union

import attrs

from anyllm.providers.url_env import first_set
from anyllm.wire._base.protocols import Dialect, FormatSupport

__all__ = ["Capabilities", "PriceListing", "Row", "UnsignedRequest", "bearer", "key_header"]


@attrs.define(frozen=True, kw_only=True)
class Capabilities:
    """
    The features of a provider that anyllm supports.

    Attributes:
        completion: Whole answers and streams.
        tools: Tool calls, of some models at least.
        reasoning: Reasoning, of some models at least.
        embedding: `embedding`.
        list_models: `list_models`.
        formats: The types of ``response_format`` that some models at least comply with, of "json_object" and
            "json_schema". With ``structured="emulate"`` the prompt asks for the others.
        media: The media that a message may contain, of "image", "file" and "audio", if the model supports them.
        refused: Parameters that raise `UnsupportedParameterError` whatever their value.
        prefill: Whether a model can continue the beginning of an answer, which `Retry.after_content` needs.
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
        """A copy with the features of the provider's wire format."""
        return attrs.evolve(
            self, formats=support.formats, media=support.media, refused=support.refused, prefill=support.prefill
        )


def bearer(key: str) -> Mapping[str, str]:
    """The headers with a bearer token, which most providers accept."""
    return {"Authorization": f"Bearer {key}"}


def key_header(name: str) -> Callable[[str], Mapping[str, str]]:
    """A function that makes the header *name* of a key."""
    return lambda key: {name: key}


def _unchanged(base_url: str, model: str) -> str:
    return base_url


@attrs.define(frozen=True, kw_only=True)
class UnsignedRequest:
    """
    A request before it is signed and sent.

    Attributes:
        method: "POST" or "GET".
        url: With its query.
        headers: All headers but the signature's.
        body: The exact bytes.
        key: The key from the caller or the row's variables; None without one.
    """

    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    key: Optional[str] = attrs.field(repr=False)


@attrs.define(frozen=True)
class PriceListing:
    """
    How genai-prices, the price table, lists a provider's models.

    Attributes:
        provider: The provider's id there; "{}" in it stands for the suffix of a router's model names, "groq" in
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
    One provider.

    Attributes:
        name: The provider in model strings.
        dialect: The client side of its wire format, with its switches; or a function that makes it, for formats that
            few programs need.
        base_url: As the format's official client defines it; None if each user has their own.
        key_vars: Environment variables that may contain the key, in order; empty if it has no keys.
        key_pair_vars: Two variables, for an id and a secret, which make the key "ID:SECRET".
        base_url_vars: Environment variables that may contain another base URL, in order.
        aliases: Other names in model strings.
        key_required: Whether it rejects every request without a key.
        headers: Sent with each request.
        auth: Makes the headers of a key.
        sign: Makes the headers that sign a request, for providers that need a signature. Raises an `AnyLLMError` if
            that fails.
        resolve_url: Makes the URL that requests go to from a base URL and the model, for providers whose official
            client does so.
        start_server: Starts the provider in this process; returns its base URL and key.
        models: All its models, if they are few and fixed.
        example_model: An inexpensive model, for examples and completion; None if no name is certain to exist.
        price_listing: How the price table lists it; None if it does not, so that costs are unknown.
        cache_marks: Whether it accepts Anthropic's `cache_control`. Providers of OpenAI's formats with automatic
            caching reject unknown keys; other formats omit it if they have no field for it.
        capabilities: Its features.
        note: Its peculiarities, in a line of Markdown.
        unverified: Whether it was written from documentation only, without any recorded answer.
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
    sign: Optional[Callable[[UnsignedRequest], Mapping[str, str]]] = None
    resolve_url: Callable[[str, str], str] = _unchanged
    start_server: Optional[Callable[[], tuple[str, str]]] = None
    models: tuple[str, ...] = ()
    example_model: Optional[str] = None
    price_listing: Optional[PriceListing] = None
    cache_marks: bool = True
    capabilities: Capabilities = attrs.field(factory=Capabilities)
    note: str = ""
    unverified: bool = False

    @property
    def dialect(self) -> Dialect:
        """The dialect, made on first use if the row contains a function."""
        return self._dialect() if callable(self._dialect) else self._dialect

    def key_source(self) -> Optional[str]:
        """The environment variables that provide a key now, "NAME" or "NAME and NAME"; None without a key."""
        if self.key_pair_vars and all(map(first_set, self.key_pair_vars)):
            return " and ".join(self.key_pair_vars)
        return next(filter(first_set, self.key_vars), None)
