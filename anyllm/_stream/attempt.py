"""
One attempt of a call: its request, its answer, and its clocks.

Strategy: a thread that decides what follows an attempt claims the attempt first. Usually that is its worker. But if a
clock runs out while nothing can wake the worker, in name resolution for example, a new worker replaces it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

from anyllm._concurrency import waiters
from anyllm._concurrency.clock import Clock, Limit
from anyllm._stream.answer_reader import Accumulator, AnswerReader
from anyllm._transport.sockets import AbortableCall
from anyllm.errors import StreamTimeoutError
from anyllm.options import StreamingOptions

#: What is waited for, by the name of the clock.
_AWAITED = {"connect": "a connection", "first_content": "the first content", "idle": "more content"}


class Attempt:
    """
    One attempt.

    Args:
        accumulator, options, is_crowded: As in `AnswerReader`.
        on_timeout: Called on the timer's thread, perhaps late, with the limit that ran out and its seconds.

    Attributes:
        call: Its socket, which any thread can shut down.
        connect_clock: Runs until the connection is made.
        content_clock: Runs while we wait for content.
        timed_out: The error of the clock that ran out; None if none did.
        reader: Reads the answer.
    """

    def __init__(
        self,
        accumulator: Accumulator,
        options: StreamingOptions,
        on_timeout: Callable[[Limit, float], None],
        is_crowded: Callable[[], bool],
    ) -> None:
        self.connect_clock = Clock(on_timeout, self)
        self.content_clock = Clock(on_timeout, self)
        self.call = AbortableCall(on_connected=self.connect_clock.stop)
        self.timed_out: Optional[StreamTimeoutError] = None
        self.reader = AnswerReader(accumulator, options, self.content_clock, is_crowded, self.commit)
        self._claims: list[None] = [None]

    def claim(self) -> bool:
        """Claim the decision about what follows; False when another thread has it. Takes no lock."""
        return waiters.take_one(self._claims)

    def commit(self) -> None:
        """Called before the caller sees anything of this attempt; raises the error if a clock of it ran out."""
        if self.timed_out is None and self.claim():
            self.reader.committed = True
            self._claims.append(None)
        if self.timed_out is not None:
            raise self.timed_out

    def time_out(self, clock: str, seconds: float) -> StreamTimeoutError:
        """The clock of that name ran out: returns the error, which is `timed_out` from now on."""
        self.timed_out = error = StreamTimeoutError(
            f"waited {seconds:g} s for {_AWAITED[clock]}",
            clock=clock,
            seconds=seconds,
            is_retryable=clock == "connect",
        )
        return error

    def stop_clocks(self) -> None:
        """Stop both clocks. Takes no lock."""
        self.connect_clock.stop()
        self.content_clock.stop()
