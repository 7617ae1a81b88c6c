"""
Google's ``generateContent``: the dialect of the Gemini API and of Vertex AI.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/api/embeddings,
https://ai.google.dev/api/models,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

import attrs

from anyllm.errors import MalformedStreamError
from anyllm.types import CompletionParams, EmbeddingParams, Embeddings, Model
from anyllm.wire._base.base_dialect import WithEmbeddings, WithModels
from anyllm.wire._base.decode_json import objects_of
from anyllm.wire._base.encode_json import merge_objects
from anyllm.wire._base.format_support import FormatSupport
from anyllm.wire._base.protocols import Request
from anyllm.wire._base.surrogate_joiner import mend_all
from anyllm.wire._base.vectors import vector
from anyllm.wire.gemini.contents import write_contents
from anyllm.wire.gemini.decoder import GeminiDecoder
from anyllm.wire.gemini.errors import from_response
from anyllm.wire.gemini.fields import NUMBERS, VERTEX_NUMBERS
from anyllm.wire.gemini.parameters import write_params

__all__ = ["GeminiDialect"]

_FOLDER = "models/"


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
    _read_error = staticmethod(from_response)

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

    def _embedding_body(self, params: EmbeddingParams, model: str) -> tuple[str, dict[str, Any]]:
        """One request for each text, in one; keys of ``extra_body`` are added to each, where Google looks for them."""
        name = model if "/" in model else f"{_FOLDER}{model}"
        more: dict[str, Any] = {} if params.dimensions is None else {"outputDimensionality": params.dimensions}
        more.update(params.extra_body or {})
        requests = [{"model": name, "content": {"parts": [{"text": text}]}, **more} for text in params.input]
        return f"{self._path(model)}:batchEmbedContents", {"requests": requests}

    def _read_embeddings(self, answer: Any) -> Embeddings:
        """Google counts no tokens here."""
        items = objects_of(answer, "embeddings", self.provider)
        vectors = [vector(item.get("values"), self.provider) for item in items]
        return Embeddings(vectors, None, "", self.provider, answer)

    def models_request(self) -> Request:
        """The request for the list of models: the longest page, because pages have fifty by default."""
        return Request("GET", f"{self.models_path}?pageSize=1000", {"Accept": "application/json"})

    def _read_models(self, answer: Any) -> list[Model]:
        items = objects_of(answer, "models", self.provider)
        if not all(isinstance(item.get("name"), str) for item in items):
            raise MalformedStreamError("a model has no name", provider=self.provider)
        return [Model(item["name"].removeprefix(_FOLDER), 0, "", self.provider, item) for item in items]

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
