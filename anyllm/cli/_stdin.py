"""What was piped in."""

from __future__ import annotations

import sys

__all__ = ["on_terminal", "piped_text"]


def on_terminal() -> bool:
    """Whether a person is at standard input."""
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False


def piped_text() -> str:
    """All of standard input, with U+FFFD for what is not UTF-8; "" when it is a terminal, closed or not readable."""
    if sys.stdin is None or on_terminal():
        return ""
    try:
        # Windows writes a byte order mark into files; as part of a prompt it would only confuse.
        return sys.stdin.buffer.read().decode("utf-8-sig", errors="replace")
    except (OSError, ValueError):  # nohup's standard input is a file that cannot be read
        return ""
