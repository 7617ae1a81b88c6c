"""
The dialect of Anthropic's Messages, for Anthropic, its models in other clouds, and compatible providers.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

import attrs

from anyllm.types import CompletionParams, Model
from anyllm.wire._base.base_dialect import WithModels
from anyllm.wire._base.conversation import with_beginning
from anyllm.wire._base.encode_json import unsupported
from anyllm.wire._base.format_support import FormatSupport
from anyllm.wire._base.protocols import Request
from anyllm.wire._base.thinking_budget import bodies_to_send
from anyllm.wire.anthropic_messages import models as _models
from anyllm.wire.anthropic_messages.decoder import MessagesDecoder
from anyllm.wire.anthropic_messages.request import request_bodies

__all__ = ["AnthropicMessagesDialect"]

#: The version of the API. Source: https://platform.claude.com/docs/en/api/versioning
_VERSION_HEADER = {"anthropic-version": "2023-06-01"}


@attrs.define(frozen=True, kw_only=True)
class AnthropicMessagesDialect(WithModels):
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

    _decoder = MessagesDecoder
    _answer_key = "content"
    _models_list = _models.PATH

    def _request(self, params: CompletionParams, model: str, stream: bool) -> Request:
        address = {"model": model} if self.version_in_body is None else {"anthropic_version": self.version_in_body}
        bodies = request_bodies(params, address, self.provider, stream=stream)
        body, fallbacks = bodies_to_send(bodies, params.extra_body, "thinking")
        path = self.stream_path if stream and self.stream_path is not None else self.path
        return self._post(
            path.replace("{model}", quote(model, safe="@:")),
            body,
            params.extra_headers,
            stream=stream,
            headers=_VERSION_HEADER if self.version_in_body is None else None,
            fallbacks=fallbacks,
        )

    def continuation(self, params: CompletionParams, text: str, *, model: str) -> Request:
        """
        The request for the stream that follows *text*; errors as `request` has them.

        Claude continues no text while it thinks, and its newest models answer that they continue none at all.
        """
        if params.thinking_budget or params.reasoning_effort not in (None, "none"):
            raise unsupported("reasoning_effort", "a model that thinks continues no text", self.provider)
        return self.request(with_beginning(params, text), model=model, stream=True)

    def _is_answer(self, answer: dict[str, Any]) -> bool:
        return isinstance(answer.get("content"), list) and not answer.get("error")

    def models_request(self) -> Request:
        """The request for the list of models."""
        request = super().models_request()
        return attrs.evolve(request, headers={**request.headers, **_VERSION_HEADER})

    def _read_models(self, answer: Any) -> list[Model]:
        return _models.read_models(answer, self.provider)
