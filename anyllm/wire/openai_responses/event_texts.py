"""
Which events bring what, and how the halves of cut characters in them are joined.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from anyllm.wire._base.surrogate_joiner import REPLACEMENT, Halves, mend_all
from anyllm.wire.openai_responses.output_items import (
    ARGUMENTS,
    CUSTOM_CALL,
    FUNCTION_CALL,
    MESSAGE,
    REASONING,
    REFUSAL,
    SUMMARY,
    TEXT,
    THOUGHT,
)

TEXT_DELTA = "response.output_text.delta"


class Piece(NamedTuple):
    """What a delta brings: to which kind of item, as what, and which key numbers the part, where there are parts."""

    kind: str
    what: str
    number: str


PIECES = {
    TEXT_DELTA: Piece(MESSAGE, TEXT, "content_index"),
    "response.refusal.delta": Piece(MESSAGE, REFUSAL, "content_index"),
    "response.reasoning_summary_text.delta": Piece(REASONING, SUMMARY, "summary_index"),
    "response.reasoning_text.delta": Piece(REASONING, THOUGHT, "content_index"),
    "response.function_call_arguments.delta": Piece(FUNCTION_CALL, ARGUMENTS, ""),
    "response.custom_tool_call_input.delta": Piece(CUSTOM_CALL, ARGUMENTS, ""),
}

#: The events that end a response, and the status each means where the response does not say one.
ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
#: Ends of a response; "cancelled" is what a response in the background may come to.
STATUSES = ("completed", "incomplete", "failed", "cancelled")


class EventHalves:
    """
    Repairs the strings of events: a delta goes on where the one before it was cut, all others stand alone.

    Used by one decoder, on one thread.

    Args:
        halves: Those of the decoder.
    """

    __slots__ = ("_halves",)

    def __init__(self, halves: Halves) -> None:
        self._halves = halves

    def mend(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """
        *body* without halves of surrogate pairs.

        Raises:
            RecursionError: it is nested too deeply to be looked through.
        """
        mended: dict[str, Any] = mend_all(body)
        kind, delta = body.get("type"), body.get("delta")
        if isinstance(delta, str) and isinstance(kind, str) and kind in PIECES:
            names = ("item_id", "output_index", PIECES[kind].number)
            places = (value if isinstance(value := body.get(name), (int, str)) else None for name in names)
            mended["delta"] = self._halves.mend(delta, (kind, *places))
        return mended

    def left_over(self) -> Iterator[dict[str, Any]]:
        """Events that say U+FFFD where a half still waits, as the host would have said text there."""
        for kind, item_id, place, number in self._halves.take():
            yield {
                "type": kind,
                "item_id": item_id,
                "output_index": place,
                PIECES[kind].number: number,
                "delta": REPLACEMENT,
            }


def custom_tools(tools: list[Any]) -> Iterator[str]:
    """The names of the custom tools among a response's ``tools``, those in namespaces included."""
    for tool in tools:
        if isinstance(tool, dict):
            if tool.get("type") == "custom" and isinstance(tool.get("name"), str):
                yield tool["name"]
            if isinstance(tool.get("tools"), list):
                yield from custom_tools(tool["tools"])
