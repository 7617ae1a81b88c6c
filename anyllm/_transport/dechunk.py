"""
HTTP's chunked framing, taken off many chunks at a time.

Strategy: urllib3 and http.client read a chunk with three calls each, which costs more than parsing the event in it, and
either waits for a whole chunk (`read_chunked`) or costs twice as much again (`read1`). Here one read takes whatever has
arrived, and this takes the framing off; what has come of an unfinished chunk is handed on at once. A run of whole
chunks is cut at whatever looks like a size line, and rightly if each piece is as long as the line before it says.

Source: RFC 9112, section 7.1.
"""

from __future__ import annotations

import re
from typing import Optional

__all__ = ["Dechunker"]

#: Longer size lines and trailers than this are an attack, not a chunk extension.
_MAX_LINE = 16 * 1024
#: So many size lines are known by heart: the events of a stream are of few sizes.
_KNOWN = 512
#: In fewer bytes than this, a run is not looked for.
_SHORT = 1024
_SIZE_LINE = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})\r\n")


class Dechunker:
    """
    Takes bytes in, gives the payload out.

    Attributes:
        done: Whether the last chunk and its trailers have come, or nothing more can be made of what comes.
        broken: Why not, in that case; what came before it has been given.
        excess: Whether something came after that, which no host has reason to send.
    """

    __slots__ = ("_known", "_left", "_line", "_trailers", "broken", "done", "excess")

    def __init__(self) -> None:
        self.done = False
        self.excess = False
        self.broken: Optional[ValueError] = None
        self._left = 0  # payload bytes of the current chunk still to come, and then its line end
        self._line = b""  # the beginning of a line whose end has not come
        self._trailers = False
        self._known: dict[bytes, int] = {}  # what size lines announced

    def feed(self, data: bytes) -> bytes:
        """
        The payload in *data*; what follows the end is dropped.

        Raises:
            ValueError: this is not chunked framing, from its first byte on.
        """
        if self._line:
            data, self._line = self._line + data, b""
        parts: list[bytes] = []
        at, end, left, known = 0, len(data), self._left, self._known
        may_run = end > _SHORT  # once in a read: a run that is none took time to find out
        while at < end and not self.done:
            if left == 0:
                stop = data.find(b"\n", at)
                if stop < 0:
                    self._keep(data[at:])
                    at = end
                    break
                line = data[at:stop]
                try:
                    left = known.get(line, 0) or self._size(line)
                except ValueError as exc:
                    if not parts:
                        raise
                    self.broken, self.done = exc, True  # after what came before it
                    break
                at = stop + 1
            if left > 2:  # the payload, without the line end behind it
                parts.append(data[at : at + left - 2])
            taken = min(left, end - at)
            at += taken
            left -= taken
            if may_run and left == 0 and not self._trailers:
                may_run = False
                at += self._run(data, at, parts)
        self._left = left
        self.excess = self.done and at < end
        return b"".join(parts)

    @staticmethod
    def _run(data: bytes, at: int, parts: list[bytes]) -> int:
        """Take whole chunks from *at*, where one begins, into *parts*; how many bytes they are, 0 where unsure."""
        pieces = _SIZE_LINE.split(data[max(0, at - 2) :])
        sizes, payloads = pieces[1:-2:2], pieces[2:-2:2]  # of the last, not all may be here
        if pieces[0] or list(map(len, payloads)) != [int(size, 16) for size in sizes] or b"" in payloads:
            return 0
        parts += payloads
        return sum(map(len, payloads)) + sum(map(len, sizes)) + 4 * len(payloads)

    def _size(self, line: bytes) -> int:
        """What a size line announces, its line end included; 0 at the end, where trailers follow."""
        if self._trailers:
            self.done = not line.strip()
            return 0
        size = int(line if b";" not in line else line.partition(b";")[0], 16)
        if size < 0:
            raise ValueError("negative chunk size")
        if size == 0:
            self._trailers = True
            self._known.clear()  # a trailer may look like one of them
            return 0
        if len(self._known) < _KNOWN:
            self._known[line] = size + 2
        return size + 2

    def _keep(self, line: bytes) -> None:
        if len(line) > _MAX_LINE:
            raise ValueError("endless chunk size")
        self._line = line
