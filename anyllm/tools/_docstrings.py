"""What a docstring says of a function and of its parameters, in Google's style and in Sphinx's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Optional

__all__ = ["first_paragraph", "said_of_parameters"]

_SECTION = re.compile(r"\s*(?:Args|Arguments|Parameters|Params)\s*:\s*")
#: ``city: The name.``, ``city (str): The name.``, ``lat, lon: Degrees.``
_ITEM = re.compile(r"\s*(\w+(?:\s*,\s*\w+)*)\s*(?:\([^)]*\))?\s*:(?:\s+(.*)|\s*)")
#: ``:param city: The name.``, ``:param str city: The name.``
_FIELD = re.compile(r"\s*:(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")


def first_paragraph(doc: str) -> str:
    """What the function does."""
    lines = []
    for line in doc.strip().splitlines():
        if not line.strip() or _SECTION.fullmatch(line) or line.lstrip().startswith(":"):
            break
        lines.append(line)
    return " ".join(" ".join(lines).split())


def said_of_parameters(doc: str) -> dict[str, str]:
    """The descriptions of parameters, by name."""
    found = {}
    for names, words in (*_google_items(doc.splitlines()), *_sphinx_fields(doc.splitlines())):
        for name in names.split(","):
            found[name.strip()] = " ".join(" ".join(words).split())
    return found


def _google_items(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    start = next((at for at, line in enumerate(lines) if _SECTION.fullmatch(line)), len(lines))
    section = _indent(lines[start]) if start < len(lines) else 0
    level: Optional[int] = None
    item: Optional[tuple[str, list[str]]] = None
    for line in lines[start + 1 :]:
        if not line.strip():
            continue
        indent = _indent(line)
        if indent <= section:
            break
        level = indent if level is None else level
        match = _ITEM.fullmatch(line) if indent <= level else None
        if match is not None:
            if item is not None:
                yield item
            item = (match[1], [match[2] or ""])
        elif item is not None:
            item[1].append(line)
    if item is not None:
        yield item


def _sphinx_fields(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    item: Optional[tuple[str, list[str]]] = None
    for line in (*lines, ""):
        match = _FIELD.fullmatch(line)
        if item is not None and (match is not None or not line.strip() or line.lstrip().startswith(":")):
            yield item
            item = None
        if match is not None:
            item = (match[1], [match[2]])
        elif item is not None:
            item[1].append(line)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
