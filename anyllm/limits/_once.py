"""A function that runs only once, however often it is called."""

from __future__ import annotations

from collections.abc import Callable


class Once:
    """Runs *fn* at the first call only; returns whether this call ran it. Takes no lock."""

    __slots__ = ("_pending",)

    def __init__(self, fn: Callable[[], object]) -> None:
        self._pending = [fn]

    def __call__(self) -> bool:
        try:
            fn = self._pending.pop()
        except IndexError:
            return False
        fn()
        return True
