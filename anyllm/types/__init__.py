"""
The value classes: parameters, messages, chunks, whole answers.

Their shape is that of OpenAI's chat completions, with more fields for other providers; every dialect uses them. Plain
dicts are accepted wherever a class is.

Strategy: classes that users build are frozen, so that sharing them between threads is safe. Those of each chunk are
not: freezing costs a second for a million chunks, and each chunk has one owner.

Source: https://platform.openai.com/docs/api-reference/chat and .../chat/streaming
"""

from __future__ import annotations

from anyllm.types._base import Serializable
from anyllm.types._chunks import ChatCompletionChunk, ChunkChoice, ChunkDelta, text_alone, text_chunk
from anyllm.types._completions import ChatCompletion, Choice
from anyllm.types._cost import Cost
from anyllm.types._embeddings import EmbeddingParams, Embeddings, Model
from anyllm.types._messages import ContentPart, Message
from anyllm.types._params import REASONING_EFFORTS, STRUCTURED, CompletionParams
from anyllm.types._parts import FINISH_REASONS, FunctionCall, Reasoning, Retried, RetryNotice, ToolCall, Usage

__all__ = [
    "FINISH_REASONS",
    "REASONING_EFFORTS",
    "STRUCTURED",
    "ChatCompletion",
    "ChatCompletionChunk",
    "Choice",
    "ChunkChoice",
    "ChunkDelta",
    "CompletionParams",
    "ContentPart",
    "Cost",
    "EmbeddingParams",
    "Embeddings",
    "FunctionCall",
    "Message",
    "Model",
    "Reasoning",
    "Retried",
    "RetryNotice",
    "Serializable",
    "ToolCall",
    "Usage",
    "text_alone",
    "text_chunk",
]
