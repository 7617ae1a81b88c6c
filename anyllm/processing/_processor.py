"""Filters, transformers and limits that many streams go through; and a stream on its way through them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Optional, TypeVar, Union

from anyllm._hints.arguments import did_you_mean, whole_number
from anyllm.context import Context
from anyllm.events import TYPES, StreamEvent
from anyllm.processing._metrics import Metrics, Tally
from anyllm.processing._run import Batch, ProcessorRun, Setup, Step, check_event, next_event
from anyllm.types import ChatCompletion

__all__ = ["EventProcessor", "Metrics", "Processed", "Running"]

T = TypeVar("T")
P = TypeVar("P", bound="EventProcessor")

_Names = Union[str, Iterable[str], None]


class EventProcessor:
    """
    Filters and transformers in the order in which they were added, and a limit for what comes out of them.

    ``add_…`` changes the processor and returns it, so that both ``p.add_filter(…)`` as a statement and a chain do what
    they look like. What a run does is fixed when it is made. One processor may serve many runs, on many threads.

    Args:
        per_second: How many events come out in a second at most, evenly; None for no limit. The source waits meanwhile.
        merge_text: Whether neighbouring text events (and reasoning events) become one where they would have to wait for
            the limit, or for a slow consumer. The stream is then read ahead on a thread, and no text waits for longer
            than the limit says.
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
        self._per_second = None if per_second is None else _positive("per_second", per_second)
        self._merge_text = merge_text
        self._clock = clock
        self._wait = wait
        self._steps: tuple[Step, ...] = ()
        self._tally = Tally()

    # -- what it does ----------------------------------------------------------------------------------------------

    def add_filter(
        self: P,
        predicate: Optional[Callable[[StreamEvent], object]] = None,
        *,
        types: _Names = None,
        provider: _Names = None,
    ) -> P:
        """
        Let only those events pass for which all that is given holds.

        An error whose event is dropped is raised all the same.

        Args:
            predicate: Says whether an event passes.
            types: The type or types that pass; see `anyllm.events.TYPES`.
            provider: The provider or providers whose events pass.

        Raises:
            TypeError: nothing is given, or something of the wrong type.
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
        Replace each event by what *fn* makes of it: an event, several events, or None to drop it.

        What *fn* returns otherwise is a TypeError when it does so; what it raises ends the run and passes through.
        """
        _check_function("a transformer", fn)

        def step(event: StreamEvent) -> Sequence[StreamEvent]:
            made = fn(event)
            if made is None:
                return ()
            if isinstance(made, StreamEvent):
                return (made,)
            is_plain = isinstance(made, Iterable) and not isinstance(made, (str, Mapping))
            several: tuple[Any, ...] = tuple(made) if is_plain else (made,)
            for one in several:
                check_event("a transformer must return StreamEvents or None", one)
            return several

        return self._add_steps(step)

    def add(self: P, other: EventProcessor) -> P:
        """
        Do what *other* does now, too, after what is there. Of two limits the lower holds; *other* counts nothing of it.
        """
        if not isinstance(other, EventProcessor):
            raise TypeError(f"expected an EventProcessor, not {type(other).__name__}")
        limits = [limit for limit in (self._per_second, other._per_second) if limit is not None]
        self._per_second = min(limits, default=None)
        self._merge_text = self._merge_text or other._merge_text
        return self._add_steps(*other._steps)

    def __add__(self, other: EventProcessor) -> EventProcessor:
        """A new processor: first this one, then *other*. It counts for itself."""
        if not isinstance(other, EventProcessor):
            return NotImplemented
        return EventProcessor(clock=self._clock, wait=self._wait).add(self).add(other)

    def _setup(self) -> Setup:
        return Setup(
            steps=self._steps,
            interval=None if self._per_second is None else 1 / self._per_second,
            merge_text=self._merge_text,
            clock=self._clock,
            wait=self._wait,
            tally=self._tally,
        )

    def _add_steps(self: P, *steps: Step) -> P:
        self._steps += steps
        return self

    # -- doing it --------------------------------------------------------------------------------------------------

    def process(self, source: Any, ctx: Optional[Context] = None) -> Processed[StreamEvent]:
        """
        The events of *source* that come out.

        Args:
            source: `StreamEvent`s; anything with ``events()``; or chunks and errors: a `Stream`, anything with these
                attributes, or the two channels. An error that the source raises comes as an event of type "error"
                first, if it has not done so already.
            ctx: Ends the run, and the source with it, as soon as the source can be ended: at once if it has a
                ``cancel()`` or consists of channels, else with its next event. What is ready then is not waited for:
                `Cancelled` or `DeadlineExceeded` follows, as an event and raised.

        Returns:
            An iterator, which raises the source's error at its end. Closing it or letting go of it cancels the source.

        Raises:
            TypeError: *source* gives no events, or *ctx* is no Context.
        """
        return Processed(ProcessorRun(self._setup(), source, ctx, ahead=self._merge_text), next_event)

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
        The same events in lists, none of them empty; what is left at the end comes before an error is raised.

        Args:
            source: As for `process`.
            size: How many events make a batch; None for any number.
            seconds: How long after its first event a batch is handed over, whether or not anything comes; None for when
                it is full. With it, the source is read ahead on a thread.
            merge_text: Whether neighbouring text events in a batch become one. They still count as many for *size*.
            ctx: As for `process`.

        Raises:
            TypeError: neither *size* nor *seconds* is given, or something of the wrong type.
            ValueError: *size* is below 1, or *seconds* not above 0.
        """
        if size is None and seconds is None:
            raise TypeError("batches needs size=, seconds= or both")
        if size is not None:
            whole_number("size", size)
        if seconds is not None:
            _positive("seconds", seconds)
        run = ProcessorRun(self._setup(), source, ctx, ahead=self._merge_text or seconds is not None)
        return Processed(run, Batch(size, seconds, merge_text, self._clock))

    def run(self, source: Any, handler: Callable[[StreamEvent], object], *, ctx: Optional[Context] = None) -> Running:
        """
        Give *handler* each event, on a daemon thread of its own.

        Keep what is returned: letting go of it cancels the run, as with everything here. What *handler* raises ends the
        run and is its `Running.error`.
        """
        _check_function("a handler", handler)
        return Running(self.process(source, ctx), handler)

    @property
    def metrics(self) -> Metrics:
        """What all runs of this processor did so far. `Processed.metrics` is the same of one run."""
        return self._tally.snapshot()


class Processed(Generic[T]):
    """What comes out of a run: an iterator, for one thread. As a context manager it is closed on exit."""

    def __init__(self, run: ProcessorRun, draw: Callable[[ProcessorRun], Optional[T]]) -> None:
        self._run = run
        self._draw = draw

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            drawn = self._draw(self._run)
        except BaseException:
            self._run.count(errors=1)
            self.close()
            raise
        if drawn is None:
            raise StopIteration
        return drawn

    def cancel(self, cause: object = None) -> None:
        """End the run and its source with `Cancelled`. Safe in any thread, as far as the source's ``cancel`` is."""
        self._run.ctx.cancel(cause)

    def close(self) -> None:
        """Let go of the source, if it has not ended: nothing more comes. For the thread that iterates."""
        self._run.close()

    @property
    def metrics(self) -> Metrics:
        """What this run did so far."""
        return self._run.tally.snapshot()

    def __enter__(self) -> Processed[T]:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def __del__(self) -> None:
        run = self.__dict__.get("_run")
        if run is not None:
            run.close()


class Running:
    """A run on a thread of its own; letting go of it cancels it."""

    def __init__(self, processed: Processed[StreamEvent], handler: Callable[[StreamEvent], object]) -> None:
        self._ctx = processed._run.ctx
        self._outcome: dict[str, Any] = {}
        # The thread knows the outcome, and not us: else nobody could let go of us.
        args = (processed, handler, self._outcome)
        self._thread = threading.Thread(target=_handle, args=args, name="anyllm-events", daemon=True)
        self._thread.start()

    def join(self, timeout: Optional[float] = None) -> bool:
        """Wait for the end, *timeout* seconds at most, None for ever; whether it has come."""
        self._thread.join(timeout)
        return self.done

    def cancel(self, cause: object = None) -> None:
        """End it, from any thread; a second call does nothing. A handler that is running is not interrupted."""
        self._ctx.cancel(cause)

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return not self._thread.is_alive()

    @property
    def error(self) -> Optional[BaseException]:
        """What the source, a filter, a transformer or the handler raised; None while it runs and if it ended well."""
        return self._outcome.get("error")

    @property
    def result(self) -> Optional[ChatCompletion]:
        """The whole answer, whatever was filtered out; None while it runs, and if there is none."""
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
    except BaseException as exc:  # the program's to judge, not the thread's
        outcome["error"] = exc
    else:
        outcome["result"] = processed._run.completion


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if math.isnan(value) or value <= 0:
        raise ValueError(f"{name} must be above 0: {value!r}")
    return float(value)


def _names(what: str, given: _Names) -> Optional[frozenset[str]]:
    if given is None:
        return None
    names = frozenset((given,) if isinstance(given, str) else given)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what} must be a string or strings, not {type(name).__name__}")
    return names


def _check_function(what: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{what} must be a function, not {type(value).__name__}")
