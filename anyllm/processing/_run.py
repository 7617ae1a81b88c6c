"""One way of one source through the steps of a processor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

import attrs

from anyllm.context import Context, own_error
from anyllm.errors import AnyLLMError
from anyllm.events import StreamEvent
from anyllm.processing._metrics import Tally
from anyllm.processing._sources import AHEAD, Ahead, NotYetError, Source, context_of
from anyllm.types import ChatCompletion

__all__ = ["Batch", "ProcessorRun", "Setup", "Step", "check_event", "next_event"]

#: The events that can be joined with a neighbour.
_TEXTS = ("text", "reasoning")

Step = Callable[[StreamEvent], Sequence[StreamEvent]]


@attrs.define(frozen=True, kw_only=True)
class Setup:
    """
    What a processor is when a run of it begins.

    Attributes:
        steps: What each event goes through.
        interval: Seconds between two events that come out, at least; None for no limit.
        merge_text: Whether text that would have to wait becomes one event.
        clock: Monotonic seconds.
        wait: Waits so many seconds, or until the Context ends.
        tally: Where all runs are counted.
    """

    steps: tuple[Step, ...]
    interval: Optional[float]
    merge_text: bool
    clock: Callable[[], float]
    wait: Callable[[Context, float], object]
    tally: Tally


class ProcessorRun:
    """
    One way of one source through the steps. Used by one thread; only `ctx` is for all.

    An event is taken in three steps, each with a time until which it may wait: something becomes ready (`_fill`), it
    may be handed over (`_pace`), it is. An exception waits behind what was ready before it.
    """

    def __init__(self, setup: Setup, given: Any, ctx: Optional[Context], *, ahead: bool) -> None:
        if ctx is not None and not isinstance(ctx, Context):
            raise TypeError(f"ctx must be a Context, not {type(ctx).__name__}")
        self.ctx = Context(parent=ctx)
        #: Ends with the source.
        self._reading = self.ctx.child()
        #: Ends when waiting is in vain: with `ctx`, or when the stream is cancelled, the rest of which comes at once.
        self._haste = self.ctx.child()
        self.tally = Tally()
        self.completion: Optional[ChatCompletion] = None
        self._total = setup.tally
        self._clock = setup.clock
        self._wait = setup.wait
        self._steps = setup.steps
        self._merge_text = setup.merge_text
        self._interval = setup.interval
        self._source = Source(given, self._reading, self._clock)
        self._feed: Union[Ahead, Source] = Ahead(self._source, self._reading, self._clock) if ahead else self._source
        self._unties: list[Callable[[], object]] = [self._reading.on_done(self._source.stop)]
        own = context_of(given)
        if own is not None and self._interval is not None:
            self._unties.append(own._on_end(self._haste.cancel))
        self._ready: deque[StreamEvent] = deque()
        self._since: Optional[float] = None  # when it began
        self._until_now = 0.0  # seconds that are counted
        self._had_text = False
        self._due: Optional[float] = None  # when the next event may be handed over; None for now
        self._last: Optional[StreamEvent] = None  # that came
        self._failure: Optional[AnyLLMError] = None  # raised after its event
        self._is_over = False
        self._error: Optional[BaseException] = None  # raised when nothing is ready any more

    # -- what comes out --------------------------------------------------------------------------------------------

    def take(self, until: Optional[float] = None) -> Optional[StreamEvent]:
        """The next event, or None at the end; `NotYetError` when the clock says *until* first."""
        while True:
            if self._is_to_stop():
                self._ready.clear()
            if not self._fill(until):
                return None
            self._pace(until)
            if not self._is_to_stop():
                break
        if self._interval is not None:
            self._due = self._clock() + self._interval
        return self._ready.popleft()

    def put_off(self, error: BaseException) -> None:
        """Raise *error* next time instead; nothing else comes before it."""
        self._ready.clear()
        self._end()
        self._error = error

    def gave(self, events: Sequence[StreamEvent]) -> None:
        """Count *events*, which the consumer gets now."""
        assert self._since is not None
        now = self._clock() - self._since
        first = None
        if not self._had_text and any(event.type == "text" for event in events):
            self._had_text, first = True, now
        for tally in (self.tally, self._total):
            tally.gave(events, now - self._until_now, first)
        self._until_now = now

    def merged(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """*events* with neighbouring texts joined."""
        made: list[StreamEvent] = []
        run: list[StreamEvent] = []
        for event in events:
            if run and not _continues(run[-1], event):
                made.append(_joined(run))
                run = []
            run.append(event)
        made.append(_joined(run))
        self.count(merged=len(events) - len(made))
        return made

    def count(self, **more: int) -> None:
        self.tally.add(more)
        self._total.add(more)

    def close(self) -> None:
        """Nothing more comes out. Takes no lock, as finalizers call it."""
        self._ready.clear()
        self._error = None
        self._end()

    # -- one after the other ---------------------------------------------------------------------------------------

    def _is_to_stop(self) -> bool:
        """Whether the Context has ended, and its error takes the place of everything else."""
        return self.ctx.cancelled and self._failure is None and not self._is_over and not self._is_complete()

    def _is_complete(self) -> bool:
        return self._last is not None and self._last.type == "complete"

    def _fill(self, until: Optional[float]) -> bool:
        while not self._ready:
            if self._is_over:
                if self._error is not None:
                    raise self._error
                return False
            self._read_one(until)
        return True

    def _read_one(self, until: Optional[float]) -> None:
        try:
            event = self._pull(until)
            if event is None:
                self._end(is_source_over=True)
            else:
                self._ready.extend(self._through(event))
        except NotYetError:
            raise
        except StopIteration as exc:  # of a filter or a transformer; from us it would look like the end
            error = RuntimeError("a filter or transformer raised StopIteration")
            error.__cause__ = exc
            self._end(error)
        except Exception as exc:
            self._end(exc)
        # What is no Exception (Ctrl-C) passes at once; Processed closes us.

    def _pace(self, until: Optional[float]) -> None:
        due = self._due
        if self._merge_text:
            self._grow(due, until)
        while due is not None and (left := due - self._clock()) > 0 and not self._haste.cancelled:
            if until is not None and until < due:
                self._wait(self._haste, max(0.0, until - self._clock()))
                raise NotYetError
            self._wait(self._haste, left)

    def _grow(self, due: Optional[float], until: Optional[float]) -> None:
        """Add to the text that is ready what comes before it may go, and what has come already."""
        now = self._clock()
        limit = now if due is None else max(due, now)
        limit = limit if until is None else min(limit, until)
        late = 0  # a source that is faster than we are is left at some point
        while not self._is_over and self._is_one_text() and late < AHEAD:
            late += self._clock() >= limit
            try:
                self._read_one(limit)
            except NotYetError:
                break
        self._ready = deque(self.merged(list(self._ready)))

    def _is_one_text(self) -> bool:
        ready = self._ready
        return ready[-1].type in _TEXTS and (len(ready) == 1 or _continues(ready[-2], ready[-1]))

    # -- what comes in ---------------------------------------------------------------------------------------------

    def _pull(self, until: Optional[float]) -> Optional[StreamEvent]:
        if self._failure is not None:
            raise self._failure
        if self._since is None:
            self._since = self._clock()
            self.count(runs=1)
        error: Optional[AnyLLMError] = None
        if not self.ctx.cancelled:
            try:
                event = self._feed.get(until)
            except AnyLLMError as exc:
                error = exc
            else:
                if event is not None:
                    return self._came(event)
        if error is None and (not self.ctx.cancelled or self._is_complete()):
            return None
        if self.ctx.cancelled:
            error = self._why_ended(error)
        assert error is not None
        last = self._last or StreamEvent(type="start")
        told = StreamEvent(
            type="error",
            error=error,
            elapsed=self._clock() - self._since,
            provider=last.provider,
            model=last.model,
            request_id=last.request_id,
            turn=last.turn,
        )
        return self._came(told)

    def _came(self, event: StreamEvent) -> StreamEvent:
        check_event("the source must give StreamEvents", event)
        if event.type == "error":
            if self.ctx.cancelled:  # what it was told when we stopped it is not why
                event = event.evolve(error=self._why_ended(event.error))
            self._failure = event.error
        elif event.type == "complete":
            self.completion = event.completion
        self._last = event
        for tally in (self.tally, self._total):
            tally.came(event)
        return event

    def _why_ended(self, told: Optional[AnyLLMError]) -> AnyLLMError:
        """Why the Context ended, as an error of this run's own, with what had come."""
        partial = self._source.partial() if told is None or told.partial is None else told.partial
        return own_error(self.ctx, partial=partial)

    def _through(self, event: StreamEvent) -> list[StreamEvent]:
        made = [event]
        for step in self._steps:
            before, made = made, []
            for one in before:
                got = step(one)
                made.extend(got)
                if not got:
                    self.count(dropped=1)
                elif len(got) > 1 or got[0] is not one:
                    self.count(transformed=1)
        return made

    def _end(self, error: Optional[BaseException] = None, *, is_source_over: bool = False) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._error = error
        if is_source_over:
            self._untie()  # there is nothing left to cancel
        self._reading.cancel("abandoned")
        self._untie()
        try:
            self._feed.close()
        except Exception as exc:
            self._error = self._error or exc

    def _untie(self) -> None:
        while self._unties:
            self._unties.pop()()


def next_event(run: ProcessorRun) -> Optional[StreamEvent]:
    event = run.take()
    if event is not None:
        run.gave((event,))
    return event


@attrs.define
class Batch:
    """Takes a batch from a run."""

    size: Optional[int]
    seconds: Optional[float]
    merge_text: bool
    clock: Callable[[], float]

    def __call__(self, run: ProcessorRun) -> Optional[list[StreamEvent]]:
        event = run.take()
        if event is None:
            return None
        until = None if self.seconds is None else self.clock() + self.seconds
        batch = [event]
        while len(batch) != self.size and (until is None or self.clock() < until):
            try:
                event = run.take(until)
            except NotYetError:
                break
            except Exception as exc:
                run.put_off(exc)
                break
            if event is None:
                break
            batch.append(event)
        batch = run.merged(batch) if self.merge_text else batch
        run.gave(batch)
        return batch


def _continues(one: StreamEvent, other: StreamEvent) -> bool:
    """Whether *other* adds to what *one* says."""
    return one.type in _TEXTS and _voice(one) == _voice(other)


def _voice(event: StreamEvent) -> tuple[object, ...]:
    return event.type, event.turn, event.provider, event.model


def _joined(events: list[StreamEvent]) -> StreamEvent:
    return events[0] if len(events) == 1 else events[-1].evolve(text="".join([event.text for event in events]))


def check_event(what: str, value: Any) -> None:
    if not isinstance(value, StreamEvent):
        raise TypeError(f"{what}, not {type(value).__name__}")
