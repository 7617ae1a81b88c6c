"""Functions and constants for the rows of the table."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, Optional

from anyllm.providers.table.row import Capabilities, PriceListing, Row
from anyllm.wire._base.protocols import Dialect
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect, Prefill

#: Providers with embeddings.
VECTORS = Capabilities(embedding=True, list_models=True)
#: Providers without.
LISTS = Capabilities(list_models=True)

#: The makers whose models Azure sells at their list price; its DeepSeek, say, has no off-peak hours.
AZURE_PRICES = PriceListing("azure", list_price_of=("openai", "anthropic"))

#: The forms in which providers accept the beginning of an answer to continue.
LAST_MESSAGE = Prefill()
PREFIX = Prefill(message={"prefix": True})
PARTIAL = Prefill(message={"partial": True})
CONTINUE_FINAL = Prefill(body={"continue_final_message": True, "add_generation_prompt": False})

#: The forms in which providers turn reasoning off.
ENABLE_THINKING: dict[str, Any] = {"enable_thinking": False}
THINKING_TYPE: dict[str, Any] = {"thinking": {"type": "disabled"}}


def lazy(name: str, **switches: Any) -> Callable[[], Dialect]:
    """A function that imports and makes the dialect *name*, "gemini.GeminiDialect": importing all would take 50 ms."""
    module, _, class_name = name.partition(".")

    @functools.cache
    def dialect() -> Dialect:
        cls: Callable[..., Dialect] = getattr(importlib.import_module(f"anyllm.wire.{module}.dialect"), class_name)
        return cls(**switches)

    return dialect


def chat(
    name: str,
    base_url: Optional[str],
    key_vars: tuple[str, ...] = (),
    base_url_vars: tuple[str, ...] = (),
    *,
    aliases: tuple[str, ...] = (),
    key_required: bool = True,
    example_model: Optional[str] = None,
    price_listing: Optional[PriceListing] = None,
    cache_marks: bool = False,
    capabilities: Capabilities = LISTS,
    note: str = "",
    unverified: bool = False,
    **switches: Any,
) -> Row:
    """A provider with OpenAI's chat completions; *switches* are those of the dialect."""
    return Row(
        name=name,
        base_url=base_url,
        key_vars=key_vars,
        base_url_vars=base_url_vars,
        aliases=aliases,
        key_required=key_required,
        example_model=example_model,
        price_listing=price_listing,
        cache_marks=cache_marks,
        capabilities=capabilities,
        note=note,
        unverified=unverified,
        dialect=OpenAIChatDialect(provider=name, **switches),
    )


def responses(
    name: str, base_url: Optional[str], key_vars: tuple[str, ...], base_url_vars: tuple[str, ...], **fields: Any
) -> Row:
    """A provider with OpenAI's Responses. All but OpenAI's own were only tested with recordings."""
    return Row(
        name=name,
        base_url=base_url,
        key_vars=key_vars,
        base_url_vars=base_url_vars,
        dialect=lazy("openai_responses.OpenAIResponsesDialect", provider=name),
        cache_marks=False,
        **fields,
    )
