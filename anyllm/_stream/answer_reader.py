"""
Reads the answer of one attempt: decodes its bytes, adds the chunks up, and collects them in batches.

Strategy: no input and no output here. `AnswerReader.steps` is a generator that says what it needs next, and a driver
brings it: a worker that waits (`blocking_reader`), or a loop that reads many bodies (`polled_reader`). Decoding a chunk
costs microseconds, handing it to another thread tens of them, so all chunks of one read go together, and while the
driver has more data, those of several reads. Chunks before the first content are held back, because another attempt may
replace this one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from enum import Enum
from typing import Any, Optional, Protocol

from anyllm._concurrency.clock import Clock
from anyllm._framing.body_events import BodyParser, Event
from anyllm.errors import AnyLLMError, ConnectionLostError, IncompleteStreamError
from anyllm.options import StreamingOptions
from anyllm.types import ChatCompletionChunk
from anyllm.wire._base.protocols import Decoder

__all__ = ["Accumulator", "AnswerReader", "Need", "Steps"]

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


class Accumulator(Protocol):
    """Adds the chunks of a stream up. One thread adds, any thread takes snapshots."""

    @property
    def has_begun(self) -> bool:
        """Whether anything was added."""

    def add(self, chunk: Any) -> bool:
        """Add *chunk*; True if it has content."""

    def snapshot(self) -> Any:
        """The sum so far, which later chunks do not change."""


class Need(Enum):
    """What a reader needs from its driver before it can go on."""

    DATA = "the next bytes of the body, or None at its end; at most `read_size`"
    PUT = "`batch` is to be put into the channel"
    MORE = "whether the next bytes are there already: True or False"


Steps = Generator[Need, Any, None]


class AnswerReader:
    """
    Used by one thread at a time, for one attempt.

    Args:
        answer: Adds the chunks up.
        options: Clocks and limits.
        clock: Runs only while we wait for the provider.
        is_crowded: Whether many calls run.
        commit: Called before the caller sees anything; raises if another attempt has replaced this one.

    Attributes:
        answer: The answer so far.
        committed: Whether the caller has seen anything: then no other attempt can replace this one.
        batch: The chunks that are decoded and not put yet.
        read_size: The most bytes of the next read.
        broken: Why the body ended early; its driver sets it before the end.
    """

    def __init__(
        self,
        answer: Accumulator,
        options: StreamingOptions,
        clock: Clock,
        is_crowded: Callable[[], bool],
        commit: Callable[[], object],
    ) -> None:
        self.answer = answer
        self.committed = False
        self.batch: list[ChatCompletionChunk] = []
        self.read_size = options.read_size or _FEW_READ
        self.broken: Optional[BaseException] = None
        self._options = options
        self._clock = clock
        self._is_crowded = is_crowded
        self._commit = commit
        # A batch of this size is put without waiting for more. At first it is not smaller than some chunks without
        # content, because putting them commits to this attempt.
        self._batch_size = max(options.buffer, _FEW_WITHOUT_CONTENT)
        self._events = 0  # how many were read
        self._batch_has_content = False
        self._has_content = False
        self._is_complete = False

    def steps(self, decoder: Decoder) -> Steps:
        """
        Read to the end: yields what it needs next, and is sent that.

        Raises:
            AnyLLMError: the answer is an error, or incomplete.
        """
        try:
            yield from self._read(decoder)
            self._finish(decoder)
        except AnyLLMError:
            if self.committed:
                yield from self._put_batch()  # the chunks before the error
            raise
        yield from self._put_batch()

    def _read(self, decoder: Decoder) -> Steps:
        parser, batch, clock = BodyParser(self._options.max_event_bytes), self.batch, self._clock
        while not decoder.done:
            data = yield Need.DATA
            clock.pause()
            if data is None:  # from here on we only wait for the caller
                yield from self._decode(parser.finish(), decoder)
                return
            batched, events = len(batch), self._events
            if data:
                yield from self._decode(parser.feed(data), decoder)
                if decoder.done:
                    return
            is_complete = decoder.complete
            if self.committed or is_complete:
                # After a read without chunks (comments, part of a large event) more data is no reason to wait.
                if len(batch) <= batched or is_complete or not (yield Need.MORE):
                    yield from self._put_batch()
                self._choose_sizes()
            self._choose_clock(is_complete, has_events=self._events != events)
            clock.resume()

    def _decode(self, events: Iterator[Event], decoder: Decoder) -> Steps:
        feed, add, batch = decoder.feed, self.answer.add, self.batch
        for event in events:
            self._events += 1
            chunks = feed(event)
            for chunk in chunks:
                batch.append(chunk)
                if add(chunk):
                    self._batch_has_content = True
            if len(batch) >= self._batch_size or (self._batch_has_content and not self.committed):
                yield from self._put_batch()
            elif not chunks and decoder.done:
                return

    def _finish(self, decoder: Decoder) -> None:
        try:
            for chunk in decoder.finish():
                self.answer.add(chunk)
                self.batch.append(chunk)
        except IncompleteStreamError as exc:
            if self.broken is None:
                raise
            raise ConnectionLostError.replacement_for(exc) from self.broken

    def _choose_clock(self, is_complete: bool, *, has_events: bool) -> None:
        """A complete answer without an end mark has little time left for one; each event starts that time again."""
        if is_complete and (has_events or not self._is_complete):
            self._clock.start("tail", _TAIL)
        elif self._is_complete and not is_complete:
            self._clock.start("idle", self._options.timeouts.idle)  # another choice has begun
        self._is_complete = is_complete

    def _choose_sizes(self) -> None:
        crowded = self._is_crowded()
        self.read_size = self._options.read_size or (_MANY_READ if crowded else _FEW_READ)
        usual, buffer = _MANY_BATCH if crowded else _FEW_BATCH, self._options.buffer
        self._batch_size = min(max(usual, buffer // _BUFFERS), _BUFFERS * buffer)

    def _put_batch(self) -> Steps:
        """
        Have the batch put, and set the clock back if it has content.

        The first call commits to this attempt: after `buffer` chunks without content there are no more retries.
        """
        if not self.committed:
            self._commit()
        if self._batch_has_content:
            self._set_clock_back()
        if self.batch:
            yield Need.PUT
            self.batch.clear()

    def _set_clock_back(self) -> None:
        self._batch_has_content = False
        if self._has_content:
            self._clock.set_back()
        else:
            self._has_content = True
            self._clock.start("idle", self._options.timeouts.idle)
            self._clock.pause()  # until we wait for the provider again
