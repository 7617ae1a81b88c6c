"""
The stream of Hunyuan's native API: OpenAI's choices and deltas in PascalCase.

A choice goes on while its ``FinishReason`` is "". The host ends the stream by closing it; an error in the middle is an
event with ``ErrorMsg``, and one before anything came is a whole answer, ``{"Response": {"Error": ...}}``, with status
200.

Source: https://cloud.tencent.com/document/api/1729/105701
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.errors import APIError, ServerError
from anyllm.types import ChunkChoice, Usage
from anyllm.wire._base import api_errors
from anyllm.wire._base.choices_decoder import ChoicesDecoder, Piece, first_count
from anyllm.wire._base.cloud_error_codes import by_code

#: What a delta may hold beside role and content.
_SPECIAL = ("ReasoningContent", "ToolCalls")
#: ``ErrorMsg.Code``: the service failed; the model took too long.
_FAILED = ("4000", "4001")


class HunyuanDecoder(ChoicesDecoder):
    """Turns one response's events into chunks. Used by one thread, for one response."""

    _reasoning_field = "ReasoningContent"

    __slots__ = ()

    def _answer(self, body: dict[str, Any], event_name: str = "") -> dict[str, Any]:
        answer = self._checked_object(body["Response"], "Response") if "Response" in body else body
        error = answer.get("Error") or _said_in(answer.get("ErrorMsg"))
        if error or event_name == "error":
            raise error_of(answer, error, self._provider, body)
        return answer

    def _text_alone(self, answer: dict[str, Any]) -> str | None:
        choices = answer.get("Choices")
        if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict:
            return None
        choice = choices[0]
        delta = choice.get("Delta")
        if type(delta) is not dict or choice.get("FinishReason") not in ("", None) or choice.get("Index"):
            return None
        content = delta.get("Content")
        return content if type(content) is str and not any(delta.get(key) for key in _SPECIAL) else None

    def _pieces(self, answer: dict[str, Any]) -> Sequence[Piece]:
        return [self._piece(choice) for choice in self._checked_objects(answer.get("Choices"), "Choices")]

    def _piece(self, choice: Mapping[str, Any]) -> Piece:
        delta = self._checked_object(choice.get("Delta") or choice.get("Message"), "Delta")
        return Piece(
            choice.get("Index"),
            delta.get("Content"),
            delta.get("ReasoningContent"),
            [self._fragment(call) for call in self._checked_objects(delta.get("ToolCalls"), "ToolCalls")],
            choice.get("FinishReason"),
        )

    def _fragment(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """A fragment of a call in OpenAI's shape."""
        function = self._checked_object(call.get("Function"), "the Function of a tool call")
        named = {"name": function.get("Name"), "arguments": function.get("Arguments")}
        return {"index": call.get("Index"), "id": call.get("Id"), "function": named}

    def _about(self, answer: dict[str, Any]) -> tuple[Any, Any, Any]:
        return answer.get("Id"), answer.get("Created"), answer.get("Model")

    def _usage(self, answer: dict[str, Any], choices: Sequence[ChunkChoice]) -> Usage | None:
        raw = answer.get("Usage")
        return _read_usage(raw) if isinstance(raw, dict) else None


def error_of(answer: Mapping[str, Any], error: Any, provider: str, body: Any) -> APIError:
    """
    The typed error that the host's *error* is.

    Args:
        answer: What it lies in, which has the request's id.
        error: An ``Error`` or ``ErrorMsg``.
        provider: Stands in it.
        body: What came, decoded.
    """
    request_id = answer.get("RequestId") or answer.get("Id")
    found = by_code(api_errors.from_body(provider, {"error": error, "RequestId": request_id}))
    if found.code in _FAILED and type(found) is APIError:
        found = ServerError(found.message, provider=provider, code=found.code, request_id=found.request_id)
    found.body = body
    return found


def _said_in(error: Any) -> Any:
    """An ``ErrorMsg``, unless it is the empty form that stands in events without an error."""
    if isinstance(error, dict) and not any(error.values()):
        return None
    return error


def _read_usage(raw: Mapping[str, Any]) -> Usage | None:
    prompt, completion = first_count(raw, "PromptTokens"), first_count(raw, "CompletionTokens")
    total = first_count(raw, "TotalTokens")
    if prompt is None and completion is None and total is None:
        return None
    details = raw.get("PromptTokensDetails")
    cached = first_count(details, "CachedTokens") if isinstance(details, dict) else None
    prompt, completion = prompt or 0, completion or 0
    return Usage(prompt, completion, total or prompt + completion, cache_read_tokens=cached, raw=dict(raw))
