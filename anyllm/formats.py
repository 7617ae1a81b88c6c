"""
Streams and whole answers as bytes, in the formats of other APIs and in formats for browsers.

    for piece in formats.encode(stream, "openai"):
        connection.sendall(piece)

"openai", "openai-responses", "anthropic", "gemini", "ollama" and "ollama-generate" are what the clients of those
providers read, errors included; "sse", "ndjson", "json" and "text" are for your own pages. `anyllm.wsgi` makes
responses of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Callable, Optional, Union

from anyllm._hints.arguments import one_of
from anyllm._serving.body import KEEP_ALIVE, Body
from anyllm._serving.browser_formats import Describe, Event, Json, Ndjson, Sse, Text
from anyllm._serving.public_errors import describe
from anyllm._serving.responses import error_status
from anyllm.types import ChatCompletion
from anyllm.wire._base.http_status import client_status
from anyllm.wire._base.writer import Format, Writer
from anyllm.wire.anthropic_messages.server.writer import AnthropicMessages
from anyllm.wire.gemini.server.writer import Gemini
from anyllm.wire.ollama.server.writer import OllamaChat, OllamaGenerate
from anyllm.wire.openai_chat.server.writer import OpenAIChat
from anyllm.wire.openai_responses.server.writer import OpenAIResponses

__all__ = [
    "FORMATS",
    "KEEP_ALIVE",
    "AnthropicMessages",
    "Body",
    "Describe",
    "Event",
    "Format",
    "Gemini",
    "Json",
    "Named",
    "Ndjson",
    "OllamaChat",
    "OllamaGenerate",
    "OpenAIChat",
    "OpenAIResponses",
    "Sse",
    "Text",
    "Writer",
    "describe",
    "encode",
    "encode_whole",
    "find",
    "headers",
    "status",
]

#: The name of a format, or an instance of one.
Named = Union[str, Format]

#: The formats by name.
FORMATS: Mapping[str, Callable[..., Format]] = MappingProxyType(
    {
        "sse": Sse,
        "ndjson": Ndjson,
        "json": Json,
        "text": Text,
        "openai": OpenAIChat,
        "openai-responses": OpenAIResponses,
        "anthropic": AnthropicMessages,
        "gemini": Gemini,
        "ollama": OllamaChat,
        "ollama-generate": OllamaGenerate,
    }
)


def encode(stream: Any, format: Named = "openai", *, keep_alive: Optional[float] = KEEP_ALIVE, **settings: Any) -> Body:
    """
    A stream as bytes, while it comes. Iterate the result; closing it ends the stream.

    Args:
        stream: A `Stream`; anything else with ``chunks`` and ``errors``; or an iterable of chunks or text, with
            ``cancel()`` or ``close()`` if it can be ended.
        format: One of `FORMATS`, or an instance of one.
        keep_alive: Seconds of silence before bytes are given that every client of the format ignores; None for never.
        settings: Settings of the format.

    Raises:
        TypeError: *stream* cannot be iterated, or is a Channel, which cannot report an error.
        ValueError: *format* is unknown, or *keep_alive* is not positive.
    """
    return Body(stream, find(format, **settings), keep_alive)


def encode_whole(completion: ChatCompletion, format: Named = "openai", **settings: Any) -> bytes:
    """
    A whole answer as the JSON of a format.

    Args:
        completion: The answer.
        format: One of `FORMATS`, or an instance of one.
        settings: Settings of the format.

    Raises:
        ValueError: *format* is unknown.
    """
    return find(format, **settings).whole(completion)


def headers(format: Named = "openai") -> dict[str, str]:
    """
    The headers that go with `encode`: the content type, and that no proxy may store, change or buffer the response.

    Raises:
        ValueError: *format* is unknown.
    """
    return {
        "Content-Type": find(format).content_type,
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",  # nginx
        "X-Content-Type-Options": "nosniff",  # the text of a model may look like HTML
    }


def status(error: BaseException, format: Named = "sse") -> int:
    """
    The HTTP status of a response with *error* in a format.

    In the formats for pages ("sse", "ndjson", "json", "text") 401, 402 and 403 become 502, because they are about the
    site's key or account. In the others, which clients of a provider's API read, it is the provider's status, or the
    one that its API uses for such an error.

    Returns:
        400 to 599; 500 for an exception that is no `AnyLLMError`.

    Raises:
        ValueError: *format* is unknown.
    """
    return error_status(error, find(format))


def __getattr__(name: str) -> Any:
    if name == "status_of":
        warnings.warn(
            "anyllm.formats.status_of(error) is now anyllm.formats.status(error, 'openai')",
            DeprecationWarning,
            stacklevel=2,
        )
        return client_status
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def find(format: Named, **settings: Any) -> Format:
    """
    The format named *format*, with the *settings* that are not None; an instance is returned as it is.

    Raises:
        TypeError: the format has no such setting.
        ValueError: *format* is unknown.
    """
    chosen = {name: value for name, value in settings.items() if value is not None}
    if not isinstance(format, str):
        if chosen:
            raise TypeError(f"an instance of a format has its own settings; remove {', '.join(chosen)}")
        return format
    one_of("format", format, FORMATS)
    return FORMATS[format](**chosen)
