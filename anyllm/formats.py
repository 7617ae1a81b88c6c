"""
Streams and answers as bytes, in the formats that clients read: pass on what any provider says.

    for piece in formats.encode(stream, "openai"):
        connection.sendall(piece)

"openai", "openai-responses", "anthropic", "gemini", "ollama" and "ollama-generate" are what the clients of those
providers read, errors included; "sse", "ndjson", "json" and "text" are for pages of one's own. `anyllm.wsgi` makes
responses of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Callable, Optional, Union

from anyllm._serving.body import KEEP_ALIVE, Body
from anyllm._serving.browser_formats import Describe, Event, Json, Ndjson, Sse, Text
from anyllm._serving.public_errors import describe
from anyllm.types import ChatCompletion
from anyllm.wire._base.http_status import client_status, visitor_status
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

#: A format by its name, or itself.
Named = Union[str, Format]

#: By name.
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
    A stream as bytes, as it comes: to be iterated, and closed when nobody reads any more, which ends the stream.

    Args:
        stream: A `Stream`; anything else with ``chunks`` and ``errors``; or an iterable of chunks or text, with
            ``cancel()`` or ``close()`` if it can be ended.
        format: One of `FORMATS`, or an instance of one.
        keep_alive: Seconds of silence before something is given that every client of the format passes over; None for
            never.
        settings: Those of the format.

    Raises:
        TypeError: *stream* cannot be iterated, or is a Channel, which cannot say that it failed.
        ValueError: *format* is unknown, or *keep_alive* is not positive.
    """
    return Body(stream, find(format, **settings), keep_alive)


def encode_whole(completion: ChatCompletion, format: Named = "openai", **settings: Any) -> bytes:
    """
    A whole answer as the JSON of a format.

    Args:
        completion: The answer.
        format: One of `FORMATS`, or an instance of one.
        settings: Those of the format.

    Raises:
        ValueError: *format* is unknown.
    """
    return find(format, **settings).whole(completion)


def headers(format: Named = "openai") -> dict[str, str]:
    """
    The headers that go with `encode`: its type, and that nobody on the way may keep, change or buffer it.

    Raises:
        ValueError: *format* is unknown.
    """
    return {
        "Content-Type": find(format).content_type,
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",  # nginx
        "X-Content-Type-Options": "nosniff",  # what a model writes may look like a page
    }


def status(error: BaseException, format: Named = "sse") -> int:
    """
    The HTTP status of a response that says *error* in a format.

    Visitors of a page ("sse", "ndjson", "json", "text") do not learn what is wrong with the site's key or account: 401,
    402 and 403 become 502. In the other formats, which clients of a provider's API read, it is the provider's own
    status, or the one that its API uses for such an error.

    Returns:
        400 to 599; 500 for what is no `AnyLLMError`.

    Raises:
        ValueError: *format* is unknown.
    """
    return visitor_status(error) if isinstance(find(format), Sse) else client_status(error)


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
    The format of that name, with *settings* that are not None; one that is given is given back.

    Raises:
        TypeError: the format has no such setting.
        ValueError: *format* is unknown.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if not isinstance(format, str):
        if given:
            raise TypeError(f"a format that is given has its settings: {', '.join(given)}")
        return format
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}: {format!r}")
    return FORMATS[format](**given)
