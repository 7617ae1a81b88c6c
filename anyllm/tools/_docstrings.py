"""Descriptions of a function and of its parameters, from a docstring in the style of Google, Sphinx or NumPy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Optional

_SECTION = re.compile(r"\s*(?:Args|Arguments|Parameters|Params)\s*:\s*")
_NUMPY_SECTION = re.compile(r"\s*(?:Other )?Parameters\s*")
_UNDERLINE = re.compile(r"\s*-{3,}\s*")
#: ``city: The name.``, ``city (str): The name.``, ``lat, lon: Degrees.``
_ITEM = re.compile(r"\s*(\w+(?:\s*,\s*\w+)*)\s*(?:\([^)]*\))?\s*:(?:\s+(.*)|\s*)")
#: ``:param city: The name.``, ``:param str city: The name.``
_FIELD = re.compile(r"\s*:(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")
#: ``city : str``, ``lat, lon : float, optional``
_NUMPY_ITEM = re.compile(r"\s*(\w+(?:\s*,\s*\w+)*)\s*(?:\s:.*)?")

#: The names of parameters, separated by commas, and the lines of their description.
_Item = tuple[str, list[str]]


def first_paragraph(doc: str) -> str:
    """The description of the function, in one line."""
    lines: list[str] = []
    for line in doc.strip().splitlines():
        if not line.strip() or _SECTION.fullmatch(line) or line.lstrip().startswith(":"):
            break
        if _UNDERLINE.fullmatch(line):
            lines = lines[:-1]
            break
        lines.append(line)
    return _joined(lines)


def parameter_descriptions(doc: str) -> dict[str, str]:
    """The description of each parameter, in one line, by name."""
    lines = doc.splitlines()
    found = {}
    for names, description in (*_google_items(lines), *_sphinx_items(lines), *_numpy_items(lines)):
        for name in names.split(","):
            found[name.strip()] = _joined(description)
    return found


def _google_items(lines: list[str]) -> Iterator[_Item]:
    start = next((index for index, line in enumerate(lines) if _SECTION.fullmatch(line)), len(lines))
    section_indent = _indent(lines[start]) if start < len(lines) else 0
    item_indent: Optional[int] = None
    item: Optional[_Item] = None
    for line in lines[start + 1 :]:
        if not line.strip():
            continue
        indent = _indent(line)
        if indent <= section_indent:
            break
        item_indent = indent if item_indent is None else item_indent
        match = _ITEM.fullmatch(line) if indent <= item_indent else None
        if match is not None:
            if item is not None:
                yield item
            item = (match[1], [match[2] or ""])
        elif item is not None:
            item[1].append(line)
    if item is not None:
        yield item


def _sphinx_items(lines: list[str]) -> Iterator[_Item]:
    item: Optional[_Item] = None
    for line in (*lines, ""):
        match = _FIELD.fullmatch(line)
        if item is not None and (match is not None or not line.strip() or line.lstrip().startswith(":")):
            yield item
            item = None
        if match is not None:
            item = (match[1], [match[2]])
        elif item is not None:
            item[1].append(line)


def _numpy_items(lines: list[str]) -> Iterator[_Item]:
    in_section = False
    item: Optional[_Item] = None
    for line, following in zip(lines, [*lines[1:], ""]):
        is_heading = _UNDERLINE.fullmatch(following) is not None
        match = _NUMPY_ITEM.fullmatch(line) if in_section and not is_heading and not _indent(line) else None
        if (is_heading or match is not None) and item is not None:
            yield item
            item = None
        if is_heading:
            in_section = _NUMPY_SECTION.fullmatch(line) is not None
        elif match is not None:
            item = (match[1], [])
        elif item is not None and _indent(line):
            item[1].append(line)
    if item is not None:
        yield item


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())
