"""Dates as providers write them, in RFC 3339."""

from __future__ import annotations

import datetime
import re
from typing import Any

__all__ = ["unix_seconds"]

#: "2025-05-19T09:26:59.678947123Z": Go writes up to nine digits, which `datetime` does not read.
_DATE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?")


def unix_seconds(date: Any) -> int:
    """Seconds since 1970 of a date, which is in UTC without an offset; 0 of an earlier one, and of anything else."""
    found = _DATE.fullmatch(date) if isinstance(date, str) else None
    if found is None:
        return 0
    try:
        moment = datetime.datetime.fromisoformat(found[1] + (found[2] or "Z").replace("Z", "+00:00"))
        return max(0, int(moment.timestamp()))
    except (ValueError, OverflowError):
        return 0
