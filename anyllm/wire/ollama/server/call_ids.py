"""Ids of tool calls in a client's history, where calls and results may have none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from anyllm.wire._base.chat_request import MadeIds

__all__ = ["OpenCalls"]


class OpenCalls:
    """
    The calls of a conversation that have no result yet.

    A result without an id answers the oldest open call of its function; without a name too, the oldest of all.

    Args:
        ids: All ids in the conversation; made-up ids differ from them.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._ids = set(ids)
        self._made = MadeIds()
        #: Call ids and functions, the oldest first: by function, and those of all calls under None.
        self._open: dict[Optional[str], dict[str, str]] = {None: {}}

    def add(self, call_id: Optional[str], name: str) -> str:
        """Add a call; its id, made up if it has none."""
        call_id = call_id or self._made.new(self._ids)
        for queue in (name, None):
            self._open.setdefault(queue, {})[call_id] = name
        return call_id

    def answer(self, call_id: Optional[str], name: Optional[str]) -> tuple[Optional[str], Optional[str]]:
        """Remove the call that a result answers; its id and its function, each None if unknown."""
        call_id = call_id or next(iter(self._open.get(name or None, ())), None)
        function = self._open[None].pop(call_id, None) if call_id else None
        if function is not None and call_id:
            self._open[function].pop(call_id, None)
        return call_id, function
