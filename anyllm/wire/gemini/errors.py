"""
Errors in Google's format, in both directions: responses, blocked prompts, failed answers.

Source: https://cloud.google.com/apis/design/errors
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anyllm import errors
from anyllm.wire._base import api_errors
from anyllm.wire._base.http_status import client_status
from anyllm.wire._base.json_values import json_object, text
from anyllm.wire._base.written_errors import message_of, provider_error
from anyllm.wire.gemini.fields import BLOCK_REASONS, FAILURES, enum_name

__all__ = ["blocked_prompt", "error_event", "failed_answer", "from_response", "google_error"]

#: The Gemini API's message for an unknown model: "models/gemini-9 is not found for API version v1beta, ...".
_NO_MODEL = re.compile(r"(models|tunedModels)/\S+ is not (found|supported)")

#: Classes that are clearer than the HTTP status: Google's status, None for that of the HTTP status; and words that its
#: message must have, because there is no status for the class.
_KINDS: tuple[tuple[type[BaseException], str | None, str | None], ...] = (
    (errors.AuthenticationError, "UNAUTHENTICATED", None),
    (errors.PermissionDeniedError, "PERMISSION_DENIED", None),
    (errors.InsufficientFundsError, "FAILED_PRECONDITION", "Insufficient balance"),
    (errors.RateLimitError, "RESOURCE_EXHAUSTED", None),
    (errors.OverloadedError, "UNAVAILABLE", None),
    (errors.ContextLengthExceededError, None, "The input exceeds the maximum number of tokens allowed"),
    (errors.ContentFilterError, None, "Blocked by a content filter"),
    (errors.ModelNotFoundError, None, "The model was not found"),
    (errors.UnsupportedParameterError, None, "Unsupported parameter"),
)
_STATUSES_BY_CODE = {
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
_TYPES = "type.googleapis.com/google.rpc."


# -- reading -----------------------------------------------------------------------------------------------------------


def from_response(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> errors.APIError:
    """The error of a response; Google answers NOT_FOUND for anything that does not exist, not only models."""
    error = api_errors.from_response(provider, status, headers, body)
    return api_errors.as_kind(errors.ModelNotFoundError, error) if _NO_MODEL.match(error.message) else error


def blocked_prompt(feedback: Mapping[str, Any], body: Mapping[str, Any], provider: str) -> errors.APIError:
    """The error of an event whose ``promptFeedback`` has a ``blockReason``."""
    reason = enum_name(feedback["blockReason"], BLOCK_REASONS)
    message = f"the prompt was blocked: {text(feedback.get('blockReasonMessage')) or reason}"
    return _error({"message": message, "code": reason, "type": "content_filter"}, body, provider)


def failed_answer(name: str, candidate: Mapping[str, Any], provider: str) -> errors.APIError:
    """The error of a candidate whose finish reason *name* is one of `FAILURES`."""
    detail = text(candidate.get("finishMessage"))
    message = f"the model ended the answer with {name}" + (f": {detail}" if detail else "")
    return _error({"message": message, "code": name, "type": FAILURES[name]}, candidate, provider)


def _error(details: dict[str, Any], body: Any, provider: str) -> errors.APIError:
    error = api_errors.from_body(provider, {"error": details})
    error.body = body
    return error


# -- writing -----------------------------------------------------------------------------------------------------------


def google_error(error: BaseException) -> dict[str, Any]:
    """``{"code": ..., "message": ..., "status": ...}``, and Google's ``details`` where they hold more."""
    own = provider_error(error, "code", "message", "status")
    code = client_status(error)
    if own and isinstance(own["status"], str):
        return {**own, "code": code}
    _, status, prefix = next((row for row in _KINDS if isinstance(error, row[0])), (None, None, None))
    status = status or _STATUSES_BY_CODE.get(code) or ("INTERNAL" if code >= 500 else "INVALID_ARGUMENT")
    written: dict[str, Any] = {"code": code, "message": message_of(error), "status": status}
    if prefix and not isinstance(api_errors.from_body("", {"error": written}), type(error)):
        written["message"] = f"{prefix}: {written['message']}"
    details: list[dict[str, Any]] = []
    wait, param = getattr(error, "retry_after", None), getattr(error, "param", None)
    if wait is not None:
        details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{wait:.3f}".rstrip("0").rstrip(".") + "s"})
    if param:
        violation = {"field": param, "description": written["message"]}
        details.append({"@type": f"{_TYPES}BadRequest", "fieldViolations": [violation]})
    return {**written, "details": details} if details else written


def error_event(error: BaseException) -> dict[str, Any]:
    """The event of an error: a blocked prompt and a failed answer are events of Google's own."""
    body = json_object(getattr(error, "body", None))
    if isinstance(body.get("promptFeedback"), Mapping):
        return dict(body)
    if text(body.get("finishReason")) in FAILURES:
        return {"candidates": [dict(body)]}
    return {"error": google_error(error)}
