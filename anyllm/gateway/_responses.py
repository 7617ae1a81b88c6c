"""HTTP responses of the gateway: JSON, and errors in the client's format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

import attrs

from anyllm._serving import responses
from anyllm.errors import AnyLLMError
from anyllm.formats import Format
from anyllm.wire._base.writer import json_bytes


@attrs.define
class GatewayResponse:
    """
    A response.

    Attributes:
        status: The HTTP status.
        headers: Beside those that every response has.
        body: The bytes; the server calls its ``close``, if it has one.
        error: The error that the response reports; None for a success.
    """

    status: int
    headers: dict[str, str]
    body: Iterable[bytes]
    error: Optional[BaseException] = None


def json_response(value: Any, status: int = 200) -> GatewayResponse:
    """A response with *value* as JSON; bytes are sent as they are."""
    body = value if isinstance(value, bytes) else json_bytes(value)
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "Content-Length": str(len(body))}
    return GatewayResponse(status, headers, [body])


def error_response(error: BaseException, format: Format) -> GatewayResponse:
    """
    A response that reports *error* in *format*.

    OpenAI's and Anthropic's clients read the header ``x-should-retry``.
    """
    body, code, headers = responses.error_response(error, format)
    is_retryable = isinstance(error, AnyLLMError) and error.is_retryable
    headers.update({"Content-Length": str(len(body)), "x-should-retry": "true" if is_retryable else "false"})
    if code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return GatewayResponse(code, headers, [body], error)
