"""``anyllm PROMPT``: ask a model, and print its answer as it comes."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import click

import anyllm
from anyllm.cli._errors import exit_code, message
from anyllm.cli._model import choose, complete_model
from anyllm.cli._options import KEYS, complete_key, parse_options
from anyllm.cli._output import PRINTERS, Printer, say
from anyllm.cli._stdin import on_terminal, piped_text


def seconds(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    """Check a number of seconds."""
    if value is not None and (math.isnan(value) or value < 0):
        raise click.BadParameter("must not be negative or NaN")
    return value


def url(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Check that a URL is an HTTP one."""
    if value is not None and not value.lower().startswith(("http://", "https://")):
        raise click.BadParameter(f"{value!r} does not begin with http:// or https://")
    return value


@click.command()
@click.argument("words", metavar="PROMPT", nargs=-1)
@click.option(
    *("-m", "--model"),
    metavar="PROVIDER/MODEL",
    envvar="ANYLLM_MODEL",
    show_envvar=True,
    shell_complete=complete_model,
    help="The model to ask; without one, a very small model on this machine.",
)
@click.option("-s", "--system", metavar="TEXT", help="The system prompt.")
@click.option(
    *("-o", "--option", "options"),
    metavar="KEY VALUE",
    type=(str, str),
    multiple=True,
    shell_complete=complete_key,
    help=f"A parameter, its value as JSON or text; may be repeated. Keys: {', '.join(KEYS)}.",
)
@click.option(
    "--base-url",
    metavar="URL",
    callback=url,
    help="The server to ask. Without a model, any server that speaks OpenAI's format. "
    "It receives a key only if the provider's own variables name that host.",
)
@click.option(
    *("--format", "format_"),
    type=click.Choice(list(PRINTERS)),
    default="text",
    show_default=True,
    help="text as it comes; json, the whole answer at the end; ndjson, a line for each chunk as it comes.",
)
@click.option("--no-stream", is_flag=True, help="Ask for the answer in one piece.")
@click.option("--timeout", metavar="SECONDS", type=float, callback=seconds, help="The longest the answer may take.")
@click.version_option(anyllm.__version__, prog_name="anyllm")
@click.pass_context
def prompt(
    click_ctx: click.Context,
    words: tuple[str, ...],
    model: str | None,
    system: str | None,
    options: tuple[tuple[str, str], ...],
    base_url: str | None,
    format_: str,
    no_stream: bool,
    timeout: float | None,
) -> int:
    """Ask a language model, and print its answer as it comes. This is the default command."""
    params = parse_options(options)
    question = _question(click_ctx, words)
    if question is None:
        click.echo(click_ctx.find_root().get_help())
        return 0
    chosen = choose(model, base_url)
    if chosen.notice is not None:
        say(chosen.notice)
    messages = [anyllm.Message.system(system)] if system else []
    messages.append(anyllm.Message.user(question))
    return _ask(
        anyllm.CompletionParams(chosen.model, messages, **params),
        {"provider": chosen.provider, "base_url": base_url},
        PRINTERS[format_](),
        stream=not no_stream,
        timeout=timeout,
    )


def _question(click_ctx: click.Context, words: tuple[str, ...]) -> str | None:
    """The piped text, then the typed one; None if there is neither and no option, so that the help is needed."""
    typed = " ".join(words)
    piped = piped_text()
    parts = [part for part in (piped.rstrip("\r\n"), typed) if part.strip()]
    if parts:
        return "\n\n".join(parts)
    if on_terminal() and not words and _is_bare(click_ctx):
        return None
    raise click.UsageError("there is no prompt: write it on the command line, or pipe it in")


def _is_bare(click_ctx: click.Context) -> bool:
    """Whether no option was typed."""
    typed = click.core.ParameterSource.COMMANDLINE
    return all(click_ctx.get_parameter_source(name) is not typed for name in click_ctx.params if name != "words")


def _ask(
    params: anyllm.CompletionParams,
    destination: dict[str, Any],
    printer: Printer,
    *,
    stream: bool,
    timeout: float | None,
) -> int:
    # Leaving the block cancels a running call, after Ctrl-C and a closed pipe, too.
    with anyllm.Context(timeout) as ctx:
        try:
            if stream:
                running = anyllm.completion_stream(ctx, params, **destination)
                for chunk in running.chunks:
                    printer.chunk(chunk)
                printer.end(running.collect())
            else:
                printer.whole(anyllm.completion(ctx, params, **destination))
        except anyllm.AnyLLMError as exc:
            printer.failed(exc)
            is_timeout = timeout is not None and isinstance(exc, anyllm.DeadlineExceeded)
            say(f"the answer took longer than --timeout {timeout:g}" if is_timeout else message(exc))
            return exit_code(exc)
        except KeyboardInterrupt:
            ctx.cancel("interrupted")
            with contextlib.suppress(OSError):  # Ctrl-C has also ended the reader of our pipe
                printer.interrupted()
            raise
    return 0
