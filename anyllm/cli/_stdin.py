"""Read a prompt from standard input."""

from __future__ import annotations

import codecs
import re
import sys

import click

from anyllm.cli._output import say
from anyllm.types._media import media_type_of

#: Windows PowerShell writes UTF-16 when it redirects into a file.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Control characters that text does not contain, apart from escapes of colours.
_CONTROL = re.compile("[\x00-\x06\x0e-\x1a\x1c-\x1f]")
#: The largest share of undecodable characters in a text that is sent.
_MAX_LOSS = 0.3
_CONSTRUCTORS = {"image": "ContentPart.from_image()", "audio": "ContentPart.from_audio()"}


def on_terminal() -> bool:
    """Whether standard input is a terminal."""
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False


def piped_text() -> str:
    """
    All of standard input; "" if it is a terminal, closed or not readable.

    Bytes that are not UTF-8 become U+FFFD, and a notice on stderr says so.

    Raises:
        click.UsageError: the input is not text.
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
    if "\0" in text or data.startswith(b"%PDF-") or replacements + len(_CONTROL.findall(text)) > _MAX_LOSS * len(text):
        raise click.UsageError(_not_text(data))
    if replacements:
        say(f"standard input is not UTF-8: {replacements} of {len(text)} characters are sent as U+FFFD")
    return text


def _not_text(data: bytes) -> str:
    media_type = media_type_of(data)
    if media_type is None:
        return "standard input is not text in UTF-8"
    constructor = _CONSTRUCTORS.get(media_type.partition("/")[0], "ContentPart.from_file()")
    return f"standard input is not text but {media_type}, which only a program can send: anyllm.{constructor}"
