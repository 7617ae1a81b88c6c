"""
What the model thought: in ``thinking`` blocks, and in the ``tool_plan`` before its calls.

Strategy: nearly every answer has only one of the two, and the reasoning's ``field`` says which. From the piece on that
makes it both, ``details`` say which text is which, the earlier text included, so that each can be sent back as what it
was.

Sources: https://docs.cohere.com/docs/reasoning, https://docs.cohere.com/docs/tool-use-overview
"""

from __future__ import annotations

from typing import Any

from anyllm.types import Message, Reasoning

THINKING = "thinking"
TOOL_PLAN = "tool_plan"


class Thoughts:
    """The reasoning of one answer, piece by piece. Used by one decoder, on one thread."""

    __slots__ = ("_both", "_field", "_texts")

    def __init__(self) -> None:
        self._field = ""
        self._texts: list[str] = []
        self._both = False

    def add(self, text: str, field: str) -> Reasoning:
        """The piece *text*, which came under the key *field*."""
        details: list[dict[str, Any]] = []
        if not self._field:
            self._field = field
        elif field != self._field and not self._both:
            self._both = True
            details.append({"type": self._field, "text": "".join(self._texts)})
        if self._both:
            details.append({"type": field, "text": text})
        else:
            self._texts.append(text)
        return Reasoning(text, None, field, details or None)


def sent_back(message: Message) -> dict[str, str]:
    """
    The reasoning of an earlier answer, by the key that each part of it goes under.

    What came from another host is a plan where calls follow it, which every model takes, and thinking where none do.
    """
    reasoning = message.reasoning
    if message.role != "assistant" or reasoning is None:
        return {}
    found: dict[str, str] = {}
    for detail in reasoning.details or ():
        kind, text = detail.get("type"), detail.get("text")
        if kind in (THINKING, TOOL_PLAN) and isinstance(text, str):
            found[kind] = found.get(kind, "") + text
    if found or not reasoning.content:
        return found
    if reasoning.field in (THINKING, TOOL_PLAN):
        return {reasoning.field: reasoning.content}
    return {TOOL_PLAN if message.tool_calls else THINKING: reasoning.content}
