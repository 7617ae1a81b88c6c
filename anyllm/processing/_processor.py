"""`EventProcessor`, and the runs that it starts: `Processed` is iterated, `Running` has a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional, TypeVar, Union

import attrs

from anyllm._hints.arguments import did_you_mean, positive_number, whole_number
from anyllm.context import Context
from anyllm.events import TYPES, StreamEvent
from anyllm.processing._metrics import Metrics, Tally
from anyllm.processing._processor_run import Batch, ProcessorRun, ProcessorSettings, Step, check_event, next_event
from anyllm.types import ChatCompletion

T = TypeVar("T")
P = TypeVar("P", bound="EventProcessor")

_Names = Union[str, Iterable[str], None]


class EventProcessor:
    """
    Filters and transformers in the order in which they were added, and a limit of events per second.

    ``add_…`` changes the processor and returns it, so it can be a statement of its own or part of a chain. A run keeps
    the settings with which it began. One processor may serve many runs, on many threads.

    Args:
        per_second: The most events that come out in a second, evenly spaced; None for no limit. The source waits
            meanwhile.
        merge_text: Whether neighbouring text events (and reasoning events) become one where they would have to wait for
            the limit, or for a slow consumer. The stream is then read ahead on a thread, and no text waits for longer
            than the limit requires.
        clock: Monotonic seconds.
        wait: Waits so many seconds, or until the Context ends.

    Raises:
        TypeError: *per_second* is no number.
        ValueError: it is not above 0.
    """

    def __init__(
        self,
        *,
        per_second: Optional[float] = None,
        merge_text: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[Context, float], object] = Context.wait,
    ) -> None:
        interval = None if per_second is None else 1 / positive_number("per_second", per_second)
        self._settings = ProcessorSettings((), interval, merge_text, clock, wait, Tally())

    # -- settings ----------------------------------------------------------------------------------------------

    def add_filter(
        self: P,
        predicate: Optional[Callable[[StreamEvent], object]] = None,
        *,
        types: _Names = None,
        provider: _Names = None,
    ) -> P:
        """
        Keep only the events that meet all of the given conditions.

        An error whose event is dropped is raised all the same.

        Args:
            predicate: Returns whether to keep an event.
            types: The type or types to keep; see `anyllm.events.TYPES`.
            provider: The provider or providers whose events to keep.

        Raises:
            TypeError: no condition is given, or one has the wrong type.
            ValueError: there is no such type of event.
        """
        if predicate is None and types is None and provider is None:
            raise TypeError("add_filter needs a predicate, types= or provider=")
        if predicate is not None:
            _check_function("a filter", predicate)
        kinds, providers = _names("types", types), _names("provider", provider)
        for kind in kinds or ():
            if kind not in TYPES:
                raise ValueError(f"there are no {kind!r} events{did_you_mean(kind, TYPES)}")

        def step(event: StreamEvent) -> Sequence[StreamEvent]:
            passes = (kinds is None or event.type in kinds) and (providers is None or event.provider in providers)
            return (event,) if passes and (predicate is None or predicate(event)) else ()

        return self._add_steps(step)

    def add_transformer(self: P, fn: Callable[[StreamEvent], Union[StreamEvent, Iterable[StreamEvent], None]]) -> P:
        """
        Replace each event by the result of *fn*: an event, several events, or None to drop it.

        Any other result is a TypeError in the run. An exception of *fn* ends the run and passes through.
        """
        _check_function("a transformer", fn)

        def step(event: StreamEvent) -> Sequence[StreamEvent]:
            result = fn(event)
            if result is None:
                return ()
            if isinstance(result, StreamEvent):
                return (result,)
            is_list = isinstance(result, Iterable) and not isinstance(result, (str, Mapping))
            events: tuple[Any, ...] = tuple(result) if is_list else (result,)
            for one in events:
                check_event("a transformer must return StreamEvents or None", one)
            return events

        return self._add_steps(step)

    def add(self: P, other: EventProcessor) -> P:
        """
        Append the steps that *other* has now. Of two limits the lower one holds; *other* does not count these events.
        """
        if not isinstance(other, EventProcessor):
            raise TypeError(f"expected an EventProcessor, not {type(other).__name__}")
        one, two = self._settings, other._settings
        interval = max((value for value in (one.interval, two.interval) if value is not None), default=None)
        self._settings = attrs.evolve(one, interval=interval, merge_text=one.merge_text or two.merge_text)
        return self._add_steps(*two.steps)

    def __add__(self, other: EventProcessor) -> EventProcessor:
        """A new processor: the steps of this one, then those of *other*. It has its own counts."""
        if not isinstance(other, EventProcessor):
            return NotImplemented
        return EventProcessor(clock=self._settings.clock, wait=self._settings.wait).add(self).add(other)

    def _add_steps(self: P, *steps: Step) -> P:
        self._settings = attrs.evolve(self._settings, steps=self._settings.steps + steps)
        return self

    # -- runs --------------------------------------------------------------------------------------------------

    def process(self, source: Any, ctx: Optional[Context] = None) -> Processed[StreamEvent]:
        """
        Process the events of *source*.

        Args:
            source: `StreamEvent`s; an object with ``events()``; or chunks and errors: a `Stream`, an object with these
                attributes, or the two channels. An error that the source raises comes as an event of type "error"
                first, unless the source gave that event itself.
            ctx: Ends the run and its source: at once if the source has a ``cancel()`` or consists of channels, else
                with its next event. Events that are ready then are dropped: `Cancelled` or `DeadlineExceeded` follows,
                as an event and raised.

        Returns:
            An iterator, which raises the source's error at its end. Closing or dropping it cancels the source.

        Raises:
            TypeError: *source* gives no events, or *ctx* is no Context.
        """
        return Processed(ProcessorRun(self._settings, source, ctx, ahead=self._settings.merge_text), next_event)

    def batches(
        self,
        source: Any,
        size: Optional[int] = None,
        seconds: Optional[float] = None,
        *,
        merge_text: bool = False,
        ctx: Optional[Context] = None,
    ) -> Processed[list[StreamEvent]]:
        """
        The same events in lists, none of them empty; the last, shorter list comes before an error is raised.

        Args:
            source: As for `process`.
            size: The number of events in a batch; None for any number.
            seconds: A batch comes out so many seconds after its first event, full or not; None to wait until it is
                full. With it, the source is read ahead on a thread.
            merge_text: Whether neighbouring text events in a batch become one. They still count as many for *size*.
            ctx: As for `process`.

        Raises:
            TypeError: neither *size* nor *seconds* is given, or one has the wrong type.
            ValueError: *size* is below 1, or *seconds* not above 0.
        """
        if size is None and seconds is None:
            raise TypeError("batches needs size=, seconds= or both")
        if size is not None:
            whole_number("size", size)
        if seconds is not None:
            positive_number("seconds", seconds)
        settings = self._settings
        run = ProcessorRun(settings, source, ctx, ahead=settings.merge_text or seconds is not None)
        return Processed(run, Batch(size, seconds, merge_text, settings.clock))

    def run(self, source: Any, handler: Callable[[StreamEvent], object], *, ctx: Optional[Context] = None) -> Running:
        """
        Call *handler* with each event, on a daemon thread of its own.

        Keep a reference to the result: dropping it cancels the run. An exception of *handler* ends the run and is its
        `Running.error`.
        """
        _check_function("a handler", handler)
        return Running(self.process(source, ctx), handler)

    @property
    def metrics(self) -> Metrics:
        """The counts of all runs of this processor. `Processed.metrics` has those of one run."""
        return self._settings.tally.snapshot()


class Processed(Iterator[T]):
    """The output of a run: an iterator, for one thread. As a context manager it is closed on exit."""

    def __init__(self, run: ProcessorRun, take: Callable[[ProcessorRun], Optional[T]]) -> None:
        self._run = run
        self._take = take

    def __next__(self) -> T:
        try:
            item = self._take(self._run)
        except BaseException:
            self._run.count(errors=1)
            self.close()
            raise
        if item is None:
            raise StopIteration
        return item

    def cancel(self, cause: object = None) -> None:
        """End the run and its source with `Cancelled`. Safe in any thread if the source's ``cancel`` is."""
        self._run.ctx.cancel(cause)

    def close(self) -> None:
        """End the run and close its source. For the thread that iterates."""
        self._run.close()

    @property
    def metrics(self) -> Metrics:
        """The counts of this run."""
        return self._run.tally.snapshot()

    def __enter__(self) -> Processed[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        run = self.__dict__.get("_run")
        if run is not None:
            run.close()


class Running:
    """A run on a thread of its own; dropping this object cancels it."""

    def __init__(self, processed: Processed[StreamEvent], handler: Callable[[StreamEvent], object]) -> None:
        self._ctx = processed._run.ctx
        self._outcome: dict[str, Any] = {}
        # The thread holds the outcome and not this object, so that it can be garbage collected.
        args = (processed, handler, self._outcome)
        self._thread = threading.Thread(target=_handle, args=args, name="anyllm-events", daemon=True)
        self._thread.start()

    def join(self, timeout: Optional[float] = None) -> bool:
        """Wait for the end, *timeout* seconds at most, None for ever; returns whether it has come."""
        self._thread.join(timeout)
        return self.done

    def cancel(self, cause: object = None) -> None:
        """End the run, from any thread; a second call does nothing. A running handler is not interrupted."""
        self._ctx.cancel(cause)

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return not self._thread.is_alive()

    @property
    def error(self) -> Optional[BaseException]:
        """The exception of the source, a filter, a transformer or the handler; None while it runs and after success."""
        return self._outcome.get("error")

    @property
    def result(self) -> Optional[ChatCompletion]:
        """The whole answer, also if its event was filtered out; None while it runs, and if there is none."""
        return self._outcome.get("result")

    def __del__(self) -> None:
        ctx = self.__dict__.get("_ctx")
        if ctx is not None:
            ctx.cancel("abandoned")


def _handle(
    processed: Processed[StreamEvent], handler: Callable[[StreamEvent], object], outcome: dict[str, Any]
) -> None:
    try:
        with processed:
            for event in processed:
                try:
                    handler(event)
                except BaseException:
                    processed._run.count(errors=1)
                    raise
    except BaseException as exc:  # left to the program, which reads `Running.error`
        outcome["error"] = exc
    else:
        outcome["result"] = processed._run.completion


def _names(argument: str, value: _Names) -> Optional[frozenset[str]]:
    if value is None:
        return None
    names = frozenset((value,) if isinstance(value, str) else value)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must be a string or strings, not {type(name).__name__}")
    return names


def _check_function(role: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{role} must be a function, not {type(value).__name__}")
