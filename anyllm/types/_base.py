"""What all values share: dicts out, dicts in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Protocol, TypeVar

from anyllm._hints.names import answer_other_names, names_of
from anyllm.types import _convert

S = TypeVar("S", bound="Serializable")


class Serializable:
    """Gives a value class `to_dict` and `from_dict`."""

    __slots__ = ()

    def to_dict(self, *, raw: bool = False) -> dict[str, Any]:
        """
        A plain dict that JSON can hold.

        Args:
            raw: Keep the provider's own event beside what was made of it.
        """
        plain: dict[str, Any] = _convert.unstructure(self, raw=raw)
        return plain

    @classmethod
    def from_dict(cls: type[S], value: Mapping[str, Any]) -> S:
        """
        The instance that `to_dict` was called on.

        Raises:
            TypeError: a key or a type does not fit; the message names it.
        """
        return _convert.structure(cls, value)

    # -- mistakes, answered ----------------------------------------------------------------------------------------

    if not TYPE_CHECKING:  # which is to find names that are not there
        __iter__ = None  # else Python would iterate whatever can be subscripted

        def __getitem__(self, key):
            name = f".{key}" if isinstance(key, str) else "attributes"
            raise TypeError(
                f"a {type(self).__name__} has attributes and no keys: write {name}, or .to_dict() for a dict"
            )

        def __init_subclass__(cls, **kwargs):
            super().__init_subclass__(**kwargs)
            answer_other_names(cls)

        def __dir__(self):
            return names_of(self)


class _Numbered(Protocol):
    index: int


C = TypeVar("C", bound=_Numbered)


def first_choice(choices: Sequence[C]) -> Optional[C]:
    """The choice whose *index* is 0: hosts send choices in any order, and chunks for some of them."""
    for choice in choices:
        if choice.index == 0:
            return choice
    return None
