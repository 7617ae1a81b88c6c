"""Functions and constants for the rows of the table."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, Optional

import attrs

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


_ROW_FIELDS = frozenset(field.name for field in attrs.fields(Row))


def chat(
    name: str,
    base_url: Optional[str],
    key_vars: tuple[str, ...] = (),
    base_url_vars: tuple[str, ...] = (),
    **settings: Any,
) -> Row:
    """A provider with OpenAI's chat completions; *settings* are fields of the row, and switches of the dialect."""
    fields: dict[str, Any] = {"cache_marks": False, "capabilities": LISTS}
    fields.update({key: settings.pop(key) for key in _ROW_FIELDS.intersection(settings)})
    dialect = OpenAIChatDialect(provider=name, **settings)
    return Row(name=name, base_url=base_url, key_vars=key_vars, base_url_vars=base_url_vars, dialect=dialect, **fields)


def responses(row: Row, note: str) -> Row:
    """
    The same provider with OpenAI's Responses, with the key and the prices of *row*. All but OpenAI's own were only
    tested with recordings.
    """
    name = f"{row.name}-responses"
    return attrs.evolve(
        row,
        name=name,
        dialect=lazy("openai_responses.OpenAIResponsesDialect", provider=name),
        aliases=(),
        capabilities=Capabilities(),
        example_model=None,
        cache_marks=False,
        note=note,
    )
