"""
Decoder of streams of Hunyuan's native API: OpenAI's choices and deltas in PascalCase.

A choice continues while its ``FinishReason`` is "". The provider ends a stream by closing it. An error during a stream
is an event with ``ErrorMsg``; one before it is a whole answer, ``{"Response": {"Error": ...}}``, with status 200.

Source: https://cloud.tencent.com/document/api/1729/105701
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.errors import APIError, ServerError
from anyllm.types import ChunkChoice, Usage
from anyllm.wire._base import api_errors
from anyllm.wire._base.choices_decoder import ChoiceDelta, ChoicesDecoder
from anyllm.wire._base.cloud_error_codes import refine_by_code
from anyllm.wire._base.json_values import count, json_object, usage_of_counts

#: The fields of a delta besides role and content.
_NOT_TEXT = ("ReasoningContent", "ToolCalls")
#: ``ErrorMsg.Code`` of errors of the server: the service failed; the model took too long.
_SERVER_CODES = ("4000", "4001")


class HunyuanDecoder(ChoicesDecoder):
    """Turns one response's events into chunks. Used by one thread, for one response."""

    _reasoning_field = "ReasoningContent"

    __slots__ = ()

    def _answer(self, body: dict[str, Any], event_name: str = "") -> dict[str, Any]:
        answer = self._optional_object(body, "Response") if "Response" in body else body
        error = answer.get("Error") or _without_empty(answer.get("ErrorMsg"))
        if error or event_name == "error":
            raise error_of(answer, error, self._provider, body)
        return answer

    def _text_only(self, answer: dict[str, Any]) -> str | None:
        choices = answer.get("Choices")
        if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict:
            return None
        choice = choices[0]
        delta = choice.get("Delta")
        if type(delta) is not dict or choice.get("FinishReason") not in ("", None) or choice.get("Index"):
            return None
        content = delta.get("Content")
        return content if type(content) is str and not any(delta.get(key) for key in _NOT_TEXT) else None

    def _choice_deltas(self, answer: dict[str, Any]) -> Sequence[ChoiceDelta]:
        return [self._choice_delta(choice) for choice in self._checked_objects(answer.get("Choices"), "Choices")]

    def _choice_delta(self, choice: Mapping[str, Any]) -> ChoiceDelta:
        delta = self._optional_object(choice, "Delta" if choice.get("Delta") else "Message")
        return ChoiceDelta(
            choice.get("Index"),
            delta.get("Content"),
            delta.get("ReasoningContent"),
            [self._fragment(call) for call in self._checked_objects(delta.get("ToolCalls"), "ToolCalls")],
            choice.get("FinishReason"),
        )

    def _fragment(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """A fragment of a call in OpenAI's shape."""
        function = self._optional_object(call, "Function")
        named = {"name": function.get("Name"), "arguments": function.get("Arguments")}
        return {"index": call.get("Index"), "id": call.get("Id"), "function": named}

    def _metadata(self, answer: dict[str, Any]) -> tuple[Any, Any, Any]:
        return answer.get("Id"), answer.get("Created"), answer.get("Model")

    def _usage(self, answer: dict[str, Any], choices: Sequence[ChunkChoice]) -> Usage | None:
        raw = answer.get("Usage")
        if not isinstance(raw, dict):
            return None
        prompt, completion, total = (count(raw, key) for key in ("PromptTokens", "CompletionTokens", "TotalTokens"))
        cached = count(json_object(raw.get("PromptTokensDetails")), "CachedTokens")
        return usage_of_counts(raw, prompt, completion, total, cache_read=cached)


def error_of(answer: Mapping[str, Any], error: Any, provider: str, body: Any) -> APIError:
    """
    The exception for the provider's *error*.

    Args:
        answer: The object that contains it and the request's id.
        error: An ``Error`` or ``ErrorMsg``.
        provider: The provider's name.
        body: The decoded body of the response or event.
    """
    request_id = answer.get("RequestId") or answer.get("Id")
    exception = refine_by_code(api_errors.from_body(provider, {"error": error, "RequestId": request_id}))
    if exception.code in _SERVER_CODES and type(exception) is APIError:
        exception = ServerError(
            exception.message, provider=provider, code=exception.code, request_id=exception.request_id
        )
    exception.body = body
    return exception


def _without_empty(error: Any) -> Any:
    """An ``ErrorMsg``; None for an empty one, which events without an error contain."""
    if isinstance(error, dict) and not any(error.values()):
        return None
    return error
