"""
The reading of a chat's stream: which of several models answers, and what comes of it.

Strategy: a stream of the pump is opened for each model that is tried, and the first that brings content is read to its
end; until then several may run. It is one generator, so that whoever iterates, collects or asks for events reads the
same stream, once; and whatever ends the generator, letting go of it included, ends the calls. For that nothing here
refers back to the generator.
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
from anyllm.client._admission import Lease, NoRoom
from anyllm.client._routing import Target, may_fall_back
from anyllm.context import Context
from anyllm.errors import AnyLLMError, Cancelled
from anyllm.options import StreamingOptions
from anyllm.types import ChatCompletion, ChatCompletionChunk, RetryNotice
from anyllm.types._accumulate import Assembler

__all__ = ["Plan", "Reading", "Timing"]


@attrs.define
class Timing:
    """
    How a stream came, seen by who reads it. Seconds.

    Attributes:
        first_content: From the call to the first text, reasoning or tool call; None if there was none.
        total: From the call to the end.
        contents: How many chunks came from the first content on.
        longest_gap: Between one of them and the next; 0 where there is no next.
        mean_gap: The same on average.
        tokens_per_second: The answer's tokens over the time after its first content; None where that is not known.
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
    What is to be read.

    Attributes:
        ctx: Ends everything.
        options: What is to be called, parsed and counted.
        targets: The models, in the order to be tried.
        open: Starts a stream of one of them; raises an `AnyLLMError` where it may not.
        finished: Makes of the whole answer what it is for the caller: counted, priced, parsed.
        noted: Told of each model how long its first content took, at least.
        failed: Told of each model that failed.
        hedge: Seconds without content after which the next model is asked beside the first; None for never.
        kept: An answer that is known, as chunks; None where there is none.
        clock: Monotonic seconds.
    """

    ctx: Context
    options: StreamingOptions
    targets: tuple[Target, ...]
    open: Callable[[Target, bool], tuple[Stream, Lease]]
    finished: Callable[[ChatCompletion, Target], ChatCompletion]
    noted: Callable[[Target, float], object] = lambda _target, _seconds: None
    failed: Callable[[Target], object] = lambda _target: None
    hedge: Optional[float] = None
    kept: Optional[Callable[[], Iterator[ChatCompletionChunk]]] = None
    clock: Callable[[], float] = time.monotonic


def _says_something(chunk: ChatCompletionChunk) -> bool:
    if chunk.content or chunk.reasoning or chunk.tool_calls:
        return True
    deltas = [choice.delta for choice in chunk.choices]
    return any(d.content or d.reasoning or d.tool_calls or d.refusal or d.audio for d in deltas)


@attrs.define(eq=False)
class _Running:
    """A stream of one model."""

    target: Target
    stream: Stream
    lease: Lease
    since: float
    before: list[ChatCompletionChunk] = attrs.field(factory=list)  # what came before the first content

    def answered(self, answer: ChatCompletion) -> None:
        self.lease.end(None, answer.usage)

    def failed(self, error: BaseException) -> None:
        self.lease.end(error, None)

    def let_go(self) -> None:
        """Nobody wants it any more, which says nothing of the host."""
        self.stream.cancel()  # which does nothing to one that is over
        self.lease.end(Cancelled(), None)


class Reading:
    """
    Reads one answer, once. By one thread; anyone may look.

    Attributes:
        answer: The whole answer, once it is.
        error: Why there is none.
        timing: How it came.
    """

    def __init__(self, plan: Plan) -> None:
        self.answer: Optional[ChatCompletion] = None
        self.error: Optional[AnyLLMError] = None
        self.timing = Timing()
        self.plan = plan
        self._begun = plan.clock()
        self._hedge = plan.hedge
        self._untried = deque(plan.targets)
        self._running: tuple[_Running, ...] = ()
        self._notices: deque[ChatCompletionChunk] = deque()  # of models given up, or asked beside another
        self._refusal: Optional[AnyLLMError] = None
        if plan.kept is None:
            try:
                self._open_next()
            except AnyLLMError as exc:
                self._refusal = exc  # raised where the answer is read

    @property
    def partial(self) -> ChatCompletion:
        """The answer so far: all that came, read or still waiting."""
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

    def give_up(self) -> NoReturn:
        """The answer that began anew says something else: raise the error that cut it."""
        running = self._running
        interruption = running[0].stream._pump.interruption if running else None
        self.let_go()
        self.answer, self.error = None, interruption or Cancelled()
        raise self.error

    def chunks(self) -> Iterator[ChatCompletionChunk]:
        """
        All chunks, notices of further tries among them. To be called once.

        Raises:
            AnyLLMError: why the answer is not whole, at the end.
        """
        is_over = False
        try:
            if self._refusal is not None:
                raise self._refusal
            if self.plan.kept is not None:
                yield from self._replayed(self.plan.kept())
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
                self.let_go()

    def let_go(self) -> None:
        """End whatever runs: nobody reads any more."""
        for running in self._running:
            running.let_go()

    # -- up to the first content -----------------------------------------------------------------------------------

    def _until_content(self) -> Generator[ChatCompletionChunk, None, _Running]:
        """Up to the first content, and with it: of whichever stream brings it, which is given back."""
        while True:
            while self._notices:
                yield self._notices.popleft()
            running, chunk = self._next()
            if chunk is None:
                if self._is_answer_without_content(running):
                    self._choose(running)
                    yield from running.before
                    return running
            elif chunk.retry is not None:
                yield chunk
            else:
                running.before.append(chunk)
                if _says_something(chunk) or len(running.before) > self.plan.options.buffer:
                    self._choose(running)
                    self.timing.first_content = self.plan.clock() - self._begun
                    yield from running.before
                    return running

    def _next(self) -> tuple[_Running, Optional[ChatCompletionChunk]]:
        """A chunk of any of the streams that run; None at the end of one."""
        while True:
            patience = self._patience()
            if len(self._running) == 1 and patience is None:
                return self._running[0], self._running[0].stream.chunks.get()
            by_channel = {id(running.stream.chunks): running for running in self._running}
            try:
                channel, chunk = select(*(running.stream.chunks for running in self._running), timeout=patience)
            except queue.Empty:
                self._open_next("hedge")
                continue
            return by_channel[id(channel)], chunk

    def _patience(self) -> Optional[float]:
        """Seconds until the next model is asked, too; None for never."""
        if self._hedge is None or not self._untried:
            return None
        return max(0.0, self._running[-1].since + self._hedge - self.plan.clock())

    def _choose(self, chosen: _Running) -> None:
        now = self.plan.clock()
        for running in self._running:  # those that lost would have taken longer still
            self.plan.noted(running.target, now - running.since)
        others = [running for running in self._running if running is not chosen]
        self._running = (chosen,)
        for other in others:
            other.let_go()

    def _is_answer_without_content(self, running: _Running) -> bool:
        """A stream has ended: with an answer that says nothing, or with an error, which is for the next model."""
        error = running.stream.errors.get()
        if error is None:
            return True
        running.failed(error)
        self._running = tuple(other for other in self._running if other is not running)
        if not may_fall_back(error):
            self.let_go()  # the others, which were asked the same
            raise error
        self.plan.failed(running.target)
        if not self._running:
            self._open_next("fallback", error)
        return False

    def _open_next(self, policy: str = "", error: Optional[AnyLLMError] = None) -> None:
        """Open a stream of the next model that lets itself be opened; raise the last error where none does."""
        while self._untried:
            target = self._untried.popleft()
            since = self.plan.clock()
            try:
                stream, lease = self.plan.open(target, policy != "hedge")
            except NoRoom:
                self._untried.appendleft(target)  # for when the first has failed, and left its place
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
                self._notices.append(ChatCompletionChunk(provider=target.host.name, model=target.model, retry=retry))
            self._running = (*self._running, _Running(target, stream, lease, since))
            return
        if error is not None and not self._running:
            raise error

    # -- after it --------------------------------------------------------------------------------------------------

    def _rest(self, running: _Running) -> Iterator[ChatCompletionChunk]:
        """The path of nearly every chunk."""
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
                running.answered(answer)
        else:
            running.failed(error)
            raise error

    def _replayed(self, chunks: Iterator[ChatCompletionChunk]) -> Iterator[ChatCompletionChunk]:
        whole = Assembler()
        for chunk in chunks:
            whole.add(chunk)
            yield chunk
        self._finish(whole.snapshot(), self.plan.targets[0])

    def _finish(self, answer: ChatCompletion, target: Target) -> ChatCompletion:
        timing = self.timing
        timing.total = self.plan.clock() - self._begun
        answer = self.plan.finished(answer, target)
        if answer.usage is not None and timing.first_content is not None and timing.total > timing.first_content:
            timing.tokens_per_second = answer.usage.completion_tokens / (timing.total - timing.first_content)
        self.answer = answer
        return answer
