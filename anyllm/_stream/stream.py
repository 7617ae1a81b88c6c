"""`Stream`, which `completion_stream` returns: the pair of channels, with methods to collect, iterate and cancel it."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Optional, cast

from anyllm._hints.names import no_attribute
from anyllm._stream.call_spec import CallSpec
from anyllm._stream.pump import Pump, start
from anyllm.channel import Channel
from anyllm.context import Context
from anyllm.errors import AnyLLMError, Cancelled
from anyllm.options import StreamingOptions
from anyllm.types import ChatCompletion, ChatCompletionChunk

#: Hints for attributes that a whole answer has and a stream lacks.
COLLECT_HINTS = dict.fromkeys(
    (
        *("choices", "content", "cost_usd", "finish_reason", "get_json", "id", "message", "model", "parsed"),
        *("reasoning", "text", "to_dict", "to_message", "tool_calls", "usage"),
    ),
    "this is a stream; stream.collect() waits for the whole answer, which has it",
)
_HINTS = {
    **COLLECT_HINTS,
    "events": "anyllm.EventProcessor().process(stream) gives events, and so does Client.chat_stream(...).events()",
    "timing": "only Client.chat_stream(...) measures it",
    **dict.fromkeys(("get", "get_nowait", "recv"), "chunks, errors = stream; then chunks.get()"),
}


class _Pair(NamedTuple):
    chunks: Channel[ChatCompletionChunk]
    errors: Channel[AnyLLMError]


class Stream(_Pair):
    """
    A running stream: unpack it into ``chunks, errors``, or use its methods::

        chunks, errors = stream
        for chunk in stream.chunks: ...

    It is a tuple of two, so a loop over the stream itself gives the two channels. `ChatStream` has the same members and
    iterates its chunks. As a context manager it is cancelled on exit; a stream that has ended is not affected.

    Attributes:
        chunks: The chunks; closed at the end.
        errors: At most one error, put before chunks closes.
    """

    _pump: Pump

    def __new__(cls, chunks: Channel[ChatCompletionChunk], errors: Channel[AnyLLMError], pump: Pump) -> Stream:
        self = super().__new__(cls, chunks, errors)
        self._pump = pump
        return self

    def collect(self) -> ChatCompletion:
        """
        Read to the end, and return the whole response, including chunks that were received before.

        Raises:
            AnyLLMError: the stream's error; its ``partial`` is the response so far.
        """
        for _ in self.chunks:
            pass
        return self.completion

    @property
    def completion(self) -> ChatCompletion:
        """
        The whole answer of a stream that has been read to its end.

        Raises:
            AnyLLMError: the stream's error, if it ended with one.
            RuntimeError: it has not been read to its end.
        """
        self._raise_error()
        if not (self.chunks.closed and self.chunks.empty()):
            raise RuntimeError("the stream has not been read to its end: iterate its chunks, or collect() it")
        return self.partial

    @property
    def text_stream(self) -> Iterator[str]:
        """
        The text of choice 0, piece by piece; raises the stream's error at the end.

        No text comes twice: of an answer that restarts (`Retry.after_content`) only new text is yielded, and if it
        differs from the text before, the error that interrupted the answer is raised.
        """
        return new_texts(self.chunks, self._pump.spec.options, self._fail_restart, self._raise_error)

    def _fail_restart(self) -> NoReturn:
        self.cancel()
        raise self._pump.interruption or Cancelled()

    def _raise_error(self) -> None:
        error = self._pump.error
        if error is not None:
            try:
                self.errors.get_nowait()  # so that it counts as received
            except queue.Empty:
                pass
            raise error

    @property
    def partial(self) -> ChatCompletion:
        """The response so far, with the chunks that still wait in the channel."""
        return cast(ChatCompletion, self._pump.partial)

    @property
    def request_id(self) -> Optional[str]:
        """The provider's id for the request; None before the answer, and where it gives none."""
        return self._pump.request_id

    def cancel(self, cause: object = None) -> None:
        """End this stream, and nothing else under its Context. Safe in any thread and in a signal handler."""
        self._pump.cancel(cause)

    def close(self) -> None:
        """`cancel` under the name that `contextlib.closing` and WSGI servers call."""
        self.cancel()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __reduce__(self) -> Any:
        raise TypeError("a Stream cannot be copied or pickled: collect() it, and pickle the answer")

    if not TYPE_CHECKING:  # type checkers must report missing names

        def __getattr__(self, name):
            raise no_attribute("a Stream", name, _HINTS, ": ")


class TextDeduplicator:
    """Removes the text that a restarted answer repeats."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._before = ""  # the text before the answer restarted
        self._repeated = 0  # how many characters of it have come again

    @property
    def is_behind(self) -> bool:
        """Whether the restarted answer is still shorter than the text before."""
        return self._repeated < len(self._before)

    def new_text(self, chunk: ChatCompletionChunk) -> Optional[str]:
        """The text of *chunk* that has not come before; None if it differs from the text before."""
        if chunk.retry is not None:
            self._before, self._repeated = "".join(self._pieces), 0
            self._pieces = [self._before]
            return ""
        text, before = chunk.content, self._before[self._repeated : self._repeated + len(chunk.content)]
        if not text.startswith(before):
            return None
        self._repeated += len(before)
        if len(text) > len(before):
            self._pieces.append(text[len(before) :])
        return text[len(before) :]


def new_texts(
    chunks: Iterable[ChatCompletionChunk],
    options: StreamingOptions,
    fail_restart: Callable[[], NoReturn],
    check_end: Callable[[], object] = lambda: None,
) -> Iterator[str]:
    """
    The text of *chunks* without repetitions.

    Args:
        fail_restart: Called if a restarted answer differs from the one before, or ends earlier.
        check_end: Called after the last chunk.
    """
    deduplicator = TextDeduplicator() if options.retry.after_content == "restart" else None
    for chunk in chunks:
        text = chunk.content if deduplicator is None else deduplicator.new_text(chunk)
        if text:
            yield text
        elif text is None:
            fail_restart()
    check_end()
    if deduplicator is not None and deduplicator.is_behind:
        fail_restart()


def stream(ctx: Context, spec: CallSpec) -> Stream:
    """Start a streaming call."""
    pump, chunks, errors = start(ctx, spec)
    return Stream(chunks, errors, pump)


def call(ctx: Context, spec: CallSpec) -> Any:
    """Make a call that returns a whole answer, and wait for it; raises its `AnyLLMError`."""
    pump, answers, errors = start(ctx, spec)
    try:
        answer = answers.get()
        error = errors.get()
    finally:
        pump.cancel()
    if error is not None:
        raise error
    return answer
