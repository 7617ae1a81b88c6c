"""One run of an `EventProcessor`: the events of one source, through its steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

import attrs

from anyllm.context import Context, check_context, own_error
from anyllm.errors import AnyLLMError
from anyllm.events import StreamEvent
from anyllm.processing._event_source import READ_AHEAD, EventSource, NotReadyError, ReadAheadSource, context_of
from anyllm.processing._metrics import Tally
from anyllm.types import ChatCompletion

#: The types of events whose neighbours can be joined.
_TEXT_TYPES = ("text", "reasoning")

Step = Callable[[StreamEvent], Sequence[StreamEvent]]


@attrs.define(frozen=True)
class ProcessorSettings:
    """
    The settings of a processor when a run begins.

    Attributes:
        steps: Applied to each event, in order.
        interval: Least seconds between two events that come out; None for no limit.
        merge_text: Whether text events that would have to wait are joined.
        clock, wait: As in `EventProcessor`.
        tally: Counts all runs of the processor.
    """

    steps: tuple[Step, ...]
    interval: Optional[float]
    merge_text: bool
    clock: Callable[[], float]
    wait: Callable[[Context, float], object]
    tally: Tally


class ProcessorRun:
    """
    One run over one source. Used by one thread; only `ctx` is for all threads.

    `take` waits for an event in two steps, each with a time limit: until an event is ready (`_fill`), and until the
    limit of events per second allows it (`_pace`). An exception comes after the events that were ready before it.
    """

    def __init__(self, settings: ProcessorSettings, source: Any, ctx: Optional[Context], *, ahead: bool) -> None:
        self.ctx = Context() if ctx is None else check_context(ctx, "ctx must be").child()
        #: Ends when the source does.
        self._source_ctx = self.ctx.child()
        #: Ends the pauses between events: with `ctx`, or when the stream is cancelled, whose rest comes without pauses.
        self._pause_ctx = self.ctx.child()
        self.tally = Tally()
        self.completion: Optional[ChatCompletion] = None
        self._settings = settings
        self._source = EventSource(source, self._source_ctx, self._settings.clock)
        self._feed: Union[ReadAheadSource, EventSource] = self._source
        if ahead:
            self._feed = ReadAheadSource(self._source, self._source_ctx, self._settings.clock)
        self._unwatch: list[Callable[[], object]] = [self._source_ctx.on_done(self._source.stop)]
        stream_ctx = context_of(source)
        if stream_ctx is not None and self._settings.interval is not None:
            self._unwatch.append(stream_ctx._on_end(self._pause_ctx.cancel))
        self._ready: deque[StreamEvent] = deque()
        self._started: Optional[float] = None
        self._counted_seconds = 0.0
        self._had_text = False
        self._due: Optional[float] = None  # when the next event may come out; None for now
        self._last: Optional[StreamEvent] = None  # the last event of the source
        self._failure: Optional[AnyLLMError] = None  # raised after its event
        self._is_over = False
        self._error: Optional[BaseException] = None  # raised when no event is ready any more

    # -- output --------------------------------------------------------------------------------------------

    def take(self, until: Optional[float] = None) -> Optional[StreamEvent]:
        """The next event, or None at the end; `NotReadyError` when the clock says *until* first."""
        while True:
            if self._must_stop():
                self._ready.clear()
            if not self._fill(until):
                return None
            self._pace(until)
            if not self._must_stop():
                break
        if self._settings.interval is not None:
            self._due = self._settings.clock() + self._settings.interval
        return self._ready.popleft()

    def postpone(self, error: BaseException) -> None:
        """Raise *error* at the next `take`; the events that are ready are dropped."""
        self._ready.clear()
        self._end()
        self._error = error

    def count_output(self, events: Sequence[StreamEvent]) -> None:
        """Count *events*, which the consumer gets now."""
        assert self._started is not None
        now = self._settings.clock() - self._started
        first_text = None
        if not self._had_text and any(event.type == "text" for event in events):
            self._had_text, first_text = True, now
        for tally in (self.tally, self._settings.tally):
            tally.count_output(events, now - self._counted_seconds, first_text)
        self._counted_seconds = now

    def merge_texts(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """*events* with neighbouring texts joined."""
        merged: list[StreamEvent] = []
        group: list[StreamEvent] = []
        for event in events:
            if group and not _continues(group[-1], event):
                merged.append(_joined(group))
                group = []
            group.append(event)
        merged.append(_joined(group))
        self.count(merged=len(events) - len(merged))
        return merged

    def count(self, **more: int) -> None:
        self.tally.add(more)
        self._settings.tally.add(more)

    def close(self) -> None:
        """End the run: no event comes out any more. Takes no lock, because finalizers call it."""
        self._ready.clear()
        self._error = None
        self._end()

    # -- steps ---------------------------------------------------------------------------------------

    def _must_stop(self) -> bool:
        """Whether the Context has ended, so that its error replaces the remaining events."""
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
                self._end(source_ended=True)
            else:
                self._ready.extend(self._apply_steps(event))
        except NotReadyError:
            raise
        except StopIteration as exc:  # of a filter or a transformer; raised by an iterator, it would look like its end
            error = RuntimeError("a filter or transformer raised StopIteration")
            error.__cause__ = exc
            self._end(error)
        except Exception as exc:
            self._end(exc)
        # Other exceptions (Ctrl-C) pass at once, and Processed closes this run.

    def _pace(self, until: Optional[float]) -> None:
        due = self._due
        if self._settings.merge_text:
            self._collect_text(due, until)
        while due is not None and (pause := due - self._settings.clock()) > 0 and not self._pause_ctx.cancelled:
            if until is not None and until < due:
                self._settings.wait(self._pause_ctx, max(0.0, until - self._settings.clock()))
                raise NotReadyError
            self._settings.wait(self._pause_ctx, pause)

    def _collect_text(self, due: Optional[float], until: Optional[float]) -> None:
        """Join to the text that is ready the events that come before it may go, and those that have come already."""
        now = self._settings.clock()
        limit = now if due is None else max(due, now)
        limit = limit if until is None else min(limit, until)
        late = 0  # a limit for a source that is faster than this loop
        while not self._is_over and self._is_one_text() and late < READ_AHEAD:
            late += self._settings.clock() >= limit
            try:
                self._read_one(limit)
            except NotReadyError:
                break
        self._ready = deque(self.merge_texts(list(self._ready)))

    def _is_one_text(self) -> bool:
        ready = self._ready
        return ready[-1].type in _TEXT_TYPES and (len(ready) == 1 or _continues(ready[-2], ready[-1]))

    # -- input ---------------------------------------------------------------------------------------------

    def _pull(self, until: Optional[float]) -> Optional[StreamEvent]:
        if self._failure is not None:
            raise self._failure
        if self._started is None:
            self._started = self._settings.clock()
            self.count(runs=1)
        error: Optional[AnyLLMError] = None
        if not self.ctx.cancelled:
            try:
                event = self._feed.get(until)
            except AnyLLMError as exc:
                error = exc
            else:
                if event is not None:
                    return self._record(event)
        if error is None and (not self.ctx.cancelled or self._is_complete()):
            return None
        if self.ctx.cancelled:
            error = self._context_error(error)
        assert error is not None
        last = self._last or StreamEvent(type="start")
        error_event = StreamEvent(
            type="error",
            error=error,
            elapsed=self._settings.clock() - self._started,
            provider=last.provider,
            model=last.model,
            request_id=last.request_id,
            turn=last.turn,
        )
        return self._record(error_event)

    def _record(self, event: StreamEvent) -> StreamEvent:
        check_event("the source must give StreamEvents", event)
        if event.type == "error":
            if self.ctx.cancelled:  # the source's error only says that we stopped it
                event = event.evolve(error=self._context_error(event.error))
            self._failure = event.error
        elif event.type == "complete":
            self.completion = event.completion
        self._last = event
        for tally in (self.tally, self._settings.tally):
            tally.count_input(event)
        return event

    def _context_error(self, source_error: Optional[AnyLLMError]) -> AnyLLMError:
        """The Context's error as a new error of this run, with the answer so far."""
        partial = None if source_error is None else source_error.partial
        return own_error(self.ctx, partial=self._source.partial() if partial is None else partial)

    def _apply_steps(self, event: StreamEvent) -> list[StreamEvent]:
        events = [event]
        for step in self._settings.steps:
            inputs, events = events, []
            for one in inputs:
                outputs = step(one)
                events.extend(outputs)
                if not outputs:
                    self.count(dropped=1)
                elif len(outputs) > 1 or outputs[0] is not one:
                    self.count(transformed=1)
        return events

    def _end(self, error: Optional[BaseException] = None, *, source_ended: bool = False) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._error = error
        if source_ended:
            self._stop_watching()  # there is nothing left to cancel
        self._source_ctx.cancel("abandoned")
        self._stop_watching()
        try:
            self._feed.close()
        except Exception as exc:
            self._error = self._error or exc

    def _stop_watching(self) -> None:
        while self._unwatch:
            self._unwatch.pop()()


def next_event(run: ProcessorRun) -> Optional[StreamEvent]:
    event = run.take()
    if event is not None:
        run.count_output((event,))
    return event


@attrs.define
class Batch:
    """Collects the next batch of a run."""

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
            except NotReadyError:
                break
            except Exception as exc:
                run.postpone(exc)
                break
            if event is None:
                break
            batch.append(event)
        batch = run.merge_texts(batch) if self.merge_text else batch
        run.count_output(batch)
        return batch


def _continues(one: StreamEvent, other: StreamEvent) -> bool:
    """Whether the text of *other* continues that of *one*."""
    return one.type in _TEXT_TYPES and _speaker(one) == _speaker(other)


def _speaker(event: StreamEvent) -> tuple[object, ...]:
    return event.type, event.turn, event.provider, event.model


def _joined(events: list[StreamEvent]) -> StreamEvent:
    return events[0] if len(events) == 1 else events[-1].evolve(text="".join([event.text for event in events]))


def check_event(requirement: str, value: Any) -> None:
    if not isinstance(value, StreamEvent):
        raise TypeError(f"{requirement}, not {type(value).__name__}")
