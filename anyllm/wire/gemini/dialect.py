"""
Google's ``generateContent``, as the Gemini API and Vertex AI speak it.

Sources: https://ai.google.dev/api/generate-content,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import attrs

from anyllm.errors import APIError, MalformedStreamError
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Model
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.dialect import Request
from anyllm.wire._base.encode_json import headers_in, in_bytes
from anyllm.wire._base.format_support import FormatSupport, checked
from anyllm.wire._base.surrogate_joiner import mend_all
from anyllm.wire.gemini.decoder import GeminiDecoder
from anyllm.wire.gemini.embeddings import LIST, embed_body, read_embeddings, read_models
from anyllm.wire.gemini.errors import from_response
from anyllm.wire.gemini.fields import NUMBERS, VERTEX_NUMBERS
from anyllm.wire.gemini.request import body_of

__all__ = ["GeminiDialect"]

_JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


@attrs.define(frozen=True, kw_only=True)
class GeminiDialect:
    """
    The dialect, with the switches of the provider that speaks it.

    Attributes:
        provider: Stands in every chunk and error.
        models_path: Where models lie under the base URL; "/publishers/google/models" at Vertex.
        vertex_numbers: Finish reasons that come as numbers are counted as Vertex counts them.
    """

    provider: str = "gemini"
    models_path: str = "/models"
    vertex_numbers: bool = False

    support: ClassVar[FormatSupport] = FormatSupport(
        media=("image", "file", "audio"), refused=("user", "parallel_tool_calls", "stream_options")
    )

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider, with or without "models/".

        What is unusual in it: ``extra_body`` is merged into the objects of the body, such as ``generationConfig``.

        Raises:
            UnsupportedParameterError: the host cannot do what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        params = checked(params, self.support, self.provider)
        body = body_of(params, model=model, provider=self.provider)
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        headers = {**_JSON_HEADERS, "Accept": "text/event-stream"} if stream else _JSON_HEADERS
        return Request(
            "POST",
            f"{self._path(model)}:{method}",
            headers_in(params.extra_headers, headers, self.provider),
            in_bytes(body, self.provider),
        )

    def decoder(self) -> GeminiDecoder:
        """A fresh decoder for one streamed response."""
        numbers = VERTEX_NUMBERS if self.vertex_numbers else NUMBERS
        return GeminiDecoder(provider=self.provider, numbers=numbers)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as a stream of one event, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error, or the prompt or the answer failed.
            MalformedStreamError: the body cannot be read.
        """
        answer = self._whole(body)
        assembler = Assembler()
        for chunk in self.decoder().feed_object(answer, answer):
            assembler.add(chunk)
        if not answer.get("candidates"):
            raise no_answer(answer, "candidates", self.provider)
        completion = assembler.snapshot()
        completion.raw = answer
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error that an HTTP status, its headers and its body say."""
        return from_response(self.provider, status, headers, body)

    # -- beside chat ---------------------------------------------------------------------------------------------------

    def embedding_request(self, params: EmbeddingParams, *, model: str) -> Request:
        """The request for *params*; *model* is the name without its provider."""
        headers = headers_in(params.extra_headers, _JSON_HEADERS, self.provider)
        body = in_bytes(embed_body(params, model), self.provider)
        return Request("POST", f"{self._path(model)}:batchEmbedContents", headers, body)

    def embeddings(self, body: bytes) -> Embeddings:
        """The vectors of a whole response; errors as `response` has them."""
        return read_embeddings(whole_json(body, self.provider), self.provider)

    def models_request(self) -> Request:
        """The request for the list of models."""
        return Request("GET", f"{self.models_path}{LIST}", {"Accept": "application/json"})

    def models(self, body: bytes) -> list[Model]:
        """The models of a whole response; errors as `response` has them."""
        return read_models(whole_json(body, self.provider), self.provider)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _path(self, model: str) -> str:
        folder, _, name = model.rpartition("/")
        if folder == "tunedModels":
            return f"{self.models_path.rpartition('/')[0]}/tunedModels/{quote(name, safe='')}"
        return f"{self.models_path}/{quote(name if folder == 'models' else model, safe='')}"

    def _whole(self, body: bytes) -> dict[str, Any]:
        try:
            answer = mend_all(whole_json(body, self.provider))
        except RecursionError as exc:
            raise MalformedStreamError("the answer is nested too deeply", provider=self.provider) from exc
        if not isinstance(answer, dict):
            raise no_answer(answer, "candidates", self.provider)
        return answer
