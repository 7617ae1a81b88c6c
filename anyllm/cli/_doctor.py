"""``anyllm doctor``: check the installation and the environment, and print a line for each finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from anyllm.cli import _environment, _installation
from anyllm.cli._errors import ERROR, OK
from anyllm.cli._findings import Finding, fail

_CHECKS: tuple[Callable[[], Iterable[Finding]], ...] = (
    _installation.python,
    _installation.distribution,
    _installation.dependencies,
    _installation.sseclient,
    _environment.local_model,
    _environment.folders,
    _environment.keys,
    _environment.proxies,
    _environment.certificates,
    _environment.offline,
)


@click.command()
def doctor() -> int:
    """
    Check the installation.

    Nothing is sent anywhere, and no key is shown. Exit status 1 if something cannot work.
    """
    broken = False
    for check in _CHECKS:
        for finding in _findings(check):
            click.echo(f"{finding.level:<5} {finding.subject:<13} {finding.text}")
            broken = broken or finding.level == "fail"
    return ERROR if broken else OK


def _findings(check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of *check*; an exception in it is a finding too, because installations break in many ways."""
    try:
        return list(check())
    except Exception as exc:
        return [fail(check.__name__, f"cannot be checked: {type(exc).__name__}: {exc}")]
