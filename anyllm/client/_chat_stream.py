"""The stream of a `Client`: it iterates its chunks, raises its error, and gives events."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Optional

from anyllm._hints.names import no_attribute
from anyllm._stream.stream import COLLECT_HINTS, TextDeduplicator
from anyllm.client._fallback_reader import Plan, Reading, Timing
from anyllm.errors import AnyLLMError, Cancelled
from anyllm.events import Events, StreamEvent, call_back, has_callbacks
from anyllm.types import ChatCompletion, ChatCompletionChunk

__all__ = ["ChatStream"]

#: What happens before the first content is for events; to who reads chunks nothing has happened yet.
_UNSEEN = frozenset(("before_content", "fallback", "hedge"))
_HINTS = {
    **COLLECT_HINTS,
    "errors": "a ChatStream raises its error where it is read; `try: ... except anyllm.AnyLLMError` catches it",
    **dict.fromkeys(("get", "get_nowait", "next", "recv"), "iterate it: for chunk in stream; or next(stream)"),
}


class ChatStream:
    """
    An answer on its way. Iterate it for its chunks::

        for chunk in client.chat_stream("Tell me a story."):
            print(chunk.content, end="", flush=True)

    It has the members of `Stream`, except that it has no ``errors``: the stream's error is raised at the end of the
    iteration. There is one reader; `cancel` may be called by anyone. As
    a context manager it is cancelled on exit, and so it is when nobody holds it or an iterator of it any more: after a
    ``break`` it goes on as long as a variable has it. The callbacks of its options are called by whoever reads.
    """

    def __init__(self, plan: Plan) -> None:
        if not isinstance(plan, Plan):
            raise TypeError("a ChatStream is what Client(...).chat_stream('Hello') gives")
        self._reading = Reading(plan)
        source = self._reading.chunks()
        told = has_callbacks(self._reading.plan.options)
        self._source: Any = _with_callbacks(self._reading, source) if told else source  # a generator

    # -- reading ---------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        """The chunks; another iteration goes on where the last one stopped."""
        return _seen(self._source)

    def __next__(self) -> ChatCompletionChunk:
        return next(iter(self))

    @property
    def chunks(self) -> Iterator[ChatCompletionChunk]:
        """The chunks, under the name that they have in a `Stream`."""
        return iter(self)

    def events(self) -> Iterator[StreamEvent]:
        """
        The same as events: "start" first, then what comes, and "complete" or "error" last.

        Raises:
            AnyLLMError: the stream's error, after its event.
        """
        return _told(self._reading, self._source)

    def collect(self) -> ChatCompletion:
        """
        Read to the end, and give the whole answer, whatever was read before.

        Raises:
            AnyLLMError: the stream's error; its ``partial`` holds what came.
        """
        for _ in self:
            pass
        return self.completion

    @property
    def text_stream(self) -> Iterator[str]:
        """
        The text, piece by piece; none of it twice, as `Stream.text_stream` explains.

        Raises:
            AnyLLMError: the stream's error, at the end.
        """
        return _texts(self._reading, iter(self))

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def completion(self) -> ChatCompletion:
        """
        The whole answer of a stream that has been read to its end.

        Raises:
            AnyLLMError: the stream's error, if it ended with one; `Cancelled` if Ctrl-C, or an exception of a callback,
                interrupted who read it.
            RuntimeError: it has not been read to its end.
        """
        reading = self._reading
        if reading.error is None and self._is_interrupted:
            words = "the reading was interrupted: `partial` holds what had come"
            reading.error = Cancelled(words, provider=reading.plan.targets[0].host.name, partial=reading.partial)
        if reading.error is not None:
            raise reading.error
        if reading.answer is None:
            raise RuntimeError("the stream has not been read to its end: iterate it, or collect() it")
        return reading.answer

    @property
    def partial(self) -> ChatCompletion:
        """The answer so far: all that came, read or still waiting."""
        return self._reading.partial

    @property
    def timing(self) -> Timing:
        """How it came, once it is over."""
        return self._reading.timing

    @property
    def request_id(self) -> Optional[str]:
        """The provider's id for the request, once it has answered; None before, and where it gives none."""
        return self._reading.request_id

    # -- ending ----------------------------------------------------------------------------------------------------

    def cancel(self, cause: object = None) -> None:
        """End this stream. Safe in any thread and in a signal handler."""
        self._reading.plan.ctx.cancel(cause)

    def close(self) -> None:
        """`cancel`, under the name that `contextlib.closing` and WSGI servers know."""
        self.cancel()

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.cancel()

    @property
    def _is_interrupted(self) -> bool:
        """Whether an exception of somebody else's went through the generator, which is over since."""
        return self._reading.answer is None and self._source.gi_frame is None

    def __repr__(self) -> str:
        reading = self._reading
        failed = reading.error is not None or self._is_interrupted
        state = "failed" if failed else "running" if reading.answer is None else "complete"
        return f"<ChatStream of {reading.plan.targets[0].name}, {state}>"

    def __reduce__(self) -> Any:
        raise TypeError("a ChatStream cannot be copied or pickled: collect() it, and pickle the answer")

    if not TYPE_CHECKING:  # which is to find names that are not there

        def __getattr__(self, name):
            raise no_attribute("a ChatStream", name, _HINTS, ": ")


# Generators that refer to the reading and not to the `ChatStream`: letting go of either one ends the calls at once,
# which a circle of references would leave to the garbage collector.


def _seen(chunks: Iterator[ChatCompletionChunk]) -> Iterator[ChatCompletionChunk]:
    for chunk in chunks:
        if chunk.retry is None or chunk.retry.policy not in _UNSEEN:
            yield chunk


def _with_callbacks(reading: Reading, source: Iterator[ChatCompletionChunk]) -> Iterator[ChatCompletionChunk]:
    """The chunks, each after the callbacks for what it brings."""
    events, options = _events(reading), reading.plan.options
    try:
        call_back(options, events.start())
        for chunk in source:
            for event in events.of(chunk):
                call_back(options, event)
            yield chunk
    except AnyLLMError as exc:
        if exc is reading.error:
            call_back(options, events.fail(exc))
        raise
    else:
        assert reading.answer is not None  # the source has ended
        for event in events.complete(reading.answer):
            call_back(options, event)
    finally:
        reading.let_go()


def _told(reading: Reading, source: Iterator[ChatCompletionChunk]) -> Iterator[StreamEvent]:
    try:
        yield from _all(_events(reading), reading, source)
        if reading.error is not None:
            raise reading.error
    finally:
        reading.let_go()


def _all(events: Events, reading: Reading, source: Iterator[ChatCompletionChunk]) -> Iterator[StreamEvent]:
    yield events.start()
    try:
        for chunk in source:
            yield from events.of(chunk)
    except AnyLLMError as exc:
        if exc is not reading.error:
            raise  # thrown into us by who reads
        yield events.fail(exc)
    else:
        if reading.answer is not None:
            yield from events.complete(reading.answer)
        elif reading.error is not None:  # which was raised to who read before
            yield events.fail(reading.error)


def _texts(reading: Reading, chunks: Iterator[ChatCompletionChunk]) -> Iterator[str]:
    deduplicator = TextDeduplicator() if reading.plan.options.retry.after_content == "restart" else None
    for chunk in chunks:
        text = chunk.content if deduplicator is None else deduplicator.new_text(chunk)
        if text:
            yield text
        elif text is None:
            reading.give_up()
    if deduplicator is not None and deduplicator.is_behind:
        reading.give_up()


def _events(reading: Reading) -> Events:
    plan = reading.plan
    first = plan.targets[0]
    return Events(
        first.host.name,
        first.model,
        request_id=lambda: reading.request_id,
        json=plan.options.json,
        clock=plan.clock,
    )
