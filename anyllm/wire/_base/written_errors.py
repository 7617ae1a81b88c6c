"""
Error bodies for API clients of the gateway; `http_status` has their statuses.

A client gets the error that the provider itself would have sent. Visitors of a web site get less: `public_errors`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from anyllm.errors import AnyLLMError, APIError
from anyllm.wire._base.http_status import openai_type
from anyllm.wire._base.json_values import json_object

__all__ = ["message_of", "openai_error", "provider_error"]


def message_of(error: BaseException) -> str:
    """The message for the client; not that of a bug of ours, which is logged."""
    if not isinstance(error, AnyLLMError):
        return "internal error"
    if isinstance(error, APIError) and error.message:
        return error.message
    if error.hint:  # it may name a URL that clients must not see
        error = copy.copy(error)
        error.hint = None
    return str(error)


def provider_error(error: BaseException, *keys: str) -> Mapping[str, Any]:
    """The provider's error object, if it has all of *keys*; else an empty one."""
    inner = json_object(json_object(getattr(error, "body", None)).get("error"))
    return inner if all(key in inner for key in keys) else {}


def openai_error(error: BaseException) -> dict[str, Any]:
    """``{"message": ..., "type": ..., "param": ..., "code": ...}``."""
    kind, code = openai_type(error)
    body = {
        "message": message_of(error),
        "type": getattr(error, "type", None) or kind,
        "param": getattr(error, "param", None),
        "code": getattr(error, "code", None) or code,
    }
    return {**body, **provider_error(error, "message", "code")}
