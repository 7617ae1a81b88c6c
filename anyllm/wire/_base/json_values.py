"""Typed reads of decoded JSON, whose values may be missing or of another type than documented."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from anyllm.types import Usage, _convert


def whole_number(value: Any) -> int | None:
    """An integer, which providers also send as a float or as a string; None of anything else."""
    if value is None or type(value) is int:  # mostly; a bool has another type
        return value
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return int(value) if isinstance(value, float) and math.isfinite(value) else None


def count(body: Mapping[str, Any], name: str, *others: str) -> int | None:
    """The number of tokens under *name*, or under the first of *others* that has one; None for a negative one."""
    number = whole_number(body.get(name))
    if number is not None and number >= 0:
        return number
    return count(body, *others) if others else None


def usage_of_counts(
    raw: Mapping[str, Any],
    prompt: int | None,
    completion: int | None,
    total: int | None,
    reasoning: int | None = None,
    cache_read: int | None = None,
    cache_write: int | None = None,
) -> Usage | None:
    """The usage with these token counts, where *raw* has them; None where nothing was counted."""
    if prompt is None and completion is None and total is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    return Usage(prompt, completion, total or prompt + completion, reasoning, cache_read, cache_write, raw=dict(raw))


def text(value: Any) -> str:
    """A string; "" of anything else."""
    return value if isinstance(value, str) else ""


def text_or_number(value: Any) -> str:
    """An id, a name or a model, which some providers write as a number; "" of anything else."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)


def text_or_none(value: Any) -> str | None:
    """A string; None of anything else."""
    return value if isinstance(value, str) else None


def arguments_text(value: Any) -> str:
    """
    The arguments of a tool call as JSON text: text as it is, "" for None, an object written as JSON.

    Raises:
        ValueError: it is neither, or cannot be written as JSON.
    """
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, dict):
        raise ValueError(f"the arguments of a tool call are {json_type(value)}")
    try:
        return _convert.dumps(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise ValueError("the arguments of a tool call cannot be written as JSON") from exc


def json_type(value: Any) -> str:
    """JSON's name for the type of *value*, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def json_object(value: Any) -> Mapping[str, Any]:
    """An object; an empty one of anything else."""
    return value if isinstance(value, Mapping) else {}


def without_none(body: Mapping[str, Any]) -> dict[str, Any]:
    """*body* without the keys whose value is None."""
    return {key: value for key, value in body.items() if value is not None}
