"""Which model answers, and what to say when nobody chose one."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import click

from anyllm.providers.table import lookup

__all__ = ["DEFAULT_MODEL", "Chosen", "choose", "complete_model"]

DEFAULT_MODEL = "local/smollm2"
#: Servers of one model take any name for it; the others answer that they have no such model.
_UNNAMED = "default"


class Chosen(NamedTuple):
    """
    What to ask for.

    Attributes:
        model: As `CompletionParams` takes it; bare if there is a provider.
        provider: The provider's name, or None when *model* says it.
        notice: What the user should know about the choice; None when it was theirs.
    """

    model: str
    provider: str | None = None
    notice: str | None = None


def choose(model: str | None, base_url: str | None) -> Chosen:
    """
    The model for what the user said.

    With a base URL, a model that names no provider of ours is the server's own name for it: `meta-llama/Llama-3.1-8B`.
    """
    if model is None:
        return Chosen(DEFAULT_MODEL, notice=_notice()) if base_url is None else Chosen(_UNNAMED, "compatible")
    if base_url is not None and lookup.find(re.split("[/:]", model, maxsplit=1)[0]) is None:
        return Chosen(model, "compatible")
    return Chosen(model)


def _notice() -> str:
    allowed = " or ".join(f"-m {example}" for example in _allowed_by_keys())
    keys = f"; the keys in the environment allow {allowed}" if allowed else ""
    return (
        f"no model is named, so {DEFAULT_MODEL} answers, a very small one on this machine: "
        f"choose another with -m PROVIDER/MODEL or ANYLLM_MODEL{keys}"
    )


def _allowed_by_keys() -> list[str]:
    """One for each key: the first of the providers that take it."""
    allowed: dict[tuple[str, ...], str] = {}
    for row in lookup.ROWS:
        if _is_set(row.key_vars) and (row.base_url is not None or _is_set(row.base_url_vars)):
            allowed.setdefault(row.key_vars, f"{row.name}/{row.example_model or 'MODEL'}")
    return list(allowed.values())


def _is_set(names: tuple[str, ...]) -> bool:
    return any(os.environ.get(name, "").strip() for name in names)


def complete_model(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """What a shell may put after -m: an example of each provider, or its name; nobody is asked for a list."""
    examples = (f"{row.name}/{row.example_model or ''}" for row in lookup.ROWS if not row.models)
    models = [DEFAULT_MODEL, *examples]
    return [model for model in models if model.startswith(incomplete)]
