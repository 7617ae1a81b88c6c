"""
What must go back to a provider with the next turn: output items of this format, and sealed reasoning of any other.

A provider of this format wants its reasoning back as it was, in front of what followed it, and refuses one without the
other; so when there is such an item, all items of the answer are kept, in their order, as `Reasoning.details`. The
signatures and blocks of another format's reasoning travel as ``encrypted_content``, which clients send back unread.

Sources: https://platform.openai.com/docs/guides/reasoning (keeping reasoning items in context),
https://platform.openai.com/docs/guides/conversation-state
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.types import Reasoning, _convert
from anyllm.wire._base.conversation import OUTPUT_ITEMS
from anyllm.wire._base.json_values import without_none
from anyllm.wire._base.writer import json_bytes
from anyllm.wire.openai_responses.fields import CALL_KEYS, CALLS, EXTRA_CONTENT, MESSAGE, REASONING, parts_in

#: The key of a reasoning item that only its provider can read.
SEAL = "encrypted_content"
_PREFIX = "anyllm:"


def output_items(reasoning: Reasoning | None) -> Sequence[Any]:
    """The output items in a message's reasoning; none if it is from another format."""
    return (reasoning.details or ()) if reasoning is not None and reasoning.field == OUTPUT_ITEMS else ()


def to_replay(output: Sequence[Any], stored: Any) -> Reasoning | None:
    """
    The items of *output* as reasoning; None when the text and the calls of the answer hold everything.

    A provider that stored nothing (*stored*, the response's ``store``, is False) does not find its reasoning by id.
    """
    items = [item for item in output if isinstance(item, dict) and _can_return(item, stored)]
    return Reasoning(None, None, OUTPUT_ITEMS, items) if any(map(_holds_more, items)) else None


def _holds_more(item: Mapping[str, Any]) -> bool:
    return item.get("type") not in (MESSAGE, *CALLS) or any(
        item.get(key) for key in ("phase", EXTRA_CONTENT, *CALL_KEYS)
    )


def _can_return(item: Mapping[str, Any], stored: Any) -> bool:
    if item.get("type") != REASONING or stored is not False:
        return True
    return bool(item.get(SEAL) or parts_in(item, "content"))


def sealed(reasoning: Reasoning | None) -> str | None:
    """The text in which another format's reasoning travels, without its content; None if there is nothing to keep."""
    fields = without_none({name: getattr(reasoning, name, None) for name in ("field", "signature", "details")})
    return _PREFIX + base64.b64encode(json_bytes(fields)).decode() if fields else None


def unsealed(text: Any) -> Reasoning | None:
    """
    The reasoning in what `sealed` made; None of anything else.

    Raises:
        ValueError: it was sealed, and is broken.
    """
    if not isinstance(text, str) or not text.startswith(_PREFIX):
        return None
    try:
        fields = _convert.loads(base64.b64decode(text[len(_PREFIX) :], validate=True))
        return _convert.structure(Reasoning, fields)
    except TypeError as exc:
        raise ValueError(f"not sealed here: {exc}") from exc
