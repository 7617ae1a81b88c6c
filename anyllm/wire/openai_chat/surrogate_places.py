"""Where in a chat completion's event the halves of cut characters may lie, and how to say what is left of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anyllm.wire._base.surrogate_joiner import REPLACEMENT, Halves, Path, mend_all


class EventHalves:
    """
    Repairs the strings of events: those in deltas continue from one event to the next, all others stand alone.

    Used by one decoder, on one thread.

    Args:
        halves: Those of the decoder.
    """

    __slots__ = ("_halves",)

    def __init__(self, halves: Halves) -> None:
        self._halves = halves

    def mend(self, body: dict[str, Any]) -> dict[str, Any]:
        """
        *body* without halves of surrogate pairs.

        Raises:
            RecursionError: it is nested too deeply to be looked through.
        """
        mended: dict[str, Any] = mend_all(body)
        choices = body.get("choices")
        if isinstance(choices, list):
            mended["choices"] = [self._choice(raw, position) for position, raw in enumerate(choices)]
        return mended

    def left_over(self) -> Iterator[dict[str, Any]]:
        """Events that say U+FFFD where a half still waits, as the host would have said text there."""
        for index, *steps in self._halves.take():
            yield {"choices": [{"index": index, "delta": _nested(steps)}]}

    def _choice(self, raw: Any, position: int) -> Any:
        mended = mend_all(raw)
        if isinstance(raw, dict) and isinstance(raw.get("delta"), dict):
            index = raw.get("index")
            path: Path = (index if isinstance(index, (int, str)) else position,)
            mended["delta"] = self._halves.mend(raw["delta"], path)
        return mended


def _nested(steps: list[Any]) -> Any:
    value: Any = REPLACEMENT
    for step in reversed(steps):
        # A number is a place in a list: of tool calls, which know their index, or of parts.
        value = [{**value, "index": step}] if isinstance(step, int) and isinstance(value, dict) else {step: value}
    return value
