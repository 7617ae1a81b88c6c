"""
Who hosts models: one row a host. A host with a quirk is a row with a switch; only a new wire format is new code.

Rows marked "unverified" were written from the host's documents and have not been called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Optional

import attrs

from anyllm.dialects import Dialect
from anyllm.dialects.openai_chat import OpenAIChat

__all__ = ["Capabilities", "ROWS", "Row", "find", "names"]


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
    """

    completion: bool = True
    tools: bool = True
    reasoning: bool = True
    embedding: bool = False
    list_models: bool = False


@attrs.define(frozen=True, kw_only=True)
class Row:
    """
    One host.

    Attributes:
        name: As in the model string.
        dialect: The format it speaks, with its switches.
        base_url: What the dialect's official client calls base_url; None where each user has their own.
        key_vars: Environment variables that may hold the key, first one first; empty for a host without keys.
        base_url_vars: Environment variables that may hold another base URL.
        aliases: Other names for the same row.
        key_required: Whether the host refuses every request without a key.
        headers: Sent with each request.
        endpoint: For a host that has to be started first: gives its base URL and key.
        models: The only models there are, where they are few and fixed.
        capabilities: What can be asked of it.
    """

    name: str
    dialect: Dialect
    base_url: Optional[str] = None
    key_vars: tuple[str, ...] = ()
    base_url_vars: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    key_required: bool = True
    headers: Mapping[str, str] = attrs.field(factory=dict)
    endpoint: Optional[Callable[[], tuple[str, str]]] = None
    models: tuple[str, ...] = ()
    capabilities: Capabilities = attrs.field(factory=Capabilities)


def _local() -> tuple[str, str]:
    from anyllm.providers import local  # on first use: it starts a server

    endpoint = local.endpoint()
    return endpoint.base_url, endpoint.api_key


ROWS: tuple[Row, ...] = (
    Row(
        name="openai",
        base_url="https://api.openai.com/v1",
        key_vars=("OPENAI_API_KEY",),
        base_url_vars=("OPENAI_BASE_URL",),
        # Reasoning models refuse max_tokens, and the others take both. Message keys it does not know are refused.
        dialect=OpenAIChat(provider="openai", max_tokens_key="max_completion_tokens", reasoning_key=None),
    ),
    Row(
        name="local",
        dialect=OpenAIChat(provider="local"),
        key_required=False,
        endpoint=_local,
        models=("smollm2",),
        capabilities=Capabilities(tools=False, reasoning=False),
    ),
    # Any server that speaks OpenAI's format: vLLM, llama.cpp, LM Studio, a proxy.
    Row(
        name="compatible",
        key_vars=("COMPATIBLE_API_KEY",),
        base_url_vars=("COMPATIBLE_BASE_URL",),
        dialect=OpenAIChat(provider="compatible"),
        key_required=False,
    ),
    Row(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        key_vars=("GROQ_API_KEY",),
        base_url_vars=("GROQ_BASE_URL",),
        dialect=OpenAIChat(provider="groq", reasoning_key="reasoning"),
    ),
    Row(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        key_vars=("OPENROUTER_API_KEY", "OPEN_ROUTER_API_KEY"),
        base_url_vars=("OPENROUTER_API_BASE",),
        dialect=OpenAIChat(provider="openrouter", reasoning_key="reasoning"),
    ),
    Row(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        key_vars=("MISTRAL_API_KEY",),
        base_url_vars=("MISTRAL_API_BASE",),
        # Usage always comes with the last chunk; asking for it is refused with a 422.
        dialect=OpenAIChat(provider="mistral", include_usage=False),
    ),
    Row(
        name="deepseek",
        base_url="https://api.deepseek.com",
        key_vars=("DEEPSEEK_API_KEY",),
        base_url_vars=("DEEPSEEK_API_BASE",),
        dialect=OpenAIChat(provider="deepseek", reasoning_key="reasoning_content"),
    ),
    Row(
        name="snowflake",  # Cortex; each account has its own host. Unverified but for recorded streams.
        key_vars=("SNOWFLAKE_PAT",),
        base_url_vars=("SNOWFLAKE_BASE_URL",),
        # Its streams end with [DONE] and never say a finish reason.
        dialect=OpenAIChat(provider="snowflake", done_is_complete=True),
    ),
)

_BY_NAME: dict[str, Row] = {name: row for row in ROWS for name in (row.name, *row.aliases)}


def find(name: str) -> Optional[Row]:
    """The row called *name*, in any case, or None."""
    return _BY_NAME.get(name.strip().lower())


def names() -> list[str]:
    """Every name and alias."""
    return sorted(_BY_NAME)
