"""Limit of concurrent streams: at most so many run at once."""

from __future__ import annotations

from collections.abc import Callable

from anyllm._concurrency import waiters
from anyllm._concurrency.per_process import PerProcess
from anyllm._concurrency.permits import Permits
from anyllm._hints.arguments import whole_number
from anyllm.context import Context, check_context, raise_if_ended
from anyllm.limits._once import Once

#: How the wait for a slot can end.
_GOT_SLOT, _CONTEXT_ENDED, _LEFT = "got slot", "context ended", "left"


class _SlotWaiter:
    """A waiter whose wait has one outcome: the first decision wins, with one operation of a dict."""

    __slots__ = ("_outcome", "lock")

    def __init__(self) -> None:
        self._outcome: dict[str, tuple[str]] = {}
        self.lock = waiters.new_waiter()

    def release(self) -> None:
        """Hand it a slot; RuntimeError when the wait has another outcome. Takes no lock."""
        if not self.decide(_GOT_SLOT):
            raise RuntimeError("no longer waiting for a slot")

    def decide(self, outcome: str) -> bool:
        """Set the outcome and wake the thread; False when there was one before. Takes no lock."""
        claim = (outcome,)
        is_mine = self._outcome.setdefault("is", claim) is claim
        waiters.release(self.lock)  # also when it is not mine: Ctrl-C may have stopped the one that decided
        return is_mine

    @property
    def got_slot(self) -> bool:
        return self._outcome.get("is") == (_GOT_SLOT,)


class Slot:
    """A place among the streams that may run at once. As a context manager it is released on exit."""

    __slots__ = ("_give",)

    def __init__(self, give: Callable[[], object]) -> None:
        self._give = Once(give)

    def release(self) -> None:
        """Give it back; a second time does nothing. Takes no lock: safe in a signal handler and as a callback."""
        self._give()

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        if hasattr(self, "_give"):
            self.release()


class StreamLimit:
    """
    At most *most* streams at once; the longest waiting call comes first.

    Shared freely between threads; a child process starts with all slots free::

        with limit.acquire(ctx):
            chunks, errors = anyllm.completion_stream(ctx, params)
            ...

    Args:
        most: The number of streams.

    Raises:
        TypeError, ValueError: *most* is no int, or less than 1.
    """

    def __init__(self, most: int) -> None:
        self.most = whole_number("most", most, 1)
        self._slots = PerProcess(lambda _inherited: Permits(most))

    def acquire(self, ctx: Context) -> Slot:
        """
        Wait for a slot.

        Args:
            ctx: Ends the wait.

        Returns:
            The slot: release it, or use it with ``with``. It is also released when it is garbage collected.

        Raises:
            Cancelled, DeadlineExceeded: the Context ended.
        """
        check_context(ctx, "ctx must be")
        raise_if_ended(ctx)
        slots = self._slots()
        if slots.take_free():
            return Slot(slots.give)
        waiter = _SlotWaiter()
        try:
            slots.stand_in_line(waiter)
            unwatch = ctx._on_end(lambda: waiter.decide(_CONTEXT_ENDED))
            try:
                waiters.wait(waiter.lock, None)
            finally:
                unwatch()
            raise_if_ended(ctx)
            return Slot(slots.give)
        except BaseException:  # the Context's end; Ctrl-C; no thread for the timer
            if not waiter.decide(_LEFT) and waiter.got_slot:
                slots.give()
            waiters.leave(slots.line, waiter)
            raise

    @property
    def active(self) -> int:
        """How many slots are taken now."""
        return self.most - len(self._slots().free)

    def __repr__(self) -> str:
        return f"<StreamLimit {self.active} of {self.most} taken, {len(self._slots().line)} waiting>"
