"""
Ollama's own chat API: one JSON object a line, whole tool calls, images in the message.

The OpenAI-compatible endpoint of the same server lacks load times, ``keep_alive`` and ``num_ctx``.

Sources: https://docs.ollama.com/api/chat, https://docs.ollama.com/api/generate, https://docs.ollama.com/api/errors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from anyllm.errors import APIError
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Model
from anyllm.wire._base import api_errors
from anyllm.wire._base.conversation import with_beginning
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.encode_json import headers_in, in_bytes
from anyllm.wire._base.format_support import FormatSupport, checked
from anyllm.wire._base.protocols import Request
from anyllm.wire._base.whole_answer import completion_of
from anyllm.wire.ollama import embeddings as _embeddings
from anyllm.wire.ollama import models as _models
from anyllm.wire.ollama.decoder import OllamaDecoder, has_answer
from anyllm.wire.ollama.request import body_of

__all__ = ["OllamaDialect"]

_JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_STREAM_HEADERS = {**_JSON_HEADERS, "Accept": "application/x-ndjson"}


@attrs.define(frozen=True, kw_only=True)
class OllamaDialect:
    """
    The dialect. Requests are always ``/api/chat``; answers of ``/api/generate`` are read as well.

    Attributes:
        provider: Stands in every chunk and error.
    """

    provider: str = "ollama"

    support: ClassVar[FormatSupport] = FormatSupport(
        media=("image",), refused=("n", "user", "parallel_tool_calls", "stream_options"), prefill=True
    )

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """The request for *params*; errors as `Dialect.request` has them."""
        params = checked(params, self.support, self.provider)
        body = body_of(params, model=model, stream=stream, provider=self.provider)
        headers = headers_in(params.extra_headers, _STREAM_HEADERS if stream else _JSON_HEADERS, self.provider)
        return Request("POST", "/api/chat", headers, in_bytes(body, self.provider))

    def continuation(self, params: CompletionParams, text: str, *, model: str) -> Request:
        """The request for the stream that follows *text*; errors as `request` has them."""
        return self.request(with_beginning(params, text), model=model, stream=True)

    def decoder(self) -> OllamaDecoder:
        """A fresh decoder for one streamed response."""
        return OllamaDecoder(provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as a stream of one line, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error.
            IncompleteStreamError: the answer is not done.
            MalformedStreamError: the body cannot be read.
        """
        answer = whole_json(body, self.provider)
        if not isinstance(answer, dict) or not has_answer(answer):
            raise no_answer(answer, "message", self.provider)
        decoder = self.decoder()
        completion = completion_of(decoder.feed_whole(answer), answer)
        decoder.finish()
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error of a response with an HTTP status of 300 or more."""
        return api_errors.from_response(self.provider, status, headers, body)

    # -- embeddings and models -------------------------------------------------------------------------------

    def embedding_request(self, params: EmbeddingParams, *, model: str) -> Request:
        """The request for *params*; errors as `request` has them."""
        headers = headers_in(params.extra_headers, _JSON_HEADERS, self.provider)
        return Request("POST", "/api/embed", headers, in_bytes(_embeddings.body_of(params, model), self.provider))

    def embeddings(self, body: bytes) -> Embeddings:
        """The vectors of a whole response; errors as `response` has them."""
        return _embeddings.read_answer(whole_json(body, self.provider), self.provider)

    def models_request(self) -> Request:
        """The request for the list of models."""
        return Request("GET", "/api/tags", {"Accept": "application/json"})

    def models(self, body: bytes) -> list[Model]:
        """The models of a whole response; errors as `response` has them."""
        return _models.read_list(whole_json(body, self.provider), self.provider)
