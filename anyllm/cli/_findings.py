"""What a check of the installation has to say."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Finding", "fail", "ok", "warn"]


class Finding(NamedTuple):
    """
    One line of the doctor's.

    Attributes:
        level: "ok", "warn" for what works and may surprise, "fail" for what cannot work.
        subject: What was looked at.
        text: What was found and, unless it is ok, what to do.
    """

    level: str
    subject: str
    text: str


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding("ok", subject, text)


def warn(subject: str, text: str) -> Finding:
    """It works, and may surprise."""
    return Finding("warn", subject, text)


def fail(subject: str, text: str) -> Finding:
    """It cannot work."""
    return Finding("fail", subject, text)
