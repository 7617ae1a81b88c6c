"""
Reasoning that a model writes into its text, between ``<think>`` and ``</think>``.

Strategy: models that do this do it at the beginning of their answer, so only there are tags looked for: an answer that
speaks of the tag later is left alone. A tag may come in pieces; what could still become one is held back, and given
when it turns out to be text.
"""

from __future__ import annotations

__all__ = ["ThinkTags"]

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkTags:
    """Splits one choice's text. `feed` for each piece, `finish` at the end."""

    __slots__ = ("_held", "_state")

    def __init__(self) -> None:
        self._held = ""
        self._state = self._before

    def feed(self, text: str) -> tuple[str, str]:
        """What of *text*, and of what was held back before it, is reasoning, and what is answer."""
        held, self._held = self._held + text, ""
        return self._state(held)

    def finish(self) -> tuple[str, str]:
        """What is still held back: text of whatever kind came before it."""
        held, self._held = self._held, ""
        return (held, "") if self._state in (self._opening, self._inside) else ("", held)

    @property
    def is_over(self) -> bool:
        """Whether all that comes now is answer."""
        return self._state == self._after and not self._held

    def _before(self, text: str) -> tuple[str, str]:
        begun = text.lstrip()
        if begun.startswith(_OPEN):
            self._state = self._opening
            return self._opening(begun[len(_OPEN) :])
        if _OPEN.startswith(begun):
            self._held = text
            return "", ""
        self._state = self._after
        return "", text

    def _opening(self, text: str) -> tuple[str, str]:
        """The line breaks around reasoning belong to the tags."""
        begun = text.lstrip("\n")
        if not begun:
            return "", ""
        self._state = self._inside
        return self._inside(begun)

    def _inside(self, text: str) -> tuple[str, str]:
        thought, tag, rest = text.partition(_CLOSE)
        if tag:
            self._state = self._after_tag
            return thought[: _end_of_lines(thought)], self._after_tag(rest)[1]
        kept = _end_of_lines(text[: len(text) - _beginning_at_end(text, _CLOSE)])
        self._held = text[kept:]
        return text[:kept], ""

    def _after_tag(self, text: str) -> tuple[str, str]:
        begun = text.lstrip("\n")
        if begun:
            self._state = self._after
        return "", begun

    def _after(self, text: str) -> tuple[str, str]:
        return "", text


def _end_of_lines(text: str) -> int:
    """Where the last line breaks of *text* begin; two at most, so that little is ever held back."""
    end = len(text)
    while end > max(0, len(text) - 2) and text[end - 1] == "\n":
        end -= 1
    return end


def _beginning_at_end(text: str, tag: str) -> int:
    """How many characters at the end of *text* may be the beginning of *tag*."""
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:size]):
            return size
    return 0
