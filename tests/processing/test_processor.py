"""Event processors: filters, transformers, batches, rate limits, metrics and threads; and nothing is left behind."""

from __future__ import annotations

import gc
import queue
import threading
from typing import Any, Callable, Iterator, List, Optional

import pytest
from conftest import TIMEOUT, Task
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import until

import anyllm
from anyllm.channel import open_channel
from anyllm.context import Context
from anyllm.errors import Cancelled, DeadlineExceeded, IncompleteStreamError, RateLimitError, ServerError
from anyllm.events import StreamEvent
from anyllm.processing import EventProcessor, Processed
from anyllm.testing import Stall, fake
from anyllm.types import ChatCompletion

PARAMS = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
FOREVER = 1e6


def text(content: str, **fields: Any) -> StreamEvent:
    return StreamEvent(type="text", text=content, **fields)


def texts(content: str) -> List[StreamEvent]:
    return [text(letter) for letter in content]


def other(kind: str = "usage", **fields: Any) -> StreamEvent:
    return StreamEvent(type=kind, **fields)


def labels(events: Any) -> List[str]:
    """The text of each event, or its type."""
    return [event.text or event.type for event in events]


class Time:
    """A clock that only waiting moves, and the seconds of each wait."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: List[float] = []

    def clock(self) -> float:
        return self.now

    def wait(self, ctx: Context, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return ctx.cancelled


class Source:
    """A generator of events that records whether it was closed, and its threads."""

    def __init__(self, events: List[StreamEvent], error: Optional[BaseException] = None) -> None:
        self.closed = threading.Event()
        self.read = 0
        self.threads: List[threading.Thread] = []
        self.iterator = self._run(events, error)

    def _run(self, events: List[StreamEvent], error: Optional[BaseException]) -> Iterator[StreamEvent]:
        try:
            for event in events:
                self.threads.append(threading.current_thread())
                self.read += 1
                yield event
            if error is not None:
                raise error
        finally:
            self.closed.set()


class Blocked:
    """Gives events, and then nothing more until it is cancelled."""

    def __init__(self, events: List[StreamEvent]) -> None:
        self.items = events
        self.waits = threading.Event()
        self.cancelled = threading.Event()

    def events(self) -> Iterator[StreamEvent]:
        yield from self.items
        self.waits.set()
        assert self.cancelled.wait(3 * TIMEOUT)  # longer than any test waits for us
        error = Cancelled()
        yield other("error", error=error)
        raise error

    def cancel(self) -> None:
        self.cancelled.set()


class LongWait:
    """A wait for the limit that ends with the context, and an event that is set when it begins."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def __call__(self, ctx: Context, seconds: float) -> bool:
        self.begun.set()
        return ctx.wait(seconds)


def stream(*answers: Any) -> anyllm.Stream:
    return fake(*answers).completion_stream(Context(), PARAMS)


ahead_or_not = pytest.mark.parametrize("merge_text", [False, True], ids=["on this thread", "ahead"])
stream_or_channels = pytest.mark.parametrize("as_source", [lambda pair: pair, tuple], ids=["stream", "channels"])


# -- filters and transformers --------------------------------------------------------------------------------------


def test_filters_by_type_provider_and_predicate_combine() -> None:
    events = [
        text("a", provider="x"),
        text("b", provider="y"),
        other("reasoning", text="c", provider="x"),
        other("usage", provider="x"),
        text("d", provider="z"),
    ]
    assert labels(EventProcessor().add_filter(types="text").process(events)) == ["a", "b", "d"]
    assert labels(EventProcessor().add_filter(types=["text", "usage"]).process(events)) == ["a", "b", "usage", "d"]
    assert labels(EventProcessor().add_filter(provider="x").process(events)) == ["a", "c", "usage"]
    assert labels(EventProcessor().add_filter(provider=("y", "z")).process(events)) == ["b", "d"]
    assert labels(EventProcessor().add_filter(lambda event: event.text > "a").process(events)) == ["b", "c", "d"]
    both = EventProcessor().add_filter(lambda event: event.text != "d", types="text", provider=("x", "z"))
    assert labels(both.process(events)) == ["a"]


def test_a_transformer_replaces_multiplies_and_drops() -> None:
    def change(event: StreamEvent) -> Any:
        return {
            "a": event.evolve(text="A"),
            "b": [text("1"), text("2")],
            "c": None,
            "d": [],
            "e": (text(one) for one in "xy"),
            "f": event,
        }[event.text]

    assert labels(EventProcessor().add_transformer(change).process(texts("abcdef"))) == ["A", "1", "2", "x", "y", "f"]


def test_steps_run_in_the_order_in_which_they_were_added() -> None:
    upper = lambda event: event.evolve(text=event.text.upper())  # noqa: E731
    twice = lambda event: [event, event]  # noqa: E731
    is_lower = lambda event: event.text.islower()  # noqa: E731
    assert labels(EventProcessor().add_filter(is_lower).add_transformer(upper).process(texts("aB"))) == ["A"]
    assert labels(EventProcessor().add_transformer(upper).add_filter(is_lower).process(texts("aB"))) == []
    assert labels(EventProcessor().add_transformer(twice).add_transformer(twice).process(texts("a"))) == ["a"] * 4


def test_adding_returns_the_processor_and_does_not_change_earlier_runs() -> None:
    processor = EventProcessor()
    before = processor.process(texts("ab"))
    assert processor.add_filter(lambda event: event.text == "b") is processor
    assert processor.add_transformer(lambda event: event) is processor
    assert processor.add(EventProcessor()) is processor
    assert labels(before) == ["a", "b"]
    assert labels(processor.process(texts("ab"))) == ["b"]


def test_processors_are_composed_in_order_and_do_not_change() -> None:
    first = EventProcessor().add_transformer(lambda event: event.evolve(text=event.text + "1"))
    second = EventProcessor().add_transformer(lambda event: event.evolve(text=event.text + "2"))
    assert labels((first + second).process(texts("a"))) == ["a12"]
    assert labels((second + first).process(texts("a"))) == ["a21"]
    assert labels(first.process(texts("a"))) == ["a1"]
    assert labels(EventProcessor().add(first).add(second).add(first).process(texts("a"))) == ["a121"]
    assert labels(first.add(first).process(texts("a"))) == ["a11"]


def test_of_two_limits_the_lower_holds() -> None:
    for one, two in ((10, 2), (2, 10), (None, 2), (2, None)):
        time = Time()
        first = EventProcessor(per_second=one, clock=time.clock, wait=time.wait)
        assert labels((first + EventProcessor(per_second=two)).process(texts("abc"))) == ["a", "b", "c"]
        assert time.waits == [0.5, 0.5]


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda p: p.add_filter(), TypeError, "needs a predicate"),
        (lambda p: p.add_filter("text"), TypeError, "must be a function"),
        (lambda p: p.add_filter(types="texts"), ValueError, "did you mean 'text'"),
        (lambda p: p.add_filter(provider=[1]), TypeError, "provider must be"),
        (lambda p: p.add_transformer(None), TypeError, "must be a function"),
        (lambda p: p.add(lambda event: event), TypeError, "expected an EventProcessor"),
        (lambda p: p + 1, TypeError, "unsupported operand"),
        (lambda p: p.process(5), TypeError, "no source of events: int"),
        (lambda p: p.process([], ctx=5), TypeError, "ctx must be a Context"),
        (lambda p: p.run([], None), TypeError, "a handler must be a function"),
        (lambda p: p.batches([]), TypeError, "needs size="),
        (lambda p: p.batches([], 0), ValueError, "size must be at least 1"),
        (lambda p: p.batches([], True), TypeError, "size must be an int"),
        (lambda p: p.batches([], seconds=0), ValueError, "seconds must be above 0"),
        (lambda p: p.batches([], seconds="1"), TypeError, "seconds must be a number"),
        (lambda p: EventProcessor(per_second=0), ValueError, "per_second must be above 0"),
        (lambda p: EventProcessor(per_second=float("nan")), ValueError, "per_second must be above 0"),
        (lambda p: EventProcessor(per_second=True), TypeError, "per_second must be a number"),
        (lambda p: list(p.process(["a"])), TypeError, "the source must give StreamEvents, not str"),
        (lambda p: list(p.add_transformer(lambda e: "no").process(texts("a"))), TypeError, "a transformer must return"),
        (lambda p: list(p.add_transformer(lambda e: [1]).process(texts("a"))), TypeError, "a transformer must return"),
        (lambda p: list(p.add_transformer(lambda e: 1).process(texts("a"))), TypeError, "a transformer must return"),
    ],
)
def test_invalid_arguments_are_refused(wrong: Callable[[Any], Any], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        wrong(EventProcessor())


# -- sources -------------------------------------------------------------------------------------------------------


@stream_or_channels
def test_a_stream_of_chunks_becomes_events(as_source: Any) -> None:
    events = list(EventProcessor().process(as_source(stream(["Hel", "lo"]))))
    assert labels(events) == ["start", "Hel", "lo", *[event.type for event in events[3:]]]
    assert events[-1].type == "complete"
    assert (events[-1].completion.content, events[-1].completion.finish_reason) == ("Hello", "stop")


@stream_or_channels
@ahead_or_not
def test_the_error_of_a_stream_comes_as_an_event_and_is_then_raised(as_source: Any, merge_text: bool) -> None:
    answer_stream = stream(["Hel", ServerError("down", is_retryable=False)])
    processed = EventProcessor(merge_text=merge_text).process(as_source(answer_stream))
    events = []
    with pytest.raises(ServerError) as caught:
        events.extend(processed)  # keeps what came before the error
    assert labels(events) == ["start", "Hel", "error"]
    assert events[-1].error is caught.value
    assert caught.value.partial is not None
    assert next(processed, None) is None


def test_an_error_is_exactly_one_event() -> None:
    error = RateLimitError("slow down")
    for source in (Source([text("a", model="m"), other("error", error=error)], error), Source(texts("a"), error)):
        events: List[StreamEvent] = []
        with pytest.raises(RateLimitError) as caught:
            events.extend(EventProcessor().process(source.iterator))
        assert caught.value is error
        assert labels(events) == ["a", "error"]
        assert events[-1].error is error


def test_an_error_whose_event_is_dropped_is_raised_all_the_same() -> None:
    source = Source(texts("ab"), IncompleteStreamError("cut"))
    events: List[StreamEvent] = []
    with pytest.raises(IncompleteStreamError):
        events.extend(EventProcessor().add_filter(types="text").process(source.iterator))
    assert labels(events) == ["a", "b"]


def test_a_channel_of_events_is_a_source() -> None:
    sender, channel = open_channel(4)
    sender.put(text("a"))
    sender.close(text("b"))
    assert labels(EventProcessor().process(channel)) == ["a", "b"]


@ahead_or_not
@pytest.mark.parametrize("error", [KeyError("x"), queue.Empty(), KeyboardInterrupt()], ids=repr)
def test_foreign_exceptions_of_a_source_pass_through(merge_text: bool, error: BaseException) -> None:
    source = Source(texts("a"), error)
    with pytest.raises(type(error)) as caught:
        list(EventProcessor(merge_text=merge_text).process(source.iterator))
    assert caught.value is error
    assert source.closed.is_set()


# -- nobody leaks --------------------------------------------------------------------------------------------------


def leave_the_block(processed: Processed[Any]) -> None:
    with processed:
        pass


@pytest.mark.parametrize("end", [Processed.close, leave_the_block, None], ids=["close", "with", "drop"])
@pytest.mark.parametrize("begun", [False, True], ids=["unread", "begun"])
def test_stopping_to_read_ends_the_stream(end: Any, begun: bool) -> None:
    for make in (
        lambda source: EventProcessor().process(source),
        lambda source: EventProcessor(merge_text=True).process(source),
        lambda source: EventProcessor().batches(source, 1),
        lambda source: EventProcessor().batches(source, 1, FOREVER),
    ):
        answer_stream = stream(["Hel", Stall()])
        processed = make(answer_stream)
        if begun:
            next(processed)
        if end is not None:
            end(processed)
            assert next(processed, None) is None
        del processed
        assert isinstance(answer_stream.errors.get(timeout=TIMEOUT), Cancelled)


@ahead_or_not
def test_dropping_the_iterator_closes_a_generator(merge_text: bool) -> None:
    source = Source([*texts("a"), other(), *texts("b" * 500)])
    processed = EventProcessor(merge_text=merge_text).process(source.iterator)
    assert labels([next(processed)]) == ["a"]
    del processed
    assert source.closed.wait(TIMEOUT)
    assert source.read < 400  # the thread, if any, was stopped by its bounded channel


def test_a_source_with_only_close_is_closed() -> None:
    class Closable:
        closed = 0

        def events(self) -> Iterator[StreamEvent]:
            yield from texts("ab")

        def close(self) -> None:
            self.closed += 1

    for begin in (0, 1):
        source = Closable()
        processed = EventProcessor().process(source)
        for _ in range(begin):
            next(processed)
        processed.close()
        processed.close()
        assert source.closed == 1


def test_a_stream_that_ended_well_is_not_cancelled() -> None:
    class Finished(Blocked):
        def events(self) -> Iterator[StreamEvent]:
            yield from self.items

    source = Finished(texts("ab"))
    processed = EventProcessor().process(source)
    assert labels(processed) == ["a", "b"]
    del processed
    assert not source.cancelled.is_set()


@pytest.mark.parametrize("raised", [ZeroDivisionError, StopIteration])
@pytest.mark.parametrize("kind", ["filter", "transformer"])
def test_an_exception_of_a_step_passes_through_after_the_source_is_closed(kind: str, raised: Any) -> None:
    """StopIteration must not look like the end of the stream."""

    def fail(event: StreamEvent) -> Any:
        if event.text == "b":
            raise raised
        return event

    for merge_text in (False, True):
        processor = EventProcessor(merge_text=merge_text)
        processor = processor.add_filter(fail) if kind == "filter" else processor.add_transformer(fail)
        source = Blocked([text("a"), other(), text("b")])
        processed = processor.process(source)
        assert labels([next(processed), next(processed)]) == ["a", "usage"]
        with pytest.raises(RuntimeError if raised is StopIteration else raised):
            next(processed)
        assert source.cancelled.is_set()
        assert next(processed, None) is None


def test_ctrl_c_in_a_wait_closes_the_source() -> None:
    def wait(ctx: Context, seconds: float) -> bool:
        raise KeyboardInterrupt

    source = Blocked(texts("ab"))
    processed = EventProcessor(per_second=1, wait=wait).process(source)
    assert labels([next(processed)]) == ["a"]
    with pytest.raises(KeyboardInterrupt):
        next(processed)
    assert source.cancelled.is_set()
    assert next(processed, None) is None


@pytest.mark.usefixtures("fast_switches")
def test_the_thread_that_reads_ahead_is_gone_at_the_end() -> None:
    for _ in range(50):
        assert labels(EventProcessor(merge_text=True).process([text("a"), other()])) == ["a", "usage"]
        assert not [thread for thread in threading.enumerate() if thread.name == "anyllm-read-ahead"]


def test_nothing_is_read_ahead_unless_it_must_be() -> None:
    source = Source(texts("abc"))
    processed = EventProcessor(per_second=1e9).process(source.iterator)
    next(processed)
    assert source.read == 1
    list(EventProcessor().batches(processed, 2))
    assert set(source.threads) == {threading.current_thread()}


# -- the Context ---------------------------------------------------------------------------------------------------


@ahead_or_not
@pytest.mark.parametrize("how", ["ctx", "processed"])
def test_a_cancel_frees_a_reader_of_a_silent_source(merge_text: bool, how: str, spawn: Callable[..., Task]) -> None:
    ctx, source = Context(), Blocked([other("start"), text("a", provider="p")])
    processed = EventProcessor(merge_text=merge_text).process(source, ctx)
    events: List[StreamEvent] = []
    task = spawn(events.extend, processed)  # adds each as it comes
    until(lambda: len(events) == 2)
    assert source.waits.wait(TIMEOUT)
    (ctx if how == "ctx" else processed).cancel("enough")
    with pytest.raises(Cancelled) as caught:
        task.join()
    assert caught.value.cause == "enough"
    assert labels(events) == ["start", "a", "error"]
    assert events[-1].error is caught.value
    assert source.cancelled.is_set()


@pytest.mark.parametrize("batched", [False, True], ids=["on this thread", "ahead"])
def test_a_cancel_frees_a_reader_of_silent_channels(batched: bool, spawn: Callable[..., Task]) -> None:
    """The two channels alone have no cancel()."""
    ctx, waits = Context(), threading.Event()
    (sender, channel), (errors, error) = open_channel(4), open_channel(1)

    def record(event: StreamEvent) -> StreamEvent:
        waits.set()
        return event

    processor = EventProcessor().add_transformer(record)
    source = (channel, error)
    task = spawn(list, processor.batches(source, 9, FOREVER, ctx=ctx) if batched else processor.process(source, ctx))
    assert waits.wait(TIMEOUT)  # "start" came
    ctx.cancel()
    with pytest.raises(Cancelled):
        task.join()
    assert not sender.closed  # `channel` is ours still
    assert not errors.closed


def test_a_context_frees_a_reader_that_waits_for_a_read_ahead_source_without_cancel() -> None:
    ends = threading.Event()

    def stubborn() -> Iterator[StreamEvent]:
        assert ends.wait(TIMEOUT)
        yield text("a")

    processed = EventProcessor(merge_text=True).process(stubborn(), Context(timeout=0.05))
    assert labels([next(processed)]) == ["error"]
    with pytest.raises(DeadlineExceeded):
        next(processed)
    ends.set()  # its thread ends with it


def test_a_context_that_has_ended_ends_all_at_once_with_its_own_error() -> None:
    source = Source(texts("abc"))
    processed = EventProcessor().process(source.iterator, Context(timeout=0))
    assert labels([next(processed)]) == ["error"]
    with pytest.raises(DeadlineExceeded):
        next(processed)
    assert source.read == 0
    assert next(source.iterator, None) is None  # it was closed


def test_the_deadline_of_the_context_is_no_cancel() -> None:
    """The source is cancelled by us, and says so; why is what counts."""
    source = Blocked(texts("a"))
    events: List[StreamEvent] = []
    with pytest.raises(DeadlineExceeded) as caught:
        events.extend(EventProcessor().process(source, Context(timeout=0.01)))
    assert [type(event.error) for event in events][-1] is DeadlineExceeded
    assert events[-1].error is caught.value
    assert source.cancelled.is_set()


def test_the_error_of_a_cancel_has_the_partial_answer() -> None:
    ctx = Context()
    processed = EventProcessor().process(stream(["Hel", Stall()]), ctx)
    assert labels([next(processed), next(processed)]) == ["start", "Hel"]
    ctx.cancel()
    assert labels([next(processed)]) == ["error"]
    with pytest.raises(Cancelled) as caught:
        next(processed)
    assert isinstance(caught.value.partial, ChatCompletion)
    assert caught.value.partial.content == "Hel"


def test_a_source_that_ends_quietly_when_it_is_cancelled_does_not_end_silently() -> None:
    ctx = Context()

    def quiet() -> Iterator[StreamEvent]:
        yield text("a", provider="p", turn=2)
        ctx.cancel("enough")

    events: List[StreamEvent] = []
    with pytest.raises(Cancelled, match="enough"):
        events.extend(EventProcessor().process(quiet(), ctx))
    assert labels(events) == ["a", "error"]
    assert (events[-1].provider, events[-1].turn) == ("p", 2)


def test_a_complete_stream_is_no_error_after_a_cancel() -> None:
    ctx = Context()
    two = EventProcessor().add_transformer(lambda event: [event, event])
    processed = two.process([other("complete", completion=ChatCompletion())], ctx)
    next(processed)
    ctx.cancel()
    assert labels(processed) == ["complete"]


# -- batches -------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.text(alphabet="ab", max_size=20), st.integers(1, 6), st.booleans())
def test_batches_hold_every_event_once_and_in_order(letters: str, size: int, merge_text: bool) -> None:
    batches = list(EventProcessor().batches(texts(letters), size, merge_text=merge_text))
    assert "".join(event.text for batch in batches for event in batch) == letters
    counted = [len("".join(labels(batch))) for batch in batches]
    assert counted == [min(size, len(letters) - begin) for begin in range(0, len(letters), size)]
    if merge_text:
        assert {len(batch) for batch in batches} <= {1}


def test_a_batch_comes_out_on_time_while_the_source_is_silent() -> None:
    """The source says no more until the batch is here: without a time-out, this would wait for ever."""
    handed = threading.Event()

    def slow() -> Iterator[StreamEvent]:
        yield from texts("ab")
        assert handed.wait(TIMEOUT)
        yield from texts("c")

    time = Time()  # stands still, so that only the wait can end a batch
    batches = EventProcessor(clock=time.clock).batches(slow(), 100, 0.01)
    got: List[str] = []
    while got != ["a", "b"]:
        got += labels(next(batches))
    handed.set()
    assert [labels(batch) for batch in batches] == [["c"]]


def test_the_time_of_a_batch_begins_with_its_first_event() -> None:
    """A stream that is silent for long gives no empty batches, nor one that is over as soon as it begins."""
    time = Time()

    def tick(event: StreamEvent) -> StreamEvent:
        time.now += 50.0 if event.text == "a" else 1.0
        return event

    processor = EventProcessor(clock=time.clock, wait=time.wait).add_transformer(tick)
    assert [labels(batch) for batch in processor.batches(iter(texts("abcdef")), seconds=2)] == [
        ["a", "b", "c"],
        ["d", "e", "f"],
    ]


def test_a_full_batch_does_not_wait() -> None:
    source = Blocked(texts("abcd"))
    batches = EventProcessor().batches(source, 2, FOREVER)
    assert [labels(next(batches)), labels(next(batches))] == [["a", "b"], ["c", "d"]]
    batches.close()


@pytest.mark.parametrize("seconds", [None, FOREVER], ids=["by size", "by time"])
@pytest.mark.parametrize("error", [ServerError("down"), ZeroDivisionError()], ids=["ours", "foreign"])
def test_the_last_batch_comes_before_the_error(seconds: Optional[float], error: Exception) -> None:
    source = Source(texts("abc"), error)
    batches = EventProcessor().batches(source.iterator, 2, seconds)
    last = ["error"] if isinstance(error, ServerError) else []
    assert [labels(next(batches)), labels(next(batches))] == [["a", "b"], ["c", *last]]
    assert source.closed.wait(TIMEOUT)
    with pytest.raises(type(error)) as caught:
        next(batches)
    assert caught.value is error
    assert next(batches, None) is None


def test_an_exception_of_the_wait_comes_after_the_last_batch() -> None:
    errors = [ZeroDivisionError()]

    def wait(ctx: Context, seconds: float) -> None:
        raise errors.pop()  # once

    source = Blocked(texts("abc"))
    batches = EventProcessor(per_second=1, wait=wait).batches(source, 5)
    assert labels(next(batches)) == ["a"]
    assert source.cancelled.is_set()
    with pytest.raises(ZeroDivisionError):
        next(batches)
    assert next(batches, None) is None


def test_only_neighbouring_texts_of_a_kind_are_joined() -> None:
    events = [
        text("a", elapsed=1.0),
        text("b", elapsed=2.0, value={"k": 1}),
        other("reasoning", text="c"),
        other("reasoning", text="d"),
        other("usage"),
        other("usage"),
        text("e"),
        text("f", turn=1),
        text("g", turn=1, provider="p"),
        text("h", turn=1, provider="p", model="m"),
    ]
    (batch,) = EventProcessor().batches(events, 100, merge_text=True)
    assert labels(batch) == ["ab", "cd", "usage", "usage", "e", "f", "g", "h"]
    assert (batch[0].elapsed, batch[0].value) == (2.0, {"k": 1})  # as far as it came


# -- the rate limit ------------------------------------------------------------------------------------------------


def test_events_come_out_no_faster_than_the_limit_says() -> None:
    time = Time()
    processor = EventProcessor(per_second=4, clock=time.clock, wait=time.wait)
    when = [time.now for _ in processor.process(texts("abcd"))]
    assert when == [100.0, 100.25, 100.5, 100.75]


def test_a_slow_reader_does_not_wait_and_earns_no_burst() -> None:
    time = Time()
    processed = EventProcessor(per_second=4, clock=time.clock, wait=time.wait).process(texts("abcd"))
    next(processed)
    time.now += 10
    next(processed)
    assert time.waits == []
    next(processed)
    assert time.waits == [0.25]


def test_the_limit_holds_the_source_back() -> None:
    source = Source(texts("abcdef"))
    time = Time()
    read_at_wait: List[int] = []

    def wait(ctx: Context, seconds: float) -> bool:
        read_at_wait.append(source.read)
        return time.wait(ctx, seconds)

    list(EventProcessor(per_second=1, clock=time.clock, wait=wait).process(source.iterator))
    assert read_at_wait == [2, 3, 4, 5, 6]


def test_text_that_has_to_wait_becomes_one_event() -> None:
    time = Time()
    events = [other("start"), *texts("abc"), other("usage"), *texts("de"), other("complete")]
    processor = EventProcessor(per_second=0.001, merge_text=True, clock=time.clock, wait=time.wait)
    processed = processor.process(events)
    assert labels(processed) == ["start", "abc", "usage", "de", "complete"]
    assert time.waits == [1000.0] * 4
    assert processed.metrics.merged == 3


def test_endless_text_comes_out_in_time() -> None:
    """The source is kept one event ahead of us, so that there is always one more to add."""
    ahead = threading.Semaphore(0)

    def source() -> Iterator[StreamEvent]:
        for _ in range(1000):
            yield text("a")
            ahead.release()
        ahead.release()

    passed: List[StreamEvent] = []

    def stay_behind(event: StreamEvent) -> StreamEvent:
        for _ in range(1 if passed else 2):
            assert ahead.acquire(timeout=TIMEOUT)
        passed.append(event)
        return event

    processed = EventProcessor(merge_text=True).add_transformer(stay_behind).process(source())
    assert 1 <= len(next(processed).text) < 200


def test_a_slow_reader_gets_waiting_text_as_one_event() -> None:
    waits = threading.Event()

    def source() -> Iterator[StreamEvent]:
        yield other("start")
        yield from texts("abc")
        waits.set()

    processed = EventProcessor(merge_text=True).process(source())
    next(processed)
    assert waits.wait(TIMEOUT)
    assert labels(processed) == ["abc"]


def test_waiting_text_comes_out_on_time_while_the_source_is_silent() -> None:
    """The source waits for the event that only the end of the wait brings."""
    handed = threading.Event()

    def slow() -> Iterator[StreamEvent]:
        yield other("start")
        yield from texts("ab")
        assert handed.wait(TIMEOUT)
        yield from texts("c")

    processed = EventProcessor(per_second=100, merge_text=True).process(slow())
    got: List[str] = []
    while "".join(got) != "startab":
        got += labels([next(processed)])
    handed.set()
    assert labels(processed) == ["c"]


@pytest.mark.parametrize("merge_text", [False, True])
@pytest.mark.parametrize("how", ["ctx", "processed"])
def test_a_cancel_ends_the_wait_for_the_limit(merge_text: bool, how: str, spawn: Callable[..., Task]) -> None:
    wait, ctx, source = LongWait(), Context(), Source([*texts("a"), other(), other()])
    processed = EventProcessor(per_second=1 / FOREVER, merge_text=merge_text, wait=wait).process(source.iterator, ctx)
    events: List[StreamEvent] = []
    task = spawn(events.extend, processed)
    assert wait.begun.wait(TIMEOUT)
    (ctx if how == "ctx" else processed).cancel("enough")
    with pytest.raises(Cancelled):
        task.join()
    assert labels(events) == ["a", "error"]


def test_a_stream_that_is_cancelled_itself_is_not_waited_for(spawn: Callable[..., Task]) -> None:
    wait, answer_stream = LongWait(), stream(["a", "b", "c", Stall()])
    events: List[StreamEvent] = []
    task = spawn(events.extend, EventProcessor(per_second=1 / FOREVER, wait=wait).process(answer_stream))
    assert wait.begun.wait(TIMEOUT)
    answer_stream.cancel("enough")
    with pytest.raises(Cancelled) as caught:
        task.join()
    assert caught.value.cause == "enough"
    assert events[-1].error is caught.value


def test_the_limit_does_not_delay_a_batch() -> None:
    time = Time()
    processor = EventProcessor(per_second=0.1, clock=time.clock, wait=time.wait)
    batches = processor.batches(texts("abc"), seconds=4)
    when = [(labels(batch), time.now) for batch in batches]
    assert when == [(["a"], 104.0), (["b"], 114.0), (["c"], 120.0)]


# -- on a thread ---------------------------------------------------------------------------------------------------


def test_a_run_gives_the_handler_each_event_on_a_thread_of_its_own() -> None:
    events: List[StreamEvent] = []
    threads = set()

    def handle(event: StreamEvent) -> None:
        threads.add(threading.current_thread())
        events.append(event)

    running = EventProcessor().add_filter(types="text").run(stream(["Hel", "lo"]), handle)
    assert running.join(TIMEOUT)
    assert running.done
    assert labels(events) == ["Hel", "lo"]
    assert running.error is None
    assert running.result.content == "Hello"  # though its event was filtered out
    (thread,) = threads
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_an_exception_of_the_handler_ends_the_stream_and_is_the_error() -> None:
    source = Blocked(texts("abc"))
    got: List[str] = []

    def handle(event: StreamEvent) -> None:
        got.append(event.text)
        if event.text == "b":
            raise ZeroDivisionError

    processor = EventProcessor()
    running = processor.run(source, handle)
    assert running.join(TIMEOUT)
    assert isinstance(running.error, ZeroDivisionError)
    assert running.result is None
    assert got == ["a", "b"]
    assert source.cancelled.is_set()
    assert processor.metrics.errors == 1


@pytest.mark.parametrize("how", ["cancel", "ctx", "drop"])
def test_the_owner_of_a_run_can_end_it(how: str) -> None:
    source, ctx = Blocked(texts("a")), Context()
    running: Any = EventProcessor().run(source, lambda event: None, ctx=ctx)
    thread = running._thread
    assert source.waits.wait(TIMEOUT)
    assert not running.join(0)
    assert not running.done
    if how == "cancel":
        running.cancel("enough")
    elif how == "ctx":
        ctx.cancel("enough")
    else:
        del running
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert source.cancelled.is_set()
    if how != "drop":
        assert isinstance(running.error, Cancelled)
        assert running.error.cause == "enough"
        assert running.result is None


def test_a_run_keeps_the_error_of_its_source() -> None:
    got: List[StreamEvent] = []
    running = EventProcessor().run(Source(texts("a"), ServerError("down")).iterator, got.append)
    assert running.join(TIMEOUT)
    assert isinstance(running.error, ServerError)
    assert got[-1].error is running.error


# -- counting ------------------------------------------------------------------------------------------------------


def test_metrics_count_input_and_output() -> None:
    time = Time()

    def change(event: StreamEvent) -> Any:
        time.now += 1
        return {"b": [text("xyz"), text("b2")], "c": None}.get(event.text, event)

    processor = EventProcessor(clock=time.clock).add_filter(lambda event: event.text != "d").add_transformer(change)
    processed = processor.process([other("start"), *texts("abcd"), other("complete")])
    assert processed.metrics.runs == 0
    assert len(list(processed)) == 5
    metrics = processed.metrics
    assert metrics.events_in == {"start": 1, "text": 4, "complete": 1}
    assert metrics.events_out == {"start": 1, "text": 3, "complete": 1}
    assert (metrics.dropped, metrics.transformed, metrics.merged, metrics.errors) == (2, 1, 0, 0)
    assert metrics.text_characters == len("axyzb2")
    assert metrics.first_text == 2.0
    assert metrics.seconds == 5.0
    assert metrics.events_per_second == 1.0
    assert processor.metrics == metrics


def test_metrics_of_a_processor_add_up_over_its_runs_and_are_snapshots() -> None:
    time = Time()
    processor = EventProcessor(clock=time.clock)

    def source(seconds: float, error: Optional[Exception]) -> Iterator[StreamEvent]:
        time.now += seconds
        yield from texts("ab")
        if error is not None:
            raise error

    list(processor.process(source(1.0, None)))
    before = processor.metrics
    second = processor.process(source(4.0, ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        list(second)
    third = processor.process([other()])
    list(third)
    assert (before.runs, before.events_out, before.errors) == (1, {"text": 2}, 0)
    metrics = processor.metrics
    assert (metrics.runs, metrics.events_out, metrics.errors) == (3, {"text": 4, "usage": 1}, 1)
    assert (metrics.first_text, metrics.seconds) == (2.5, 5.0)
    assert (second.metrics.first_text, second.metrics.seconds, second.metrics.errors) == (4.0, 4.0, 1)
    assert (third.metrics.first_text, third.metrics.events_per_second) == (None, 0.0)


def test_batches_are_counted_as_they_are_handed_over() -> None:
    processor = EventProcessor()
    batches = processor.batches([*texts("abcd"), other()], 3, merge_text=True)
    next(batches)
    assert (batches.metrics.events_out, batches.metrics.merged, batches.metrics.text_characters) == ({"text": 1}, 2, 3)
    list(batches)
    assert processor.metrics.events_out == {"text": 2, "usage": 1}
    assert processor.metrics.events_in == {"text": 4, "usage": 1}


@pytest.mark.usefixtures("fast_switches")
def test_many_threads_lose_no_count(spawn: Callable[..., Task]) -> None:
    processor = EventProcessor().add_transformer(lambda event: event.evolve(text="xy"))
    tasks = [spawn(lambda: list(processor.process(texts("a" * 200)))) for _ in range(4)]
    for task in tasks:
        task.join()
    metrics = processor.metrics
    assert (metrics.runs, metrics.transformed, metrics.text_characters) == (4, 800, 1600)
    assert metrics.events_in == metrics.events_out == {"text": 800}


def test_a_dropped_run_leaves_nothing_with_the_context() -> None:
    """A program has one Context for long, and many runs under it."""
    ctx = Context(timeout=3600)
    for merge_text in (False, True):
        processed = EventProcessor(merge_text=merge_text).process(Blocked([*texts("a"), other()]), ctx)
        next(processed)
        assert ctx._children
        del processed
        gc.collect()
        assert not ctx._children
        list(EventProcessor(merge_text=merge_text, per_second=1e9).process(texts("abc"), ctx))
        assert not ctx._children
