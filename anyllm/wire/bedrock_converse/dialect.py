"""
AWS Bedrock's Converse, one format for the models of many makers.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import attrs

from anyllm.errors import APIError
from anyllm.types import ChatCompletion, CompletionParams
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.claude_thinking import REFUSED
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.encode_json import headers_in, in_bytes
from anyllm.wire._base.format_support import FormatSupport, checked
from anyllm.wire._base.protocols import Request
from anyllm.wire._base.whole_answer import completion_of
from anyllm.wire.bedrock_converse import parameters, reasoning
from anyllm.wire.bedrock_converse.decoder import ConverseDecoder
from anyllm.wire.bedrock_converse.turns import conversation

__all__ = ["BedrockConverseDialect"]

_STREAM = "application/vnd.amazon.eventstream"


@attrs.define(frozen=True, kw_only=True)
class BedrockConverseDialect:
    """
    The dialect.

    Attributes:
        provider: Stands in every chunk and error.
    """

    provider: str = "bedrock"

    #: Some models keep to a schema, by ``extra_body={"outputConfig": ...}``; not all.
    support: ClassVar[FormatSupport] = FormatSupport(
        formats=(),
        refused=("n", "seed", "user", "logprobs", "top_logprobs", "parallel_tool_calls", "stream_options"),
    )

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is an id, an inference profile, or the ARN of either.

        Newer Claude models refuse the thinking budget that a ``reasoning_effort`` becomes for older ones. The fallback
        is in their form.

        Raises:
            UnsupportedParameterError: the provider does not support what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        params = checked(params, self.support, self.provider)
        body: dict[str, Any] = {
            **conversation(params.messages, self.provider),
            **parameters.plain_params(params, self.provider),
        }
        bodies = reasoning.bodies(body, params, model, self.provider)
        extra = dict(params.extra_body or {})
        first, *others = (in_bytes({**each, **extra}, self.provider) for each in bodies)
        headers = {"Content-Type": "application/json", "Accept": _STREAM if stream else "application/json"}
        return Request(
            "POST",
            f"/model/{quote(model, safe='')}/{'converse-stream' if stream else 'converse'}",
            headers_in(params.extra_headers, headers, self.provider),
            first,
            {REFUSED: others[0]} if others and reasoning.FIELDS not in extra else {},
        )

    def decoder(self) -> ConverseDecoder:
        """A fresh decoder for one streamed response."""
        return ConverseDecoder(provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as a stream of its blocks, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error.
            MalformedStreamError: the body cannot be read.
        """
        answer = whole_json(body, self.provider)
        if not isinstance(answer, dict) or not isinstance(answer.get("output"), dict) or answer.get("error"):
            raise no_answer(answer, "output", self.provider)
        return completion_of(self.decoder().feed_whole(answer), answer)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error of an HTTP status, its headers and its body."""
        return bedrock_errors.from_response(self.provider, status, headers, body)
