"""
OpenAI's chat completions, as OpenAI and everyone who is compatible with it speak them.

Sources: https://platform.openai.com/docs/api-reference/chat, and the pages of the hosts named beside each
oddity that is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from anyllm.errors import APIError, UnsupportedParameterError
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Model
from anyllm.types._accumulate import Assembler
from anyllm.wire._base import api_errors
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.dialect import Request
from anyllm.wire._base.encode_json import headers_in, in_bytes, put, unsupported
from anyllm.wire._base.format_support import FormatSupport, checked
from anyllm.wire.openai_chat import request as _request
from anyllm.wire.openai_chat.decoder import OpenAIChatDecoder
from anyllm.wire.openai_chat.embeddings import read_embeddings, read_models
from anyllm.wire.openai_chat.prefill import Prefill

__all__ = ["OpenAIChatDialect", "Prefill"]

_JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


@attrs.define(frozen=True, kw_only=True)
class OpenAIChatDialect:
    """
    The dialect, with the switches of the provider that speaks it.

    Attributes:
        provider: Stands in every chunk and error.
        include_usage: Ask for usage in streams (``stream_options``); Mistral refuses the parameter and sends
            usage anyway.
        done_is_complete: ``[DONE]`` without any finish reason is a good end. Only for hosts whose own streams
            never carry one (Snowflake): elsewhere it is how a failed answer looks.
        max_tokens_key: The key for ``max_tokens``; OpenAI's newer models want "max_completion_tokens".
        seed_key: The same for ``seed``; Mistral's name for it is "random_seed".
        thinking_budget_key: The key for ``thinking_budget``, dotted where it lies deeper
            ("reasoning.max_tokens"); None: the host takes none.
        no_thinking: What to add to the body for the effort "none" and the budget 0, instead of these; None: the
            effort "none" is sent as it is.
        think_tags: "split" where models write their reasoning into the text, between ``<think>`` and
            ``</think>``; "keep" leaves it there.
        formats: The types of ``response_format`` that the host keeps to.
        prefill: How a model is asked to go on from a text; None: it cannot be.
        reasoning_key: The key under which an assistant's earlier reasoning is sent back when the message does
            not know where it came from; None: the host refuses reasoning, so none is sent.
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

    @property
    def support(self) -> FormatSupport:
        """What the host has words for."""
        has_budget = self.thinking_budget_key is not None or self.no_thinking is not None
        refused = () if has_budget else ("thinking_budget",)
        media = ("image", "file", "audio")
        return FormatSupport(
            formats=self.formats,
            formats_of_its_own=True,
            own_sounds=True,
            media=media,
            refused=refused,
            prefill=self.prefill is not None,
        )

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider.

        Raises:
            UnsupportedParameterError: the host cannot do what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        params = checked(params, self.support, self.provider)
        body: dict[str, Any] = {
            "model": model,
            "messages": _request.messages_in_json(params.messages, reasoning_key=self.reasoning_key),
            **_request.plain_params(params, self.provider),
        }
        if params.max_tokens is not None:
            body[self.max_tokens_key] = params.max_tokens
        if params.seed is not None:
            body[self.seed_key] = params.seed
        if self.no_thinking is not None and (params.reasoning_effort == "none" or params.thinking_budget == 0):
            body.pop("reasoning_effort", None)
            body.update(self.no_thinking)
        elif params.thinking_budget is not None:
            put(body, self._budget_key(), params.thinking_budget)
        extra_body = dict(params.extra_body or {})
        without: dict[str, Any] | None = None
        if stream:
            body["stream"] = True
            options, unasked = self._stream_options(params)
            if unasked and "stream_options" not in extra_body:
                without = {**body, **_given(params.stream_options), **extra_body}
            if options:
                body["stream_options"] = options
        body.update(extra_body)
        headers = {**_JSON_HEADERS, "Accept": "text/event-stream"} if stream else _JSON_HEADERS
        return Request(
            "POST",
            "/chat/completions",
            headers_in(params.extra_headers, headers, self.provider),
            in_bytes(body, self.provider),
            {"stream_options": in_bytes(without, self.provider)} if without is not None else {},
        )

    def continuation(self, params: CompletionParams, text: str, *, model: str) -> Request:
        """The request for the stream that follows *text*; errors as `request` has them."""
        if self.prefill is None:
            raise unsupported("messages", "this host goes on from no text", self.provider)
        params = self.prefill.applied(params, text, reasoning_key=self.reasoning_key, provider=self.provider)
        return self.request(params, model=model, stream=True)

    def decoder(self) -> OpenAIChatDecoder:
        """A fresh decoder for one streamed response."""
        return OpenAIChatDecoder(
            provider=self.provider,
            done_is_complete=self.done_is_complete,
            splits_think_tags=self.think_tags == "split",
        )

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as a stream of one event, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error.
            MalformedStreamError: the body cannot be read.
        """
        answer = self._whole(body)
        assembler = Assembler()
        for chunk in self.decoder().feed_whole(answer):
            assembler.add(chunk)
        completion = assembler.snapshot()
        completion.raw = answer
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error that an HTTP status, its headers and its body say."""
        return api_errors.from_response(self.provider, status, headers, body)

    # -- beside chat -----------------------------------------------------------------------------------------

    def embedding_request(self, params: EmbeddingParams, *, model: str) -> Request:
        """The request for *params*; *model* is the name without its provider."""
        body: dict[str, Any] = {"model": model, "input": params.input}
        if params.dimensions is not None:
            body["dimensions"] = params.dimensions
        body.update(params.extra_body or {})
        headers = headers_in(params.extra_headers, _JSON_HEADERS, self.provider)
        return Request("POST", "/embeddings", headers, in_bytes(body, self.provider))

    def embeddings(self, body: bytes) -> Embeddings:
        """The vectors of a whole response; errors as `response` has them."""
        return read_embeddings(whole_json(body, self.provider), self.provider)

    def models_request(self) -> Request:
        """The request for the list of models."""
        return Request("GET", "/models", {"Accept": "application/json"})

    def models(self, body: bytes) -> list[Model]:
        """The models of a whole response; errors as `response` has them."""
        return read_models(whole_json(body, self.provider), self.provider)

    # -- the parts of a request ------------------------------------------------------------------------------

    def _budget_key(self) -> str:
        if self.thinking_budget_key is None:
            raise UnsupportedParameterError(
                "does not support the parameter thinking_budget; it may support reasoning_effort",
                provider=self.provider,
                param="thinking_budget",
            )
        return self.thinking_budget_key

    def _stream_options(self, params: CompletionParams) -> tuple[dict[str, Any], bool]:
        """The options to send, and whether we ask for usage without having been told to."""
        options = dict(params.stream_options or {})
        unasked = self.include_usage and "include_usage" not in options
        if unasked:
            options["include_usage"] = True
        elif options.get("include_usage") is False:
            del options["include_usage"]  # off is the default, and some hosts refuse the very name
        return options, unasked

    def _whole(self, body: bytes) -> dict[str, Any]:
        answer = whole_json(body, self.provider)
        if isinstance(answer, dict) and answer.get("choices"):
            return answer
        # A list, a text, or an object without choices: an error, or nothing that can be read.
        raise no_answer(answer, "choices", self.provider)


def _given(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"stream_options": dict(options)} if options else {}
