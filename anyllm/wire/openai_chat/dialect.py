"""
OpenAI's chat completions, as OpenAI and all compatible providers speak them.

Sources: https://platform.openai.com/docs/api-reference/chat, and the pages of the providers named beside each oddity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from anyllm.types import CompletionParams, Embeddings, Model
from anyllm.wire._base.base_dialect import WithEmbeddings, WithModels
from anyllm.wire._base.encode_json import put, unsupported
from anyllm.wire._base.format_support import FormatSupport
from anyllm.wire._base.protocols import Request
from anyllm.wire.openai_chat import embeddings as _embeddings
from anyllm.wire.openai_chat import models as _models
from anyllm.wire.openai_chat.decoder import OpenAIChatDecoder
from anyllm.wire.openai_chat.request import Prefill, messages_in_json, plain_params

__all__ = ["OpenAIChatDialect", "Prefill"]


@attrs.define(frozen=True, kw_only=True)
class OpenAIChatDialect(WithEmbeddings, WithModels):
    """
    The dialect, with the switches of the provider that speaks it.

    Attributes:
        provider: Stands in every chunk and error.
        include_usage: Ask for usage in streams (``stream_options``); Mistral refuses that and sends usage anyway.
        done_is_complete: ``[DONE]`` without any finish reason is a good end. Only for providers whose own streams never
            carry one (Snowflake): elsewhere a failed answer looks so.
        max_tokens_key: The key for ``max_tokens``; OpenAI's newer models want "max_completion_tokens".
        seed_key: The same for ``seed``; Mistral's is "random_seed".
        thinking_budget_key: The key for ``thinking_budget``, dotted where it lies deeper ("reasoning.max_tokens"); None
            if the provider does not support it.
        no_thinking: What to add to the body for the effort "none" and the budget 0, instead of these; None: the effort
            "none" is sent as it is.
        think_tags: "split" where models write their reasoning into the text, between ``<think>`` and ``</think>``;
            "keep" leaves it there.
        formats: The types of ``response_format`` that the provider supports.
        prefill: How a model is asked to continue a text; None: it cannot be.
        reasoning_key: The key under which an assistant's earlier reasoning is sent back when the message does not know
            where it came from; None: the provider refuses reasoning, so none is sent.
    """

    provider: str = "openai"
    include_usage: bool = True
    done_is_complete: bool = False
    max_tokens_key: str = "max_tokens"
    seed_key: str = "seed"
    thinking_budget_key: str | None = None
    no_thinking: Mapping[str, Any] | None = None
    think_tags: str = "keep"
    formats: tuple[str, ...] = ("json_object", "json_schema")
    reasoning_key: str | None = "reasoning_content"
    prefill: Prefill | None = None

    _answer_key = "choices"

    @property
    def support(self) -> FormatSupport:
        """What the provider supports."""
        has_budget = self.thinking_budget_key is not None or self.no_thinking is not None
        return FormatSupport(
            formats=self.formats,
            formats_of_its_own=True,
            own_sounds=True,
            media=("image", "file", "audio"),
            refused=() if has_budget else ("thinking_budget",),
            prefill=self.prefill is not None,
        )

    def _request(self, params: CompletionParams, model: str, stream: bool) -> Request:
        body: dict[str, Any] = {
            "model": model,
            "messages": messages_in_json(params.messages, reasoning_key=self.reasoning_key),
            **plain_params(params, self.provider),
        }
        if params.max_tokens is not None:
            body[self.max_tokens_key] = params.max_tokens
        if params.seed is not None:
            body[self.seed_key] = params.seed
        if self.no_thinking is not None and (params.reasoning_effort == "none" or params.thinking_budget == 0):
            body.pop("reasoning_effort", None)
            body.update(self.no_thinking)
        elif params.thinking_budget is not None:
            if self.thinking_budget_key is None:
                why = "thinking_budget can only be 0, which turns thinking off; reasoning_effort may have levels"
                raise unsupported("thinking_budget", why, self.provider)
            put(body, self.thinking_budget_key, params.thinking_budget)
        extra_body = params.extra_body or {}
        fallbacks: dict[str, dict[str, Any]] = {}
        if stream:
            body["stream"] = True
            options = dict(params.stream_options or {})
            if self.include_usage and "include_usage" not in options:
                if "stream_options" not in extra_body:  # the caller did not ask for usage, and some servers refuse it
                    without = {**body, **({"stream_options": options} if options else {}), **extra_body}
                    fallbacks["stream_options"] = without
                options = {**options, "include_usage": True}
            elif options.get("include_usage") is False:
                del options["include_usage"]  # off is the default, and some servers refuse the very name
            if options:
                body["stream_options"] = options
        body = {**body, **extra_body}
        return self._post("/chat/completions", body, params.extra_headers, stream=stream, fallbacks=fallbacks)

    def continuation(self, params: CompletionParams, text: str, *, model: str) -> Request:
        """The request for the stream that follows *text*; errors as `request` has them."""
        if self.prefill is None:
            raise unsupported("messages", "this provider does not continue an answer from a text", self.provider)
        params = self.prefill.applied(params, text, reasoning_key=self.reasoning_key, provider=self.provider)
        return self.request(params, model=model, stream=True)

    def decoder(self) -> OpenAIChatDecoder:
        """A fresh decoder for one streamed response."""
        return OpenAIChatDecoder(
            provider=self.provider,
            done_is_complete=self.done_is_complete,
            splits_think_tags=self.think_tags == "split",
        )

    def _read_embeddings(self, answer: Any) -> Embeddings:
        return _embeddings.read_answer(answer, self.provider)

    def _read_models(self, answer: Any) -> list[Model]:
        return _models.read_list(answer, self.provider)
