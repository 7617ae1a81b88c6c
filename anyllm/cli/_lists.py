"""``anyllm providers`` and ``anyllm models``: list providers and their models."""

from __future__ import annotations

import json
from typing import Any

import attrs
import click

import anyllm
from anyllm.cli._errors import OK, exit_code, message
from anyllm.cli._output import say
from anyllm.cli._prompt import seconds, url
from anyllm.errors import AnyLLMError
from anyllm.providers.table import lookup
from anyllm.providers.table.row import Row

_FORMAT = click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.command()
@_FORMAT
def providers(format_: str) -> None:
    """List the providers, with the variables that hold their keys, and which of these are set."""
    if format_ == "json":
        click.echo(json.dumps([_about(row) for row in lookup.ROWS], indent=2))
        return
    width = max(len(row.name) for row in lookup.ROWS)
    for row in lookup.ROWS:
        click.echo(f"{row.name:<{width}}  {_key(row)}")


def _complete_provider(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [row.name for row in lookup.ROWS if row.capabilities.list_models and row.name.startswith(incomplete)]


@click.command()
@click.argument("provider", required=False, shell_complete=_complete_provider)
@click.option(
    "--base-url",
    metavar="URL",
    callback=url,
    help="The server to ask, instead of the provider's own; without a provider, one that speaks OpenAI's format.",
)
@click.option(
    "--timeout",
    type=float,
    default=30.0,
    show_default=True,
    callback=seconds,
    help="Seconds to wait for each provider.",
)
@_FORMAT
def models(provider: str | None, base_url: str | None, timeout: float, format_: str) -> int:
    """
    List the models of PROVIDER, or of every provider whose key is set.

    Each line can follow -m.
    """
    if provider is None and base_url is not None:
        provider = "compatible"
    found: list[anyllm.Model] = []
    code = OK
    for name in [provider] if provider else lookup.listing_names():
        try:
            found += anyllm.list_models(anyllm.Context(timeout=timeout), name, base_url=base_url)
        except AnyLLMError as exc:
            say(message(exc))
            code = exit_code(exc)
    if format_ == "json":
        click.echo(json.dumps([model.to_dict(raw=True) for model in found], indent=2))
    else:
        click.echo("".join(f"{model.provider}/{model.id}\n" for model in found), nl=False)
    if not provider and not found and code == OK:
        say("no key of a provider that lists its models is set; `anyllm providers` says which variables hold them")
    return code


def _key(row: Row) -> str:
    found = row.key_source()
    if found is not None:
        return f"{found} is set"
    names = [*filter(None, [" and ".join(row.key_pair_vars)]), *row.key_vars]
    if not names:
        return "needs no key"
    return f"{' or '.join(names)}{'' if row.key_required else ' (needs none)'}"


def _about(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "aliases": row.aliases,
        "base_url": row.base_url,
        "key_vars": row.key_vars,
        "key_pair_vars": row.key_pair_vars,
        "key_required": row.key_required and row.start_server is None,
        "key_is_set": row.key_source() is not None,
        "base_url_vars": row.base_url_vars,
        "capabilities": attrs.asdict(row.capabilities.of(row.dialect.support)),
        "note": row.note,
        "unverified": row.unverified,
    }
