"""
Stream from any LLM provider into ordinary synchronous Python: threads, bounded channels, and a Context that ends them.

    ctx = anyllm.Context(timeout=30)
    chunks, errors = anyllm.completion_stream(ctx, anyllm.CompletionParams(
        model="openai/gpt-4o-mini", messages=[anyllm.Message.user("Write a short story.")]))
    for chunk in chunks:
        print(chunk.content, end="", flush=True)
    if (error := errors.get()) is not None:
        raise error

Strategy: importing anyllm loads nothing; each name loads its module when it is first asked for. Command lines and
workers that may never make a call start at once, and `anyllm.Context` does not bring a transport with it.
"""

import importlib
import typing

from anyllm.__version__ import __version__

if typing.TYPE_CHECKING:
    from anyllm._stream.active_calls import active_streams
    from anyllm._stream.stream import Stream
    from anyllm.agent import Agent, AgentResult, BudgetExceededError
    from anyllm.channel import Channel, merge, select
    from anyllm.client import Client
    from anyllm.client._chat_stream import ChatStream
    from anyllm.context import (
        Context,
        after_func,
        background,
        cause,
        with_cancel,
        with_deadline,
        with_timeout,
        with_value,
        without_cancel,
    )
    from anyllm.errors import (
        AnyLLMError,
        APIError,
        AuthenticationError,
        Cancelled,
        CircuitOpenError,
        ConnectionLostError,
        ContentFilterError,
        ContextLengthExceededError,
        DeadlineExceeded,
        IncompleteStreamError,
        InsufficientFundsError,
        InvalidRequestError,
        LimitTooSmallError,
        LocalUnavailableError,
        MalformedStreamError,
        MissingAPIKeyError,
        ModelNotFoundError,
        NetworkError,
        OverloadedError,
        PermissionDeniedError,
        RateLimitError,
        ServerError,
        StreamTimeoutError,
        UnsupportedParameterError,
        UnsupportedProviderError,
        WaitTooLongError,
    )
    from anyllm.events import StreamEvent
    from anyllm.options import Retry, StreamingOptions, Timeouts
    from anyllm.pricing import Price, cost_of
    from anyllm.processing import EventProcessor
    from anyllm.providers.provider import Provider
    from anyllm.providers.registry import completion, completion_stream, embedding, list_models, provider
    from anyllm.structured import StructuredOutputError
    from anyllm.tokens import TokenCount, count_tokens, estimate_usage
    from anyllm.tools import Tool, ToolArgumentsError, tool
    from anyllm.types import (
        ChatCompletion,
        ChatCompletionChunk,
        Choice,
        ChunkChoice,
        ChunkDelta,
        CompletionParams,
        ContentPart,
        Cost,
        EmbeddingParams,
        Embeddings,
        FunctionCall,
        Message,
        Model,
        Reasoning,
        Retried,
        RetryNotice,
        ToolCall,
        Usage,
    )

__all__ = [
    "__version__",
    # clients
    "ChatStream",
    "Client",
    "StreamEvent",
    "EventProcessor",
    # tools
    "Agent",
    "AgentResult",
    "Tool",
    "tool",
    # tokens and money
    "Cost",
    "Price",
    "TokenCount",
    "cost_of",
    "count_tokens",
    "estimate_usage",
    # calls
    "completion",
    "completion_stream",
    "embedding",
    "list_models",
    "provider",
    "Provider",
    "Stream",
    "active_streams",
    # contexts and channels
    "Channel",
    "Context",
    "after_func",
    "background",
    "cause",
    "merge",
    "select",
    "with_cancel",
    "with_deadline",
    "with_timeout",
    "with_value",
    "without_cancel",
    # values
    "ChatCompletion",
    "ChatCompletionChunk",
    "Choice",
    "ChunkChoice",
    "ChunkDelta",
    "CompletionParams",
    "ContentPart",
    "EmbeddingParams",
    "Embeddings",
    "FunctionCall",
    "Message",
    "Model",
    "Reasoning",
    "Retried",
    "RetryNotice",
    "ToolCall",
    "Usage",
    # options
    "Retry",
    "StreamingOptions",
    "Timeouts",
    # errors
    "APIError",
    "AnyLLMError",
    "AuthenticationError",
    "BudgetExceededError",
    "Cancelled",
    "CircuitOpenError",
    "ConnectionLostError",
    "ContentFilterError",
    "ContextLengthExceededError",
    "DeadlineExceeded",
    "IncompleteStreamError",
    "InsufficientFundsError",
    "InvalidRequestError",
    "LimitTooSmallError",
    "LocalUnavailableError",
    "MalformedStreamError",
    "MissingAPIKeyError",
    "ModelNotFoundError",
    "NetworkError",
    "OverloadedError",
    "PermissionDeniedError",
    "RateLimitError",
    "ServerError",
    "StreamTimeoutError",
    "StructuredOutputError",
    "ToolArgumentsError",
    "UnsupportedParameterError",
    "UnsupportedProviderError",
    "WaitTooLongError",
]

#: Where each name lives; type checkers read the imports above instead.
_HOMES = {
    "anyllm.client._chat_stream": "ChatStream",
    "anyllm.agent": "Agent AgentResult BudgetExceededError",
    "anyllm.client": "Client",
    "anyllm.providers.provider": "Provider",
    "anyllm.providers.registry": "completion completion_stream embedding list_models provider",
    "anyllm._stream.active_calls": "active_streams",
    "anyllm._stream.stream": "Stream",
    "anyllm.channel": "Channel merge select",
    "anyllm.context": (
        "Context after_func background cause with_cancel with_deadline with_timeout with_value without_cancel"
    ),
    "anyllm.errors": (
        "AnyLLMError APIError AuthenticationError Cancelled CircuitOpenError ConnectionLostError "
        "ContentFilterError ContextLengthExceededError DeadlineExceeded IncompleteStreamError "
        "InsufficientFundsError InvalidRequestError LimitTooSmallError LocalUnavailableError MalformedStreamError "
        "MissingAPIKeyError ModelNotFoundError NetworkError OverloadedError PermissionDeniedError RateLimitError "
        "ServerError StreamTimeoutError UnsupportedParameterError UnsupportedProviderError WaitTooLongError"
    ),
    "anyllm.events": "StreamEvent",
    "anyllm.options": "Retry StreamingOptions Timeouts",
    "anyllm.pricing": "Price cost_of",
    "anyllm.processing": "EventProcessor",
    "anyllm.structured": "StructuredOutputError",
    "anyllm.tokens": "TokenCount count_tokens estimate_usage",
    "anyllm.tools": "Tool ToolArgumentsError tool",
    "anyllm.types": (
        "ChatCompletion ChatCompletionChunk Choice ChunkChoice ChunkDelta CompletionParams ContentPart Cost "
        "EmbeddingParams Embeddings FunctionCall Message Model Reasoning Retried RetryNotice ToolCall Usage"
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}
_MODULES = (
    *("channel", "context", "errors", "options", "testing", "types"),
    *("agent", "caching", "client", "events", "formats", "json_stream", "limits", "pricing", "processing"),
    *("reading", "structured", "tokens", "tools", "wsgi"),
)


def __getattr__(name: str) -> typing.Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"anyllm.{name}")
    else:
        from anyllm._hints.names import MODULE, no_attribute

        raise no_attribute("module 'anyllm'", name, MODULE)
    globals()[name] = value  # so that it is asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
