"""
OpenAI's Responses, as OpenAI and those who are compatible with it speak them.

Sources: https://platform.openai.com/docs/api-reference/responses, and the pages of the hosts named beside each oddity
that is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

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
            UnsupportedParameterError: the host cannot do what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        params = checked(params, self.support, self.provider)
        body = _request.body(params, model=model, stream=stream, provider=self.provider)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream" if stream else "application/json"}
        return Request(
            "POST",
            "/responses",
            headers_in(params.extra_headers, headers, self.provider),
            in_bytes(body, self.provider),
        )

    def decoder(self) -> ResponsesDecoder:
        """A fresh decoder for one streamed response."""
        return ResponsesDecoder(provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as a stream of its last event alone, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error.
            MalformedStreamError: the body cannot be read.
            IncompleteStreamError: the host is still at it, in the background.
        """
        answer = self._whole(body)
        assembler = Assembler()
        for chunk in self.decoder().feed_whole(answer):
            assembler.add(chunk)
        completion = assembler.snapshot()
        completion.raw = answer
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error that an HTTP status, its headers and its body say."""
        return api_errors.from_response(self.provider, status, headers, body)

    def _whole(self, body: bytes) -> dict[str, Any]:
        answer = whole_json(body, self.provider)
        if isinstance(answer, dict) and isinstance(answer.get("output"), list):
            return answer
        raise no_answer(answer, "output", self.provider)
