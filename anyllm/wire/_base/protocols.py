"""
The protocol of wire formats (dialects): requests, decoders of streams, whole responses and errors.

A dialect is a format, which several providers may use. It does no I/O, and uses no threads and no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs

from anyllm._framing.body_events import Event
from anyllm.errors import APIError
from anyllm.types import ChatCompletion, ChatCompletionChunk, CompletionParams, EmbeddingParams, Embeddings, Model
from anyllm.wire._base.format_support import FormatSupport

__all__ = ["Continuer", "Decoder", "Dialect", "Embedder", "FormatSupport", "Lister", "Request"]


@attrs.define(frozen=True)
class Request:
    """
    An immutable request, without its base URL and key.

    Attributes:
        method: "POST" or "GET".
        path: Appended to the provider's base URL, with its leading slash and its query.
        headers: The headers of the dialect and the caller.
        body: The exact bytes to send.
        fallbacks: For each optional parameter that we added: the body without it, which is sent if the provider refuses
            the request and names that parameter.
    """

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)  # may hold a key
    body: bytes = attrs.field(default=b"", repr=False)
    fallbacks: Mapping[str, bytes] = attrs.field(factory=dict, repr=False)


class Decoder(Protocol):
    """Turns one response's events into chunks. Used by one thread, for one response."""

    @property
    def done(self) -> bool:
        """Whether the terminal marker came; later events are ignored."""

    @property
    def complete(self) -> bool:
        """Whether the answer is complete, so that the stream may end here."""

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """
        The chunks of *event*, often one, sometimes none.

        Raises:
            APIError: the event is the provider's error.
            MalformedStreamError: the event is malformed.
        """

    def finish(self) -> Sequence[ChatCompletionChunk]:
        """
        The chunks that were held back, at the end of the bytes.

        Raises:
            IncompleteStreamError: the answer is not complete.
        """


class Dialect(Protocol):
    """One wire format, with the settings of one provider."""

    @property
    def support(self) -> FormatSupport:
        """The parameters, media and response formats that it supports."""

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider.

        Raises:
            UnsupportedParameterError: the provider does not support a parameter.
            InvalidRequestError: the parameters cannot be sent at all.
        """

    def decoder(self) -> Decoder:
        """A fresh decoder for one streamed response."""

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response.

        Raises:
            APIError: the body is the provider's error.
            MalformedStreamError: the body is malformed.
        """

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error of a response with that HTTP status."""


@runtime_checkable
class Continuer(Protocol):
    """A dialect in which a model can continue a text, if its `support` includes ``prefill``."""

    def continuation(self, params: CompletionParams, text: str, *, model: str) -> Request:
        """The request for a stream that continues *text*; errors as `Dialect.request` has them."""


@runtime_checkable
class Embedder(Protocol):
    """A dialect with an embedding endpoint."""

    def embedding_request(self, params: EmbeddingParams, *, model: str) -> Request:
        """The request for *params*; errors as `Dialect.request` has them."""

    def embeddings(self, body: bytes) -> Embeddings:
        """The vectors of a whole response; errors as `Dialect.response` has them."""


@runtime_checkable
class Lister(Protocol):
    """A dialect with a list of models."""

    def models_request(self) -> Request:
        """The request for the list."""

    def models(self, body: bytes) -> list[Model]:
        """The models of a whole response; errors as `Dialect.response` has them."""
