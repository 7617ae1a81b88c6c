"""
The content blocks of an answer, one after another.

Strategy: only one is open at a time, since several clients add each delta to the latest block. What comes between the
pieces of a call waits until its arguments are whole, or the answer is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union

from anyllm.errors import MalformedStreamError
from anyllm.types import _convert
from anyllm.wire._base.writer import event

__all__ = ["CALL", "TEXT", "THINKING", "Block", "Blocks", "Key"]

Block = dict[str, Any]
#: What belongs into one block: its kind, where it stands (a call among the calls, all else among the host's blocks),
#: and how many thinking blocks ended before it.
Key = tuple[str, Union[int, str, None], int]

TEXT, THINKING, CALL = "text", "thinking", "call"


class Blocks:
    """The content blocks of one answer, of which one is open."""

    def __init__(self) -> None:
        self._key: Optional[Key] = None  # which one
        self._count = 0
        self._arguments: list[str] = []  # of the call that is open
        self._began: set[Key] = set()  # of calls and of what is passed on: they are not opened twice
        self._held: dict[Key, list[tuple[Optional[Block], Optional[Mapping[str, Any]]]]] = {}
        #: The bytes before and after a text in the block that is open.
        self.around = (b"", b"")

    def is_open(self, key: Key) -> bool:
        """Whether what is added to this block is written at once."""
        return key == self._key and not self._held

    def is_known(self, key: Key) -> bool:
        """Whether this block has begun, or will."""
        return key == self._key or key in self._began or key in self._held

    def at(self, place: Optional[int]) -> Optional[Key]:
        """The block that is open, if it stands there at the host."""
        return self._key if self._key is not None and self._key[0] != CALL and self._key[1] == place else None

    def add(self, key: Key, start: Optional[Block], delta: Optional[Mapping[str, Any]]) -> bytes:
        """
        The events that add *delta* to a block, which begins as *start*, unless it has begun; b"" while it must wait.

        Raises:
            MalformedStreamError: a block goes on that was over, or has never begun.
        """
        if key == self._key:
            written = self._delta(delta)
            return written + self._released() if self._held and self._is_whole() else written
        if key in self._held or (self._key is not None and not self._is_whole()):
            self._held.setdefault(key, []).append((start, delta))
            return b""
        if start is None:
            return _late(key, delta)
        return self._opened(key, start) + self._delta(delta)

    def release_all(self) -> bytes:
        """What waits, whatever it waits for."""
        return self._released(in_any_case=True)

    def close_all(self) -> bytes:
        """The end of all blocks."""
        return self.release_all() + self._closed()

    def _opened(self, key: Key, start: Block) -> bytes:
        written = self._closed()
        self._key = key
        if key[0] not in (TEXT, THINKING):
            self._began.add(key)
        index, self._count = self._count, self._count + 1
        head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % index
        self.around = (head + b'{"type":"text_delta","text":', b"}}\n\n")
        body = {"type": "content_block_start", "index": index, "content_block": start}
        return written + event(body, "content_block_start")

    def _delta(self, delta: Optional[Mapping[str, Any]]) -> bytes:
        if delta is None:
            return b""
        if self._key is not None and self._key[0] == CALL:
            self._arguments.append(delta["partial_json"])
        body = {"type": "content_block_delta", "index": self._count - 1, "delta": delta}
        return event(body, "content_block_delta")

    def _closed(self) -> bytes:
        if self._key is None:
            return b""
        self._key, self._arguments = None, []
        return event({"type": "content_block_stop", "index": self._count - 1}, "content_block_stop")

    def _is_whole(self) -> bool:
        """Whether nothing more can come to the block that is open: of a call, that its arguments are an object."""
        if self._key is None or self._key[0] != CALL:
            return True
        if not (self._arguments and self._arguments[-1].rstrip().endswith("}")):
            return False
        try:
            return isinstance(_convert.loads("".join(self._arguments)), dict)
        except ValueError:
            return False

    def _released(self, *, in_any_case: bool = False) -> bytes:
        written = b""
        while self._held and (in_any_case or self._is_whole()):
            key = next(iter(self._held))
            (start, delta), *unknown_fields = self._held.pop(key)
            written += _late(key, delta) if start is None else self._opened(key, start) + self._delta(delta)
            written += b"".join(self._delta(more) for _, more in unknown_fields)
        return written


def _late(key: Key, delta: Optional[Mapping[str, Any]]) -> bytes:
    """White space after a call's arguments is no matter."""
    if delta is None or (key[0] == CALL and not delta["partial_json"].strip()):
        return b""
    raise MalformedStreamError("a content block goes on that is over, or has never begun")
