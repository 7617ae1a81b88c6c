"""
Reasoning in ``thinking`` blocks, and in the ``tool_plan`` before tool calls, read and sent back.

Strategy: nearly every answer has only one of the two, and the reasoning's ``field`` names it. Once an answer has both,
``details`` name the field of each text, the earlier text included, so that each can be sent back in its own field.

Sources: https://docs.cohere.com/docs/reasoning, https://docs.cohere.com/docs/tool-use-overview
"""

from __future__ import annotations

from typing import Any

from anyllm.types import Message, Reasoning

THINKING = "thinking"
TOOL_PLAN = "tool_plan"


class ReasoningBuffer:
    """Collects the reasoning of one answer. Used by one decoder, on one thread."""

    __slots__ = ("_both", "_field", "_texts")

    def __init__(self) -> None:
        self._field = ""
        self._texts: list[str] = []
        self._both = False

    def add(self, text: str, field: str) -> Reasoning:
        """The reasoning that adds *text*, which came under the key *field*."""
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


def reasoning_fields(message: Message) -> dict[str, str]:
    """
    The reasoning of an earlier answer, by the key that each part of it is sent under.

    Reasoning from another provider is sent as a plan if tool calls follow it, which every model accepts, else as
    thinking.
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
