"""
Tencent Hunyuan's native API, in Tencent Cloud's API 3.0: signed requests, PascalCase, server-sent events.

Sources: https://cloud.tencent.com/document/api/1729/105701 (the call), https://cloud.tencent.com/document/api/1729/101848
(versions and actions)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from anyllm.errors import APIError
from anyllm.types import CompletionParams, _convert
from anyllm.wire._base import api_errors
from anyllm.wire._base.base_dialect import BaseDialect
from anyllm.wire._base.cloud_error_codes import refine_by_code
from anyllm.wire._base.decode_json import no_answer
from anyllm.wire._base.format_support import FormatSupport
from anyllm.wire._base.protocols import Request
from anyllm.wire._base.surrogate_joiner import mend_all
from anyllm.wire.hunyuan.decoder import HunyuanDecoder
from anyllm.wire.hunyuan.request import body_of

__all__ = ["HunyuanDialect"]


@attrs.define(frozen=True, kw_only=True)
class HunyuanDialect(BaseDialect):
    """
    Hunyuan's wire format. The sender adds the signature and the time of the request.

    An answer that ends at a ``stop`` text contains that text.
    """

    provider: str = "hunyuan"

    support: ClassVar[FormatSupport] = FormatSupport(
        formats=(),
        media=("image",),
        refused=("max_tokens", "n", "user", "parallel_tool_calls", "logprobs", "top_logprobs", "stream_options"),
    )

    _headers: ClassVar[Mapping[str, str]] = {"X-TC-Action": "ChatCompletions", "X-TC-Version": "2023-09-01"}
    _decoder = HunyuanDecoder
    _must_end = True

    def _request(self, params: CompletionParams, model: str, stream: bool) -> Request:
        body = body_of(params, model=model, stream=stream, provider=self.provider)
        return self._post("/", body, params.extra_headers, stream=stream)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error of a response with that HTTP status."""
        error = refine_by_code(api_errors.from_response(self.provider, status, headers, _unwrapped(body)))
        fields = {name.lower(): value for name, value in headers.items()}
        error.request_id = error.request_id or fields.get("x-tc-requestid")
        return error

    def _answer(self, answer: Any) -> dict[str, Any]:
        inner = answer.get("Response", answer) if isinstance(answer, dict) else answer
        if not isinstance(inner, dict) or not any(inner.get(key) for key in ("Choices", "Error", "ErrorMsg")):
            raise no_answer(inner, "Choices", self.provider)
        return dict(answer)


def _unwrapped(body: bytes) -> bytes:
    """An error without the ``Response`` around it; any other body as it is."""
    try:
        answer: Any = mend_all(_convert.loads(body))
        answer = answer.get("Response") if isinstance(answer, dict) else None
        if isinstance(answer, dict) and answer.get("Error"):
            return _convert.dumps({"error": answer["Error"], "RequestId": answer.get("RequestId")})
    except (ValueError, OverflowError, RecursionError):
        pass
    return body
