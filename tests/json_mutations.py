"""JSON that nobody should send: random values, and documents in which one value is replaced."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

ODD_VALUES: tuple[Any, ...] = (
    *(None, 7, -1, 1.5, math.nan, 10**400, True, False, "", "x", "\ud83d"),
    *([], {}, [None], [[]], {"a": 1}),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def json_with(keys: Sequence[str]) -> st.SearchStrategy[Any]:
    """Random JSON whose objects have some of *keys*."""
    return st.recursive(
        JSON,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(keys), inner, max_size=6),
        max_leaves=20,
    )


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value in a document: its own, (), comes first."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The document with *new* at *path*."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def mutations(value: Any, new: Any) -> Iterator[Any]:
    """The document with each of its values replaced in turn."""
    return (replaced(value, path, new) for path in places(value))
