"""Typos in keyword arguments, answered with the name that was probably meant."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, TypeVar

import attrs

C = TypeVar("C", bound=type)


def check_keywords(cls: C) -> C:
    """Class decorator: make an attrs class's constructor name the nearest field for an unknown keyword."""
    plain_init = cls.__init__  # type: ignore[misc]  # the class is only seen here, before it has instances
    known = frozenset(field.name for field in attrs.fields(cls) if field.init)

    @functools.wraps(plain_init)
    def checked_init(self: Any, *args: Any, **kwargs: Any) -> None:
        if not known.issuperset(kwargs):
            raise unknown_keyword(cls.__name__, kwargs, known)
        plain_init(self, *args, **kwargs)

    cls.__init__ = checked_init  # type: ignore[misc]
    return cls


def unknown_keyword(what: str, given: Iterable[str], known: Iterable[str]) -> TypeError:
    """The TypeError for the first name of *given* that *known* lacks."""
    names = sorted(known)
    stray = next(name for name in given if name not in names)
    return TypeError(f"{what} has no {stray!r}" + did_you_mean(str(stray), names))


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """
    *value*, if it is an int and not less than *least*.

    Raises:
        TypeError, ValueError: it is not; the message names it.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}: {value}")
    return value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest of *known*, or nothing when none is near."""
    import difflib  # only here: it takes as long to import as this package's own values

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
