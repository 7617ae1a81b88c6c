"""
Decodes HTTP's chunked transfer coding, many chunks at a time.

Strategy: urllib3 and http.client read each chunk with three calls, which costs more than parsing the event in it, and
either waits for a whole chunk (`read_chunked`) or costs twice as much again (`read1`). Here one read takes all data
that has come, and this removes the framing; the beginning of an incomplete chunk is returned at once. A run of whole
chunks is split at everything that looks like a size line; that is right if each piece has the length of its size line.

Source: RFC 9112, section 7.1.
"""

from __future__ import annotations

import re
from typing import Optional

#: Longer size lines and trailers than this are an attack, not a chunk extension.
_MAX_LINE = 16 * 1024
#: The size of the cache of size lines: the events of a stream have few sizes.
_MAX_CACHED = 512
#: Reads with fewer bytes are not searched for a run.
_MIN_RUN = 1024
_SIZE_LINE = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})\r\n")


class Dechunker:
    """
    Decodes one body.

    Attributes:
        done: Whether the last chunk and its trailers have come, or the framing is broken.
        broken: The error of the framing, in that case; the payload before it was returned.
        excess: Whether data came after the end.
    """

    __slots__ = ("_left", "_line", "_sizes", "_trailers", "broken", "done", "excess")

    def __init__(self) -> None:
        self.done = False
        self.excess = False
        self.broken: Optional[ValueError] = None
        self._left = 0  # bytes of the current chunk that have not come, with its line end
        self._line = b""  # the beginning of an incomplete line
        self._trailers = False
        self._sizes: dict[bytes, int] = {}  # by size line

    def feed(self, data: bytes) -> bytes:
        """
        The payload in *data*; data after the end is dropped.

        Raises:
            ValueError: this is not chunked framing, from its first byte on.
        """
        if self._line:
            data, self._line = self._line + data, b""
        parts: list[bytes] = []
        at, end, left, sizes = 0, len(data), self._left, self._sizes
        may_run = end > _MIN_RUN  # once per read, because a search without success takes time
        while at < end and not self.done:
            if left == 0:
                stop = data.find(b"\n", at)
                if stop < 0:
                    self._keep(data[at:])
                    at = end
                    break
                line = data[at:stop]
                try:
                    left = sizes.get(line, 0) or self._size(line)
                except ValueError as exc:
                    if not parts:
                        raise
                    self.broken, self.done = exc, True  # the payload before it is returned first
                    break
                at = stop + 1
            if left > 2:  # the payload, without the line end after it
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
        """Append the whole chunks from *at*, where one begins, to *parts*; returns their size, 0 if unsure."""
        pieces = _SIZE_LINE.split(data[max(0, at - 2) :])
        sizes, payloads = pieces[1:-2:2], pieces[2:-2:2]  # the last may be incomplete
        if pieces[0] or list(map(len, payloads)) != [int(size, 16) for size in sizes] or b"" in payloads:
            return 0
        parts += payloads
        return sum(map(len, payloads)) + sum(map(len, sizes)) + 4 * len(payloads)

    def _size(self, line: bytes) -> int:
        """The size in a size line, with its line end; 0 at the end, where trailers follow."""
        if self._trailers:
            self.done = not line.strip()
            return 0
        size = int(line if b";" not in line else line.partition(b";")[0], 16)
        if size < 0:
            raise ValueError("negative chunk size")
        if size == 0:
            self._trailers = True
            self._sizes.clear()  # a trailer may look like a size line
            return 0
        if len(self._sizes) < _MAX_CACHED:
            self._sizes[line] = size + 2
        return size + 2

    def _keep(self, line: bytes) -> None:
        if len(line) > _MAX_LINE:
            raise ValueError("endless chunk size")
        self._line = line
