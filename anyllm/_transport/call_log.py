"""
The debug log of a call: request and response, without keys.

Strategy: off unless `StreamingOptions.debug` or the environment variable ANYLLM_LOG turns it on, because prompts and
answers are private and many programs set DEBUG for all loggers. When it is off, it costs a call one comparison. The
handler for ANYLLM_LOG is the only logging that anyllm configures.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Optional
from urllib.parse import parse_qsl, urlsplit

from anyllm._transport.redaction import is_secret_name, redact, redact_url
from anyllm.errors import AnyLLMError

_log = logging.getLogger("anyllm")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: Characters that are shown of a request's body, which may hold images, and of the beginning of an answer.
_MAX_BODY_LENGTH, _MAX_START_LENGTH = 20_000, 300
#: Parameters of URLs whose values are shown; keys have too many names for a list of those to hide.
_SHOWN_PARAMETERS = frozenset(("alt", "api-version", "api_version", "beta", "limit", "pageSize", "version"))
#: Fields of a request's body that hold a secret: the key of a tool's server, for example.
_SECRET_MEMBER = re.compile(
    r'("[^"]*(?:authorization|api[-_ ]?key|secret|password|credential|access_?token)[^"]*"\s*:\s*)"(?:[^"\\]|\\.)*"',
    re.IGNORECASE,
)


class CallLog:
    """Logs one call, without the texts in `secrets`. Used by its worker."""

    def __init__(self, provider: str) -> None:
        self.secrets: tuple[str, ...] = ()
        self._provider = provider

    def step(self, text: str, *facts: object) -> None:
        """Log one step."""
        _log.debug(f"%s: {text}", self._provider, *facts)

    def request(self, method: str, url: str, headers: Mapping[str, Any], body: bytes) -> None:
        """Log the request, before it is sent."""
        self.step("request: %s %s; %s", method, self._clean(_url(url)), self._clean(_headers(headers)))
        if _shows_bodies and body:
            text = _SECRET_MEMBER.sub(r'\1"[key]"', self._clean(body.decode("utf-8", "replace")))
            rest = f"... ({len(text)} characters)" if len(text) > _MAX_BODY_LENGTH else ""
            self.step("request body: %s%s", text[:_MAX_BODY_LENGTH], rest)

    def answer(self, response: Any) -> None:
        """Log status and headers of a `Response`, and later its first bytes."""
        content_type = response.headers.get("content-type")
        self.step("answered: HTTP %d, %s; %s", response.status, content_type, self._clean(_headers(response.headers)))
        response.watch(self._start)

    def _start(self, data: bytes) -> None:
        text = self._clean(data.decode("utf-8", "replace"))
        self.step("answer begins: %r", text[:_MAX_START_LENGTH])

    def _clean(self, text: str) -> str:
        secrets: Iterable[str] = (form for secret in self.secrets for form in (secret, json.dumps(secret)[1:-1]))
        return redact(AnyLLMError(text), *secrets).message


def call_log(provider: str, debug: bool) -> Optional[CallLog]:
    """The log of a call to *provider*; None unless *debug* or ANYLLM_LOG turns it on and the logger is enabled."""
    return CallLog(provider) if (debug or _is_on) and _log.isEnabledFor(logging.DEBUG) else None


def has_handler() -> bool:
    """Whether ANYLLM_LOG sends the log to stderr."""
    return _level is not None


def _url(url: str) -> str:
    query = "&".join(
        f"{name}={value if name in _SHOWN_PARAMETERS else '[hidden]'}"
        for name, value in parse_qsl(urlsplit(url).query, True)
    )
    return redact_url(url) + (f"?{query}" if query else "")


def _headers(headers: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {_value(name, value)}" for name, value in headers.items())


def _value(name: str, value: Any) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    if not is_secret_name(name) or "ratelimit" in name.lower():  # its "tokens" are no secrets
        return text
    scheme, space, _ = text.partition(" ")
    return f"{scheme} [key]" if space and scheme.isalpha() else "[key]"


# -- the environment ---------------------------------------------------------------------------------------------------


def _parse(value: str) -> tuple[Optional[int], bool]:
    """The level in *value* of ANYLLM_LOG, None for no log, and whether bodies are shown; or a ValueError."""
    words = {word.strip().lower() for word in value.split(",")} - {""}
    names = words - {"body"} or ({"debug"} if words else set())
    if len(names) > 1 or not names <= _LEVELS.keys():
        raise ValueError(f"ANYLLM_LOG is {value!r}: it can be debug, info or warning; debug,body shows requests whole")
    return next((_LEVELS[name] for name in names), None), "body" in words


def _set_up() -> tuple[Optional[int], bool]:
    problem = None
    try:
        level, shows_bodies = _parse(os.environ.get("ANYLLM_LOG", ""))
    except ValueError as exc:
        level, shows_bodies, problem = logging.WARNING, False, exc
    if level is not None:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_FORMAT))
        _log.addHandler(handler)
        _log.setLevel(level)
    if problem is not None:
        _log.warning("%s", problem)
    return level, shows_bodies


_level, _shows_bodies = _set_up()
_is_on = _level == logging.DEBUG
