"""
Google's ``generateContent``: the dialect of the Gemini API and of Vertex AI.

Sources: https://ai.google.dev/api/generate-content,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import attrs

from anyllm.errors import APIError, MalformedStreamError
from anyllm.types import CompletionParams, EmbeddingParams, Embeddings, Model
from anyllm.wire._base.base_dialect import WithEmbeddings, WithModels
from anyllm.wire._base.encode_json import merge_objects
from anyllm.wire._base.format_support import FormatSupport
from anyllm.wire._base.protocols import Request
from anyllm.wire._base.surrogate_joiner import mend_all
from anyllm.wire.gemini.contents import write_contents
from anyllm.wire.gemini.decoder import GeminiDecoder
from anyllm.wire.gemini.embeddings import LIST, embed_body, read_embeddings, read_models
from anyllm.wire.gemini.errors import from_response
from anyllm.wire.gemini.fields import NUMBERS, VERTEX_NUMBERS
from anyllm.wire.gemini.parameters import write_params

__all__ = ["GeminiDialect"]


@attrs.define(frozen=True, kw_only=True)
class GeminiDialect(WithEmbeddings, WithModels):
    """
    The dialect, with the switches of its providers.

    Attributes:
        provider: The provider's name, in every chunk and error.
        models_path: The path of models under the base URL; "/publishers/google/models" at Vertex.
        vertex_numbers: Whether finish reasons that come as numbers are Vertex's.
    """

    provider: str = "gemini"
    models_path: str = "/models"
    vertex_numbers: bool = False

    support: ClassVar[FormatSupport] = FormatSupport(
        media=("image", "file", "audio"), refused=("user", "parallel_tool_calls", "stream_options")
    )

    _answer_key = "candidates"

    def _request(self, params: CompletionParams, model: str, stream: bool) -> Request:
        """*model* may begin with "models/"; ``extra_body`` is merged into the objects of the body."""
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        body = {**write_contents(params.messages, self.provider), **write_params(params, model, self.provider)}
        body = merge_objects(body, params.extra_body or {})
        return self._post(f"{self._path(model)}:{method}", body, params.extra_headers, stream=stream)

    def decoder(self) -> GeminiDecoder:
        """A fresh decoder for one streamed response."""
        numbers = VERTEX_NUMBERS if self.vertex_numbers else NUMBERS
        return GeminiDecoder(provider=self.provider, numbers=numbers)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error of a response with that HTTP status."""
        return from_response(self.provider, status, headers, body)

    def _embedding_body(self, params: EmbeddingParams, model: str) -> tuple[str, dict[str, Any]]:
        return f"{self._path(model)}:batchEmbedContents", embed_body(params, model)

    def _read_embeddings(self, answer: Any) -> Embeddings:
        return read_embeddings(answer, self.provider)

    def models_request(self) -> Request:
        """The request for the list of models."""
        return Request("GET", f"{self.models_path}{LIST}", {"Accept": "application/json"})

    def _read_models(self, answer: Any) -> list[Model]:
        return read_models(answer, self.provider)

    def _answer(self, answer: Any) -> dict[str, Any]:
        try:
            answer = mend_all(answer)
        except RecursionError as exc:
            raise MalformedStreamError("the answer is nested too deeply", provider=self.provider) from exc
        if isinstance(answer, dict) and not answer.get("candidates"):
            self.decoder().feed_object(answer, answer)  # raises the error of a blocked prompt
        return super()._answer(answer)

    def _path(self, model: str) -> str:
        folder, _, name = model.rpartition("/")
        if folder == "tunedModels":
            return f"{self.models_path.rpartition('/')[0]}/tunedModels/{quote(name, safe='')}"
        return f"{self.models_path}/{quote(name if folder == 'models' else model, safe='')}"
