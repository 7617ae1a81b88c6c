"""
OpenAI's Responses, as OpenAI and compatible providers speak them.

Sources: https://platform.openai.com/docs/api-reference/responses, and the pages of the providers that are named beside
each difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from anyllm.errors import APIError
from anyllm.types import ChatCompletion, CompletionParams
from anyllm.types._accumulate import Assembler
from anyllm.wire._base import api_errors
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.dialect import Request
from anyllm.wire._base.encode_json import headers_in, in_bytes
from anyllm.wire._base.format_support import FormatSupport, checked
from anyllm.wire.openai_responses import request as _request
from anyllm.wire.openai_responses.decoder import ResponsesDecoder

__all__ = ["OpenAIResponsesDialect"]


@attrs.define(frozen=True, kw_only=True)
class OpenAIResponsesDialect:
    """
    The dialect.

    Attributes:
        provider: Stands in every chunk and error.
    """

    provider: str = "openai-responses"

    support: ClassVar[FormatSupport] = FormatSupport(refused=("stop", "n", "seed", "thinking_budget"))

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider.

        Raises:
            UnsupportedParameterError: the provider does not support what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        params = checked(params, self.support, self.provider)
        body = _request.body(params, model=model, stream=stream, provider=self.provider)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream" if stream else "application/json"}
        headers = headers_in(params.extra_headers, headers, self.provider)
        return Request("POST", "/responses", headers, in_bytes(body, self.provider))

    def decoder(self) -> ResponsesDecoder:
        """A fresh decoder for one streamed response."""
        return ResponsesDecoder(provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as a stream of its last event alone, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error.
            MalformedStreamError: the body cannot be read.
            IncompleteStreamError: the provider is still working on it, in the background.
        """
        answer = whole_json(body, self.provider)
        if not isinstance(answer, dict) or not isinstance(answer.get("output"), list):
            raise no_answer(answer, "output", self.provider)
        assembler = Assembler()
        for chunk in self.decoder().feed_whole(answer):
            assembler.add(chunk)
        completion = assembler.snapshot()
        completion.raw = answer
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error in an HTTP status, its headers and its body."""
        return api_errors.from_response(self.provider, status, headers, body)
