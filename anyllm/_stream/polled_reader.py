"""
Drives an `AnswerReader` on the loop: one thread reads the bodies of many calls.

Strategy: nothing here waits. Without data the loop watches the socket. Without room in the channel nothing is read, so
that the provider's system slows down, until a receiver makes room. Where a receiver has registered a forwarder, it runs
here: an event is read, decoded and passed on without waking another thread.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator, Sequence
from enum import Enum
from typing import Any, Optional

from anyllm._concurrency import loop, timer
from anyllm._concurrency.loop import Loop
from anyllm._stream.answer_reader import AnswerReader, Need
from anyllm._transport.response import DRAIN_READS, Response
from anyllm.channel import Sender
from anyllm.errors import Cancelled
from anyllm.wire._base.protocols import Decoder


class Wait(Enum):
    """What a task waits for."""

    DATA = "until the socket can be read"
    ROOM = "until the channel has room, or is closed"
    TURN = "until the other calls had their turn"


Waits = Generator[Wait, None, None]


class LoopTask:
    """
    A part of a call that runs on the loop.

    Args:
        waits: Its work; yields what to wait for.
        sock: The socket that it reads.
        chunks: The channel that it fills.
        failures: Gets the exception with which it ends, if any. Who waits for the task refers to this list and not to
            the task, which refers to who waits: the collector would finalize such generators out of order, in a child.
        seconds: It ends after so many seconds; None for no limit.
    """

    def __init__(
        self,
        waits: Waits,
        sock: socket.socket,
        chunks: Sender[Any],
        failures: list[BaseException],
        seconds: Optional[float] = None,
    ) -> None:
        self._waits = waits
        self._sock = sock
        self._chunks = chunks
        self._seconds = seconds
        self._limit: Optional[timer.Entry] = None
        self._loop: Loop = loop.shared
        self._is_watched = False
        self._is_over = False
        self._failures = failures

    def start(self, then: Callable[[], object]) -> None:
        """Run on the loop, and call *then* there at the end; raises as `Loop.start` does."""
        self._then = then
        self._loop.start(self._step)

    def wake(self) -> None:
        """What it waited for may have come. On any thread; takes no lock."""
        self._loop.call_soon(self._step)

    def _step(self) -> None:
        if self._is_over:
            return
        try:
            self._wait_for(next(self._waits))
        except StopIteration:
            self._end(None)
        except BaseException as exc:
            self._end(exc)

    def _wait_for(self, wait: Wait) -> None:
        if self._seconds is not None and self._limit is None:
            when = time.monotonic() + self._seconds
            self._limit = timer.shared.call_at(when, lambda: self._loop.call_soon(self._time_out))
        self._watch(wait is Wait.DATA)
        if wait is Wait.TURN or (wait is Wait.ROOM and not self._chunks.await_room(_Wake(self))):
            self._loop.call_soon(self._step)

    def _time_out(self) -> None:
        if not self._is_over:
            self._end(None)

    def _watch(self, watched: bool) -> None:
        if watched != self._is_watched:
            if watched:
                self._loop.watch(self._sock, self._step)
            else:
                self._loop.unwatch(self._sock)
            self._is_watched = watched  # last: `watch` may fail, and then the end must not `unwatch`

    def _end(self, failure: Optional[BaseException]) -> None:
        self._is_over = True
        if failure is not None:
            self._failures.append(failure)
        self._watch(False)
        if self._limit is not None:
            self._limit.cancel()
        self._waits.close()
        self._loop.call_soon(self._then)
        self._loop.finish()


class _Wake:
    """A `Waiter` that continues a task on the loop, once."""

    def __init__(self, task: LoopTask) -> None:
        self._task = [task]

    def release(self) -> None:
        try:
            task = self._task.pop()
        except IndexError:
            raise RuntimeError("released already") from None
        task.wake()


def reading(reader: AnswerReader, response: Response, chunks: Sender[Any], decoder: Decoder) -> Waits:
    """
    Read a body to its end.

    Raises:
        AnyLLMError: the answer is an error, or incomplete.
        Cancelled: nobody receives any more.
    """
    steps = reader.steps(decoder)
    data: Optional[bytes] = None
    is_first = True
    while True:
        try:
            need = steps.send(data)
        except StopIteration:
            return
        data = None
        if need is Need.DATA:
            if not is_first:
                # The socket shows whether there is more, which is cheaper than a read without data.
                yield Wait.TURN if response.is_ready() else Wait.DATA
            is_first = False
            response.read_size = reader.read_size
            data = yield from _receive(response)
            reader.broken = response.broken
        elif need is Need.PUT and not (yield from _put(chunks, reader.batch)):
            raise Cancelled
        # For Need.MORE the answer is no: what comes with the next turn is put then.


def draining(response: Response) -> Waits:
    """Read the rest of a body, so that its connection can be reused."""
    for _ in range(DRAIN_READS):
        if (yield from _receive(response)) is None:
            return


def _receive(response: Response) -> Generator[Wait, None, Optional[bytes]]:
    """The next bytes; None at the end of the body."""
    while True:
        try:
            data = response.receive()
        except StopIteration:
            return None
        if data is not None:
            return data
        yield Wait.DATA


def _put(chunks: Sender[Any], batch: Sequence[Any]) -> Generator[Wait, None, bool]:
    """False if the channel is closed."""
    steps = chunks.put_steps(batch)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return bool(end.value)
        yield Wait.ROOM
