"""Choose the model for a prompt, and complete ``-m``."""

from __future__ import annotations

import re
from typing import NamedTuple

import click

from anyllm.providers.table import lookup
from anyllm.providers.url_env import first_set

DEFAULT_MODEL = "local/smollm2"
#: Servers with a single model accept any name for it; others answer that there is no such model.
_ANY_MODEL = "default"


class ModelChoice(NamedTuple):
    """
    The model to ask.

    Attributes:
        model: The model of the `CompletionParams`; without a provider if that is set.
        provider: The provider's name; None if *model* begins with it.
        notice: A message to the user about a model that they did not choose; else None.
    """

    model: str
    provider: str | None = None
    notice: str | None = None


def choose(model: str | None, base_url: str | None) -> ModelChoice:
    """
    The model for the user's ``-m`` and ``--base-url``.

    With a base URL, a name that does not begin with a provider is the server's own: `meta-llama/Llama-3.1-8B`.
    """
    if model is None:
        return (
            ModelChoice(DEFAULT_MODEL, notice=_notice()) if base_url is None else ModelChoice(_ANY_MODEL, "compatible")
        )
    if base_url is not None and lookup.find(re.split("[/:]", model, maxsplit=1)[0]) is None:
        return ModelChoice(model, "compatible")
    return ModelChoice(model)


def _notice() -> str:
    examples = " or ".join(f"-m {example}" for example in _examples_with_keys())
    keys = f"; the keys in the environment allow {examples}" if examples else ""
    return (
        f"no model is named, so {DEFAULT_MODEL} answers, a very small one on this machine: "
        f"choose another with -m PROVIDER/MODEL or ANYLLM_MODEL{keys}"
    )


def _examples_with_keys() -> list[str]:
    """An example for each key in the environment, of the first provider that uses it."""
    examples: dict[tuple[str, ...], str] = {}
    for row in lookup.ROWS:
        if first_set(*row.key_vars) and (row.base_url is not None or first_set(*row.base_url_vars)):
            examples.setdefault(row.key_vars, f"{row.name}/{row.example_model or 'MODEL'}")
    return list(examples.values())


def complete_model(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Completions of -m: an example of each provider, or its name. No provider's list is fetched."""
    examples = (f"{row.name}/{row.example_model or ''}" for row in lookup.ROWS if not row.models)
    models = [DEFAULT_MODEL, *examples]
    return [model for model in models if model.startswith(incomplete)]
