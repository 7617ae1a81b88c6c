"""What was piped in."""

from __future__ import annotations

import codecs
import re
import sys

import click

from anyllm.cli._output import say
from anyllm.types._media import media_type_of

__all__ = ["on_terminal", "piped_text"]

#: Windows PowerShell writes UTF-16 when it redirects into a file.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: What text does not contain, apart from the escapes of colours.
_CONTROL = re.compile("[\x00-\x06\x0e-\x1a\x1c-\x1f]")
#: The share of characters that may be lost before a text in an old encoding is not worth sending.
_MOST_LOSSES = 0.3
_WAYS = {"image": "ContentPart.from_image()", "audio": "ContentPart.from_audio()"}


def on_terminal() -> bool:
    """Whether a person is at standard input."""
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False


def piped_text() -> str:
    """
    All of standard input; "" when it is a terminal, closed or not readable.

    Of text in an old encoding, what is not UTF-8 becomes U+FFFD, and a line on stderr says so.

    Raises:
        click.UsageError: it is no text.
    """
    if sys.stdin is None or on_terminal():
        return ""
    try:
        data = sys.stdin.buffer.read()
    except (OSError, ValueError):  # nohup's standard input is a file that cannot be read
        return ""
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text, replacements = data.decode(encoding), 0
    except UnicodeDecodeError:
        text = data.decode(encoding, errors="replace")
        replacements = text.count("\ufffd")
    if (
        "\0" in text
        or data.startswith(b"%PDF-")
        or replacements + len(_CONTROL.findall(text)) > _MOST_LOSSES * len(text)
    ):
        raise click.UsageError(_no_text(data))
    if replacements:
        say(f"standard input is not UTF-8: {replacements} of {len(text)} characters are sent as U+FFFD")
    return text


def _no_text(data: bytes) -> str:
    kind = media_type_of(data)
    if kind is None:
        return "standard input is not text in UTF-8"
    way = _WAYS.get(kind.partition("/")[0], "ContentPart.from_file()")
    return f"standard input is not text but {kind}, which only a program can send: anyllm.{way}"
