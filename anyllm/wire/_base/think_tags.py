"""
Splits off reasoning that a model writes into its text, between ``<think>`` and ``</think>``.

Strategy: such models reason at the beginning of their answer, so tags are looked for only there; a tag later in the
answer is text. A tag may be split between events: text that could be part of one is held back until that is clear.
"""

from __future__ import annotations

__all__ = ["ThinkTags"]

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkTags:
    """Splits the text of one choice: call `feed` for each delta, `finish` at the end."""

    __slots__ = ("_pending", "_state")

    def __init__(self) -> None:
        self._pending = ""
        self._state = self._before

    def feed(self, text: str) -> tuple[str, str]:
        """The reasoning, and the answer, in the pending text and *text*."""
        pending, self._pending = self._pending + text, ""
        return self._state(pending)

    def finish(self) -> tuple[str, str]:
        """The pending text, as reasoning and answer: it is of the same kind as the text before it."""
        pending, self._pending = self._pending, ""
        return (pending, "") if self._state in (self._opening, self._inside) else ("", pending)

    @property
    def is_over(self) -> bool:
        """Whether all further text is answer."""
        return self._state == self._after and not self._pending

    def _before(self, text: str) -> tuple[str, str]:
        stripped = text.lstrip()
        if stripped.startswith(_OPEN):
            self._state = self._opening
            return self._opening(stripped[len(_OPEN) :])
        if _OPEN.startswith(stripped):
            self._pending = text
            return "", ""
        self._state = self._after
        return "", text

    def _opening(self, text: str) -> tuple[str, str]:
        """Skip line breaks after the tag: those around reasoning belong to the tags."""
        stripped = text.lstrip("\n")
        if not stripped:
            return "", ""
        self._state = self._inside
        return self._inside(stripped)

    def _inside(self, text: str) -> tuple[str, str]:
        reasoning, tag, rest = text.partition(_CLOSE)
        if tag:
            self._state = self._after_tag
            return reasoning[: _end_of_lines(reasoning)], self._after_tag(rest)[1]
        end = _end_of_lines(text[: len(text) - _partial_tag_length(text, _CLOSE)])
        self._pending = text[end:]
        return text[:end], ""

    def _after_tag(self, text: str) -> tuple[str, str]:
        stripped = text.lstrip("\n")
        if stripped:
            self._state = self._after
        return "", stripped

    def _after(self, text: str) -> tuple[str, str]:
        return "", text


def _end_of_lines(text: str) -> int:
    """The index at which the last line breaks of *text* begin; two at most, so that little is held back."""
    end = len(text)
    while end > max(0, len(text) - 2) and text[end - 1] == "\n":
        end -= 1
    return end


def _partial_tag_length(text: str, tag: str) -> int:
    """The number of characters at the end of *text* that may begin *tag*."""
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:size]):
            return size
    return 0
