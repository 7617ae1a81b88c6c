"""
The dialect of AWS Bedrock's InvokeModel, put together from those of its families of models.

Wire formats do not import each other, so they are combined here.
"""

from __future__ import annotations

from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect
from anyllm.wire.bedrock_converse.dialect import BedrockConverseDialect
from anyllm.wire.bedrock_invoke.dialect import (
    BedrockInvokeDialect,
    Family,
    TextCompletionDialect,
    is_anthropic_messages,
    is_cohere_chat,
    is_openai_chat,
    is_text_completion,
    nova,
)
from anyllm.wire.cohere_v1.dialect import CohereV1Dialect
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect

__all__ = ["dialect"]

#: Bedrock's name for the version of Anthropic's API. Anthropic's own client sends a newer one, which these models do
#: not accept. Source: https://platform.claude.com/docs/en/build-with-claude/claude-on-amazon-bedrock-legacy
_VERSION = "bedrock-2023-05-31"


def dialect(provider: str) -> BedrockInvokeDialect:
    """The dialect with its families; chunks and errors contain *provider*."""
    # The provider sends usage without being asked, and rejects `stream_options`. It accepts no reasoning.
    chat = OpenAIChatDialect(
        provider=provider, include_usage=False, max_tokens_key="max_completion_tokens", reasoning_key=None
    )
    return BedrockInvokeDialect(
        provider=provider,
        families=(
            Family(
                dialect=AnthropicMessagesDialect(provider=provider, version_in_body=_VERSION),
                matches=is_anthropic_messages,
                model_prefixes=("anthropic.",),
            ),
            Family(dialect=chat, matches=is_openai_chat, model_prefixes=("openai.",), splits_reasoning=True),
            nova(BedrockConverseDialect(provider=provider)),
            Family(
                dialect=CohereV1Dialect(provider=provider), matches=is_cohere_chat, model_prefixes=("cohere.command-r",)
            ),
            Family(dialect=TextCompletionDialect(provider=provider), matches=is_text_completion),
        ),
    )
