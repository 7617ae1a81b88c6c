"""
Wire formats: plain requests out, plain events in, chunks out. No sockets, no threads, no clock.

A dialect is what a host speaks, not who hosts. Each is one file with four parts: the request, the decoder of a
stream, the whole response, and the error. This module says what the pump expects of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs

from anyllm._framing.detect import Event
from anyllm.errors import APIError
from anyllm.types import ChatCompletion, ChatCompletionChunk, CompletionParams, EmbeddingParams, Embeddings, Model
from anyllm.wire._base.format_support import FormatSupport

__all__ = ["Continuer", "Decoder", "Dialect", "Embedder", "FormatSupport", "Lister", "Request"]


@attrs.define(frozen=True)
class Request:
    """
    A request without its host and key, fixed when it is made.

    Attributes:
        method: "POST" or "GET".
        path: Appended to the provider's base URL, with its leading slash and its query.
        headers: What the dialect and the caller add.
        body: The exact bytes to send.
        fallbacks: For each optional parameter we sent unasked: the body without it, sent once more if the host
            refuses the request and names that parameter.
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
        """Whether the terminal marker was seen: nothing after it is read."""

    @property
    def complete(self) -> bool:
        """Whether the answer is whole as it stands, so that the end of the bytes would be a good end."""

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """
        The chunks that *event* brings, often one, sometimes none.

        Raises:
            APIError: the event is the provider's error.
            MalformedStreamError: the event cannot be read.
        """

    def finish(self) -> Sequence[ChatCompletionChunk]:
        """
        What was held back, at the end of the bytes.

        Raises:
            IncompleteStreamError: the answer is not whole.
        """


class Dialect(Protocol):
    """One wire format, with the switches of the provider that speaks it."""

    @property
    def support(self) -> FormatSupport:
        """What it has words for."""

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider.

        Raises:
            UnsupportedParameterError: the host cannot do what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """

    def decoder(self) -> Decoder:
        """A fresh decoder for one streamed response."""

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response.

        Raises:
            APIError: the body is the provider's error.
            MalformedStreamError: the body cannot be read.
        """

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error that an HTTP status, its headers and its body say."""


@runtime_checkable
class Continuer(Protocol):
    """A dialect in which, whose `support` includes ``prefill``, a model can be asked to go on from a text."""

    def continuation(self, params: CompletionParams, text: str, *, model: str) -> Request:
        """The request for the stream that follows *text*; errors as `Dialect.request` has them."""


@runtime_checkable
class Embedder(Protocol):
    """A dialect whose hosts make vectors."""

    def embedding_request(self, params: EmbeddingParams, *, model: str) -> Request:
        """The request for *params*; errors as `Dialect.request` has them."""

    def embeddings(self, body: bytes) -> Embeddings:
        """The vectors of a whole response; errors as `Dialect.response` has them."""


@runtime_checkable
class Lister(Protocol):
    """A dialect whose hosts say which models they have."""

    def models_request(self) -> Request:
        """The request for the list."""

    def models(self, body: bytes) -> list[Model]:
        """The models of a whole response; errors as `Dialect.response` has them."""
