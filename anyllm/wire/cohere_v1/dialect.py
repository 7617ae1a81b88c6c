"""
Cohere's older chat API, version 1: a message and a chat history; streams have one JSON object per line.

Its tool calls have no ids, and its tools no JSON schemas; version 2 has both. The Command R models on AWS Bedrock use
version 1.

Sources: https://docs.cohere.com/v1/reference/chat, https://docs.cohere.com/v1/reference/chat-stream,
https://docs.cohere.com/v1/docs/streaming
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from anyllm.types import CompletionParams
from anyllm.wire._base.base_dialect import BaseDialect
from anyllm.wire._base.cohere.errors import from_response, no_content
from anyllm.wire._base.format_support import FormatSupport
from anyllm.wire._base.protocols import Request
from anyllm.wire.cohere_v1.decoder import CohereV1Decoder
from anyllm.wire.cohere_v1.request import body_of

__all__ = ["CohereV1Dialect"]


@attrs.define(frozen=True, kw_only=True)
class CohereV1Dialect(BaseDialect):
    """The wire format of Cohere's chat API, version 1."""

    provider: str = "cohere_v1"

    #: Options for connectors and documents go into ``extra_body``.
    support: ClassVar[FormatSupport] = FormatSupport(
        media=(),
        refused=(
            *("n", "user", "parallel_tool_calls", "logprobs", "top_logprobs", "thinking_budget"),
            "stream_options",
        ),
    )

    _decoder = CohereV1Decoder
    _read_error = staticmethod(from_response)
    _no_answer = staticmethod(no_content)
    _stream_type = "application/json"  # its lines are JSON
    _answer_key = "text"

    def _request(self, params: CompletionParams, model: str, stream: bool) -> Request:
        body = body_of(params, model=model, stream=stream, provider=self.provider)
        return self._post("/v1/chat", body, params.extra_headers, stream=stream)

    def _is_answer(self, answer: dict[str, Any]) -> bool:
        return "text" in answer and not answer.get("error")
