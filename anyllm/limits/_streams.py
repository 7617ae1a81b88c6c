"""So many at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Optional

from anyllm._concurrency import waiters
from anyllm._hints.arguments import whole_number
from anyllm.context import Context
from anyllm.limits._shared import Once, PerProcess, check_context, raise_if_ended

__all__ = ["Slot", "StreamLimit"]

#: What becomes of who waits for a slot.
_HANDED, _ENDED, _LEFT = "handed", "ended", "left"


class _Waiter:
    """A place in the line for a slot; the first to decide about it wins, with one operation of a dict."""

    __slots__ = ("_fate", "waiter")

    def __init__(self) -> None:
        self._fate: dict[str, tuple[str]] = {}
        self.waiter = waiters.new_waiter()

    def decide(self, fate: str) -> bool:
        """Say what becomes of who sits here, and wake it; False when that had been said. Takes no lock."""
        claim = (fate,)
        is_mine = self._fate.setdefault("is", claim) is claim
        waiters.release(self.waiter)  # also when it was not: Ctrl-C may have stopped who decided
        return is_mine

    @property
    def was_handed(self) -> bool:
        return self._fate.get("is") == (_HANDED,)


class _Slots:
    """Free slots, and the line of those who wait for one. No lock: see `decode_permits`, which does the same."""

    def __init__(self, most: int) -> None:
        self.free: deque[None] = deque([None] * most)
        self.line: deque[_Waiter] = deque()

    def take(self) -> bool:
        return waiters.take_one(self.free)

    def give(self) -> None:
        """Hand a slot to the first in line who still wants it, or lay it down."""
        while True:
            try:
                seat = self.line.popleft()
            except IndexError:
                self.free.append(None)
                if not self.line or not self.take():
                    return
                continue  # somebody came while we looked the other way
            if seat.decide(_HANDED):
                return

    def leave(self, seat: _Waiter) -> None:
        waiters.leave(self.line, seat)


class Slot:
    """A place among the streams that may run at once. As a context manager it is given back on exit."""

    __slots__ = ("_give",)

    def __init__(self, give: Callable[[], object]) -> None:
        self._give = Once(give)

    def release(self) -> None:
        """Give it back; a second time does nothing. Takes no lock: safe in a signal handler and as a callback."""
        self._give()

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.release()

    def __del__(self) -> None:
        if hasattr(self, "_give"):
            self.release()


class StreamLimit:
    """
    At most so many streams at once; the longest waiting comes first.

    Shared freely between threads; a child process starts with all slots free::

        with limit.acquire(ctx):
            chunks, errors = anyllm.completion_stream(ctx, params)
            ...

    Args:
        most: How many.

    Raises:
        TypeError, ValueError: *most* is no int, or less than 1.
    """

    def __init__(self, most: int) -> None:
        self.most = whole_number("most", most, 1)
        self._slots = PerProcess(lambda _inherited: _Slots(most))

    def acquire(self, ctx: Context) -> Slot:
        """
        Wait for a slot.

        Returns:
            The slot: to be released, or used with ``with``. Letting go of it gives it back, too.

        Raises:
            Cancelled, DeadlineExceeded: the Context ended.
        """
        check_context(ctx)
        raise_if_ended(ctx)
        slots = self._slots()
        if not slots.line and slots.take():
            return Slot(slots.give)
        seat = _Waiter()
        try:
            slots.line.append(seat)
            if slots.take():  # in line first, then look again: it was given back in between
                slots.give()
            unwatch = ctx._on_end(lambda: seat.decide(_ENDED))
            try:
                waiters.wait(seat.waiter, None)
            finally:
                unwatch()
            raise_if_ended(ctx)
            return Slot(slots.give)
        except BaseException:  # the Context's end; Ctrl-C; no thread for the timer
            if not seat.decide(_LEFT) and seat.was_handed:
                slots.give()
            slots.leave(seat)
            raise

    @property
    def active(self) -> int:
        """How many slots are taken now."""
        return self.most - len(self._slots().free)

    def __repr__(self) -> str:
        return f"<StreamLimit {self.active} of {self.most} taken, {len(self._slots().line)} waiting>"
