"""
Thinking blocks: what a decoder keeps of them, and what the next request sends back.

Anthropic signs what its models thought, and wants the blocks back unchanged. `Reasoning.details` holds them, one for
each block, in the order they came.

Source: https://platform.claude.com/docs/en/build-with-claude/extended-thinking#preserving-thinking-blocks
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import Reasoning
from anyllm.wire.anthropic_messages.open_block import REDACTED, THINKING

#: Tells apart, in the details, blocks after the first: two that are both signed are else taken for pieces of one.
_PLACE = "index"


def thought(text: str) -> Reasoning:
    """A fragment of a thinking block."""
    return Reasoning(text, None, THINKING)


def hidden(block: Mapping[str, Any]) -> Reasoning:
    """A whole block that only its provider can read."""
    return Reasoning(None, None, THINKING, [dict(block)])


def signed(block: Mapping[str, Any], text: str, signature: str, place: int) -> Reasoning:
    """
    The end of a thinking block, which is when it is whole.

    Args:
        block: As it was announced.
        text: All that was thought in it.
        signature: All of the signature; "" when there is none.
        place: How many thinking blocks came before.
    """
    detail = {**block, "type": THINKING, "thinking": text, "signature": signature}
    if not signature:
        del detail["signature"]
    if place:
        detail[_PLACE] = place
    return Reasoning(None, signature or None, THINKING, [detail])


def blocks_to_send_back(reasoning: Reasoning | None) -> list[dict[str, Any]]:
    """
    The blocks for an earlier answer's reasoning.

    What has neither blocks nor a signature, or comes from another format, is no use to this host, which takes its own
    thoughts only.
    """
    if reasoning is None or reasoning.field not in (None, THINKING):
        return []
    if reasoning.details:
        kept = [detail for detail in reasoning.details if detail.get("type") in (THINKING, REDACTED)]
        return [{key: value for key, value in detail.items() if key != _PLACE} for detail in kept]
    if not reasoning.signature:
        return []
    return [{"type": THINKING, "thinking": reasoning.content or "", "signature": reasoning.signature}]
