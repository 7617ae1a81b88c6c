"""Findings of `anyllm doctor`: a level, a subject and a text."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Finding", "fail", "ok", "warn"]


class Finding(NamedTuple):
    """
    One line of the doctor's report.

    Attributes:
        level: "ok"; "warn" if it works with a restriction; "fail" if it cannot work.
        subject: The part that was checked.
        text: The result and, unless it is ok, a remedy.
    """

    level: str
    subject: str
    text: str


def ok(subject: str, text: str) -> Finding:
    """No problem."""
    return Finding("ok", subject, text)


def warn(subject: str, text: str) -> Finding:
    """A problem that does not keep anyllm from working."""
    return Finding("warn", subject, text)


def fail(subject: str, text: str) -> Finding:
    """A problem that keeps something from working."""
    return Finding("fail", subject, text)
