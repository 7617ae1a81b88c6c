"""What `completion_stream` returns: the pair of channels, with what one would write around them as methods."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple, Optional, cast

from anyllm._run import Job, Run, start
from anyllm.channel import Channel
from anyllm.context import Context
from anyllm.errors import AnyLLMError
from anyllm.types import ChatCompletion, ChatCompletionChunk

__all__ = ["Stream", "call", "stream"]


class _Pair(NamedTuple):
    chunks: Channel[ChatCompletionChunk]
    errors: Channel[AnyLLMError]


class Stream(_Pair):
    """
    A running stream: unpack it into ``chunks, errors``, or use its methods.

    As a context manager it is cancelled on exit, which does nothing to one that is over.

    Attributes:
        chunks: The chunks; closed at the end.
        errors: At most one error, put before chunks closes.
    """

    _run: Run

    def __new__(cls, chunks: Channel[ChatCompletionChunk], errors: Channel[AnyLLMError], run: Run) -> Stream:
        self = super().__new__(cls, chunks, errors)
        self._run = run
        return self

    def collect(self) -> ChatCompletion:
        """
        Read to the end, and give the whole response, whatever was read before.

        Raises:
            AnyLLMError: the stream's error; its ``partial`` holds what came.
        """
        for _ in self.chunks:
            pass
        self._raise_error()
        return cast(ChatCompletion, self._run.partial)

    @property
    def text_stream(self) -> Iterator[str]:
        """The text of choice 0, piece by piece; raises the stream's error at the end."""
        for chunk in self.chunks:
            if chunk.content:
                yield chunk.content
        self._raise_error()

    def _raise_error(self) -> None:
        error = self._run.error
        if error is not None:
            try:
                self.errors.get_nowait()  # received now
            except queue.Empty:
                pass
            raise error

    @property
    def partial(self) -> ChatCompletion:
        """The response so far: all that came, received or still waiting."""
        return cast(ChatCompletion, self._run.partial)

    def cancel(self, cause: object = None) -> None:
        """End this stream, and nothing else under its Context. Safe in any thread and in a signal handler."""
        self._run.cancel(cause)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.cancel()

    def __reduce__(self) -> Any:
        raise TypeError("a Stream cannot be copied or pickled: collect() it, and pickle the answer")


def stream(ctx: Context, job: Job) -> Stream:
    """Start *job*, which streams."""
    run, chunks, errors = start(ctx, job)
    return Stream(chunks, errors, run)


def call(ctx: Context, job: Job) -> Any:
    """
    Do *job*, which has a whole answer, and wait for it.

    Raises:
        AnyLLMError: why there is none.
    """
    run, answers, errors = start(ctx, job)
    try:
        answer = answers.get()
        error = errors.get()
    finally:
        run.cancel()
    if error is not None:
        raise error
    return answer
