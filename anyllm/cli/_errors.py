"""What an error is to a shell: an exit status, a line, a JSON object."""

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

__all__ = ["ERROR", "INTERRUPTED", "NOT_HERE", "OK", "TIMED_OUT", "USAGE", "error_dict", "exit_code", "message"]

OK = 0
ERROR = 1
USAGE = 2
NOT_HERE = 3
#: As timeout(1) has it.
TIMED_OUT = 124
#: As shells have it: 128 and the number of SIGINT.
INTERRUPTED = 130

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (LocalUnavailableError, NOT_HERE),
    (DeadlineExceeded, TIMED_OUT),
    (StreamTimeoutError, TIMED_OUT),
    (UnsupportedProviderError, USAGE),  # nothing was sent: what -m says is wrong
)

#: The attributes of errors that a program may want to act on.
_FACTS = ("provider", "code", "status_code", "type", "param", "request_id", "retry_after", "clock", "seconds")


def exit_code(error: BaseException) -> int:
    """The exit status for *error*."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ERROR)


def message(error: BaseException) -> str:
    """What to say about *error* on a command line, which has no ``api_key=`` and no ``base_url=``."""
    if isinstance(error, MissingAPIKeyError):
        return f"{error.provider}: no API key: set the environment variable {error.env_var}"
    if isinstance(error, UnsupportedProviderError) and error.provider is None:
        return error.message  # no provider has said it
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
    """*error* as JSON holds it; what it does not know is left out."""
    plain: dict[str, Any] = {"class": type(error).__name__, "message": message(error)}
    plain.update({name: value for name in _FACTS if (value := getattr(error, name, None)) is not None})
    plain["is_retryable"] = error.is_retryable
    if isinstance(error, APIError) and error.body is not None:
        plain["body"] = error.body
    return plain
