"""
Alibaba's DashScope (Model Studio), in its own format.

The OpenAI-compatible endpoint of the same host says less: it has no search results, no code interpreter, and no models
but chat models.

Source: https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-dashscope
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from anyllm.errors import APIError
from anyllm.types import ChatCompletion, CompletionParams
from anyllm.types._accumulate import Assembler
from anyllm.wire._base import api_errors
from anyllm.wire._base.cloud_error_codes import by_code
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.dialect import Request
from anyllm.wire._base.encode_json import headers_in, in_bytes
from anyllm.wire._base.format_support import FormatSupport, checked
from anyllm.wire.dashscope.decoder import DashScopeDecoder
from anyllm.wire.dashscope.request import body_of, path_of

__all__ = ["DashScopeDialect"]

_JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_STREAM_HEADERS = {**_JSON_HEADERS, "Accept": "text/event-stream", "X-DashScope-SSE": "enable"}


@attrs.define(frozen=True, kw_only=True)
class DashScopeDialect:
    """
    The dialect. Its base URL ends with "/api/v1", as the official client's does.

    Attributes:
        provider: Stands in every chunk and error.
    """

    provider: str = "dashscope"

    support: ClassVar[FormatSupport] = FormatSupport(media=("image", "audio"), refused=("user", "stream_options"))

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider.

        Raises:
            UnsupportedParameterError: the host cannot do what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        params = checked(params, self.support, self.provider)
        body = body_of(params, model=model, stream=stream, provider=self.provider)
        headers = headers_in(params.extra_headers, _STREAM_HEADERS if stream else _JSON_HEADERS, self.provider)
        return Request("POST", path_of(params, model), headers, in_bytes(body, self.provider))

    def decoder(self) -> DashScopeDecoder:
        """A fresh decoder for one streamed response."""
        return DashScopeDecoder(provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as a stream of one event, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error.
            IncompleteStreamError: the answer does not say why it ended.
            MalformedStreamError: the body cannot be read.
        """
        answer = whole_json(body, self.provider)
        if not isinstance(answer, dict) or not (answer.get("output") or answer.get("code")):
            raise no_answer(answer, "output", self.provider)
        decoder, assembler = self.decoder(), Assembler()
        for chunk in decoder.feed_whole(answer):
            assembler.add(chunk)
        decoder.finish()
        completion = assembler.snapshot()
        completion.raw = answer
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error that an HTTP status, its headers and its body say."""
        return by_code(api_errors.from_response(self.provider, status, headers, _data_in(body)))


def _data_in(body: bytes) -> bytes:
    """The data of an error that is framed as an event, whose first line is its id; any other body as it is."""
    if not body.startswith((b"id:", b"event:", b":")):
        return body
    return next((line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")), body)
