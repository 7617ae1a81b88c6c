"""``anyllm serve``: a gateway, until somebody ends it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click

from anyllm._transport.call_log import has_handler
from anyllm.cli._errors import NOT_HERE, OK, USAGE
from anyllm.cli._output import say

__all__ = ["serve"]

#: Seconds that answers may take to end once the gateway is to stop.
_GRACE = 10.0
#: Seconds for which a thread may keep the interpreter while others wait. Threads here give it up at their next read or
#: write, which comes sooner; with Python's 5 ms hundreds that wait wake each other in vain.
_SWITCH = 0.1


@click.command()
@click.option(
    *("-c", "--config", "path"),
    type=click.Path(path_type=Path),
    envvar="ANYLLM_GATEWAY",
    show_envvar=True,
    help="A TOML file with keys, names of models, and limits; docs/gateway.md says what goes into it.",
)
@click.option("--host", help="The address to listen at; any but loopback needs keys.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 for a free one.  [default: 8080]")
@click.option("--workers", type=click.IntRange(1), help="Processes that answer, one for each core.  [default: 1]")
@click.option("--new-key", metavar="NAME", help="Print a new key and the line for the file, and end.")
@click.option("-q", "--quiet", is_flag=True, help="Write no line for each request.")
def serve(
    path: Path | None, host: str | None, port: int | None, workers: int | None, new_key: str | None, quiet: bool
) -> int:
    """
    Let clients of OpenAI, Anthropic, Ollama and Gemini use any provider's models, and talk to them in a browser.

    \b
    anyllm serve
    OPENAI_BASE_URL=http://127.0.0.1:8080/v1   ANTHROPIC_BASE_URL=http://127.0.0.1:8080
    OLLAMA_HOST=http://127.0.0.1:8080          and the page: http://127.0.0.1:8080/
    """
    from anyllm import gateway  # few who ask a model serve one

    if new_key is not None:
        if not new_key.isprintable() or not new_key.strip():
            raise click.BadParameter("must be a name", param_hint="--new-key")
        _print_key(new_key, gateway)
        return OK
    try:
        config = gateway.load(path) if path is not None else gateway.Config()
        given: dict[str, Any] = {"host": host, "port": port, "workers": workers}
        server = attrs.evolve(config.server, **{name: value for name, value in given.items() if value is not None})
        config = attrs.evolve(config, server=server)
        gateway.check(config)  # what is wrong with it is said here, and not by each worker
        sockets = gateway.bind(config)
    except (ValueError, TypeError) as exc:
        say(str(exc))
        return USAGE
    except ModuleNotFoundError as exc:
        say(str(exc))
        return NOT_HERE
    if not quiet:
        _log_to_stderr()
    sys.setswitchinterval(_SWITCH)

    def answer() -> int:
        made = gateway.GatewayServer(gateway.Gateway(config), sockets=sockets)
        with _ending_at_signals(made):
            made.run()
        return OK

    say(f"serving at {gateway.url_of(config, sockets)}, until Ctrl-C")
    return gateway.run_workers(server.workers, answer) if server.workers > 1 and hasattr(os, "fork") else answer()


def _print_key(name: str, gateway: Any) -> None:
    key = gateway.new_key()
    click.echo(
        f"# Give the key to {name}, and put the two lines after it into the file: nobody can make it out of them."
    )
    click.echo(f'# {key}\n[keys]\n{_toml_key(name)} = "{gateway.hash_of(key)}"')


def _toml_key(name: str) -> str:
    is_bare = name.replace("-", "").replace("_", "").isalnum() and name.isascii()
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return name if is_bare else f'"{escaped}"'


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for name, level in (("anyllm.gateway", logging.INFO), ("waitress", logging.WARNING)):
        logger = logging.getLogger(name)
        if name == "waitress" or not has_handler():  # of ANYLLM_LOG, which shows these lines already
            logger.addHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def _ending_at_signals(made: Any) -> Iterator[None]:
    """A first signal lets answers end, a second one does not."""
    from anyllm.gateway._signals import handled_by

    is_ending = False

    def end(_number: int, _frame: Any) -> None:
        nonlocal is_ending
        made.stop(0.0 if is_ending else _GRACE)
        is_ending = True

    is_main = threading.current_thread() is threading.main_thread()
    with handled_by(end) if is_main else contextlib.nullcontext():
        yield
