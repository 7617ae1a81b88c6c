"""
Output items that a message's text and calls cannot hold, kept for the next turn.

The host wants its reasoning back as it was, in front of what followed it, and refuses one without the other; so when
there is such an item, all items of the answer are kept, in their order. They stand in `Reasoning.details` under the
field `OUTPUT_ITEMS`.

Sources: https://platform.openai.com/docs/guides/reasoning (keeping reasoning items in context),
https://platform.openai.com/docs/guides/conversation-state
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.types import Reasoning
from anyllm.wire._base.reasoning_origins import OUTPUT_ITEMS
from anyllm.wire.openai_responses.output_items import CALLS, MESSAGE, REASONING, parts_in

#: Keys that a message's text, or a call's name and arguments, cannot hold.
_MORE = ("phase", "namespace", "caller")


def to_keep(output: Sequence[Any], stored: Any) -> Reasoning | None:
    """
    The items of *output* as part of the answer; None when its text and calls say all.

    Args:
        output: The items, in order.
        stored: The response's ``store``: a host that stored nothing (False) does not know its reasoning by id.
    """
    items = [item for item in output if isinstance(item, dict) and _can_return(item, stored)]
    return Reasoning(None, None, OUTPUT_ITEMS, items) if any(map(_says_more, items)) else None


def _says_more(item: Mapping[str, Any]) -> bool:
    return item.get("type") not in (MESSAGE, *CALLS) or any(item.get(key) for key in _MORE)


def _can_return(item: Mapping[str, Any], stored: Any) -> bool:
    if item.get("type") != REASONING or stored is not False:
        return True
    return bool(item.get("encrypted_content") or parts_in(item, "content"))
