"""The base of the dialects: requests with a JSON body, whole answers by the decoder, embeddings, lists of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import attrs

from anyllm.errors import APIError
from anyllm.types import ChatCompletion, ChatCompletionChunk, CompletionParams, EmbeddingParams, Embeddings, Model
from anyllm.types._accumulate import accumulate
from anyllm.wire._base import api_errors
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.encode_json import headers_in, in_bytes
from anyllm.wire._base.format_support import FormatSupport, checked
from anyllm.wire._base.json_values import without_none
from anyllm.wire._base.protocols import Decoder, Request

__all__ = ["BaseDialect", "WholeDecoder", "WithEmbeddings", "WithModels"]

_JSON = "application/json"


class WholeDecoder(Decoder, Protocol):
    """A decoder that reads a whole answer, too."""

    def feed_whole(self, body: dict[str, Any], /) -> Sequence[ChatCompletionChunk]:
        """The chunks of a whole, decoded answer; errors as `feed` has them."""


@attrs.define(frozen=True, kw_only=True)
class BaseDialect:
    """
    The parts that most dialects share. Subclasses write requests (`_request`) and name their decoder.

    Attributes:
        provider: The provider's name, in every chunk and error.
    """

    provider: str

    #: The class of the decoder; its only argument is the provider.
    _decoder: ClassVar[Callable[..., WholeDecoder]]
    #: Reads an error response: a function of the provider and the arguments of `error`.
    _read_error = staticmethod(api_errors.from_response)
    #: The error of a whole, decoded body that is no answer: a function of it, `_answer_key` and the provider.
    _no_answer = staticmethod(no_answer)
    #: What a request for a stream accepts, and more headers of all requests.
    _stream_type: ClassVar[str] = "text/event-stream"
    _headers: ClassVar[Mapping[str, str]] = {}
    #: The key that every whole answer has.
    _answer_key: ClassVar[str]
    #: Whether a whole answer must have ended, as a stream must.
    _must_end: ClassVar[bool] = False

    @property
    def support(self) -> FormatSupport:
        """The parameters, media and response formats that it supports."""
        raise NotImplementedError

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider.

        Raises:
            UnsupportedParameterError: the provider does not support a parameter.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        return self._request(checked(params, self.support, self.provider), model, stream)

    def decoder(self) -> WholeDecoder:
        """A fresh decoder for one streamed response."""
        return self._decoder(provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response, read by the decoder, so that it gives the same answer as a stream.

        Raises:
            APIError: the body is the provider's error, or the answer failed.
            IncompleteStreamError: the answer has not ended, where a whole answer must.
            MalformedStreamError: the body is malformed.
        """
        answer = self._answer(whole_json(body, self.provider))
        decoder = self.decoder()
        completion = accumulate(decoder.feed_whole(answer))
        if self._must_end:
            decoder.finish()
        completion.raw = answer
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error of a response with that HTTP status."""
        return self._read_error(self.provider, status, headers, body)

    # -- for the formats -----------------------------------------------------------------------------------------------

    def _request(self, params: CompletionParams, model: str, stream: bool) -> Request:
        """The request for parameters that the format supports."""
        raise NotImplementedError

    def _post(
        self,
        path: str,
        body: Mapping[str, Any],
        extra_headers: Mapping[str, str] | None,
        *,
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
        fallbacks: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Request:
        """
        A POST of JSON.

        Args:
            extra_headers: The caller's, which win.
            headers: More of the format's own.
            fallbacks: Bodies without an optional parameter, by its name.
        """
        accept = self._stream_type if stream else _JSON
        own = {"Content-Type": _JSON, "Accept": accept, **self._headers, **(headers or {})}
        others = {name: in_bytes(other, self.provider) for name, other in (fallbacks or {}).items()}
        return Request(
            "POST", path, headers_in(extra_headers, own, self.provider), in_bytes(body, self.provider), others
        )

    def _answer(self, answer: Any) -> dict[str, Any]:
        """*answer*, if it is an answer; raises the error in it otherwise."""
        if isinstance(answer, dict) and self._is_answer(answer):
            return answer
        raise self._no_answer(answer, self._answer_key, self.provider)

    def _is_answer(self, answer: dict[str, Any]) -> bool:
        """Whether a whole, decoded body is an answer."""
        return bool(answer.get(self._answer_key))


class WithEmbeddings(BaseDialect):
    """A dialect whose providers have an embedding endpoint."""

    __slots__ = ()

    #: The path of the endpoint.
    _embeddings_path: ClassVar[str] = "/embeddings"

    def embedding_request(self, params: EmbeddingParams, *, model: str) -> Request:
        """The request for *params*; *model* is the name without its provider. Errors as `request` has them."""
        path, body = self._embedding_body(params, model)
        return self._post(path, body, params.extra_headers)

    def embeddings(self, body: bytes) -> Embeddings:
        """The vectors of a whole response; errors as `response` has them."""
        return self._read_embeddings(whole_json(body, self.provider))

    def _embedding_body(self, params: EmbeddingParams, model: str) -> tuple[str, dict[str, Any]]:
        """The path and the body of the request; ``extra_body`` wins."""
        body = without_none({"model": model, "input": params.input, "dimensions": params.dimensions})
        return self._embeddings_path, {**body, **(params.extra_body or {})}

    def _read_embeddings(self, answer: Any) -> Embeddings:
        raise NotImplementedError


class WithModels(BaseDialect):
    """A dialect whose providers list their models."""

    __slots__ = ()

    #: The path of the list.
    _models_list: ClassVar[str] = "/models"

    def models_request(self) -> Request:
        """The request for the list of models."""
        return Request("GET", self._models_list, {"Accept": _JSON, **self._headers})

    def models(self, body: bytes) -> list[Model]:
        """The models of a whole response; errors as `response` has them."""
        return self._read_models(whole_json(body, self.provider))

    def _read_models(self, answer: Any) -> list[Model]:
        raise NotImplementedError
