"""
AWS Bedrock's Converse, one format for the models of many makers.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

import attrs

from anyllm.types import CompletionParams
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.base_dialect import BaseDialect
from anyllm.wire._base.format_support import FormatSupport
from anyllm.wire._base.protocols import Request
from anyllm.wire._base.thinking_budget import bodies_to_send
from anyllm.wire.bedrock_converse import parameters, reasoning
from anyllm.wire.bedrock_converse.decoder import ConverseDecoder
from anyllm.wire.bedrock_converse.turns import conversation

__all__ = ["BedrockConverseDialect"]


@attrs.define(frozen=True, kw_only=True)
class BedrockConverseDialect(BaseDialect):
    """The wire format of Converse."""

    provider: str = "bedrock"

    #: Some models keep to a schema, by ``extra_body={"outputConfig": ...}``; not all.
    support: ClassVar[FormatSupport] = FormatSupport(
        formats=(),
        refused=("n", "seed", "user", "logprobs", "top_logprobs", "parallel_tool_calls", "stream_options"),
    )

    _decoder = ConverseDecoder
    _read_error = staticmethod(bedrock_errors.from_response)
    _stream_type = "application/vnd.amazon.eventstream"
    _answer_key = "output"

    def _request(self, params: CompletionParams, model: str, stream: bool) -> Request:
        """*model* is an id, an inference profile, or the ARN of either."""
        plain = {
            **conversation(params.messages, self.provider),
            **parameters.plain_params(params, self.provider),
        }
        bodies = reasoning.bodies(plain, params, model, self.provider)
        body, fallbacks = bodies_to_send(bodies, params.extra_body, reasoning.FIELDS)
        path = f"/model/{quote(model, safe='')}/{'converse-stream' if stream else 'converse'}"
        return self._post(path, body, params.extra_headers, stream=stream, fallbacks=fallbacks)

    def _is_answer(self, answer: dict[str, Any]) -> bool:
        return isinstance(answer.get("output"), dict) and not answer.get("error")
