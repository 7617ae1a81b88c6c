"""``-o KEY VALUE``: any parameter of a completion from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import attrs
import click

from anyllm._hints.arguments import did_you_mean
from anyllm.types import CompletionParams

__all__ = ["KEYS", "complete_key", "parse_options"]

#: The command line has other ways to say these.
_NOT_HERE = ("model", "messages", "stream")
_FIELDS = {field.name: field for field in attrs.fields(CompletionParams) if field.name not in _NOT_HERE}
KEYS: tuple[str, ...] = tuple(_FIELDS)


def parse_options(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """
    Read the pairs; of a key given twice, the last counts.

    A value is JSON if that is what the key takes, else the text itself: ``-o stop END``, ``-o stop '["a", "b"]'``,
    ``-o user 42``.

    Raises:
        click.UsageError: there is no such key, or the value does not fit it.
    """
    return {key: _value(key, text) for key, text in pairs}


def _value(key: str, text: str) -> Any:
    field = _FIELDS.get(key)
    if field is None:
        near = did_you_mean(key, KEYS)
        raise click.UsageError(f"-o has no {key!r}{near or '; there are: ' + ', '.join(KEYS)}")
    refused: TypeError | None = None
    for value in _readings(text):
        try:
            if field.validator is not None:
                field.validator(None, field, value)
            return value
        except TypeError as exc:
            refused = refused or exc
    raise click.UsageError(f"-o {key} {text}: {refused}")


def _readings(text: str) -> list[Any]:
    try:
        return [json.loads(text, parse_constant=_no_constant), text]
    except (ValueError, RecursionError):
        return [text]


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def complete_key(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """What a shell may put after -o."""
    return [key for key in KEYS if key.startswith(incomplete)]
