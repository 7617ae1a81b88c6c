"""``-o KEY VALUE``: any parameter of a completion from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import attrs
import click

from anyllm._hints.arguments import did_you_mean
from anyllm.types import CompletionParams

#: Parameters that the command line sets in other ways.
_EXCLUDED = ("model", "messages", "stream")
_FIELDS = {field.name: field for field in attrs.fields(CompletionParams) if field.name not in _EXCLUDED}
KEYS: tuple[str, ...] = tuple(_FIELDS)


def parse_options(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """
    Parse the pairs; the last value of a key counts.

    A value is JSON if the key accepts that, else the text itself: ``-o stop END``, ``-o stop '["a", "b"]'``,
    ``-o user 42``.

    Raises:
        click.UsageError: there is no such key, or the value is wrong.
    """
    return {key: _value(key, text) for key, text in pairs}


def _value(key: str, text: str) -> Any:
    field = _FIELDS.get(key)
    if field is None:
        hint = did_you_mean(key, KEYS)
        raise click.UsageError(f"-o has no {key!r}{hint or '; there are: ' + ', '.join(KEYS)}")
    error: TypeError | None = None
    for value in _candidates(text):
        try:
            if field.validator is not None:
                field.validator(None, field, value)
            return value
        except TypeError as exc:
            error = error or exc
    raise click.UsageError(f"-o {key} {text}: {error}")


def _candidates(text: str) -> list[Any]:
    try:
        return [json.loads(text, parse_constant=_reject_constant), text]
    except (ValueError, RecursionError):
        return [text]


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def complete_key(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Completions of -o."""
    return [key for key in KEYS if key.startswith(incomplete)]
