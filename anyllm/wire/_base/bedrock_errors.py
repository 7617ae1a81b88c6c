"""
Error classes of Bedrock's exceptions, which a header or a frame names beside a message.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html#API_runtime_ConverseStream_Errors,
https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anyllm import errors
from anyllm.errors import APIError
from anyllm.wire._base import api_errors, error_body

__all__ = ["error_in", "from_event", "from_response"]

#: The classes of exceptions, in lower case and without "exception".
_KINDS = api_errors.by_code(
    {
        errors.RateLimitError: "throttling toomanyrequests",
        errors.OverloadedError: "serviceunavailable modelnotready",
        errors.ServerError: "internalserver internalfailure modelstreamerror modelerror modeltimeout",
        errors.InvalidRequestError: "validation conflict servicequotaexceeded",
        errors.PermissionDeniedError: "accessdenied",
        errors.AuthenticationError: "unrecognizedclient expiredtoken invalidsignature incompletesignature "
        "missingauthenticationtoken invalidclienttokenid notauthorized",
    }
)
#: Classes that come only from a status, or from nothing: the exception's name is more specific.
_BROAD = (
    APIError,
    *(errors.InvalidRequestError, errors.PermissionDeniedError, errors.ServerError, errors.RateLimitError),
)

_INVALID_MODEL = re.compile(r"model identifier is invalid", re.IGNORECASE)


def error_in(name: str, body: Mapping[str, Any], provider: str) -> APIError | None:
    """The error in an event, by its *name* or its body; None if it is not an error."""
    if name == "error" or name.endswith("Exception"):
        if name != "error" and "code" not in body and "error" not in body:
            body = {**body, "code": name}
        return from_event(provider, body)
    return from_event(provider, body) if body.get("error") or error_body.looks_like_error(body) else None


def from_event(provider: str, body: Any) -> APIError:
    """The error in an event or a whole answer of an HTTP 200 response."""
    error = api_errors.from_body(provider, body)
    return _refine(error, error.code or error.type or "")


def from_response(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    """The error of an HTTP response with *status*."""
    error = api_errors.from_response(provider, status, headers, body)
    fields = {name.lower(): value for name, value in headers.items()}
    # "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/"
    name = fields.get("x-amzn-errortype", "").partition(":")[0].strip() or error.code or error.type or ""
    error.code = error.code or name or None
    error.request_id = fields.get("x-amzn-requestid") or error.request_id
    return error if 300 <= status < 400 else _refine(error, name)


def _refine(error: APIError, name: str) -> APIError:
    """*error* as the class of the exception's *name*, unless its message is more specific."""
    if type(error) not in _BROAD:
        return error
    word = re.sub(r"exception$", "", name.rpartition("#")[2].lower())
    kind = _KINDS.get(word)
    if kind in (None, errors.InvalidRequestError) and _INVALID_MODEL.search(error.message):
        kind = errors.ModelNotFoundError
    if kind is None or kind is type(error):
        return error
    return api_errors.as_kind(kind, error)
