"""Names from other libraries, and names in the wrong place: an error message that says what to write instead."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["no_attribute"]


def no_attribute(what: str, name: str, hints: Mapping[str, str]) -> AttributeError:
    """The AttributeError of an object that is called *what* and has no *name*; *hints* say what to write instead."""
    hint = hints.get(name)
    return AttributeError(f"{what} has no {name!r}" + (f": {hint}" if hint else ""))
