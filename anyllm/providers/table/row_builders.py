"""What rows are made with."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, Optional

from anyllm.providers.row import Capabilities, PriceTable, Row
from anyllm.wire._base.dialect import Dialect
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect, Prefill

#: Hosts that make vectors beside answers.
VECTORS = Capabilities(embedding=True, list_models=True)
LISTS = Capabilities(list_models=True)

#: The makers whose models Azure sells at their list price; its DeepSeek, say, has no off-peak hours.
AZURE_PRICES = PriceTable("azure", list_price_of=("openai", "anthropic"))

#: How hosts are asked to go on from the beginning of an answer.
LAST_MESSAGE = Prefill()
PREFIX = Prefill(message={"prefix": True})
PARTIAL = Prefill(message={"partial": True})
CONTINUE_FINAL = Prefill(body={"continue_final_message": True, "add_generation_prompt": False})

#: How hosts turn reasoning off in models that reason unasked.
ENABLE_THINKING: dict[str, Any] = {"enable_thinking": False}
THINKING_TYPE: dict[str, Any] = {"thinking": {"type": "disabled"}}


def later(name: str, **switches: Any) -> Callable[[], Dialect]:
    """The dialect *name*, "gemini.Gemini", loaded when it is needed: importing all of them costs a program 50 ms."""
    module, _, kind = name.partition(".")

    @functools.cache
    def dialect() -> Dialect:
        made: Dialect = getattr(importlib.import_module(f"anyllm.wire.{module}.dialect"), kind)(**switches)
        return made

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
    price_table: Optional[PriceTable] = None,
    cache_marks: bool = False,
    capabilities: Capabilities = LISTS,
    note: str = "",
    unverified: bool = False,
    **switches: Any,
) -> Row:
    """A host that speaks OpenAI's chat completions, with what it does differently."""
    return Row(
        name=name,
        base_url=base_url,
        key_vars=key_vars,
        base_url_vars=base_url_vars,
        aliases=aliases,
        key_required=key_required,
        example_model=example_model,
        price_table=price_table,
        cache_marks=cache_marks,
        capabilities=capabilities,
        note=note,
        unverified=unverified,
        dialect=OpenAIChatDialect(provider=name, **switches),
    )


def responses(
    name: str, base_url: Optional[str], key_vars: tuple[str, ...], base_url_vars: tuple[str, ...], **fields: Any
) -> Row:
    """A host of OpenAI's Responses; all but OpenAI's own were only read in recordings."""
    return Row(
        name=name,
        base_url=base_url,
        key_vars=key_vars,
        base_url_vars=base_url_vars,
        dialect=later("openai_responses.OpenAIResponsesDialect", provider=name),
        cache_marks=False,
        **fields,
    )
