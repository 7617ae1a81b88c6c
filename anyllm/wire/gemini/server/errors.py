"""
Errors in Google's words.

Source: https://cloud.google.com/apis/design/errors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from anyllm.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthExceededError,
    InsufficientFundsError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    UnsupportedParameterError,
)
from anyllm.wire._base import api_errors
from anyllm.wire._base.client_errors import message_of, said_by_host
from anyllm.wire._base.http_status import client_status
from anyllm.wire.gemini.finish_reasons import FAILURES

__all__ = ["failed_answer", "google_error"]

#: Google's words, by class where the class is clearer than the status.
_STATUSES: tuple[tuple[type[BaseException], str], ...] = (
    (AuthenticationError, "UNAUTHENTICATED"),
    (PermissionDeniedError, "PERMISSION_DENIED"),
    (InsufficientFundsError, "FAILED_PRECONDITION"),
    (RateLimitError, "RESOURCE_EXHAUSTED"),
    (OverloadedError, "UNAVAILABLE"),
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
#: What Google has no status for, and says in the message.
_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (ContextLengthExceededError, "The input exceeds the maximum number of tokens allowed"),
    (ContentFilterError, "Blocked by a content filter"),
    (ModelNotFoundError, "The model was not found"),
    (UnsupportedParameterError, "Unsupported parameter"),
    (InsufficientFundsError, "Insufficient balance"),
)
_TYPES = "type.googleapis.com/google.rpc."


def google_error(error: BaseException) -> dict[str, Any]:
    """``{"code": ..., "message": ..., "status": ...}``, and Google's ``details`` where they say more."""
    said = said_by_host(error, "code", "message", "status")
    code = client_status(error)
    if said and isinstance(said["status"], str):
        return {**said, "code": code}
    by_code = _STATUSES_BY_CODE.get(code) or ("INTERNAL" if code >= 500 else "INVALID_ARGUMENT")
    status = next((word for kind, word in _STATUSES if isinstance(error, kind)), by_code)
    made: dict[str, Any] = {"code": code, "message": message_of(error), "status": status}
    words = next((words for kind, words in _WORDS if isinstance(error, kind)), None)
    if words and not isinstance(api_errors.from_body("", {"error": made}), type(error)):
        made["message"] = f"{words}: {made['message']}"
    details: list[dict[str, Any]] = []
    wait, param = getattr(error, "retry_after", None), getattr(error, "param", None)
    if wait is not None:
        details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{wait:.3f}".rstrip("0").rstrip(".") + "s"})
    if param:
        violation = {"field": param, "description": made["message"]}
        details.append({"@type": f"{_TYPES}BadRequest", "fieldViolations": [violation]})
    return {**made, "details": details} if details else made


def failed_answer(error: BaseException) -> Optional[dict[str, Any]]:
    """The event with which Google blocked a prompt, or an answer failed: no error of its own has words for that."""
    body = getattr(error, "body", None)
    if not isinstance(body, Mapping):
        return None
    if isinstance(body.get("promptFeedback"), Mapping):
        return dict(body)
    reason = body.get("finishReason")
    return {"candidates": [dict(body)]} if isinstance(reason, str) and reason in FAILURES else None
