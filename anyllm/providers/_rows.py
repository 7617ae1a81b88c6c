"""
Who hosts models: one row a host. A host with a quirk is a row with a switch; only a new wire format is new code.

"unverified" stands beside what was written from a host's documents, or from what others wrote of it, and has neither
been called nor recorded.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable
from typing import Any, Optional

from anyllm.dialects import Dialect
from anyllm.dialects.openai_chat import OpenAIChat
from anyllm.errors import InvalidRequestError
from anyllm.providers import _aws, _azure, _google, _tencent
from anyllm.providers._row import Capabilities, Row, key_header

__all__ = ["ROWS", "find", "names"]

#: Hosts that make vectors beside answers, of those that speak OpenAI's format.
_VECTORS = Capabilities(embedding=True, list_models=True)
_LISTS = Capabilities(list_models=True)

#: A version at the end of a base URL.
_VERSION = re.compile(r"/v\d\w*$")


def _later(name: str, **switches: Any) -> Callable[[], Dialect]:
    """The dialect *name*, "gemini.Gemini", loaded when it is needed: importing all of them costs a program 50 ms."""
    module, _, kind = name.partition(".")

    @functools.cache
    def dialect() -> Dialect:
        made: Dialect = getattr(importlib.import_module(f"anyllm.dialects.{module}"), kind)(**switches)
        return made

    return dialect


def _local() -> tuple[str, str]:
    from anyllm.providers import local  # on first use: it starts a server

    endpoint = local.endpoint()
    return endpoint.base_url, endpoint.api_key


def _gemini(base_url: str, model: str) -> str:
    """Google's client takes a host, and adds the version; with one, it is taken as it is."""
    base, mark, query = base_url.partition("?")
    base = base.rstrip("/")
    return f"{base if _VERSION.search(base) else base + '/v1beta'}{mark}{query}"


def _cohere(base_url: str, model: str) -> str:
    from anyllm.dialects.cohere_v2 import host_url

    return host_url(base_url)


def _ollama(base_url: str, model: str) -> str:
    from anyllm.dialects.ollama_chat import host_url

    try:
        return host_url(base_url)
    except ValueError as exc:
        raise InvalidRequestError(f"OLLAMA_HOST or base_url is no address: {exc}", param="base_url") from exc


def _chat(
    name: str,
    base_url: Optional[str],
    key_vars: tuple[str, ...] = (),
    base_url_vars: tuple[str, ...] = (),
    *,
    aliases: tuple[str, ...] = (),
    key_required: bool = True,
    capabilities: Capabilities = _LISTS,
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
        capabilities=capabilities,
        dialect=OpenAIChat(provider=name, **switches),
    )


def _responses(
    name: str, base_url: Optional[str], key_vars: tuple[str, ...], base_url_vars: tuple[str, ...], **fields: Any
) -> Row:
    """A host of OpenAI's Responses; all but OpenAI's own were only read in recordings."""
    return Row(
        name=name,
        base_url=base_url,
        key_vars=key_vars,
        base_url_vars=base_url_vars,
        dialect=_later("openai_responses.OpenAIResponses", provider=name),
        **fields,
    )


#: How hosts turn reasoning off in models that reason unasked.
_ENABLE_THINKING: dict[str, Any] = {"enable_thinking": False}
_THINKING_TYPE: dict[str, Any] = {"thinking": {"type": "disabled"}}

ROWS: tuple[Row, ...] = (
    _chat(
        "openai",
        "https://api.openai.com/v1",
        ("OPENAI_API_KEY",),
        ("OPENAI_BASE_URL",),
        capabilities=_VECTORS,
        # Reasoning models refuse max_tokens, and the others take both. Message keys it does not know are refused.
        max_tokens_key="max_completion_tokens",
        reasoning_key=None,
    ),
    Row(
        name="local",
        dialect=OpenAIChat(provider="local"),
        key_required=False,
        endpoint=_local,
        models=("smollm2",),
        capabilities=Capabilities(tools=False, reasoning=False, list_models=True),
    ),
    _responses("openai-responses", "https://api.openai.com/v1", ("OPENAI_API_KEY",), ("OPENAI_BASE_URL",)),
    _responses("xai-responses", "https://api.x.ai/v1", ("XAI_API_KEY",), ("XAI_API_BASE", "XAI_BASE_URL")),
    _responses(
        "openrouter-responses",
        "https://openrouter.ai/api/v1",
        ("OPENROUTER_API_KEY", "OPEN_ROUTER_API_KEY"),
        ("OPENROUTER_API_BASE", "OPENROUTER_BASE_URL"),
    ),
    _responses(
        "deepseek-responses",
        "https://api.deepseek.com",
        ("DEEPSEEK_API_KEY",),
        ("DEEPSEEK_API_BASE", "DEEPSEEK_BASE_URL"),
    ),
    _responses(
        "azure-responses",
        None,
        ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
        ("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE"),
        auth=_azure.authorize,
        locate=_azure.locate,
    ),
    # The model is the name of the deployment.
    Row(
        name="azure",
        key_vars=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
        base_url_vars=("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE"),
        aliases=("azure_openai",),
        auth=_azure.authorize,
        locate=_azure.locate,
        capabilities=_VECTORS,
        dialect=OpenAIChat(provider="azure", max_tokens_key="max_completion_tokens", reasoning_key=None),
    ),
    # Any server that speaks OpenAI's format: vLLM, llama.cpp, LM Studio, a proxy.
    _chat(
        "compatible",
        None,
        ("COMPATIBLE_API_KEY",),
        ("COMPATIBLE_BASE_URL",),
        key_required=False,
        capabilities=_VECTORS,
    ),
    # -- hosts of their own and others' models ---------------------------------------------------------------------
    _chat("groq", "https://api.groq.com/openai/v1", ("GROQ_API_KEY",), ("GROQ_BASE_URL",), reasoning_key="reasoning"),
    _chat(
        "openrouter",
        "https://openrouter.ai/api/v1",
        ("OPENROUTER_API_KEY", "OPEN_ROUTER_API_KEY"),
        ("OPENROUTER_API_BASE", "OPENROUTER_BASE_URL"),
        capabilities=_VECTORS,
        reasoning_key="reasoning",
        thinking_budget_key="reasoning.max_tokens",
        no_thinking={"reasoning": {"enabled": False}},
    ),
    _chat(
        "mistral",
        "https://api.mistral.ai/v1",
        ("MISTRAL_API_KEY",),
        ("MISTRAL_API_BASE", "MISTRAL_BASE_URL"),
        capabilities=_VECTORS,
        include_usage=False,  # it always comes with the last chunk; asking for it is refused with a 422
    ),
    _chat(
        "deepseek",
        "https://api.deepseek.com",
        ("DEEPSEEK_API_KEY",),
        ("DEEPSEEK_API_BASE", "DEEPSEEK_BASE_URL"),
        no_thinking=_THINKING_TYPE,
        formats=("json_object",),
    ),
    # Cortex; each account has its own host. Its streams end with [DONE] and never say a finish reason.
    _chat(
        "snowflake",
        None,
        ("SNOWFLAKE_PAT",),
        ("SNOWFLAKE_BASE_URL",),
        capabilities=Capabilities(),
        done_is_complete=True,
    ),
    _chat("xai", "https://api.x.ai/v1", ("XAI_API_KEY",), ("XAI_API_BASE", "XAI_BASE_URL")),
    _chat(
        "together",
        "https://api.together.xyz/v1",
        ("TOGETHER_API_KEY",),
        ("TOGETHER_API_BASE", "TOGETHER_BASE_URL"),
        aliases=("together_ai", "togetherai"),
        capabilities=_VECTORS,
        reasoning_key="reasoning",
    ),
    _chat(
        "fireworks",
        "https://api.fireworks.ai/inference/v1",
        ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
        ("FIREWORKS_API_BASE", "FIREWORKS_BASE_URL"),
        aliases=("fireworks_ai",),
        capabilities=_VECTORS,
        think_tags="split",
    ),
    _chat(
        "perplexity",
        "https://api.perplexity.ai",
        ("PERPLEXITY_API_KEY", "PERPLEXITYAI_API_KEY"),
        ("PERPLEXITY_BASE_URL",),
        capabilities=Capabilities(tools=False),
        think_tags="split",
    ),
    _chat(
        "cerebras",
        "https://api.cerebras.ai/v1",
        ("CEREBRAS_API_KEY",),
        ("CEREBRAS_API_BASE", "CEREBRAS_BASE_URL"),
        reasoning_key="reasoning",
    ),
    _chat(
        "sambanova",
        "https://api.sambanova.ai/v1",
        ("SAMBANOVA_API_KEY",),
        ("SAMBANOVA_API_BASE", "SAMBANOVA_BASE_URL"),
        capabilities=_VECTORS,
        think_tags="split",  # unverified
    ),
    _chat(
        "nvidia",
        "https://integrate.api.nvidia.com/v1",
        ("NVIDIA_NIM_API_KEY", "NVIDIA_API_KEY"),
        ("NVIDIA_NIM_API_BASE", "NVIDIA_BASE_URL"),
        aliases=("nvidia_nim", "nim"),
        capabilities=_VECTORS,
    ),
    _chat(
        "huggingface",
        "https://router.huggingface.co/v1",
        ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
        ("HUGGINGFACE_API_BASE",),
        aliases=("hf",),
    ),
    _chat(
        "github",
        "https://models.github.ai/inference",
        ("GITHUB_TOKEN", "GITHUB_API_KEY"),
        ("GITHUB_MODELS_BASE_URL",),
        aliases=("github_models",),
        capabilities=Capabilities(embedding=True),  # unverified
    ),
    # Each workspace has its own host, https://WORKSPACE/serving-endpoints; some endpoints refuse stream_options.
    _chat(
        "databricks",
        None,
        ("DATABRICKS_TOKEN",),
        ("DATABRICKS_BASE_URL",),
        capabilities=Capabilities(embedding=True),  # unverified
    ),
    _chat(
        "nebius", "https://api.studio.nebius.com/v1", ("NEBIUS_API_KEY",), ("NEBIUS_BASE_URL",), capabilities=_VECTORS
    ),
    _chat("deepinfra", "https://api.deepinfra.com/v1/openai", ("DEEPINFRA_API_KEY",), capabilities=_VECTORS),
    _chat(
        "vercel",
        "https://ai-gateway.vercel.sh/v1",
        ("VERCEL_AI_GATEWAY_API_KEY", "AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN"),
        aliases=("vercel_gateway",),
        capabilities=_VECTORS,
        reasoning_key="reasoning",
    ),
    _chat("portkey", "https://api.portkey.ai/v1", ("PORTKEY_API_KEY",), capabilities=_VECTORS),  # unverified
    _chat("aihubmix", "https://aihubmix.com/v1", ("AIHUBMIX_API_KEY",), capabilities=_VECTORS),
    _chat("avian", "https://api.avian.io/v1", ("AVIAN_API_KEY",)),
    _chat("writer", "https://api.writer.com/v1", ("WRITER_API_KEY",)),
    _chat("crusoe", "https://managed-inference-api-proxy.crusoecloud.com/v1", ("CRUSOE_API_KEY",)),  # unverified
    _chat("scaleway", "https://api.scaleway.ai/v1", ("SCW_SECRET_KEY",), capabilities=_VECTORS),  # unverified
    _chat("venice", "https://api.venice.ai/api/v1", ("VENICE_AI_API_KEY",)),  # unverified
    _chat("chutes", "https://llm.chutes.ai/v1", ("CHUTES_API_KEY",)),  # unverified
    _chat("poe", "https://api.poe.com/v1", ("POE_API_KEY",)),  # unverified
    _chat("gmi", "https://api.gmi-serving.com/v1", ("GMI_API_KEY",)),  # unverified
    _chat("ovhcloud", "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1", ("OVHCLOUD_API_KEY",)),  # unverified
    _chat("baseten", "https://inference.baseten.co/v1", ("BASETEN_API_KEY",)),  # unverified
    _chat("inception", "https://api.inceptionlabs.ai/v1", ("INCEPTION_API_KEY",)),  # unverified
    _chat("meta", "https://api.meta.ai/v1", ("META_API_KEY", "LLAMA_API_KEY")),  # unverified
    # -- hosts in China --------------------------------------------------------------------------------------------
    _chat(
        "moonshot",
        "https://api.moonshot.ai/v1",
        ("MOONSHOT_API_KEY", "MOONSHOTAI_API_KEY", "KIMI_API_KEY"),
        ("MOONSHOT_API_BASE", "MOONSHOT_BASE_URL"),
        aliases=("moonshotai", "kimi"),
        no_thinking=_THINKING_TYPE,
    ),
    _chat(
        "zai",
        "https://api.z.ai/api/paas/v4",
        ("ZAI_API_KEY",),
        ("ZAI_BASE_URL",),
        aliases=("z.ai",),
        capabilities=_VECTORS,
        no_thinking=_THINKING_TYPE,
        formats=("json_object",),
    ),
    _chat(
        "zhipu",
        "https://open.bigmodel.cn/api/paas/v4",
        ("ZHIPU_API_KEY", "ZHIPUAI_API_KEY"),
        ("ZHIPU_BASE_URL",),
        aliases=("zhipuai", "bigmodel"),
        capabilities=_VECTORS,
        no_thinking=_THINKING_TYPE,
        formats=("json_object",),
    ),
    _chat(
        "qwen",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        ("DASHSCOPE_API_KEY", "ALIBABA_API_KEY"),
        ("DASHSCOPE_API_BASE", "QWEN_BASE_URL"),
        aliases=("alibaba",),
        capabilities=_VECTORS,
        thinking_budget_key="thinking_budget",
        no_thinking=_ENABLE_THINKING,
    ),
    _chat(
        "minimax",
        "https://api.minimax.io/v1",
        ("MINIMAX_API_KEY",),
        ("MINIMAX_API_BASE", "MINIMAX_BASE_URL"),
        think_tags="split",
    ),
    _chat(
        "volcengine",
        "https://ark.cn-beijing.volces.com/api/v3",
        ("ARK_API_KEY", "VOLCENGINE_API_KEY"),
        ("ARK_BASE_URL",),
        aliases=("ark", "doubao"),
        capabilities=Capabilities(embedding=True),
        no_thinking=_THINKING_TYPE,
    ),
    _chat(
        "siliconflow",
        "https://api.siliconflow.cn/v1",
        ("SILICONFLOW_API_KEY",),
        capabilities=_VECTORS,
        thinking_budget_key="thinking_budget",
        no_thinking=_ENABLE_THINKING,
    ),  # unverified
    _chat(
        "xiaomi",
        "https://api.xiaomimimo.com/v1",
        ("XIAOMI_API_KEY", "MIMO_API_KEY"),
        ("XIAOMI_BASE_URL",),
        aliases=("mimo",),
        no_thinking=_THINKING_TYPE,
    ),  # unverified
    _chat("longcat", "https://api.longcat.chat/openai/v1", ("LONGCAT_API_KEY",), ("LONGCAT_BASE_URL",)),  # unverified
    # -- formats of their own --------------------------------------------------------------------------------------
    Row(
        name="anthropic",
        base_url="https://api.anthropic.com",
        key_vars=("ANTHROPIC_API_KEY",),
        base_url_vars=("ANTHROPIC_BASE_URL",),
        aliases=("claude",),
        auth=key_header("x-api-key"),
        capabilities=_LISTS,
        dialect=_later("anthropic_messages.AnthropicMessages", provider="anthropic"),
    ),
    # Each resource has its own base URL, https://RESOURCE.services.ai.azure.com/anthropic
    Row(
        name="azure_anthropic",
        key_vars=("ANTHROPIC_FOUNDRY_API_KEY",),
        base_url_vars=("ANTHROPIC_FOUNDRY_BASE_URL",),
        auth=key_header("x-api-key"),
        dialect=_later("anthropic_messages.AnthropicMessages", provider="azure_anthropic"),
    ),  # unverified but for recorded streams
    Row(
        name="gemini",
        base_url="https://generativelanguage.googleapis.com",
        key_vars=("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"),
        base_url_vars=("GOOGLE_GEMINI_BASE_URL",),
        aliases=("google",),
        auth=key_header("x-goog-api-key"),
        locate=_gemini,
        capabilities=_VECTORS,
        dialect=_later("gemini.Gemini", provider="gemini"),
    ),
    # Without a key, google-auth may find credentials.
    Row(
        name="vertex",
        base_url=_google.BASE_URL,
        key_vars=(_google.KEY_VAR,),
        base_url_vars=_google.ENDPOINT_VARS,
        aliases=("vertex_ai",),
        key_required=False,
        sign=_google.authorize,
        locate=_google.locate,
        dialect=_later(
            "gemini.Gemini", provider="vertex", models_path="/publishers/google/models", vertex_numbers=True
        ),
    ),  # unverified but for recorded streams
    Row(
        name="vertex_anthropic",
        base_url=_google.BASE_URL,
        key_vars=(_google.KEY_VAR,),
        base_url_vars=_google.ENDPOINT_VARS,
        key_required=False,
        sign=_google.authorize,
        locate=_google.locate,
        dialect=_later(
            "anthropic_messages.AnthropicMessages",
            provider="vertex_anthropic",
            path="/publishers/anthropic/models/{model}:rawPredict",
            stream_path="/publishers/anthropic/models/{model}:streamRawPredict",
            version_in_body="vertex-2023-10-16",
        ),
    ),  # unverified but for recorded streams
    Row(
        name="cohere",
        base_url="https://api.cohere.com",
        key_vars=("COHERE_API_KEY", "CO_API_KEY"),
        base_url_vars=("CO_API_URL", "COHERE_BASE_URL"),
        locate=_cohere,
        capabilities=_VECTORS,
        dialect=_later("cohere_v2.CohereV2", provider="cohere"),
    ),
    # The key is "SECRET_ID:SECRET_KEY", or that with a temporary token behind it.
    Row(
        name="hunyuan",
        base_url="https://hunyuan.tencentcloudapi.com",
        key_pair_vars=("TENCENT_SECRET_ID", "TENCENT_SECRET_KEY"),
        base_url_vars=("HUNYUAN_BASE_URL",),
        aliases=("tencent",),
        sign=_tencent.sign,
        dialect=_later("hunyuan.Hunyuan", provider="hunyuan"),
    ),  # unverified
    # The host's own format; "qwen" is its OpenAI-compatible endpoint.
    Row(
        name="dashscope",
        base_url="https://dashscope-intl.aliyuncs.com/api/v1",
        key_vars=("DASHSCOPE_API_KEY", "ALIBABA_API_KEY"),
        base_url_vars=("DASHSCOPE_HTTP_BASE_URL",),
        dialect=_later("dashscope.DashScope", provider="dashscope"),
    ),  # unverified
    # Without a key, botocore's own chain may have one.
    Row(
        name="bedrock",
        base_url=_aws.BASE_URL,
        key_vars=(_aws.KEY_VAR,),
        base_url_vars=_aws.ENDPOINT_VARS,
        aliases=("aws_bedrock",),
        key_required=False,
        sign=_aws.sign,
        locate=_aws.locate,
        dialect=_later("bedrock_converse.BedrockConverse", provider="bedrock"),
    ),
    Row(
        name="ollama",
        base_url="http://127.0.0.1:11434",
        key_vars=("OLLAMA_API_KEY",),
        base_url_vars=("OLLAMA_HOST",),
        key_required=False,
        locate=_ollama,
        capabilities=_VECTORS,
        dialect=_later("ollama_chat.OllamaChat", provider="ollama"),
    ),
    Row(
        name="ollama_cloud",
        base_url="https://ollama.com",
        key_vars=("OLLAMA_API_KEY",),
        capabilities=_LISTS,  # unverified
        dialect=_later("ollama_chat.OllamaChat", provider="ollama_cloud"),
    ),
    # -- servers of one's own --------------------------------------------------------------------------------------
    _chat(
        "vllm",
        "http://localhost:8000/v1",
        ("VLLM_API_KEY",),
        ("VLLM_API_BASE", "VLLM_BASE_URL"),
        key_required=False,
        capabilities=_VECTORS,
        reasoning_key="reasoning",
        no_thinking={"chat_template_kwargs": {"enable_thinking": False}},
    ),
    _chat(
        "llama_cpp",
        "http://127.0.0.1:8080/v1",
        ("LLAMACPP_API_KEY",),
        ("LLAMACPP_API_BASE",),
        aliases=("llamacpp", "llama.cpp"),
        key_required=False,
        capabilities=_VECTORS,
    ),
    _chat(
        "llamafile",
        "http://127.0.0.1:8080/v1",
        (),
        ("LLAMAFILE_API_BASE",),
        key_required=False,
        capabilities=_VECTORS,
    ),
    _chat(
        "lm_studio",
        "http://localhost:1234/v1",
        ("LM_STUDIO_API_KEY",),
        ("LM_STUDIO_API_BASE",),
        aliases=("lmstudio",),
        key_required=False,
        capabilities=_VECTORS,
    ),
    _chat(
        "xinference",
        "http://localhost:9997/v1",
        ("XINFERENCE_API_KEY",),
        ("XINFERENCE_BASE_URL",),
        key_required=False,
        capabilities=_VECTORS,
    ),  # unverified
    _chat(
        "gpustack",
        None,
        ("GPUSTACK_API_KEY",),
        ("GPUSTACK_BASE_URL",),
        key_required=False,
        capabilities=_VECTORS,
    ),
)


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_")


_BY_NAME: dict[str, Row] = {_plain(name): row for row in ROWS for name in (row.name, *row.aliases)}


def find(name: str) -> Optional[Row]:
    """The row called *name*, in any case, or None; dashes and underscores are the same."""
    return _BY_NAME.get(_plain(name))


def names() -> list[str]:
    """Every name and alias."""
    return sorted(name for row in ROWS for name in (row.name, *row.aliases))
