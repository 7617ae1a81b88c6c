"""
Cohere's chat API, version 2: typed events, the model's plan before its tool calls, thinking, citations.

Cohere's OpenAI-compatible endpoint has neither plans nor citations.

Sources: https://docs.cohere.com/reference/chat, https://docs.cohere.com/reference/chat-stream,
https://docs.cohere.com/v2/docs/streaming, https://docs.cohere.com/reference/errors
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from anyllm.types import CompletionParams, EmbeddingParams, Embeddings, Model
from anyllm.wire._base.base_dialect import WithEmbeddings, WithModels
from anyllm.wire._base.cohere.errors import from_response, no_content
from anyllm.wire._base.format_support import FormatSupport
from anyllm.wire._base.protocols import Request
from anyllm.wire.cohere_v2 import request as _request
from anyllm.wire.cohere_v2.base_url import host_url
from anyllm.wire.cohere_v2.decoder import CohereV2Decoder
from anyllm.wire.cohere_v2.embeddings import embed_body, read_embeddings, read_models

__all__ = ["CohereV2Dialect", "host_url"]


@attrs.define(frozen=True, kw_only=True)
class CohereV2Dialect(WithEmbeddings, WithModels):
    """The wire format of Cohere's chat API, version 2."""

    provider: str = "cohere"

    #: Options for citations and documents go into ``extra_body``.
    support: ClassVar[FormatSupport] = FormatSupport(
        media=("image",), refused=("n", "user", "parallel_tool_calls", "top_logprobs", "stream_options")
    )

    _decoder = CohereV2Decoder
    _read_error = staticmethod(from_response)
    _no_answer = staticmethod(no_content)
    _answer_key = "message"
    _models_list = "/v1/models?page_size=1000"  # version 1 of the API, the largest page (the default is 20)

    def _request(self, params: CompletionParams, model: str, stream: bool) -> Request:
        body = _request.body_of(params, model=model, stream=stream, provider=self.provider)
        return self._post("/v2/chat", body, params.extra_headers, stream=stream)

    def _is_answer(self, answer: dict[str, Any]) -> bool:
        return isinstance(answer.get("message"), dict)

    def _embedding_body(self, params: EmbeddingParams, model: str) -> tuple[str, dict[str, Any]]:
        """For documents, unless ``extra_body`` has another ``input_type``, such as "search_query"."""
        return "/v2/embed", embed_body(params, model)

    def _read_embeddings(self, answer: Any) -> Embeddings:
        return read_embeddings(answer, self.provider)

    def _read_models(self, answer: Any) -> list[Model]:
        return read_models(answer, self.provider)
