"""
Stream from any LLM provider into ordinary synchronous Python: threads, bounded channels, and a Context that ends them.

    ctx = anyllm.Context(timeout=30)
    chunks, errors = anyllm.completion_stream(ctx, anyllm.CompletionParams(
        model="openai/gpt-4o-mini", messages=[anyllm.Message.user("Write a short story.")]))
    for chunk in chunks:
        print(chunk.content, end="", flush=True)
    if (error := errors.get()) is not None:
        raise error

Strategy: importing anyllm loads nothing; each name loads its module when it is first accessed. Command lines and
workers that may never make a call start at once, and `anyllm.Context` does not bring a transport with it.
"""

import importlib
import typing

from anyllm.__version__ import __version__ as __version__

#: The exported names by their modules; type checkers read the imports below instead.
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

if typing.TYPE_CHECKING:
    # isort: off
    from anyllm._stream.active_calls import active_streams as active_streams
    from anyllm._stream.stream import Stream as Stream
    from anyllm.agent import Agent as Agent, AgentResult as AgentResult, BudgetExceededError as BudgetExceededError
    from anyllm.channel import Channel as Channel, merge as merge, select as select
    from anyllm.client import Client as Client
    from anyllm.client._chat_stream import ChatStream as ChatStream
    from anyllm.context import (
        Context as Context,
        after_func as after_func,
        background as background,
        cause as cause,
        with_cancel as with_cancel,
        with_deadline as with_deadline,
        with_timeout as with_timeout,
        with_value as with_value,
        without_cancel as without_cancel,
    )
    from anyllm.errors import *  # noqa: F403  # exactly the errors above
    from anyllm.events import StreamEvent as StreamEvent
    from anyllm.options import Retry as Retry, StreamingOptions as StreamingOptions, Timeouts as Timeouts
    from anyllm.pricing import Price as Price, cost_of as cost_of
    from anyllm.processing import EventProcessor as EventProcessor
    from anyllm.providers.provider import Provider as Provider
    from anyllm.providers.registry import (
        completion as completion,
        completion_stream as completion_stream,
        embedding as embedding,
        list_models as list_models,
        provider as provider,
    )
    from anyllm.structured import StructuredOutputError as StructuredOutputError
    from anyllm.tokens import TokenCount as TokenCount, count_tokens as count_tokens, estimate_usage as estimate_usage
    from anyllm.tools import Tool as Tool, ToolArgumentsError as ToolArgumentsError, tool as tool
    from anyllm.types import (
        ChatCompletion as ChatCompletion,
        ChatCompletionChunk as ChatCompletionChunk,
        Choice as Choice,
        ChunkChoice as ChunkChoice,
        ChunkDelta as ChunkDelta,
        CompletionParams as CompletionParams,
        ContentPart as ContentPart,
        Cost as Cost,
        EmbeddingParams as EmbeddingParams,
        Embeddings as Embeddings,
        FunctionCall as FunctionCall,
        Message as Message,
        Model as Model,
        Reasoning as Reasoning,
        Retried as Retried,
        RetryNotice as RetryNotice,
        ToolCall as ToolCall,
        Usage as Usage,
    )
    # isort: on
else:
    __all__ = ["__version__", *_HOME]  # noqa: PLE0604  # computed

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
    globals()[name] = value  # so that this is called once for each name
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
