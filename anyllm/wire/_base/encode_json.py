"""Bytes and headers of requests, and the errors of unsupported parameters, for all dialects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.types import REASONING_EFFORTS, CompletionParams, _convert
from anyllm.wire._base.surrogate_joiner import mend_all


def unsupported(name: str, why: str, provider: str) -> UnsupportedParameterError:
    """The error of a parameter, or a part of a message, that the provider does not support."""
    return UnsupportedParameterError(why, provider=provider, param=name)


def invalid(name: str, why: str, provider: str) -> InvalidRequestError:
    """The error of a parameter, or a part of a message, that cannot be sent at all."""
    return InvalidRequestError(why, provider=provider, param=name)


def effort_in(params: CompletionParams, provider: str) -> str | None:
    """
    The reasoning effort; None if the provider decides ("auto", or not given).

    Raises:
        UnsupportedParameterError: it is not one of `REASONING_EFFORTS`.
    """
    effort = params.reasoning_effort
    if effort is not None and effort not in REASONING_EFFORTS:
        why = f"reasoning_effort must be one of {', '.join(REASONING_EFFORTS)}, not {effort!r}"
        raise unsupported("reasoning_effort", why, provider)
    return None if effort == "auto" else effort


def named_values(params: CompletionParams, names: Mapping[str, str]) -> dict[str, Any]:
    """The parameters that are set, under the format's names; *names* has those by ours. ``stop`` becomes a list."""
    values = {theirs: value for ours, theirs in names.items() if (value := getattr(params, ours)) is not None}
    if isinstance(params.stop, str) and "stop" in names:
        values[names["stop"]] = [params.stop]
    return values


def put(body: dict[str, Any], path: str, value: Any) -> None:
    """Set *value* at a dotted *path* ("reasoning.max_tokens"), making the objects on the path."""
    *parents, name = path.split(".")
    for parent in parents:
        body = body.setdefault(parent, {})
    body[name] = value


def in_bytes(body: Mapping[str, Any], provider: str) -> bytes:
    """
    The exact bytes to send.

    Halves of surrogate pairs, which UTF-8 cannot encode, are joined or become U+FFFD: text cut in the middle of an
    emoji is common, and models ignore the replacement.

    Raises:
        InvalidRequestError: the body contains values that JSON cannot express, or NaN or an infinity.
    """
    try:
        where = _not_finite(body)
        if where:
            raise InvalidRequestError(f"{where} is not a finite number", provider=provider, param=where)
        try:
            return _convert.dumps(body)
        except UnicodeEncodeError:
            return _convert.dumps(mend_all(body))
    except RecursionError as exc:
        raise InvalidRequestError("the request is nested too deeply, or in itself", provider=provider) from exc
    except (TypeError, ValueError) as exc:
        where = next((key for key, value in body.items() if not _can_be_json(value)), None)
        what = f"{where} cannot be written as JSON" if where else "the request cannot be written as JSON"
        raise InvalidRequestError(f"{what}: {exc}", provider=provider, param=where) from exc


def headers_in(extra: Mapping[str, str] | None, headers: Mapping[str, str], provider: str) -> dict[str, str]:
    """
    *headers* with the caller's *extra* ones, which win; names are compared without case.

    Raises:
        InvalidRequestError: a header is not text, or contains a line break.
    """
    extra = extra or {}
    for name, value in extra.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise invalid(str(name), f"the header {name!r} must be a str, not {type(value).__name__}", provider)
        if any(letter in name + value for letter in "\r\n\0"):
            raise InvalidRequestError(f"the header {name!r} contains a line break", provider=provider, param=name)
    extra_names = {name.lower() for name in extra}
    return {**{name: value for name, value in headers.items() if name.lower() not in extra_names}, **extra}


def _not_finite(value: Any, path: str = "") -> str | None:
    """The path of the first NaN or infinity in *value*; None if there is none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    if isinstance(value, Mapping):
        items = ((f"{path}.{key}" if path else str(key), item) for key, item in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = ((f"{path}[{at}]", item) for at, item in enumerate(value))
    else:
        return None
    return next((found for where, item in items if (found := _not_finite(item, where))), None)


def _can_be_json(value: Any) -> bool:
    try:
        _convert.dumps(mend_all(value))
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def merge_objects(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """*body* with *extra*, which wins; objects that are in both are merged."""
    merged = dict(body)
    for key, value in extra.items():
        before = merged.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = merge_objects(before, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return merged
