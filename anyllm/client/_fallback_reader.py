"""
Reading one answer from the streams of several models: fallback to the next model, hedging, timing.

Strategy: each model that is tried has a stream of its own, and the first that brings content is read to its end; until
then several may run. All chunks come from one generator, which iterating, collecting and events share. The end of the
generator, also by garbage collection, ends the calls; so nothing here refers back to the generator.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import NoReturn, Optional

import attrs

from anyllm._stream.stream import Stream
from anyllm.channel import select
from anyllm.client._admission import AdmissionWouldWaitError, Lease
from anyllm.client._routing import Target, may_fall_back
from anyllm.context import Context
from anyllm.errors import AnyLLMError, Cancelled
from anyllm.options import StreamingOptions
from anyllm.types import ChatCompletion, ChatCompletionChunk, RetryNotice
from anyllm.types._accumulate import Assembler


@attrs.define
class Timing:
    """
    The timing of a stream, as its reader saw it. In seconds.

    Attributes:
        first_content: From the call to the first text, reasoning or tool call; None if there was none.
        total: From the call to the end.
        contents: The number of chunks from the first content on.
        longest_gap: The longest time between two of them; 0 if there were not two.
        mean_gap: The mean time between two of them.
        tokens_per_second: The answer's tokens by the time after its first content; None if that is unknown.
    """

    first_content: Optional[float] = None
    total: float = 0.0
    contents: int = 0
    longest_gap: float = 0.0
    mean_gap: float = 0.0
    tokens_per_second: Optional[float] = None


@attrs.define(frozen=True, kw_only=True)
class Plan:
    """
    The models to try for one answer, and the functions of the call that reading it needs.

    Attributes:
        ctx: Ends the call.
        options: The options of the call.
        targets: The models, in the order to be tried.
        open: Opens a stream of a model; whether it may wait is the second argument. Raises an `AnyLLMError` if it
            cannot.
        finish: Completes the whole answer with usage, cost and ``parsed``.
        record_wait: Called for each model with the seconds that its first content took, at least.
        record_failure: Called for each model that failed.
        hedge: Seconds without content after which the next model is tried as well; None for never.
        cached_chunks: Returns the chunks of a cached answer; None where there is none.
        clock: Monotonic seconds.
    """

    ctx: Context
    options: StreamingOptions
    targets: tuple[Target, ...]
    open: Callable[[Target, bool], tuple[Stream, Lease]]
    finish: Callable[[ChatCompletion, Target], ChatCompletion]
    record_wait: Callable[[Target, float], object] = lambda _target, _seconds: None
    record_failure: Callable[[Target], object] = lambda _target: None
    hedge: Optional[float] = None
    cached_chunks: Optional[Callable[[], Iterator[ChatCompletionChunk]]] = None
    clock: Callable[[], float] = time.monotonic


def _has_content(chunk: ChatCompletionChunk) -> bool:
    if chunk.content or chunk.reasoning or chunk.tool_calls:
        return True
    deltas = [choice.delta for choice in chunk.choices]
    return any(d.content or d.reasoning or d.tool_calls or d.refusal or d.audio for d in deltas)


@attrs.define(eq=False)
class _OpenStream:
    """The running stream of one model; *before* has its chunks before the first content."""

    target: Target
    stream: Stream
    lease: Lease
    started: float
    before: list[ChatCompletionChunk] = attrs.field(factory=list)

    def cancel(self) -> None:
        """Cancel the stream; that does not count against the provider's health."""
        self.stream.cancel()  # does nothing to one that has ended
        self.lease.end(Cancelled(), None)


class FallbackReader:
    """
    Reads one answer, once. One thread reads; any thread may use the attributes.

    Attributes:
        answer: The whole answer, at its end.
        error: The error that ended it instead.
        timing: The timing of the stream.
    """

    def __init__(self, plan: Plan) -> None:
        self.answer: Optional[ChatCompletion] = None
        self.error: Optional[AnyLLMError] = None
        self.timing = Timing()
        self.plan = plan
        self._started = plan.clock()
        self._hedge = plan.hedge
        self._untried = deque(plan.targets)
        self._running: tuple[_OpenStream, ...] = ()
        self._notices: deque[ChatCompletionChunk] = deque()  # of fallbacks and hedges
        self._open_error: Optional[AnyLLMError] = None
        if plan.cached_chunks is None:
            try:
                self._open_next()
            except AnyLLMError as exc:
                self._open_error = exc  # raised where the answer is read

    @property
    def partial(self) -> ChatCompletion:
        """The answer so far: all chunks that came, read or not."""
        if self.answer is not None:
            return self.answer
        running = self._running
        if running:
            return running[0].stream.partial
        return (self.error.partial if self.error is not None else None) or ChatCompletion()

    @property
    def request_id(self) -> Optional[str]:
        """The provider's id for the request, once it has answered."""
        running = self._running
        return running[0].stream._pump.request_id if running else None

    def fail_restart(self) -> NoReturn:
        """Raise the error that cut the answer, because the answer that restarted has a different text."""
        running = self._running
        cut_error = running[0].stream._pump.interruption if running else None
        self.cancel()
        self.answer, self.error = None, cut_error or Cancelled()
        raise self.error

    def chunks(self) -> Iterator[ChatCompletionChunk]:
        """All chunks, with the notices of further attempts; raises the stream's error at the end. To be called once."""
        is_over = False
        try:
            if self._open_error is not None:
                raise self._open_error
            if self.plan.cached_chunks is not None:
                yield from self._replay(self.plan.cached_chunks())
            else:
                chosen = yield from self._until_content()
                yield from self._rest(chosen)
            is_over = True
        except AnyLLMError as exc:
            self.error = exc
            is_over = True
            raise
        finally:
            if not is_over:
                self.cancel()

    def cancel(self) -> None:
        """Cancel all streams that run."""
        for running in self._running:
            running.cancel()

    # -- up to the first content -----------------------------------------------------------------------------------

    def _until_content(self) -> Generator[ChatCompletionChunk, None, _OpenStream]:
        """The chunks up to the first content of any stream; returns that stream."""
        while True:
            while self._notices:
                yield self._notices.popleft()
            running, chunk = self._next()
            if chunk is None:
                if self._ended_without_error(running):
                    self._choose(running)
                    yield from running.before
                    return running
            elif chunk.retry is not None:
                yield chunk
            else:
                running.before.append(chunk)
                if _has_content(chunk) or len(running.before) > self.plan.options.buffer:
                    self._choose(running)
                    self.timing.first_content = self.plan.clock() - self._started
                    yield from running.before
                    return running

    def _next(self) -> tuple[_OpenStream, Optional[ChatCompletionChunk]]:
        """The next chunk of any running stream, and the stream; None at its end."""
        while True:
            timeout = self._seconds_until_hedge()
            if len(self._running) == 1 and timeout is None:
                return self._running[0], self._running[0].stream.chunks.get()
            by_channel = {id(running.stream.chunks): running for running in self._running}
            try:
                channel, chunk = select(*(running.stream.chunks for running in self._running), timeout=timeout)
            except queue.Empty:
                self._open_next("hedge")
                continue
            return by_channel[id(channel)], chunk

    def _seconds_until_hedge(self) -> Optional[float]:
        """Seconds until the next model is tried as well; None for never."""
        if self._hedge is None or not self._untried:
            return None
        return max(0.0, self._running[-1].started + self._hedge - self.plan.clock())

    def _choose(self, chosen: _OpenStream) -> None:
        now = self.plan.clock()
        for running in self._running:  # the others would have taken at least as long
            self.plan.record_wait(running.target, now - running.started)
        others = [running for running in self._running if running is not chosen]
        self._running = (chosen,)
        for other in others:
            other.cancel()

    def _ended_without_error(self, running: _OpenStream) -> bool:
        """Whether a stream that ended without content has no error; after an error the next model is tried."""
        error = running.stream.errors.get()
        if error is None:
            return True
        running.lease.end(error, None)
        self._running = tuple(other for other in self._running if other is not running)
        if not may_fall_back(error):
            self.cancel()  # the others have the same request
            raise error
        self.plan.record_failure(running.target)
        if not self._running:
            self._open_next("fallback", error)
        return False

    def _open_next(self, policy: str = "", error: Optional[AnyLLMError] = None) -> None:
        """Open a stream of the next model whose stream can be opened; raise the last error if there is none."""
        while self._untried:
            target = self._untried.popleft()
            started = self.plan.clock()
            try:
                stream, lease = self.plan.open(target, policy != "hedge")
            except AdmissionWouldWaitError:
                self._untried.appendleft(target)  # to be tried when the first has failed and returned its slot
                self._hedge = None
                return
            except AnyLLMError as exc:
                error, policy = exc, policy or "fallback"
                if not may_fall_back(exc):
                    break
                continue
            if policy:
                attempt = len(self.plan.targets) - len(self._untried)
                retry = RetryNotice(policy, attempt, str(error or "no content yet"))
                name = target.provider.name
                self._notices.append(ChatCompletionChunk(provider=name, model=target.model, retry=retry))
            self._running = (*self._running, _OpenStream(target, stream, lease, started))
            return
        if error is not None and not self._running:
            raise error

    # -- after it --------------------------------------------------------------------------------------------------

    def _rest(self, running: _OpenStream) -> Iterator[ChatCompletionChunk]:
        """The remaining chunks of *running*. Most chunks take this path."""
        clock, timing = self.plan.clock, self.timing
        first = last = clock()
        longest, count = 0.0, int(timing.first_content is not None)
        try:
            for chunk in running.stream.chunks:
                now = clock()
                if now - last > longest:
                    longest = now - last
                last = now
                count += 1
                yield chunk
        finally:
            timing.longest_gap, timing.contents = longest, count
            timing.mean_gap = (last - first) / (count - 1) if count > 1 else 0.0
        error = running.stream.errors.get()
        if error is None:
            answer = running.stream.partial
            try:
                answer = self._finish(answer, running.target)
            finally:
                running.lease.end(None, answer.usage)
        else:
            running.lease.end(error, None)
            raise error

    def _replay(self, chunks: Iterator[ChatCompletionChunk]) -> Iterator[ChatCompletionChunk]:
        assembler = Assembler()
        for chunk in chunks:
            assembler.add(chunk)
            yield chunk
        self._finish(assembler.snapshot(), self.plan.targets[0])

    def _finish(self, answer: ChatCompletion, target: Target) -> ChatCompletion:
        timing = self.timing
        timing.total = self.plan.clock() - self._started
        answer = self.plan.finish(answer, target)
        if answer.usage is not None and timing.first_content is not None and timing.total > timing.first_content:
            timing.tokens_per_second = answer.usage.completion_tokens / (timing.total - timing.first_content)
        self.answer = answer
        return answer
