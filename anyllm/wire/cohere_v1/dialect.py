"""
Cohere's older chat API, version 1: a message and the history before it, streamed as one JSON object a line.

Its calls have no ids, and its tools no JSON schemas; version 2 has both. On AWS Bedrock the Command R models speak it.

Sources: https://docs.cohere.com/v1/reference/chat, https://docs.cohere.com/v1/reference/chat-stream,
https://docs.cohere.com/v1/docs/streaming
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from anyllm.errors import APIError
from anyllm.types import ChatCompletion, CompletionParams
from anyllm.types._accumulate import Assembler
from anyllm.wire._base import api_errors
from anyllm.wire._base.cohere.errors import no_content, refined
from anyllm.wire._base.decode_json import whole_json
from anyllm.wire._base.dialect import Request
from anyllm.wire._base.encode_json import headers_in, in_bytes
from anyllm.wire._base.format_support import FormatSupport, checked
from anyllm.wire.cohere_v1.decoder import CohereV1Decoder
from anyllm.wire.cohere_v1.request import body_of

__all__ = ["CohereV1Dialect"]

#: For streams too, whose lines are JSON.
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


@attrs.define(frozen=True, kw_only=True)
class CohereV1Dialect:
    """
    The dialect.

    Attributes:
        provider: Stands in every chunk and error.
    """

    provider: str = "cohere_v1"

    #: Connectors and documents have words of their own, in ``extra_body``.
    support: ClassVar[FormatSupport] = FormatSupport(
        media=(),
        refused=(
            *("n", "user", "parallel_tool_calls", "logprobs", "top_logprobs", "thinking_budget"),
            "stream_options",
        ),
    )

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider.

        Raises:
            UnsupportedParameterError: the host cannot do what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        params = checked(params, self.support, self.provider)
        body = body_of(params, model=model, stream=stream, provider=self.provider)
        headers = headers_in(params.extra_headers, _HEADERS, self.provider)
        return Request("POST", "/v1/chat", headers, in_bytes(body, self.provider))

    def decoder(self) -> CohereV1Decoder:
        """A fresh decoder for one streamed response."""
        return CohereV1Decoder(provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as the end of a stream that said nothing before, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error, or the answer ended with one.
            MalformedStreamError: the body cannot be read.
        """
        answer = whole_json(body, self.provider)
        if not isinstance(answer, dict) or "text" not in answer or answer.get("error"):
            raise no_content(answer, "text", self.provider)
        assembler = Assembler()
        for chunk in self.decoder().feed_whole(answer):
            assembler.add(chunk)
        completion = assembler.snapshot()
        completion.raw = answer
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error that an HTTP status, its headers and its body say."""
        return refined(api_errors.from_response(self.provider, status, headers, body))
