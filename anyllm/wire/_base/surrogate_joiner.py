"""
Emoji that were cut in two.

Hosts that cut text by UTF-16 units send the halves of a surrogate pair in two events. JSON can write such a
half (``"\\ud83d"``), but it is no text: nothing that encodes to UTF-8 accepts it.

Strategy: repair the decoded JSON before anything reads it, and only when a strict reader has refused it (msgspec takes
no lone surrogate), so that the path of every other event is not touched. A high half that ends a string waits for the
string at the same place of the next event. What finds no partner becomes U+FFFD.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

REPLACEMENT = "\ufffd"

Path = tuple[Any, ...]


def mend(text: str) -> str:
    """*text* with its pairs joined and its lone halves replaced."""
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
    The high halves that wait for their low ones, by the place in the event where each was cut off.

    Used by one decoder, on one thread.

    Attributes:
        waiting: The halves; asked for truth before every event, which a dict answers faster than a method.
    """

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: dict[Path, str] = {}

    def mend(self, value: Any, path: Path) -> Any:
        """*value*, a JSON value found at *path*, whose strings continue those found there before."""
        if isinstance(value, str):
            return self._join(value, path)
        if isinstance(value, dict):
            return {mend(key): self.mend(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.mend(item, (*path, _place(item, at))) for at, item in enumerate(value)]
        return value

    def take(self) -> Iterator[Path]:
        """The places where a half still waits; each is given once."""
        while self.waiting:
            yield self.waiting.popitem()[0]

    def _join(self, text: str, path: Path) -> str:
        whole = self.waiting.pop(path, "") + text
        if whole and "\ud800" <= whole[-1] <= "\udbff":
            self.waiting[path] = whole[-1]
            whole = whole[:-1]
        return mend(whole)


def _place(item: Any, at: int) -> Any:
    """What an element of a list is known by in the next event: its own index, else its position."""
    index = item.get("index") if isinstance(item, dict) else None
    return index if isinstance(index, (int, str)) else at
