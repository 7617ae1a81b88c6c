"""Redaction: finds the secrets of a request, and removes them from URLs and errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any, Optional
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from anyllm.errors import AnyLLMError

#: Names of headers and parameters whose values are secret.
_SECRET_NAME = re.compile(r"auth|key|token|secret|\bsig\b|signature|password|cookie", re.IGNORECASE)
#: Shorter secrets are not replaced in messages: they would match ordinary words.
_MIN_SECRET_LENGTH = 6
#: So many characters of a longer secret may be shown.
_MAX_VISIBLE_LENGTH = 12


def redact_url(url: str) -> str:
    """*url* without user, password, query and fragment, any of which may hold a secret."""
    address = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = address.rpartition("//")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def is_secret_name(name: str) -> bool:
    """Whether a header or parameter of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def secrets_in(key: Optional[str], headers: Mapping[str, str], url: str) -> tuple[str, ...]:
    """The secrets of a request, plain and quoted for URLs: the provider may repeat them in an error."""
    secrets = [] if key is None else [key, *key.split(":")[1:]]  # the first half of a pair is no secret
    for name, value in headers.items():
        if is_secret_name(name):
            secrets += [value, value.rpartition(" ")[2]]
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        secrets += [value for name, value in parse_qsl(parts.query) if is_secret_name(name)]
        secrets += [unquote(parts.password)] if parts.password else []
    return tuple(dict.fromkeys([*secrets, *(quote(secret, safe="") for secret in secrets)]))


def redact(error: AnyLLMError, *secrets: Optional[str]) -> AnyLLMError:
    """Replace *secrets* in *error* and its causes, in place; returns *error*."""
    for secret in secrets:
        if secret and len(secret) >= _MIN_SECRET_LENGTH:
            _redact(error, secret)
    return error


def _redact(error: BaseException, secret: str) -> None:
    """Foreign causes quote their input, so they are changed too; one that cannot be changed stays as it is."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        error = pending.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        fields = {"args": error.args, **vars(error)}
        for name, value in fields.items():
            clean = value if name == "partial" else _clean(value, secret)
            if clean is not value and clean != value:
                with contextlib.suppress(Exception):
                    setattr(error, name, clean)
        values = [error.__cause__, error.__context__, *error.args, *fields.values()]
        pending += [value for value in values if isinstance(value, BaseException)]


def _clean(value: Any, secret: str) -> Any:
    try:
        return _replace(value, secret)
    except RecursionError:
        return None  # nested too deeply to be read by anybody


def _replace(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return _replace_beginning(value.replace(secret, "[key]"), secret)
    if isinstance(value, bytes):
        return value.replace(secret.encode(), b"[key]")
    if type(value) is dict:
        return {_replace(key, secret): _replace(item, secret) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_replace(item, secret) for item in value)
    return value


def _replace_beginning(text: str, secret: str) -> str:
    """Replace the beginning of *secret* too: messages are truncated, perhaps in the middle of it."""
    head = secret[:_MAX_VISIBLE_LENGTH]
    at = text.find(head)
    while len(secret) > _MAX_VISIBLE_LENGTH and at >= 0:
        end = at + len(head)
        while end < len(text) and end - at < len(secret) and text[end] == secret[end - at]:
            end += 1
        text = f"{text[:at]}[key]{text[end:]}"
        at = text.find(head, at)
    return text
