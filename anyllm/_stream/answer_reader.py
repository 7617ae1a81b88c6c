"""
Reads the answer of one attempt: decodes its events, adds the chunks up, and puts them into the channel in batches.

Strategy: decoding a chunk costs microseconds, handing it to another thread tens of them. So all chunks of one read go
together, and while the socket has more data, those of several reads. Of many streams only as many decode at once as
there are permits (see `decode_permits`). Chunks before the first content are held back, because another attempt may
replace this one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from anyllm._concurrency.clock import Clock
from anyllm._concurrency.decode_permits import DecodePermits
from anyllm._framing import body_events
from anyllm._transport.response import Response
from anyllm.channel import Sender
from anyllm.errors import AnyLLMError, Cancelled, ConnectionLostError, IncompleteStreamError
from anyllm.options import StreamingOptions
from anyllm.types import ChatCompletionChunk
from anyllm.wire._base.protocols import Decoder

__all__ = ["Accumulator", "AnswerReader"]

#: Seconds without data after which a complete answer without an end mark counts as ended.
_TAIL = 5.0
#: Bytes per read and chunks per batch: for few streams, and for many, which need more memory together. A switch between
#: worker and caller costs as much as ten chunks, because the other core wakes and fetches everything into its cache.
_FEW_READ, _FEW_BATCH = 64 * 1024, 256
_MANY_READ, _MANY_BATCH = 16 * 1024, 32
#: So many chunks without content are held back even if the buffer is smaller: a role, an empty text, counts.
_FEW_WITHOUT_CONTENT = 8
#: The longest batch, in buffers: its sender waits until there is room for the rest.
_BUFFERS = 4

#: Shared by all calls of the process.
_decode_permits = DecodePermits()


class Accumulator(Protocol):
    """Adds the chunks of a stream up. One thread adds, any thread takes snapshots."""

    @property
    def has_begun(self) -> bool:
        """Whether anything was added."""

    def add(self, chunk: Any) -> bool:
        """Add *chunk*; True if it has content."""

    def snapshot(self) -> Any:
        """The sum so far, which later chunks do not change."""


class AnswerReader:
    """
    Used by one worker, for one attempt.

    Args:
        answer: Adds the chunks up.
        chunks: Receives the chunks.
        options: Clocks and limits.
        clock: Runs only while we wait for the provider.
        is_crowded: Whether many calls run.
        commit: Called before the caller sees anything; raises if another attempt has replaced this one.

    Attributes:
        answer: The answer so far.
        committed: Whether the caller has seen anything: then no other attempt can replace this one.
    """

    def __init__(
        self,
        answer: Accumulator,
        chunks: Sender[Any],
        options: StreamingOptions,
        clock: Clock,
        is_crowded: Callable[[], bool],
        commit: Callable[[], object],
    ) -> None:
        self.answer = answer
        self.committed = False
        self._chunks = chunks
        self._options = options
        self._clock = clock
        self._is_crowded = is_crowded
        self._commit = commit
        self._batch: list[ChatCompletionChunk] = []  # decoded, and not put yet
        # A batch of this size is put without waiting for more. At first it is not smaller than some chunks without
        # content, because putting them commits to this attempt.
        self._batch_size = max(options.buffer, _FEW_WITHOUT_CONTENT)
        self._events = 0  # how many were read
        self._batch_has_content = False
        self._has_content = False
        self._is_complete = False
        self._has_permit = False  # to decode

    def read(self, response: Response, decoder: Decoder) -> None:
        """
        Read to the end.

        Raises:
            AnyLLMError: the answer is an error, or incomplete.
            Cancelled: nobody receives any more.
        """
        if self._options.read_size is not None:
            response.read_size = self._options.read_size
        try:
            self._decode(response, decoder)
        except AnyLLMError:
            if self.committed:
                self._put_batch()  # the chunks before the error
            raise
        finally:
            self._return_permit()
        self._put_batch()

    def _decode(self, response: Response, decoder: Decoder) -> None:
        feed, add, batch = decoder.feed, self.answer.add, self._batch
        reads = self._between_reads(response, decoder)
        for event in body_events.events(reads, max_event_bytes=self._options.max_event_bytes):
            self._events += 1
            chunks = feed(event)
            for chunk in chunks:
                batch.append(chunk)
                if add(chunk):
                    self._batch_has_content = True
            if len(batch) >= self._batch_size or (self._batch_has_content and not self.committed):
                self._put_batch()
            elif not chunks and decoder.done:
                break
        try:
            for chunk in decoder.finish():
                add(chunk)
                batch.append(chunk)
        except IncompleteStreamError as exc:
            if response.broken is None:
                raise
            raise ConnectionLostError.replacement_for(exc) from response.broken

    def _between_reads(self, response: Response, decoder: Decoder) -> Iterator[bytes]:
        """The reads, each with a permit to decode it; the chunks are put before we wait for the next read."""
        for data in response.reads():
            self._clock.pause()
            batched, events = len(self._batch), self._events
            if data:
                self._take_permit()
                yield data
                self._return_permit()
            if decoder.done:
                return
            is_complete = decoder.complete
            if self.committed or is_complete:
                # After a read without chunks (comments, part of a large event) more data is no reason to wait.
                if len(self._batch) <= batched or is_complete or not response.has_more():
                    self._put_batch()
                self._choose_sizes(response)
            self._choose_clock(is_complete, has_events=self._events != events)
            self._clock.resume()
        self._clock.pause()  # the body has ended: from here on we only wait for the caller

    def _choose_clock(self, is_complete: bool, *, has_events: bool) -> None:
        """A complete answer without an end mark has little time left for one; each event starts that time again."""
        if is_complete and (has_events or not self._is_complete):
            self._clock.start("tail", _TAIL)
        elif self._is_complete and not is_complete:
            self._clock.start("idle", self._options.timeouts.idle)  # another choice has begun
        self._is_complete = is_complete

    def _choose_sizes(self, response: Response) -> None:
        crowded = self._is_crowded()
        response.read_size = self._options.read_size or (_MANY_READ if crowded else _FEW_READ)
        usual, buffer = _MANY_BATCH if crowded else _FEW_BATCH, self._options.buffer
        self._batch_size = min(max(usual, buffer // _BUFFERS), _BUFFERS * buffer)

    def _take_permit(self) -> None:
        _decode_permits.take()
        self._has_permit = True

    def _return_permit(self) -> None:
        if self._has_permit:
            self._has_permit = False
            _decode_permits.give()

    def _put_batch(self) -> None:
        """
        Put the batch into the channel, and set the clock back if it has content.

        The first call commits to this attempt: after `buffer` chunks without content there are no more retries.
        """
        is_first = not self.committed
        if is_first:
            self._commit()
        if self._batch_has_content:
            self._set_clock_back()
        if self._batch:
            self._put(self._batch)
        if is_first:
            # A fast stream behind the first chunk would hold the interpreter for milliseconds: let the caller run.
            time.sleep(0)

    def _set_clock_back(self) -> None:
        self._batch_has_content = False
        if self._has_content:
            self._clock.set_back()
        else:
            self._has_content = True
            self._clock.start("idle", self._options.timeouts.idle)
            self._clock.pause()  # until we wait for the provider again

    def _put(self, batch: list[ChatCompletionChunk]) -> None:
        had_permit = self._has_permit
        is_open = self._chunks.put_many(batch, self._return_permit)  # which may wait for room
        batch.clear()
        if not is_open:
            raise Cancelled
        if had_permit and not self._has_permit:
            self._take_permit()


def _after_fork() -> None:
    global _decode_permits
    _decode_permits = DecodePermits()  # threads that do not exist here may have taken some


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
