"""
What a call sends and what comes back, in the log, without keys.

Strategy: off unless `StreamingOptions.debug` or the environment variable ANYLLM_LOG asks for it, because prompts and
answers are private and DEBUG is what many programs set for all loggers. When it is off, a call pays for one comparison.
The handler for ANYLLM_LOG is the only logging that anyllm ever sets up.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Optional
from urllib.parse import parse_qsl, urlsplit

from anyllm._transport.http_failures import is_secret, without_secrets
from anyllm.errors import AnyLLMError, scrub

__all__ = ["CallLog", "call_log", "has_handler"]

_log = logging.getLogger("anyllm")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: Characters of a request's body, which may hold images, and of an answer that are shown.
_LONGEST_BODY, _LONGEST_START = 20_000, 300
#: Parameters of URLs whose values may be shown. Keys come under many names.
_OPEN = frozenset(("alt", "api-version", "api_version", "beta", "limit", "pageSize", "version"))
#: Members of a request's body that hold a secret: the key of a tool's server, for example.
_SECRET_MEMBER = re.compile(
    r'("[^"]*(?:authorization|api[-_ ]?key|secret|password|credential|access_?token)[^"]*"\s*:\s*)"(?:[^"\\]|\\.)*"',
    re.IGNORECASE,
)


class CallLog:
    """
    Logs one call. Used by its worker.

    Attributes:
        secrets: What may not be shown wherever it stands.
    """

    def __init__(self, provider: str) -> None:
        self.secrets: tuple[str, ...] = ()
        self._provider = provider

    def step(self, text: str, *facts: object) -> None:
        """Log one step."""
        _log.debug(f"%s: {text}", self._provider, *facts)

    def request(self, method: str, url: str, headers: Mapping[str, Any], body: bytes) -> None:
        """Log what is about to be sent."""
        self.step("request: %s %s; %s", method, self._clean(_url(url)), self._clean(_headers(headers)))
        if _shows_bodies and body:
            text = _SECRET_MEMBER.sub(r'\1"[key]"', self._clean(body.decode("utf-8", "replace")))
            rest = f"... ({len(text)} characters)" if len(text) > _LONGEST_BODY else ""
            self.step("request body: %s%s", text[:_LONGEST_BODY], rest)

    def answer(self, response: Any) -> None:
        """Log status and headers of a `Response`, and its first bytes when they come."""
        kind = response.headers.get("content-type")
        self.step("answered: HTTP %d, %s; %s", response.status, kind, self._clean(_headers(response.headers)))
        response.watch(self._start)

    def _start(self, data: bytes) -> None:
        text = self._clean(data.decode("utf-8", "replace"))
        self.step("answer begins: %r", text[:_LONGEST_START])

    def _clean(self, text: str) -> str:
        spellings: Iterable[str] = (spelling for one in self.secrets for spelling in (one, json.dumps(one)[1:-1]))
        return scrub(AnyLLMError(text), *spellings).message


def call_log(provider: str, debug: bool) -> Optional[CallLog]:
    """The log of a call to *provider*; None where neither *debug* nor ANYLLM_LOG asks for it, or nobody listens."""
    return CallLog(provider) if (debug or _is_on) and _log.isEnabledFor(logging.DEBUG) else None


def has_handler() -> bool:
    """Whether ANYLLM_LOG has what the logger "anyllm" and those below it say shown on stderr."""
    return _level is not None


def _url(url: str) -> str:
    query = "&".join(
        f"{name}={value if name in _OPEN else '[hidden]'}" for name, value in parse_qsl(urlsplit(url).query, True)
    )
    return without_secrets(url) + (f"?{query}" if query else "")


def _headers(headers: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {_value(name, value)}" for name, value in headers.items())


def _value(name: str, value: Any) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    if not is_secret(name) or "ratelimit" in name.lower():  # which counts tokens of another kind
        return text
    scheme, space, _ = text.partition(" ")
    return f"{scheme} [key]" if space and scheme.isalpha() else "[key]"


# -- the environment ---------------------------------------------------------------------------------------------------


def _parse(value: str) -> tuple[Optional[int], bool]:
    """
    The level that *value* of ANYLLM_LOG names, None for no log, and whether bodies are shown.

    Raises:
        ValueError: it is something else.
    """
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
