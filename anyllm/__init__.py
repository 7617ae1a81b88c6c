"""
Stream from any LLM provider into ordinary synchronous Python: threads, bounded channels, and a Context that ends them.

    ctx = anyllm.Context(timeout=30)
    chunks, errors = anyllm.completion_stream(ctx, anyllm.CompletionParams(
        model="openai/gpt-4o-mini", messages=[anyllm.Message.user("Write a short story.")]))
    for chunk in chunks:
        print(chunk.content, end="", flush=True)
    if (error := errors.get()) is not None:
        raise error
"""

from anyllm._registry import Provider, completion, completion_stream, provider
from anyllm._run import active_streams
from anyllm._stream import Stream
from anyllm._version import __version__
from anyllm.channel import Channel, merge, select
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
    ContentFilterError,
    ContextLengthExceededError,
    DeadlineExceeded,
    IncompleteStreamError,
    InsufficientFundsError,
    InvalidRequestError,
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
)
from anyllm.options import Retry, StreamingOptions, Timeouts
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    CompletionParams,
    ContentPart,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
    Usage,
)

__all__ = [
    "__version__",
    # calls
    "completion",
    "completion_stream",
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
    "FunctionCall",
    "Message",
    "Reasoning",
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
    "Cancelled",
    "ContentFilterError",
    "ContextLengthExceededError",
    "DeadlineExceeded",
    "IncompleteStreamError",
    "InsufficientFundsError",
    "InvalidRequestError",
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
    "UnsupportedParameterError",
    "UnsupportedProviderError",
]
