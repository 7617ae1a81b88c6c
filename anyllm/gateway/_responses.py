"""What is sent back: a status, headers, and bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

import attrs

from anyllm._serving.public_errors import retry_after
from anyllm.errors import AnyLLMError
from anyllm.formats import Format, status
from anyllm.wire._base.writer import json_bytes

__all__ = ["GatewayResponse", "json_reply", "problem"]


@attrs.define
class GatewayResponse:
    """
    A response.

    Attributes:
        status: The HTTP status.
        headers: Without those that every response has.
        body: The bytes; closed by the server where it has a ``close``.
        error: Why there is no answer; None where there is one.
    """

    status: int
    headers: dict[str, str]
    body: Iterable[bytes]
    error: Optional[BaseException] = None


def json_reply(value: Any, status: int = 200) -> GatewayResponse:
    """A response of JSON; of bytes that are JSON as they are."""
    body = value if isinstance(value, bytes) else json_bytes(value)
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "Content-Length": str(len(body))}
    return GatewayResponse(status, headers, [body])


def problem(error: BaseException, format: Format) -> GatewayResponse:
    """
    The response that says an error in the words of a format.

    The header ``x-should-retry`` is what OpenAI's and Anthropic's clients go by.
    """
    code = status(error, format)
    reply = json_reply(format.problem(error, code), code)
    reply.error = error
    wait = retry_after(error)
    if wait is not None:
        reply.headers["Retry-After"] = str(wait)
    is_retryable = isinstance(error, AnyLLMError) and error.is_retryable
    reply.headers["x-should-retry"] = "true" if is_retryable else "false"
    if code == 401:
        reply.headers["WWW-Authenticate"] = "Bearer"
    return reply
