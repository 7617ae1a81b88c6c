"""
DashScope's native API (Alibaba's Model Studio).

Its OpenAI-compatible endpoint has no search results, no code interpreter, and only chat models.

Source: https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-dashscope
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from anyllm.errors import APIError
from anyllm.types import CompletionParams
from anyllm.wire._base import api_errors
from anyllm.wire._base.base_dialect import BaseDialect
from anyllm.wire._base.cloud_error_codes import refine_by_code
from anyllm.wire._base.format_support import FormatSupport
from anyllm.wire._base.protocols import Request
from anyllm.wire.dashscope.decoder import DashScopeDecoder
from anyllm.wire.dashscope.request import body_of, path_of

__all__ = ["DashScopeDialect"]


@attrs.define(frozen=True, kw_only=True)
class DashScopeDialect(BaseDialect):
    """DashScope's wire format. The base URL ends with "/api/v1", as the official client's does."""

    provider: str = "dashscope"

    support: ClassVar[FormatSupport] = FormatSupport(media=("image", "audio"), refused=("user", "stream_options"))

    _decoder = DashScopeDecoder
    _answer_key = "output"
    _must_end = True

    def _request(self, params: CompletionParams, model: str, stream: bool) -> Request:
        body = body_of(params, model=model, stream=stream, provider=self.provider)
        headers = {"X-DashScope-SSE": "enable"} if stream else {}
        return self._post(path_of(params, model), body, params.extra_headers, stream=stream, headers=headers)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error of a response with that HTTP status."""
        return refine_by_code(api_errors.from_response(self.provider, status, headers, _event_data(body)))

    def _is_answer(self, answer: dict[str, Any]) -> bool:
        return bool(answer.get("output") or answer.get("code"))


def _event_data(body: bytes) -> bytes:
    """The data of an error that is formatted as a server-sent event; any other body as it is."""
    if not body.startswith((b"id:", b"event:", b":")):
        return body
    return next((line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")), body)
