"""``anyllm serve``: run a gateway until it is interrupted."""

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

#: Seconds for running answers after the first signal.
_GRACE = 10.0
#: The interpreter's switch interval, in seconds. Threads here give the interpreter up at their next read or write,
#: which comes sooner; with Python's 5 ms hundreds of waiting threads wake each other in vain.
_SWITCH_INTERVAL = 0.1


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
@click.option("--new-key", metavar="NAME", help="Print a new key and the line for the file, and exit.")
@click.option("-q", "--quiet", is_flag=True, help="Do not log requests.")
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
    from anyllm import gateway  # on first use: other commands do not need it

    if new_key is not None:
        if not new_key.isprintable() or not new_key.strip():
            raise click.BadParameter("must be a name", param_hint="--new-key")
        _print_key(new_key, gateway)
        return OK
    try:
        config = gateway.load(path) if path is not None else gateway.Config()
        options: dict[str, Any] = {"host": host, "port": port, "workers": workers}
        server = attrs.evolve(config.server, **{name: value for name, value in options.items() if value is not None})
        config = attrs.evolve(config, server=server)
        gateway.check(config)  # before the workers start, so that an error is reported once
        sockets = gateway.bind(config)
    except (ValueError, TypeError) as exc:
        say(str(exc))
        return USAGE
    except ModuleNotFoundError as exc:
        say(str(exc))
        return NOT_HERE
    if not quiet:
        _log_to_stderr()
    sys.setswitchinterval(_SWITCH_INTERVAL)

    def run() -> int:
        running = gateway.GatewayServer(gateway.Gateway(config), sockets=sockets)
        with _stopped_by_signals(running):
            running.run()
        return OK

    say(f"serving at {gateway.url_of(config, sockets)}, until Ctrl-C")
    return gateway.run_workers(server.workers, run) if server.workers > 1 and hasattr(os, "fork") else run()


def _print_key(name: str, gateway: Any) -> None:
    key = gateway.new_key()
    click.echo(f"# Give the key to {name}, and put the two lines after it into the file; they contain only its hash.")
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
        if name == "waitress" or not has_handler():  # else ANYLLM_LOG shows these lines already
            logger.addHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def _stopped_by_signals(server: Any) -> Iterator[None]:
    """Stop *server* at a signal: at the first one after running answers, at the second one at once."""
    from anyllm.gateway._workers import handled_by

    is_stopping = False

    def stop(_number: int, _frame: Any) -> None:
        nonlocal is_stopping
        server.stop(0.0 if is_stopping else _GRACE)
        is_stopping = True

    is_main = threading.current_thread() is threading.main_thread()
    with handled_by(stop) if is_main else contextlib.nullcontext():
        yield
