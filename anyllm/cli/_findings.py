"""Findings of `anyllm doctor`: a level, a subject and a text."""

from __future__ import annotations

import functools
from typing import NamedTuple


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


#: Make a finding of a subject and a text.
ok, warn, fail = (functools.partial(Finding, level) for level in ("ok", "warn", "fail"))
