"""
Joins surrogate pairs (emoji) whose halves come in two events, and replaces halves without a partner.

Providers that split text by UTF-16 units send the halves of a surrogate pair in two events. JSON can express such a
half (``"\\ud83d"``), but UTF-8 cannot encode it.

Strategy: repair the decoded JSON before anything reads it, and only if the strict parser refused it (msgspec accepts no
lone surrogates), so that other events cost nothing. A high half at the end of a string waits for the string at the same
path of the next event. A half without a partner becomes U+FFFD.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

REPLACEMENT = "\ufffd"

Path = tuple[Any, ...]


def mend(text: str) -> str:
    """*text* with surrogate pairs joined and lone halves replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mend_all(value: Any) -> Any:
    """`mend`, for every string inside a JSON value, keys included."""
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, dict):
        return {mend_all(key): mend_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mend_all(item) for item in value]
    return value


class Halves:
    """
    The high halves that wait for their low halves, by the path of the string in the event.

    Used by one decoder, on one thread.

    Attributes:
        waiting: The halves; public, because decoders test it before every event, and a dict is faster than a method.
    """

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: dict[Path, str] = {}

    def mend(self, value: Any, path: Path) -> Any:
        """The JSON *value* at *path*, with its strings joined to the halves that wait there."""
        if isinstance(value, str):
            return self._join(value, path)
        if isinstance(value, dict):
            return {mend(key): self.mend(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.mend(item, (*path, _place(item, at))) for at, item in enumerate(value)]
        return value

    def take(self) -> Iterator[Path]:
        """Remove the waiting halves; yields their paths, whose keys may be text cut in two as well: repaired."""
        while self.waiting:
            path, _ = self.waiting.popitem()
            yield tuple(mend(step) if isinstance(step, str) else step for step in path)

    def _join(self, text: str, path: Path) -> str:
        whole = self.waiting.pop(path, "") + text
        if whole and "\ud800" <= whole[-1] <= "\udbff":
            self.waiting[path] = whole[-1]
            whole = whole[:-1]
        return mend(whole)


def _place(item: Any, at: int) -> Any:
    """The key of an element of a list in the next event: its own index, else its position."""
    index = item.get("index") if isinstance(item, dict) else None
    return index if isinstance(index, (int, str)) else at
