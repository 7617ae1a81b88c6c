"""OpenAI, Azure OpenAI, any OpenAI-compatible server, and the local model."""

from __future__ import annotations

from anyllm.providers import azure
from anyllm.providers.table.row import Capabilities, PriceListing, Row
from anyllm.providers.table.row_builders import AZURE_PRICES, LAST_MESSAGE, VECTORS, chat, responses
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect

__all__ = ["ROWS"]


def _start_local_server() -> tuple[str, str]:
    from anyllm.providers import local  # on first use: it is slow to import

    endpoint = local.endpoint()
    return endpoint.base_url, endpoint.api_key


_OPENAI = chat(
    "openai",
    "https://api.openai.com/v1",
    ("OPENAI_API_KEY",),
    ("OPENAI_BASE_URL",),
    capabilities=VECTORS,
    # Reasoning models refuse max_tokens, and the others take both. Message keys it does not know are refused.
    max_tokens_key="max_completion_tokens",
    reasoning_key=None,
    example_model="gpt-4o-mini",
    price_listing=PriceListing("openai"),
    note="`max_tokens` goes as `max_completion_tokens`; earlier reasoning is not sent back: the API rejects it",
)
# The model is the name of the deployment.
_AZURE = Row(
    name="azure",
    key_vars=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
    base_url_vars=("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE"),
    aliases=("azure_openai",),
    auth=azure.authorize,
    resolve_url=azure.resolve_url,
    capabilities=VECTORS,
    dialect=OpenAIChatDialect(provider="azure", max_tokens_key="max_completion_tokens", reasoning_key=None),
    price_listing=AZURE_PRICES,
    cache_marks=False,
    note=(
        "the model is the deployment's name; with a dated `OPENAI_API_VERSION` the URL names the deployment; the "
        "key can be a token of Entra, or a function that returns one"
    ),
)

ROWS: tuple[Row, ...] = (
    _OPENAI,
    responses(_OPENAI, note="earlier answers are sent back item by item; no `stop`, `seed`, `n`"),
    _AZURE,
    responses(_AZURE, note="the model is the deployment's name; `OPENAI_API_VERSION` as for `azure`"),
    # Any server that speaks OpenAI's format: vLLM, llama.cpp, LM Studio, a proxy.
    chat(
        "compatible",
        None,
        ("COMPATIBLE_API_KEY",),
        ("COMPATIBLE_BASE_URL",),
        key_required=False,
        capabilities=VECTORS,
        note="any server with OpenAI's format",
    ),
    Row(
        name="local",
        dialect=OpenAIChatDialect(provider="local", prefill=LAST_MESSAGE),
        key_required=False,
        start_server=_start_local_server,
        models=("smollm2",),
        capabilities=Capabilities(tools=False, reasoning=False, list_models=True),
        cache_marks=False,
        note="SmolLM2-135M-Instruct inside the process; the only model is `local/smollm2`; no tools",
    ),
)
