"""
The content blocks of a written stream, one after another.

Strategy: only one block is open at a time, since several clients add each delta to the latest block. What comes between
the pieces of a call waits until its arguments are whole, or the answer is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union

from anyllm.errors import MalformedStreamError
from anyllm.types import _convert
from anyllm.wire._base.block_decoder import CALL
from anyllm.wire._base.block_turns import Block
from anyllm.wire._base.writer import event
from anyllm.wire.anthropic_messages.fields import DELTA, TEXT, THINKING

__all__ = ["BlockKey", "BlockWriter"]

#: What belongs into one block: its kind, its place (of a call among the calls, else among the provider's blocks), and
#: how many thinking blocks ended before it.
BlockKey = tuple[str, Union[int, str, None], int]

_Delta = Optional[Mapping[str, Any]]


class BlockWriter:
    """Writes the content blocks of one answer, of which one is open. Used by one thread."""

    def __init__(self) -> None:
        self._open: Optional[BlockKey] = None
        self._count = 0
        self._arguments: list[str] = []  # of the call that is open
        self._begun: set[BlockKey] = set()  # calls and blocks that are passed on: they are not opened twice
        self._waiting: dict[BlockKey, list[tuple[Optional[Block], _Delta]]] = {}
        #: The bytes before and after a text in the open block.
        self.around = (b"", b"")

    def is_open(self, key: BlockKey) -> bool:
        """Whether a delta of this block is written at once."""
        return key == self._open and not self._waiting

    def has(self, key: BlockKey) -> bool:
        """Whether this block has begun, or waits."""
        return key == self._open or key in self._begun or key in self._waiting

    def open_at(self, place: Optional[int]) -> Optional[BlockKey]:
        """The open block, if it is no call and stands there among the provider's blocks."""
        return self._open if self._open is not None and self._open[0] != CALL and self._open[1] == place else None

    def add(self, key: BlockKey, start: Optional[Block], delta: _Delta) -> bytes:
        """
        The events that add *delta* to a block, which begins as *start*, unless it has begun; b"" while it must wait.

        Raises:
            MalformedStreamError: the block is closed, or has never begun.
        """
        if key == self._open:
            written = self._delta(delta)
            return written + self.release() if self._waiting and self._is_whole() else written
        if key in self._waiting or not self._is_whole():
            self._waiting.setdefault(key, []).append((start, delta))
            return b""
        return self._begin(key, start, delta)

    def release(self, *, always: bool = False) -> bytes:
        """What waits, if the open call is whole; *always*: whether it is or not."""
        written = b""
        while self._waiting and (always or self._is_whole()):
            key = next(iter(self._waiting))
            (start, delta), *others = self._waiting.pop(key)
            written += self._begin(key, start, delta)
            written += b"".join(self._delta(other) for _, other in others)
        return written

    def close_all(self) -> bytes:
        """The end of all blocks."""
        return self.release(always=True) + self._close()

    def _begin(self, key: BlockKey, start: Optional[Block], delta: _Delta) -> bytes:
        if start is None:
            if delta is None or (key[0] == CALL and not delta["partial_json"].strip()):
                return b""  # white space after a call's arguments changes nothing
            raise MalformedStreamError("a content block continues that is closed, or has never begun")
        written = self._close()
        self._open = key
        if key[0] not in (TEXT, THINKING):
            self._begun.add(key)
        index, self._count = self._count, self._count + 1
        head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % index
        self.around = (head + b'{"type":"text_delta","text":', b"}}\n\n")
        body = {"type": "content_block_start", "index": index, "content_block": start}
        return written + event(body, "content_block_start") + self._delta(delta)

    def _delta(self, delta: _Delta) -> bytes:
        if delta is None:
            return b""
        if self._open is not None and self._open[0] == CALL:
            self._arguments.append(delta["partial_json"])
        return event({"type": DELTA, "index": self._count - 1, "delta": delta}, DELTA)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open, self._arguments = None, []
        return event({"type": "content_block_stop", "index": self._count - 1}, "content_block_stop")

    def _is_whole(self) -> bool:
        """Whether nothing can be added to the open block: of a call, whether its arguments are an object."""
        if self._open is None or self._open[0] != CALL:
            return True
        if not (self._arguments and self._arguments[-1].rstrip().endswith("}")):
            return False
        try:
            return isinstance(_convert.loads("".join(self._arguments)), dict)
        except ValueError:
            return False
