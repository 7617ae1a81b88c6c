"""Errors on the command line: exit status, message, JSON."""

from __future__ import annotations

from typing import Any

from anyllm.errors import (
    AnyLLMError,
    APIError,
    DeadlineExceeded,
    InvalidRequestError,
    LocalUnavailableError,
    MissingAPIKeyError,
    StreamTimeoutError,
    UnsupportedProviderError,
)

OK = 0
ERROR = 1
USAGE = 2
NOT_HERE = 3
#: As timeout(1) does.
TIMED_OUT = 124
#: As shells do: 128 plus the number of SIGINT.
INTERRUPTED = 130

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (LocalUnavailableError, NOT_HERE),
    (DeadlineExceeded, TIMED_OUT),
    (StreamTimeoutError, TIMED_OUT),
    (UnsupportedProviderError, USAGE),  # nothing was sent: the value of -m is wrong
)

#: Attributes of errors that go into the JSON.
_ATTRIBUTES = ("provider", "code", "status_code", "type", "param", "request_id", "retry_after", "clock", "seconds")


def exit_code(error: BaseException) -> int:
    """The exit status for *error*."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ERROR)


def message(error: BaseException) -> str:
    """The message of *error*, with the command line's options in place of arguments like ``base_url=``."""
    if isinstance(error, MissingAPIKeyError):
        return f"{error.provider}: no API key: set the environment variable {error.env_var}"
    if isinstance(error, UnsupportedProviderError) and error.provider is None:
        return error.message  # it does not come from a provider
    if isinstance(error, InvalidRequestError) and error.param == "base_url":
        return str(error).replace("pass base_url=", "give --base-url")
    if isinstance(error, AnyLLMError):
        text = str(error)
        return text.replace(error.hint, error.hint.replace("base_url", "--base-url")) if error.hint else text
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return f"unexpected {type(error).__name__}: {error}"


def error_dict(error: AnyLLMError) -> dict[str, Any]:
    """*error* as a dict for JSON, without attributes that are None."""
    fields: dict[str, Any] = {"class": type(error).__name__, "message": message(error)}
    fields.update({name: value for name in _ATTRIBUTES if (value := getattr(error, name, None)) is not None})
    fields["is_retryable"] = error.is_retryable
    if isinstance(error, APIError) and error.body is not None:
        fields["body"] = error.body
    return fields
