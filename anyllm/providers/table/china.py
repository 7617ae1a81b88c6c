"""Providers in China with OpenAI's chat completions."""

from __future__ import annotations

from anyllm.providers.table.row import Capabilities, PriceListing, Row
from anyllm.providers.table.row_builders import ENABLE_THINKING, PARTIAL, THINKING_TYPE, VECTORS, chat

__all__ = ["ROWS"]

ROWS: tuple[Row, ...] = (
    chat(
        "moonshot",
        "https://api.moonshot.ai/v1",
        ("MOONSHOT_API_KEY", "MOONSHOTAI_API_KEY", "KIMI_API_KEY"),
        ("MOONSHOT_API_BASE", "MOONSHOT_BASE_URL"),
        aliases=("moonshotai", "kimi"),
        no_thinking=THINKING_TYPE,
        price_listing=PriceListing("moonshotai"),
        note="`https://api.moonshot.cn/v1` in China, with keys of its own",
        unverified=True,
        prefill=PARTIAL,
    ),
    chat(
        "zai",
        "https://api.z.ai/api/paas/v4",
        ("ZAI_API_KEY",),
        ("ZAI_BASE_URL",),
        aliases=("z.ai",),
        capabilities=VECTORS,
        no_thinking=THINKING_TYPE,
        formats=("json_object",),
        price_listing=PriceListing("zai"),
        note="JSON objects, no schemas",
    ),
    chat(
        "zhipu",
        "https://open.bigmodel.cn/api/paas/v4",
        ("ZHIPU_API_KEY", "ZHIPUAI_API_KEY"),
        ("ZHIPU_BASE_URL",),
        aliases=("zhipuai", "bigmodel"),
        capabilities=VECTORS,
        no_thinking=THINKING_TYPE,
        formats=("json_object",),
        price_listing=PriceListing("zhipuai"),
        note="JSON objects, no schemas",
        unverified=True,
    ),
    chat(
        "qwen",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        ("DASHSCOPE_API_KEY", "ALIBABA_API_KEY"),
        ("DASHSCOPE_API_BASE", "QWEN_BASE_URL"),
        aliases=("alibaba",),
        capabilities=VECTORS,
        thinking_budget_key="thinking_budget",
        no_thinking=ENABLE_THINKING,
        cache_marks=True,
        note="`enable_thinking` and `thinking_budget`; `https://dashscope.aliyuncs.com/compatible-mode/v1` in China",
        prefill=PARTIAL,
    ),
    chat(
        "minimax",
        "https://api.minimax.io/v1",
        ("MINIMAX_API_KEY",),
        ("MINIMAX_API_BASE", "MINIMAX_BASE_URL"),
        think_tags="split",
        price_listing=PriceListing("minimax"),
        note="`<think>` is split off the text",
    ),
    chat(
        "volcengine",
        "https://ark.cn-beijing.volces.com/api/v3",
        ("ARK_API_KEY", "VOLCENGINE_API_KEY"),
        ("ARK_BASE_URL",),
        aliases=("ark", "doubao"),
        capabilities=Capabilities(embedding=True),
        no_thinking=THINKING_TYPE,
    ),
    chat(
        "siliconflow",
        "https://api.siliconflow.cn/v1",
        ("SILICONFLOW_API_KEY",),
        capabilities=VECTORS,
        thinking_budget_key="thinking_budget",
        no_thinking=ENABLE_THINKING,
        note="`enable_thinking` and `thinking_budget`",
        unverified=True,
    ),
    chat(
        "xiaomi",
        "https://api.xiaomimimo.com/v1",
        ("XIAOMI_API_KEY", "MIMO_API_KEY"),
        ("XIAOMI_BASE_URL",),
        aliases=("mimo",),
        no_thinking=THINKING_TYPE,
        unverified=True,
    ),
    chat("longcat", "https://api.longcat.chat/openai/v1", ("LONGCAT_API_KEY",), ("LONGCAT_BASE_URL",), unverified=True),
)
