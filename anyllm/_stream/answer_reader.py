"""
One try's answer on its way to the caller: read, decoded, put together, handed over in batches.

Strategy: a chunk costs microseconds to decode and tens of them to hand to another thread, so what one read brings is
handed over at once, and while the socket has more, several reads are. Of many streams one decodes at a time, the
others wait where it costs nothing (see `decode_permits`). What comes before the first content is kept: should this try
fail, the next begins with the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from anyllm._concurrency.clock import Clock
from anyllm._concurrency.decode_permits import DecodePermits
from anyllm._framing import detect
from anyllm._transport.http import Response
from anyllm.channel import Sender
from anyllm.errors import AnyLLMError, Cancelled, ConnectionLostError, IncompleteStreamError
from anyllm.options import StreamingOptions
from anyllm.types import ChatCompletionChunk
from anyllm.wire._base.dialect import Decoder

__all__ = ["Accumulator", "AnswerReader"]

#: Seconds without data after which an answer that is whole, but not said to be over, is over.
_TAIL = 5.0
#: Bytes read, and chunks handed over, at once: by few streams, and by each of many, which together take more memory.
#: Each time worker and caller change places costs as much as ten chunks: the other core wakes, and fetches everything.
_FEW_READ, _FEW_BATCH = 64 * 1024, 256
_MANY_READ, _MANY_BATCH = 16 * 1024, 32
#: Chunks without content that are kept whatever the buffer: a role, an empty text, counts.
_FEW_WITHOUT_CONTENT = 8
#: Buffers' worth of chunks that one batch may be: what has no room waits in the worker's hand.
_BUFFERS = 4

#: Who may decode now, of all calls of the process.
_turns = DecodePermits()


class Accumulator(Protocol):
    """What a stream adds up to. One thread adds, any thread takes snapshots."""

    @property
    def has_begun(self) -> bool:
        """Whether anything has come."""

    def add(self, chunk: Any) -> bool:
        """Take *chunk* in; whether it brings the answer further."""

    def snapshot(self) -> Any:
        """What has come so far, which later chunks do not change."""


class AnswerReader:
    """
    Used by one worker, for one try.

    Args:
        answer: Puts together what comes.
        chunks: Where chunks go.
        options: Bounds and clocks.
        clock: Runs only while we wait for the provider.
        is_crowded: Whether many streams run.
        commit: Called before the caller sees something for the first time; raises where it must not.

    Attributes:
        answer: What has come so far.
        committed: Whether the caller has seen something: no other try may take this one's place.
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
        self._batch: list[ChatCompletionChunk] = []  # decoded, and not handed over yet
        # How many of them are handed over without waiting for more; a few that say nothing are no reason yet to rule
        # out another try.
        self._enough = max(options.buffer, _FEW_WITHOUT_CONTENT)
        self._events = 0  # how many have come
        self._progress = False  # there is content among them
        self._speaking = False  # there has been content
        self._in_tail = False  # the answer is whole
        self._has_turn = False  # to decode

    def read(self, response: Response, decoder: Decoder) -> None:
        """
        Read to the end.

        Raises:
            AnyLLMError: the answer is an error, or not whole; what came before is handed over, if anything was.
            Cancelled: nobody receives any more.
        """
        if self._options.read_size is not None:
            response.read_size = self._options.read_size
        try:
            self._decode(response, decoder)
        except AnyLLMError:
            if self.committed:
                self._hand_over()  # what came before the error is the caller's
            raise
        finally:
            self._give_turn()
        self._hand_over()

    def _decode(self, response: Response, decoder: Decoder) -> None:
        feed, add, batch = decoder.feed, self.answer.add, self._batch
        reads = self._between_reads(response, decoder)
        for event in detect.events(reads, max_event_bytes=self._options.max_event_bytes):
            self._events += 1
            chunks = feed(event)
            for chunk in chunks:
                batch.append(chunk)
                if add(chunk):
                    self._progress = True
            if len(batch) >= self._enough or (self._progress and not self.committed):
                self._hand_over()
            elif not chunks and decoder.done:
                break
        try:
            for chunk in decoder.finish():
                add(chunk)
                batch.append(chunk)
        except IncompleteStreamError as exc:
            if response.broken is None:
                raise
            raise ConnectionLostError.instead_of(exc) from response.broken

    def _between_reads(self, response: Response, decoder: Decoder) -> Iterator[bytes]:
        """The reads, each with a turn to decode it; what they brought is handed over before we wait for the next."""
        for data in response.reads():
            self._clock.pause()
            waiting, events = len(self._batch), self._events
            if data:
                self._take_turn()
                yield data
                self._give_turn()
            if decoder.done:
                return
            is_whole = decoder.complete
            if self.committed or is_whole:
                # A flood of comments, or of one large event, has more and more, and nothing to wait for.
                if len(self._batch) <= waiting or is_whole or not response.has_more():
                    self._hand_over()
                self._suit_the_crowd(response)
            self._choose_clock(is_whole, has_news=self._events != events)
            self._clock.resume()
        self._clock.pause()  # the bytes are over: from here on we wait for the caller alone

    def _choose_clock(self, is_whole: bool, *, has_news: bool) -> None:
        """An answer that is whole, though not said to be over, has little time left; any event gives it that anew."""
        if is_whole and (has_news or not self._in_tail):
            self._clock.start("tail", _TAIL)
        elif self._in_tail and not is_whole:
            self._clock.start("idle", self._options.timeouts.idle)  # another choice has begun
        self._in_tail = is_whole

    def _suit_the_crowd(self, response: Response) -> None:
        crowded = self._is_crowded()
        response.read_size = self._options.read_size or (_MANY_READ if crowded else _FEW_READ)
        usual, buffer = _MANY_BATCH if crowded else _FEW_BATCH, self._options.buffer
        self._enough = min(max(usual, buffer // _BUFFERS), _BUFFERS * buffer)

    def _take_turn(self) -> None:
        _turns.take()
        self._has_turn = True

    def _give_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            _turns.give()

    def _hand_over(self) -> None:
        """
        Give the caller the batch, and the clock the news of progress.

        A host that sends much and says nothing is not kept for ever: past a buffer's worth, this try is the one.
        """
        is_first = not self.committed
        if is_first:
            self._commit()
        if self._progress:
            self._note_progress()
        if self._batch:
            self._put(self._batch)
        if is_first:
            # A firehose behind the first chunk would keep the interpreter for milliseconds: let the caller have it.
            time.sleep(0)

    def _note_progress(self) -> None:
        self._progress = False
        if self._speaking:
            self._clock.set_back()
        else:
            self._speaking = True
            self._clock.start("idle", self._options.timeouts.idle)
            self._clock.pause()  # until we wait for the provider again

    def _put(self, batch: list[ChatCompletionChunk]) -> None:
        had_turn = self._has_turn
        is_open = self._chunks.put_many(batch, self._give_turn)  # the caller may let us wait
        batch.clear()
        if not is_open:
            raise Cancelled
        if had_turn and not self._has_turn:
            self._take_turn()


def _after_fork() -> None:
    global _turns
    _turns = DecodePermits()  # some may have been taken by workers that do not exist here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
