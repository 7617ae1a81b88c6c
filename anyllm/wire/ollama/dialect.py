"""
Ollama's own chat API: one JSON object a line, whole tool calls, images in the message.

The OpenAI-compatible endpoint of the same server lacks load times, ``keep_alive`` and ``num_ctx``.

Sources: https://docs.ollama.com/api/chat, https://docs.ollama.com/api/generate, https://docs.ollama.com/api/errors
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from anyllm.types import CompletionParams, Embeddings, Model
from anyllm.wire._base.base_dialect import WithEmbeddings, WithModels
from anyllm.wire._base.conversation import with_beginning
from anyllm.wire._base.format_support import FormatSupport
from anyllm.wire._base.protocols import Request
from anyllm.wire.ollama import embeddings as _embeddings
from anyllm.wire.ollama import models as _models
from anyllm.wire.ollama.decoder import OllamaDecoder, has_answer
from anyllm.wire.ollama.request import body_of

__all__ = ["OllamaDialect"]


@attrs.define(frozen=True, kw_only=True)
class OllamaDialect(WithEmbeddings, WithModels):
    """The dialect. Requests are always ``/api/chat``; answers of ``/api/generate`` are read as well."""

    provider: str = "ollama"

    support: ClassVar[FormatSupport] = FormatSupport(
        media=("image",), refused=("n", "user", "parallel_tool_calls", "stream_options"), prefill=True
    )

    _decoder = OllamaDecoder
    _stream_type = "application/x-ndjson"
    _answer_key = "message"
    _must_end = True
    _embeddings_path = "/api/embed"
    _models_list = "/api/tags"

    def _request(self, params: CompletionParams, model: str, stream: bool) -> Request:
        body = body_of(params, model=model, stream=stream, provider=self.provider)
        return self._post("/api/chat", body, params.extra_headers, stream=stream)

    def continuation(self, params: CompletionParams, text: str, *, model: str) -> Request:
        """The request for the stream that follows *text*; errors as `request` has them."""
        return self.request(with_beginning(params, text), model=model, stream=True)

    def _is_answer(self, answer: dict[str, Any]) -> bool:
        return has_answer(answer)

    def _read_embeddings(self, answer: Any) -> Embeddings:
        return _embeddings.read_answer(answer, self.provider)

    def _read_models(self, answer: Any) -> list[Model]:
        return _models.read_list(answer, self.provider)
