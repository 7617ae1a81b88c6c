"""Providers with other wire formats than OpenAI's."""

from __future__ import annotations

import functools
import re

import attrs

from anyllm.errors import InvalidRequestError
from anyllm.providers import aws, google, tencent
from anyllm.providers.table.row import Capabilities, PriceListing, Row, key_header
from anyllm.providers.table.row_builders import AZURE_PRICES, LISTS, VECTORS, lazy
from anyllm.wire._base.protocols import Dialect

__all__ = ["ROWS"]


#: A version at the end of a base URL.
_VERSION = re.compile(r"/v\d\w*$")


def _gemini_url(base_url: str, model: str) -> str:
    """Add the version of the API, as Google's client does, if the URL has none."""
    path, mark, query = base_url.partition("?")
    path = path.rstrip("/")
    return f"{path if _VERSION.search(path) else path + '/v1beta'}{mark}{query}"


def _cohere_url(base_url: str, model: str) -> str:
    from anyllm.wire.cohere_v2.dialect import host_url

    return host_url(base_url)


def _ollama_url(base_url: str, model: str) -> str:
    from anyllm.wire.ollama.base_url import host_url

    try:
        return host_url(base_url)
    except ValueError as exc:
        raise InvalidRequestError(f"OLLAMA_HOST or base_url is not an address: {exc}", param="base_url") from exc


@functools.cache
def _bedrock_invoke() -> Dialect:
    from anyllm.providers import bedrock_invoke_families as families  # on first use: it imports five formats

    return families.dialect("bedrock_invoke")


#: "gemini-2.0-flash-001"
_GOOGLE_VERSION = re.compile("-00[1-9]$")
#: "-v2:0"; the group tells versions that are models of their own.
_AWS_VERSION = re.compile("(?:(-v[0-9]+)(?::[0-9])?|:[0-9])$")
_VERTEX_PRICES = PriceListing("google", list_price_of=("anthropic",), version=_GOOGLE_VERSION)
_AWS_PRICES = PriceListing("aws", version=_AWS_VERSION, has_regions=True)


# Without a key, google-auth may find credentials.
_VERTEX = Row(
    name="vertex",
    base_url=google.BASE_URL,
    key_vars=(google.KEY_VAR,),
    base_url_vars=google.ENDPOINT_VARS,
    aliases=("vertex_ai",),
    key_required=False,
    sign=google.authorize,
    resolve_url=google.resolve_url,
    dialect=lazy(
        "gemini.GeminiDialect", provider="vertex", models_path="/publishers/google/models", vertex_numbers=True
    ),
    price_listing=_VERTEX_PRICES,
    note="as `gemini`; default credentials through the extra `vertex`",
)
_COHERE = Row(
    name="cohere",
    base_url="https://api.cohere.com",
    key_vars=("COHERE_API_KEY", "CO_API_KEY"),
    base_url_vars=("CO_API_URL", "COHERE_BASE_URL"),
    resolve_url=_cohere_url,
    capabilities=VECTORS,
    dialect=lazy("cohere_v2.CohereV2Dialect", provider="cohere"),
    example_model="command-r7b-12-2024",
    price_listing=PriceListing("cohere"),
    note="citations are in `raw`; no single tool can be named",
)
# Without a key, botocore may find credentials.
_BEDROCK = Row(
    name="bedrock",
    base_url=aws.BASE_URL,
    key_vars=(aws.KEY_VAR,),
    base_url_vars=aws.ENDPOINT_VARS,
    aliases=("aws_bedrock",),
    key_required=False,
    sign=aws.sign,
    resolve_url=aws.resolve_url,
    dialect=lazy("bedrock_converse.BedrockConverseDialect", provider="bedrock"),
    price_listing=_AWS_PRICES,
    note="by Bedrock key, or signed with what botocore finds (the extra `bedrock`); streams need botocore",
)

ROWS: tuple[Row, ...] = (
    Row(
        name="anthropic",
        base_url="https://api.anthropic.com",
        key_vars=("ANTHROPIC_API_KEY",),
        base_url_vars=("ANTHROPIC_BASE_URL",),
        aliases=("claude",),
        auth=key_header("x-api-key"),
        capabilities=LISTS,
        dialect=lazy("anthropic_messages.AnthropicMessagesDialect", provider="anthropic"),
        example_model="claude-haiku-4-5",
        price_listing=PriceListing("anthropic"),
        note="`max_tokens` is 4096 unless set; efforts become budgets, or stay efforts if the model rejects budgets",
    ),
    # Each resource has its own base URL, https://RESOURCE.services.ai.azure.com/anthropic
    Row(
        name="azure_anthropic",
        key_vars=("ANTHROPIC_FOUNDRY_API_KEY",),
        base_url_vars=("ANTHROPIC_FOUNDRY_BASE_URL",),
        auth=key_header("x-api-key"),
        dialect=lazy("anthropic_messages.AnthropicMessagesDialect", provider="azure_anthropic"),
        price_listing=AZURE_PRICES,
        note="as `anthropic`; each resource has its own host, `https://RESOURCE.services.ai.azure.com/anthropic`",
    ),
    Row(
        name="gemini",
        base_url="https://generativelanguage.googleapis.com",
        key_vars=("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"),
        base_url_vars=("GOOGLE_GEMINI_BASE_URL",),
        aliases=("google",),
        auth=key_header("x-goog-api-key"),
        resolve_url=_gemini_url,
        capabilities=VECTORS,
        dialect=lazy("gemini.GeminiDialect", provider="gemini"),
        example_model="gemini-2.5-flash",
        price_listing=PriceListing("google", not_sold=("claude",), version=_GOOGLE_VERSION),
        note="efforts become levels from Gemini 3 on, budgets before; signatures of thoughts and calls go back",
    ),
    _VERTEX,
    attrs.evolve(
        _VERTEX,
        name="vertex_anthropic",
        aliases=(),
        dialect=lazy(
            "anthropic_messages.AnthropicMessagesDialect",
            provider="vertex_anthropic",
            path="/publishers/anthropic/models/{model}:rawPredict",
            stream_path="/publishers/anthropic/models/{model}:streamRawPredict",
            version_in_body="vertex-2023-10-16",
        ),
        note="as `anthropic`; default credentials through the extra `vertex`",
    ),
    _COHERE,
    # The same provider's older API, for programs and models that need it.
    attrs.evolve(
        _COHERE,
        name="cohere_v1",
        capabilities=Capabilities(reasoning=False),
        dialect=lazy("cohere_v1.CohereV1Dialect", provider="cohere_v1"),
        example_model=None,
        note="",
    ),
    # The key is "SECRET_ID:SECRET_KEY", or that with a temporary token behind it.
    Row(
        name="hunyuan",
        base_url="https://hunyuan.tencentcloudapi.com",
        key_pair_vars=("TENCENT_SECRET_ID", "TENCENT_SECRET_KEY"),
        base_url_vars=("HUNYUAN_BASE_URL",),
        aliases=("tencent",),
        sign=tencent.sign,
        dialect=lazy("hunyuan.HunyuanDialect", provider="hunyuan"),
        note="requests are signed (TC3-HMAC-SHA256); no `max_tokens`, no effort but `none`",
        unverified=True,
    ),
    # The provider's own format; "qwen" is its OpenAI-compatible endpoint.
    Row(
        name="dashscope",
        base_url="https://dashscope-intl.aliyuncs.com/api/v1",
        key_vars=("DASHSCOPE_API_KEY", "ALIBABA_API_KEY"),
        base_url_vars=("DASHSCOPE_HTTP_BASE_URL",),
        dialect=lazy("dashscope.DashScopeDialect", provider="dashscope"),
        note="the provider's own format; `qwen` is its OpenAI-compatible one",
        unverified=True,
    ),
    _BEDROCK,
    # The same provider's other API, in which each maker's models have the maker's format.
    attrs.evolve(_BEDROCK, name="bedrock_invoke", aliases=(), dialect=_bedrock_invoke, note=""),
    Row(
        name="ollama",
        base_url="http://127.0.0.1:11434",
        key_vars=("OLLAMA_API_KEY",),
        base_url_vars=("OLLAMA_HOST",),
        key_required=False,
        resolve_url=_ollama_url,
        capabilities=VECTORS,
        dialect=lazy("ollama.OllamaDialect", provider="ollama"),
        note="`anyllm.providers.ollama` pulls, shows and deletes models; images only from files and bytes",
    ),
    Row(
        name="ollama_cloud",
        base_url="https://ollama.com",
        key_vars=("OLLAMA_API_KEY",),
        capabilities=LISTS,
        dialect=lazy("ollama.OllamaDialect", provider="ollama_cloud"),
        note="as `ollama`",
        unverified=True,
    ),
)
