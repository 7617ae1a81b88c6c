"""
OpenAI's Responses, as OpenAI and compatible providers speak them.

Sources: https://platform.openai.com/docs/api-reference/responses, and the pages of the providers that are named beside
each difference.
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from anyllm.types import CompletionParams
from anyllm.wire._base.base_dialect import BaseDialect
from anyllm.wire._base.format_support import FormatSupport
from anyllm.wire._base.protocols import Request
from anyllm.wire.openai_responses.decoder import ResponsesDecoder
from anyllm.wire.openai_responses.request import request_body

__all__ = ["OpenAIResponsesDialect"]


@attrs.define(frozen=True, kw_only=True)
class OpenAIResponsesDialect(BaseDialect):
    """The client side of the format; *provider* stands in every chunk and error."""

    provider: str = "openai-responses"

    support: ClassVar[FormatSupport] = FormatSupport(refused=("stop", "n", "seed", "thinking_budget"))

    _decoder = ResponsesDecoder
    _answer_key = "output"

    def _request(self, params: CompletionParams, model: str, stream: bool) -> Request:
        body = request_body(params, model=model, stream=stream, provider=self.provider)
        return self._post("/responses", body, params.extra_headers, stream=stream)

    def _is_answer(self, answer: dict[str, Any]) -> bool:
        return isinstance(answer.get("output"), list)
