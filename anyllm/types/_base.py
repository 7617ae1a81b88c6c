"""The base of all value classes: conversion to and from dicts, and hints for other libraries' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Protocol, TypeVar

from anyllm._hints.names import add_name_hints, own_names
from anyllm.types import _convert

S = TypeVar("S", bound="Serializable")


class Serializable:
    """Gives a value class `to_dict` and `from_dict`."""

    __slots__ = ()

    def to_dict(self, *, raw: bool = False) -> dict[str, Any]:
        """
        A dict of JSON values.

        Args:
            raw: Include ``raw``, the provider's own event.
        """
        plain: dict[str, Any] = _convert.unstructure(self, raw=raw)
        return plain

    @classmethod
    def from_dict(cls: type[S], value: Mapping[str, Any]) -> S:
        """
        An instance from a dict as `to_dict` returns it.

        Raises:
            TypeError: a key is unknown or a type is wrong; the message names it.
        """
        return _convert.structure(cls, value)

    # -- hints for mistakes ----------------------------------------------------------------------------------------

    if not TYPE_CHECKING:  # type checkers must report missing names
        __iter__ = None  # else Python would iterate through `__getitem__`

        def __getitem__(self, key):
            name = f".{key}" if isinstance(key, str) else "attributes"
            raise TypeError(
                f"a {type(self).__name__} has attributes and no keys: write {name}, or .to_dict() for a dict"
            )

        def __init_subclass__(cls, **kwargs):
            super().__init_subclass__(**kwargs)
            add_name_hints(cls)

        def __dir__(self):
            return own_names(self)


class FirstChoice(Serializable):
    """Gives a chunk or a whole answer the finish reasons of choice 0."""

    __slots__ = ()
    choices: Sequence[Any]

    @property
    def finish_reason(self) -> Optional[str]:
        """Why choice 0 ended; None before its end."""
        choice = first_choice(self.choices)
        return choice.finish_reason if choice else None

    @property
    def raw_finish_reason(self) -> Optional[str]:
        """The provider's own finish reason of choice 0."""
        choice = first_choice(self.choices)
        return choice.raw_finish_reason if choice else None


class _Numbered(Protocol):
    index: int


C = TypeVar("C", bound=_Numbered)


def first_choice(choices: Sequence[C]) -> Optional[C]:
    """The choice whose *index* is 0, or None: providers send choices in any order, and chunks with some of them."""
    for choice in choices:
        if choice.index == 0:
            return choice
    return None
