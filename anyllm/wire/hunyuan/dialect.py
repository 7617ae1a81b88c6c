"""
Tencent Hunyuan's native API, version 3 of Tencent Cloud's: signed requests, PascalCase, server-sent events.

Sources: https://cloud.tencent.com/document/api/1729/105701 (the call), https://cloud.tencent.com/document/api/1729/101848
(versions and actions)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from anyllm.errors import APIError
from anyllm.types import ChatCompletion, CompletionParams, _convert
from anyllm.types._accumulate import Assembler
from anyllm.wire._base import api_errors
from anyllm.wire._base.cloud_error_codes import by_code
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.dialect import Request
from anyllm.wire._base.encode_json import headers_in, in_bytes
from anyllm.wire._base.format_support import FormatSupport, checked
from anyllm.wire._base.surrogate_joiner import mend_all
from anyllm.wire.hunyuan.decoder import HunyuanDecoder
from anyllm.wire.hunyuan.request import body_of

__all__ = ["HunyuanDialect"]

_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "X-TC-Action": "ChatCompletions",
    "X-TC-Version": "2023-09-01",
}


@attrs.define(frozen=True, kw_only=True)
class HunyuanDialect:
    """
    The dialect. What makes a request valid, its signature and time, is added by who sends it.

    A ``stop`` text is part of the answer here, which ends after it.

    Attributes:
        provider: Stands in every chunk and error.
    """

    provider: str = "hunyuan"

    support: ClassVar[FormatSupport] = FormatSupport(
        formats=(),
        media=("image",),
        refused=("max_tokens", "n", "user", "parallel_tool_calls", "logprobs", "top_logprobs", "stream_options"),
    )

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider.

        Raises:
            UnsupportedParameterError: the host cannot do what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        params = checked(params, self.support, self.provider)
        body = body_of(params, model=model, stream=stream, provider=self.provider)
        headers = {**_HEADERS, "Accept": "text/event-stream"} if stream else _HEADERS
        return Request(
            "POST", "/", headers_in(params.extra_headers, headers, self.provider), in_bytes(body, self.provider)
        )

    def decoder(self) -> HunyuanDecoder:
        """A fresh decoder for one streamed response."""
        return HunyuanDecoder(provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as a stream of one event, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error.
            IncompleteStreamError: the answer does not say why it ended.
            MalformedStreamError: the body cannot be read.
        """
        answer = whole_json(body, self.provider)
        inner = answer.get("Response", answer) if isinstance(answer, dict) else answer
        if not isinstance(inner, dict) or not any(inner.get(key) for key in ("Choices", "Error", "ErrorMsg")):
            raise no_answer(inner, "Choices", self.provider)
        decoder, assembler = self.decoder(), Assembler()
        for chunk in decoder.feed_whole(answer):
            assembler.add(chunk)
        decoder.finish()
        completion = assembler.snapshot()
        completion.raw = answer
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error that an HTTP status, its headers and its body say."""
        error = by_code(api_errors.from_response(self.provider, status, headers, _flat(body)))
        fields = {name.lower(): value for name, value in headers.items()}
        error.request_id = error.request_id or fields.get("x-tc-requestid")
        return error


def _flat(body: bytes) -> bytes:
    """An error without the ``Response`` around it, as every other host sends one; all else as it is."""
    try:
        answer: Any = mend_all(_convert.loads(body))
        answer = answer.get("Response") if isinstance(answer, dict) else None
        if isinstance(answer, dict) and answer.get("Error"):
            return _convert.dumps({"error": answer["Error"], "RequestId": answer.get("RequestId")})
    except (ValueError, OverflowError, RecursionError):
        pass
    return body
