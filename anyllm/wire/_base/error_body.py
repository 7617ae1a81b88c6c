"""
Error details (message, code, type, parameter, status) in providers' error bodies, for all dialects.

OpenAI writes ``{"error": {"message", "type", "param", "code"}}``. Others write the error as text, one level
higher, in a list (Google), as FastAPI's ``detail``, or under other names, and gateways put the upstream provider's
error into ``metadata.raw``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

import attrs

from anyllm.types import _convert
from anyllm.wire._base.json_values import whole_number
from anyllm.wire._base.surrogate_joiner import mend_all

#: A message is for a person; longer ones are web pages or stack traces.
_MAX_MESSAGE = 2000
_MAX_PAGE_TEXT = 300
_MAX_NAME = 200

_MESSAGE_KEYS = (
    *("message", "msg", "Message", "detail", "error_msg", "error_message", "errorMessage", "error_description"),
    *("Msg", "title", "reason"),
)
_CODE_KEYS = ("code", "error_code", "Code", "errorCode")
_TYPE_KEYS = ("type", "error_type", "__type")
_STATUS_KEYS = ("status_code", "status", "http_code", "http_status", "raw_status_code", "code", "error_code")


@attrs.define(frozen=True)
class ErrorDetails:
    """
    The details of a provider's error.

    Attributes:
        message: One line or several; "" if there is none.
        code: The code; a number becomes text.
        type: The type of error.
        param: The parameter that the error is about.
        status: The HTTP status in the body, as in events of a stream with status 200.
        request_id: The id of the request.
        retry_after: Seconds to wait.
    """

    message: str = ""
    code: str | None = None
    type: str | None = None
    param: str | None = None
    status: int | None = None
    request_id: str | None = None
    retry_after: float | None = None


def read(body: Any) -> ErrorDetails:
    """The details in *body*: decoded JSON of any shape, or text."""
    try:
        return _read(mend_all(body))
    except RecursionError:  # no real error is nested so deeply
        return ErrorDetails()


def _read(body: Any) -> ErrorDetails:
    if isinstance(body, str):
        return ErrorDetails(message=_text_message(body))
    if isinstance(body, list):
        return _read(next((item for item in body if isinstance(item, (dict, str))), ""))
    if not isinstance(body, dict):
        return ErrorDetails()
    inner = _inner(body)
    layers = (inner, body)
    return ErrorDetails(
        message=_message(inner, body),
        code=_first_text(layers, _CODE_KEYS),
        type=_first_text(layers, _TYPE_KEYS) or _first_text(layers, ("status",)),
        param=_param(inner) or _param(body),
        status=_status(layers),
        request_id=_first_text((body, inner), ("request_id", "requestId", "RequestId")),
        retry_after=_retry_delay(inner),
    )


def looks_like_error(body: Mapping[str, Any]) -> bool:
    """
    Whether a JSON object without choices and without the key ``error`` is an error.

    vLLM, Mistral: ``{"object": "error", "message"}``; DashScope: ``{"code", "message"}``; Baidu:
    ``{"error_code", "error_msg"}``; FastAPI: ``{"detail"}``; MiniMax: ``{"base_resp": {"status_code": 1004}}``.
    """
    if body.get("object") == "error" or body.get("type") == "error":
        return True
    if any(body.get(key) for key in ("errors", "detail", "error_msg", "error_code", "error_message")):
        return True
    base = body.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return True
    return isinstance(body.get("message"), str) and any(body.get(key) for key in ("code", "type", "status"))


def _inner(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object that contains the error: *body* itself if the error is not nested."""
    for key in ("error", "errors", "error_msg"):
        value = body.get(key)
        if isinstance(value, list):
            value = next((item for item in value if item), None)
        if isinstance(value, dict) and value:
            return value
        if isinstance(value, str) and value:
            return {**body, "message": value}
    base = body.get("base_resp")
    if isinstance(base, dict):  # MiniMax
        return {"message": base.get("status_msg"), "code": base.get("status_code")}
    return body


def _message(inner: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    message = _find_message(inner) or _find_message(body)
    details = inner.get("details")  # Azure: the same list as FastAPI's, beside a message with less detail
    for more in (_upstream(inner), _problems(details) if isinstance(details, list) else ""):
        if more and more not in message:
            message = f"{message}: {more}" if message else more
    return message[:_MAX_MESSAGE]


def _find_message(layer: Mapping[str, Any]) -> str:
    for key in _MESSAGE_KEYS:
        value = layer.get(key)
        if isinstance(value, str) and value.strip():
            return _text_message(value)
        if isinstance(value, dict):
            text = _message(_inner(value), value)
        elif isinstance(value, list):
            text = _problems(value)
        else:
            continue
        if text:
            return text
    return ""


def _problems(items: list[Any]) -> str:
    """The messages in FastAPI's list, of texts or ``{"loc": ["body", "stream_options"], "msg": ...}``."""
    texts = []
    for item in items:
        text = _find_message(item) if isinstance(item, dict) else item if isinstance(item, str) else ""
        where = _location(item) if text and isinstance(item, dict) else ""
        texts.append(f"{where}: {text}" if where else text)
    return "; ".join(filter(None, texts))


def _upstream(inner: Mapping[str, Any]) -> str:
    """
    The message of the provider behind a gateway: OpenRouter's ``metadata.raw``, text or JSON in text.

    Source: https://openrouter.ai/docs/api-reference/errors
    """
    metadata = inner.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str) and raw.lstrip().startswith(("{", "[")):
        with contextlib.suppress(ValueError, RecursionError):
            raw = mend_all(_convert.loads(raw))
    return _read(raw).message if raw else ""


def _first_text(layers: tuple[Mapping[str, Any], ...], keys: tuple[str, ...]) -> str | None:
    """The first text under one of *keys*; an integer becomes text."""
    for layer in layers:
        for key in keys:
            value = layer.get(key)
            if isinstance(value, int) and not isinstance(value, bool):
                # A numeric status is an HTTP status, not a type of error.
                value = str(value) if key != "status" else None
            if isinstance(value, str) and value:
                return value[:_MAX_NAME]
    return None


def _param(layer: Mapping[str, Any]) -> str | None:
    param = layer.get("param")
    if isinstance(param, str) and param:
        return param[:_MAX_NAME]
    for key in ("detail", "details", "message"):
        problems = layer.get(key)
        if isinstance(problems, dict):
            problems = problems.get("detail")
        if isinstance(problems, list) and problems and isinstance(problems[0], dict):
            return _location(problems[0]) or None
    return None


def _location(problem: Mapping[str, Any]) -> str:
    where = problem.get("loc")
    if not isinstance(where, list):
        return ""
    return ".".join(str(step) for step in where if step != "body")


def _status(layers: tuple[Mapping[str, Any], ...]) -> int | None:
    for layer in layers:
        for key in _STATUS_KEYS:
            status = whole_number(layer.get(key))
            if status is not None and 400 <= status < 600:
                return status
    return None


def _retry_delay(inner: Mapping[str, Any]) -> float | None:
    """
    Google's RetryInfo: ``{"retryDelay": "19s"}``.

    Source: https://cloud.google.com/apis/design/errors
    """
    details = inner.get("details")
    for item in details if isinstance(details, list) else ():
        delay = item.get("retryDelay") if isinstance(item, dict) else None
        if isinstance(delay, str) and re.fullmatch(r"\d+(\.\d+)?s", delay):
            return float(delay[:-1])
    return None


def _text_message(text: str) -> str:
    """The message in a text that is not JSON: of a web page only its title."""
    text = text.strip()
    if not text.startswith("<"):
        return text[:_MAX_MESSAGE]
    for tag in ("title", "h1", "Message"):
        found = re.search(rf"<{tag}\b[^>]*>(.*?)</{tag}\s*>", text, re.IGNORECASE | re.DOTALL)
        if found and found[1].strip():
            return " ".join(re.sub(r"<[^>]*>", " ", found[1]).split())[:_MAX_PAGE_TEXT]
    return ""
