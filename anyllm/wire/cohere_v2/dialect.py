"""
Cohere's own chat API, version 2: typed events, the model's plan before its tool calls, thinking, citations.

The OpenAI-compatible endpoint of the same host shows neither plan nor citations.

Sources: https://docs.cohere.com/reference/chat, https://docs.cohere.com/reference/chat-stream,
https://docs.cohere.com/v2/docs/streaming, https://docs.cohere.com/reference/errors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from anyllm.errors import APIError
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Model
from anyllm.types._accumulate import Assembler
from anyllm.wire._base import api_errors
from anyllm.wire._base.cohere.errors import no_content, refined
from anyllm.wire._base.decode_json import whole_json
from anyllm.wire._base.dialect import Request
from anyllm.wire._base.encode_json import headers_in, in_bytes
from anyllm.wire._base.format_support import FormatSupport, checked
from anyllm.wire.cohere_v2 import request as _request
from anyllm.wire.cohere_v2.base_url import host_url
from anyllm.wire.cohere_v2.decoder import CohereV2Decoder
from anyllm.wire.cohere_v2.embeddings import embed_body, read_embeddings, read_models

__all__ = ["CohereV2Dialect", "host_url"]

_JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
#: The most models that one request gives; the host's own default is 20.
_MANY_MODELS = 1000


@attrs.define(frozen=True, kw_only=True)
class CohereV2Dialect:
    """
    The dialect.

    Attributes:
        provider: Stands in every chunk and error.
    """

    provider: str = "cohere"

    #: Citations and documents have words of their own, in ``extra_body``.
    support: ClassVar[FormatSupport] = FormatSupport(
        media=("image",), refused=("n", "user", "parallel_tool_calls", "top_logprobs", "stream_options")
    )

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider.

        Raises:
            UnsupportedParameterError: the host cannot do what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        params = checked(params, self.support, self.provider)
        body = _request.body_of(params, model=model, stream=stream, provider=self.provider)
        headers = {**_JSON_HEADERS, "Accept": "text/event-stream"} if stream else _JSON_HEADERS
        return Request(
            "POST",
            "/v2/chat",
            headers_in(params.extra_headers, headers, self.provider),
            in_bytes(body, self.provider),
        )

    def decoder(self) -> CohereV2Decoder:
        """A fresh decoder for one streamed response."""
        return CohereV2Decoder(provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as the stream of its parts, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error, or the answer ended with one.
            MalformedStreamError: the body cannot be read.
        """
        answer = whole_json(body, self.provider)
        if not isinstance(answer, dict) or not isinstance(answer.get("message"), dict):
            raise no_content(answer, "message", self.provider)
        assembler = Assembler()
        for chunk in self.decoder().feed_whole(answer):
            assembler.add(chunk)
        completion = assembler.snapshot()
        completion.raw = answer
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error that an HTTP status, its headers and its body say."""
        return refined(api_errors.from_response(self.provider, status, headers, body))

    # -- beside chat -----------------------------------------------------------------------------------------

    def embedding_request(self, params: EmbeddingParams, *, model: str) -> Request:
        """
        The request for *params*; *model* is the name without its provider. Errors as `request` has them.

        The vectors are for documents unless ``extra_body`` says otherwise: ``{"input_type": "search_query"}``.
        """
        headers = headers_in(params.extra_headers, _JSON_HEADERS, self.provider)
        return Request("POST", "/v2/embed", headers, in_bytes(embed_body(params, model), self.provider))

    def embeddings(self, body: bytes) -> Embeddings:
        """The vectors of a whole response; errors as `response` has them."""
        return read_embeddings(whole_json(body, self.provider), self.provider)

    def models_request(self) -> Request:
        """The request for the list of models, which stands under version 1 alone."""
        return Request("GET", f"/v1/models?page_size={_MANY_MODELS}", {"Accept": "application/json"})

    def models(self, body: bytes) -> list[Model]:
        """The models of a whole response; errors as `response` has them."""
        return read_models(whole_json(body, self.provider), self.provider)
