"""
The dialect of Anthropic's Messages, for Anthropic, its models in other clouds, and compatible providers.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote

import attrs

from anyllm.errors import APIError
from anyllm.types import ChatCompletion, CompletionParams, Model
from anyllm.wire._base import api_errors
from anyllm.wire._base.claude_thinking import REFUSED
from anyllm.wire._base.conversation import with_beginning
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.encode_json import headers_in, in_bytes, unsupported
from anyllm.wire._base.format_support import FormatSupport, checked
from anyllm.wire._base.protocols import Request
from anyllm.wire._base.whole_answer import completion_of
from anyllm.wire.anthropic_messages import models as _models
from anyllm.wire.anthropic_messages.decoder import MessagesDecoder
from anyllm.wire.anthropic_messages.request import request_bodies

__all__ = ["AnthropicMessagesDialect"]

#: The version of the API. Source: https://platform.claude.com/docs/en/api/versioning
_VERSION = "2023-06-01"


@attrs.define(frozen=True, kw_only=True)
class AnthropicMessagesDialect:
    """
    The dialect, with the switches of the provider that speaks it.

    Attributes:
        provider: Stands in every chunk and error.
        path: Appended to the base URL; "{model}" in it becomes the model's name.
        stream_path: The same for streams; None: streams have no path of their own.
        version_in_body: For providers that want ``anthropic_version`` in the body, and the model in the path only
            ("vertex-2023-10-16"); None: the version is a header.
    """

    provider: str = "anthropic"
    path: str = "/v1/messages"
    stream_path: str | None = None
    version_in_body: str | None = None

    #: Usage is always sent, and one answer.
    support: ClassVar[FormatSupport] = FormatSupport(
        formats=("json_schema",), refused=("n", "seed", "logprobs", "top_logprobs", "stream_options"), prefill=True
    )

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider.

        Newer models refuse the thinking budget that a ``reasoning_effort`` becomes for older ones. The fallback is in
        their form.

        Raises:
            UnsupportedParameterError: the provider does not support what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        params = checked(params, self.support, self.provider)
        address = {"model": model} if self.version_in_body is None else {"anthropic_version": self.version_in_body}
        extra = dict(params.extra_body or {})
        bodies = request_bodies(params, address, self.provider, stream=stream)
        first, *others = (in_bytes({**body, **extra}, self.provider) for body in bodies)
        path = self.stream_path if stream and self.stream_path is not None else self.path
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream" if stream else "application/json"}
        if self.version_in_body is None:
            headers["anthropic-version"] = _VERSION
        return Request(
            "POST",
            path.replace("{model}", quote(model, safe="@:")),
            headers_in(params.extra_headers, headers, self.provider),
            first,
            {REFUSED: others[0]} if others and "thinking" not in extra else {},
        )

    def continuation(self, params: CompletionParams, text: str, *, model: str) -> Request:
        """
        The request for the stream that follows *text*; errors as `request` has them.

        Claude continues no text while it thinks, and its newest models answer that they continue none at all.
        """
        if params.thinking_budget or params.reasoning_effort not in (None, "none"):
            raise unsupported("reasoning_effort", "a model that thinks continues no text", self.provider)
        return self.request(with_beginning(params, text), model=model, stream=True)

    def decoder(self) -> MessagesDecoder:
        """A fresh decoder for one streamed response."""
        return MessagesDecoder(provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as a stream of one event, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error.
            MalformedStreamError: the body cannot be read.
        """
        answer = whole_json(body, self.provider)
        if not isinstance(answer, dict) or not isinstance(answer.get("content"), list) or answer.get("error"):
            raise no_answer(answer, "content", self.provider)
        return completion_of(self.decoder().feed_whole(answer), answer)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error of an HTTP status, its headers and its body."""
        return api_errors.from_response(self.provider, status, headers, body)

    def models_request(self) -> Request:
        """The request for the list of models."""
        return Request("GET", _models.PATH, {"Accept": "application/json", "anthropic-version": _VERSION})

    def models(self, body: bytes) -> list[Model]:
        """The models of a whole response; errors as `response` has them."""
        return _models.read_models(whole_json(body, self.provider), self.provider)
