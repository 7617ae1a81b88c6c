"""
OpenAI's chat completions, as OpenAI and everyone who is compatible with it speak them.

Sources: https://platform.openai.com/docs/api-reference/chat, and the pages of the hosts named beside each
oddity that is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from anyllm import _convert
from anyllm._assemble import Assembler
from anyllm.dialects import Request, _errors, _said
from anyllm.dialects._common import json_type
from anyllm.dialects.openai_chat import _request
from anyllm.dialects.openai_chat._decoder import ChatDecoder
from anyllm.errors import APIError, MalformedStreamError, UnsupportedParameterError
from anyllm.types import ChatCompletion, CompletionParams

__all__ = ["OpenAIChat"]

_SNIPPET = 80


@attrs.define(frozen=True, kw_only=True)
class OpenAIChat:
    """
    The dialect, with the switches of the provider that speaks it.

    Attributes:
        provider: Stands in every chunk and error.
        include_usage: Ask for usage in streams (``stream_options``); Mistral refuses the parameter and sends
            usage anyway.
        done_is_complete: ``[DONE]`` without any finish reason is a good end. Only for hosts whose own streams
            never carry one (Snowflake): elsewhere it is how a failed answer looks.
        max_tokens_key: The key for ``max_tokens``; OpenAI's newer models want "max_completion_tokens".
        thinking_budget_key: The key for ``thinking_budget``, dotted where it lies deeper
            ("reasoning.max_tokens"); None: the host takes none.
        reasoning_key: The key under which an assistant's earlier reasoning is sent back when the message does
            not know where it came from; None: the host refuses reasoning, so none is sent.
    """

    provider: str = "openai"
    include_usage: bool = True
    done_is_complete: bool = False
    max_tokens_key: str = "max_tokens"
    thinking_budget_key: str | None = None
    reasoning_key: str | None = "reasoning_content"

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is the name without its provider.

        Raises:
            UnsupportedParameterError: the host cannot do what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        body: dict[str, Any] = {
            "model": model,
            "messages": _request.messages_in_json(params.messages, reasoning_key=self.reasoning_key),
            **_request.plain_params(params, self.provider),
        }
        if params.max_tokens is not None:
            body[self.max_tokens_key] = params.max_tokens
        if params.thinking_budget is not None:
            _request.put(body, self._budget_key(), params.thinking_budget)
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
        accept = "text/event-stream" if stream else "application/json"
        headers = {"Content-Type": "application/json", "Accept": accept}
        return Request(
            "POST",
            "/chat/completions",
            _request.headers_in(params.extra_headers, headers, self.provider),
            _request.in_bytes(body, self.provider),
            {"stream_options": _request.in_bytes(without, self.provider)} if without is not None else {},
        )

    def decoder(self) -> ChatDecoder:
        """A fresh decoder for one streamed response."""
        return ChatDecoder(provider=self.provider, done_is_complete=self.done_is_complete)

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
        return _errors.from_response(self.provider, status, headers, body)

    def _budget_key(self) -> str:
        if self.thinking_budget_key is None:
            raise UnsupportedParameterError(
                "thinking_budget is not something this host takes; reasoning_effort may be",
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
        try:
            answer = _convert.loads(body)
        except (ValueError, RecursionError) as exc:
            text = body.decode("utf-8", "replace").strip()
            what = _said.read(text).message if text.startswith("<") else text[:_SNIPPET]
            raise MalformedStreamError(
                f"the answer is no JSON: {what!r}" if text else "the answer is empty", provider=self.provider
            ) from exc
        if isinstance(answer, dict) and answer.get("choices"):
            return answer
        # A list, a text, or an object without choices: an error, or nothing that can be read.
        if isinstance(answer, dict) and ("error" in answer or _said.looks_like_error(answer)):
            raise _errors.from_body(self.provider, answer)
        if isinstance(answer, list) and answer and isinstance(answer[0], dict) and answer[0].get("error"):
            raise _errors.from_body(self.provider, answer)
        what = "has no choices" if isinstance(answer, dict) else f"is {json_type(answer)}, not an object"
        raise MalformedStreamError(f"the answer {what}", provider=self.provider)


def _given(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"stream_options": dict(options)} if options else {}
