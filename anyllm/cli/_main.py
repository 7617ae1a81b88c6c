"""
The command ``anyllm``: its subcommands, and the start and end of the process.

Strategy: click's own `main` is not used. It expands wildcards on Windows, though a prompt may contain "*" or "?"; it
turns a closed pipe into an error; and it prints usage errors in four lines.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from anyllm.cli._doctor import doctor
from anyllm.cli._errors import INTERRUPTED, OK, exit_code, message
from anyllm.cli._lists import models, providers
from anyllm.cli._local import local
from anyllm.cli._output import say
from anyllm.cli._prompt import prompt
from anyllm.cli._serve import serve

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_DEFAULT = "prompt"
#: How similar a word must be to a command to be taken for a misspelling, from 0 to 1.
_SIMILARITY = 0.8
#: The variable that shells set for completion: "bash_source", "zsh_complete", ...
_COMPLETE = "_ANYLLM_COMPLETE"


class _DefaultCommandGroup(click.Group):
    """A group with a default command, for command lines whose first word is not a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and ctx.resilient_parsing:
            return super().parse_args(ctx, args)  # a shell completes the first word: a command is possible, too
        if args == ["help"]:
            args = ["--help"]
        elif len(args) == 1:
            self._check_spelling(ctx, args[0])
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)

    def _check_spelling(self, ctx: click.Context, word: str) -> None:
        """Do not send a single misspelled command to a model, which may cost money."""
        import difflib  # on first use: most prompts have several words

        if word in self.commands or not word.isalpha() or ctx.resilient_parsing:
            return
        similar = difflib.get_close_matches(word, self.commands.keys() - {_DEFAULT}, n=1, cutoff=_SIMILARITY)
        if similar:
            ctx.fail(
                f"there is no command {word!r}; did you mean {similar[0]!r}? To ask a model, write `anyllm -- {word}`"
            )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete) + self.commands[_DEFAULT].shell_complete(ctx, incomplete)
        return list({item.value: item for item in found if item.value != _DEFAULT}.values())

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("anyllm", "[OPTIONS] [--] PROMPT...")
        formatter.write_usage("anyllm", "COMMAND [ARGUMENTS]...", prefix="       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Users do not type "prompt", so they would not look for these options under `anyllm prompt --help`.
        params = self.commands[_DEFAULT].get_params(ctx)
        records = (param.get_help_record(ctx) for param in params if isinstance(param, click.Option))
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])
        self.format_commands(ctx, formatter)


_EPILOG = """
API keys are read from the environment only (OPENAI_API_KEY, GROQ_API_KEY, ...), because others on a machine can see
command lines; `anyllm doctor` lists the ones it finds. ANYLLM_LOG=debug shows what is sent and what comes back, without
keys.

Exit status: 0 done, 1 error, 2 wrong command line, 3 not available here, 124 out of time, 130 interrupted.
"""


@click.group(
    "anyllm",
    cls=_DefaultCommandGroup,
    commands={
        "prompt": prompt,
        "doctor": doctor,
        "local": local,
        "models": models,
        "providers": providers,
        "serve": serve,
    },
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)
def commands() -> None:
    """
    Ask a language model, and print its answer as it comes.

    \b
    anyllm "What is the capital of France?"
    anyllm -m openai/gpt-4o-mini "Write a haiku about threads"
    cat error.log | anyllm "What went wrong here?"

    Text on standard input comes before the prompt, parted from it by an empty line. A prompt that begins with a dash or
    with the name of a command goes after "--".
    """


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line, and return the exit status; errors are printed in one line.

    Without *argv* the arguments are those of the process, whose streams, warnings and signals are then set up.
    """
    try:
        if argv is None:
            _prepare_process()
            instruction = os.environ.get(_COMPLETE)
            if instruction:
                from click.shell_completion import shell_complete

                return shell_complete(commands, {}, "anyllm", _COMPLETE, instruction)
        code = _run(list(sys.argv[1:] if argv is None else argv))
        if argv is None:
            _prepare_exit()
    except KeyboardInterrupt:  # outside of the command
        return INTERRUPTED
    return code


def _run(args: list[str]) -> int:
    try:
        with commands.make_context("anyllm", args) as ctx:
            code = commands.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.UsageError as exc:
        if isinstance(exc, getattr(click.exceptions, "NoArgsIsHelpError", ())):
            click.echo(exc.format_message(), err=True)  # all of the help, as older releases of click print it
        else:
            say(f"{exc.format_message().rstrip('.')}{_hint(exc, args)} (see `{_command_path(exc)} --help`)")
        return exc.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as exc:
        if _reader_left(exc):
            # The reader needed no more (`| head -1`): that is no failure, under the shell's pipefail either.
            return OK
        say(message(exc))
        return exit_code(exc)
    return code if isinstance(code, int) else OK


def _reader_left(exc: Exception) -> bool:
    # Windows has no EPIPE; a write into a closed pipe is EINVAL there.
    return isinstance(exc, BrokenPipeError) or (
        sys.platform == "win32" and isinstance(exc, OSError) and exc.errno == errno.EINVAL
    )


def _command_path(exc: click.UsageError) -> str:
    path = exc.ctx.command_path if exc.ctx is not None else "anyllm"
    return "anyllm" if path == f"anyllm {_DEFAULT}" else path  # the default command has no help of its own


def _hint(exc: click.UsageError, args: list[str]) -> str:
    """What to write instead, if the message does not say so."""
    first = args[0] if args else ""
    is_command = first in commands.commands and first != _DEFAULT
    if isinstance(exc, click.NoSuchOption):
        if "key" in exc.option_name:
            return "; keys are read from the environment, as OPENAI_API_KEY, because others can see command lines"
        return "" if is_command or exc.possibilities else "; a prompt that begins with a dash goes after `--`"
    if is_command and not isinstance(exc, (click.BadParameter, click.BadOptionUsage)):
        return f"; to ask a model about {first!r}, write `anyllm -- {first} ...`"
    return ""


# -- the process -------------------------------------------------------------------------------------------------------


def _prepare_process() -> None:
    # A stream that the shell closed is None, and the next file or socket would get its descriptor.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for the rest of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Print "?" for characters that the console lacks, unless the user chose another error handler.
        if getattr(stream, "errors", None) in ("strict", "surrogateescape") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # Without any handler, Python prints what libraries log, tracebacks included, to stderr.
    logging.getLogger().addHandler(logging.NullHandler())


def _prepare_exit() -> None:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _discard_stdout()
    if threading.current_thread() is threading.main_thread():
        # Python is about to shut down and would answer Ctrl-C with a traceback; this way it just ends.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _discard_stdout() -> None:
    """Discard the buffer: Python flushes it at exit, and would report the same broken pipe again."""
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
    except (OSError, ValueError):
        pass
