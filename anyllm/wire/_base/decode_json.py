"""Decoding of JSON events and bodies, and the errors of malformed ones, for all dialects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyllm._framing.body_events import Event
from anyllm.errors import AnyLLMError, MalformedStreamError
from anyllm.types import _convert
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.json_values import json_type
from anyllm.wire._base.surrogate_joiner import mend, mend_all

_SNIPPET = 80
_loads_strictly = _convert.loads_strictly


def event_object(event: Event, provider: str, repair: Callable[[Any], Any] = mend_all) -> tuple[dict[str, Any], Any]:
    """
    The JSON object in an event, and the value of ``raw`` for its chunks.

    Args:
        event: The event whose data is decoded.
        provider: The provider's name, for errors.
        repair: Repairs surrogates in the decoded JSON. The default joins pairs and replaces lone halves by U+FFFD;
            `as_it_is` leaves them to dialects that join the halves of consecutive events.

    Raises:
        APIError: the event is the provider's error, and not an object.
        MalformedStreamError: the event is not a JSON object.
    """
    try:
        body = _loads_strictly(event.data)
        raw: Any = event.data
    except _convert.NOT_JSON:
        try:
            body = raw = repair(_convert.loads(event.data))
        except (ValueError, RecursionError) as exc:
            raise no_json(event, provider) from exc
    if type(body) is not dict:
        raise no_object(body, event, provider)
    return body, raw


def as_it_is(body: Any) -> Any:
    """For `event_object`: leave the repair of surrogates to the dialect."""
    return body


def no_json(event: Event, provider: str) -> AnyLLMError:
    """The error of an event that is not JSON."""
    text = event.data.strip()
    if event.event == "error":
        return api_errors.from_body(provider, text)
    if text.startswith("<"):
        title = error_body.read(text).message or "no title"
        return _malformed(f"the provider sent a web page ({title}), not a stream", provider)
    return _malformed(f"an event is no JSON: {text[:_SNIPPET]!r}", provider)


def no_object(body: Any, event: Event, provider: str) -> AnyLLMError:
    """The error of an event that is JSON, but not an object."""
    item = body[0] if isinstance(body, list) and body else None
    if event.event == "error" or (isinstance(item, dict) and item.get("error")):
        return api_errors.from_body(provider, body)
    return _malformed(f"an event is {json_type(body)}, not an object: {event.data[:_SNIPPET]!r}", provider)


def whole_json(body: bytes, provider: str) -> Any:
    """
    The decoded JSON of a whole answer.

    Raises:
        MalformedStreamError: it is not JSON.
    """
    try:
        return _convert.loads(body)
    except (ValueError, RecursionError) as exc:
        text = body.decode("utf-8", "replace").strip()
        what = error_body.read(text).message if text.startswith("<") else text[:_SNIPPET]
        message = f"the answer is no JSON: {what!r}" if text else "the answer is empty"
        raise MalformedStreamError(message, provider=provider) from exc


def no_answer(answer: Any, key: str, provider: str) -> AnyLLMError:
    """The error of a whole, decoded answer without *key*: the provider's error, if it is one."""
    if isinstance(answer, dict) and ("error" in answer or error_body.looks_like_error(answer)):
        return api_errors.from_body(provider, answer)
    if isinstance(answer, list) and answer and isinstance(answer[0], dict) and answer[0].get("error"):
        return api_errors.from_body(provider, answer)
    what = f"has no {key}" if isinstance(answer, dict) else f"is {json_type(answer)}, not an object"
    return MalformedStreamError(f"the answer {what}", provider=provider)


def objects_of(answer: Any, key: str, provider: str) -> list[dict[str, Any]]:
    """
    The list of objects under *key* of a whole, decoded answer.

    Raises:
        APIError: the answer is the provider's error.
        MalformedStreamError: it has no such list.
    """
    items = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise no_answer(answer, key, provider)
    return items


def _malformed(what: str, provider: str) -> MalformedStreamError:
    return MalformedStreamError(mend(what), provider=provider)
