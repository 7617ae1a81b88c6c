"""`ChatStream`: the stream of a `Client`'s call, as chunks, text or events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional

from anyllm._hints.names import no_attribute
from anyllm._stream.stream import COLLECT_HINTS, new_texts
from anyllm.client._fallback_reader import FallbackReader, Plan, Timing
from anyllm.errors import AnyLLMError, Cancelled
from anyllm.events import Events, StreamEvent, call_back, has_callbacks
from anyllm.types import ChatCompletion, ChatCompletionChunk

#: Notices before the first content are events only: a reader of chunks has not read any yet.
_EVENTS_ONLY = frozenset(("before_content", "fallback", "hedge"))
_HINTS = {
    **COLLECT_HINTS,
    "errors": "a ChatStream raises its error where it is read; `try: ... except anyllm.AnyLLMError` catches it",
    **dict.fromkeys(("get", "get_nowait", "next", "recv"), "iterate it: for chunk in stream; or next(stream)"),
}


class ChatStream:
    """
    The stream of an answer. Iterate it for its chunks::

        for chunk in client.chat_stream("Tell me a story."):
            print(chunk.content, end="", flush=True)

    It has the members of `Stream` except ``errors``: the stream's error is raised at the end of the iteration. One
    thread reads it; any thread may call `cancel`. As a context manager it is cancelled on exit. It is also cancelled
    when it and its iterators are garbage collected: after a ``break`` it goes on as long as a variable refers to it.
    The callbacks of its options are called on the thread that reads.
    """

    def __init__(self, plan: Plan) -> None:
        if not isinstance(plan, Plan):
            raise TypeError("a ChatStream is made by Client(...).chat_stream('Hello')")
        self._reader = FallbackReader(plan)
        chunks = self._reader.chunks()
        calls_back = has_callbacks(plan.options)
        self._chunks: Any = _with_callbacks(self._reader, chunks) if calls_back else chunks  # a generator

    # -- reading ---------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        """The chunks; another iteration goes on where the last one stopped."""
        return _without_notices(self._chunks)

    def __next__(self) -> ChatCompletionChunk:
        return next(iter(self))

    @property
    def chunks(self) -> Iterator[ChatCompletionChunk]:
        """The chunks, under the name that they have in a `Stream`."""
        return iter(self)

    def events(self) -> Iterator[StreamEvent]:
        """
        The stream as events: "start" first, "complete" or "error" last.

        Raises:
            AnyLLMError: the stream's error, after its event.
        """
        return _events_and_error(self._reader, self._chunks)

    def collect(self) -> ChatCompletion:
        """
        Read to the end and return the whole answer, including chunks that were read before.

        Raises:
            AnyLLMError: the stream's error; its ``partial`` has the answer so far.
        """
        for _ in self:
            pass
        return self.completion

    @property
    def text_stream(self) -> Iterator[str]:
        """
        The text, piece by piece and without repetitions, as `Stream.text_stream` explains.

        Raises:
            AnyLLMError: the stream's error, at the end.
        """
        return new_texts(iter(self), self._reader.plan.options, self._reader.fail_restart)

    # -- state ---------------------------------------------------------------------------------------------------

    @property
    def completion(self) -> ChatCompletion:
        """
        The whole answer of a stream that has been read to its end.

        Raises:
            AnyLLMError: the stream's error, if it ended with one; `Cancelled` if Ctrl-C or an exception of a callback
                interrupted its reader.
            RuntimeError: it has not been read to its end.
        """
        reader = self._reader
        if reader.error is None and self._is_interrupted:
            message = "the reading was interrupted: `partial` has the answer so far"
            reader.error = Cancelled(message, provider=reader.plan.targets[0].provider.name, partial=reader.partial)
        if reader.error is not None:
            raise reader.error
        if reader.answer is None:
            raise RuntimeError("the stream has not been read to its end: iterate it, or collect() it")
        return reader.answer

    @property
    def partial(self) -> ChatCompletion:
        """The answer so far: all chunks that came, read or not."""
        return self._reader.partial

    @property
    def timing(self) -> Timing:
        """The timing of the stream, at its end."""
        return self._reader.timing

    @property
    def request_id(self) -> Optional[str]:
        """The provider's id of the request, once it has answered; None before, and if it sends none."""
        return self._reader.request_id

    # -- ending ----------------------------------------------------------------------------------------------------

    def cancel(self, cause: object = None) -> None:
        """End this stream. Safe in any thread and in a signal handler."""
        self._reader.plan.ctx.cancel(cause)

    def close(self) -> None:
        """`cancel`, under the name that `contextlib.closing` and WSGI servers use."""
        self.cancel()

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    @property
    def _is_interrupted(self) -> bool:
        """Whether an exception other than the stream's error has ended the generator."""
        return self._reader.answer is None and self._chunks.gi_frame is None

    def __repr__(self) -> str:
        reader = self._reader
        failed = reader.error is not None or self._is_interrupted
        state = "failed" if failed else "running" if reader.answer is None else "complete"
        return f"<ChatStream of {reader.plan.targets[0].name}, {state}>"

    def __reduce__(self) -> Any:
        raise TypeError("a ChatStream cannot be copied or pickled: collect() it, and pickle the answer")

    if not TYPE_CHECKING:  # type checkers are to report unknown names

        def __getattr__(self, name):
            raise no_attribute("a ChatStream", name, _HINTS, ": ")


# These generators refer to the reader and not to the `ChatStream`: without a cycle of references, dropping a generator
# or the `ChatStream` ends the calls at once, and not with the next garbage collection.


def _without_notices(chunks: Iterator[ChatCompletionChunk]) -> Iterator[ChatCompletionChunk]:
    for chunk in chunks:
        if chunk.retry is None or chunk.retry.policy not in _EVENTS_ONLY:
            yield chunk


def _with_callbacks(reader: FallbackReader, source: Iterator[ChatCompletionChunk]) -> Iterator[ChatCompletionChunk]:
    """The chunks, each after the callbacks for its events."""
    events, options = _new_events(reader), reader.plan.options
    try:
        call_back(options, events.start())
        for chunk in source:
            for event in events.of(chunk):
                call_back(options, event)
            yield chunk
    except AnyLLMError as exc:
        if exc is reader.error:
            call_back(options, events.fail(exc))
        raise
    else:
        assert reader.answer is not None  # the source has ended
        for event in events.complete(reader.answer):
            call_back(options, event)
    finally:
        reader.cancel()


def _events_and_error(reader: FallbackReader, source: Iterator[ChatCompletionChunk]) -> Iterator[StreamEvent]:
    events = _new_events(reader)
    try:
        yield events.start()
        try:
            for chunk in source:
                yield from events.of(chunk)
        except AnyLLMError as exc:
            if exc is not reader.error:
                raise  # thrown into this generator by its reader
        if reader.error is not None:  # perhaps raised to an earlier reader
            yield events.fail(reader.error)
            raise reader.error
        if reader.answer is not None:
            yield from events.complete(reader.answer)
    finally:
        reader.cancel()


def _new_events(reader: FallbackReader) -> Events:
    plan = reader.plan
    first = plan.targets[0]
    return Events(
        first.provider.name,
        first.model,
        request_id=lambda: reader.request_id,
        json=plan.options.json,
        clock=plan.clock,
    )
