"""Numbers about a stream while it comes, and a line on the terminal that shows them."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Optional, TextIO, TypeVar, Union

from anyllm.channel import Channel
from anyllm.types import ChatCompletionChunk, Usage
from anyllm.types._chunks import text_alone

__all__ = ["Progress"]


T = TypeVar("T")


#: About so many characters make a token of English; see OpenAI's "What are tokens and how to count them?".
_CHARACTERS_PER_TOKEN = 4


class Progress:
    """
    Numbers about a running stream. It counts from when it is made; one thread feeds it, any may look.

    Attributes:
        chunks: How many came.
        characters: How many of the answer's text (choice 0) came. Where it begins anew, so does the count.
        first_content: Seconds until the first content (text, reasoning, a refusal, a tool call); None before it.
        longest_gap: Seconds of the longest silence between two contents; 0.0 before the second.

    Args:
        clock: Gives seconds, and never goes back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._ended: Optional[float] = None
        self._last_content = 0.0
        self._contents = 0
        self._unseen = 0  # characters that are not the text, and cost tokens all the same
        self._usage: Optional[Usage] = None
        self._counted = 0  # characters that came up to it
        self.chunks = 0
        self.characters = 0
        self.first_content: Optional[float] = None
        self.longest_gap = 0.0

    def feed(self, chunk: Union[ChatCompletionChunk, str]) -> None:
        """
        Count one chunk, or one piece of text.

        Raises:
            TypeError: It is something else.
        """
        self.chunks += 1
        text = chunk if isinstance(chunk, str) else _text_of(chunk)
        unseen = 0
        if text is None:
            assert isinstance(chunk, ChatCompletionChunk)  # `_text_of` has looked
            if chunk.retry is not None and chunk.retry.policy == "restart":
                self.characters = self._unseen = self._counted = 0
                self._usage = None
            text = chunk.content
            unseen = sum(map(_unseen_of, chunk.choices)) - len(text)
        if text or unseen:
            self.characters += len(text)
            self._unseen += unseen
            self._count_content(self._clock())
        if not isinstance(chunk, str) and chunk.usage is not None:
            self._usage = chunk.usage
            self._counted = self.characters + self._unseen

    def _count_content(self, now: float) -> None:
        if self._contents:
            self.longest_gap = max(self.longest_gap, now - self._last_content)
        else:
            self.first_content = now - self._began
        self._contents += 1
        self._last_content = now

    def stop(self) -> None:
        """The stream is over: `elapsed` stands still. `watch` and `show` do it."""
        if self._ended is None:
            self._ended = self._clock()

    @property
    def elapsed(self) -> float:
        """Seconds since this was made, or until the end."""
        return (self._clock() if self._ended is None else self._ended) - self._began

    @property
    def tokens(self) -> int:
        """How many tokens the answer has so far, reasoning and tool calls included; see `tokens_are_estimated`."""
        said = 0 if self._usage is None else self._usage.completion_tokens
        return said - (-self._uncounted // _CHARACTERS_PER_TOKEN)

    @property
    def tokens_are_estimated(self) -> bool:
        """Whether `tokens` is partly a guess from the characters: some came of which no usage has told (yet)."""
        return self._usage is None or self._usage.source != "provider" or self._uncounted > 0

    @property
    def _uncounted(self) -> int:
        return self.characters + self._unseen - self._counted

    @property
    def characters_per_second(self) -> float:
        """Of `elapsed`, so the wait for the first is included; 0.0 before any time has passed."""
        return self.characters / elapsed if (elapsed := self.elapsed) > 0 else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of `elapsed`, so the wait for the first is included; 0.0 before any time has passed."""
        return self.tokens / elapsed if (elapsed := self.elapsed) > 0 else 0.0

    @property
    def mean_gap(self) -> float:
        """Seconds between two contents on average; 0.0 before the second."""
        if self._contents < 2 or self.first_content is None:
            return 0.0
        return (self._last_content - self._began - self.first_content) / (self._contents - 1)

    def line(self) -> str:
        """All that matters in one line of ASCII; "~" marks an estimate."""
        if self.first_content is None:
            return f"{self.elapsed:.1f} s, nothing yet"
        mark = "~" if self.tokens_are_estimated else ""
        return (
            f"{self.elapsed:.1f} s, {self.characters} characters, {mark}{self.tokens} tokens, "
            f"{mark}{self.tokens_per_second:.1f} tokens/s, first after {self.first_content:.2f} s"
        )

    def watch(self, chunks: Iterable[T]) -> Iterator[T]:
        """
        The same chunks (or pieces of text), counted as they pass.

        Raises:
            Whatever *chunks* raises.
        """
        try:
            for chunk in chunks:
                self.feed(chunk)  # type: ignore[arg-type]  # which says what it wants
                yield chunk
        finally:
            self.stop()

    def show(self, chunks: Iterable[T], file: Optional[TextIO] = None, *, per_second: float = 10) -> Iterator[T]:
        """
        The same chunks, counted, with `line` kept up to date on a terminal; nothing is written to anything else.

        Over a Channel the line moves on while the model is silent.

        Args:
            chunks: ``stream.chunks``, or any iterable of chunks or text.
            file: Where; standard error if not given.
            per_second: How often it is drawn at most.

        Raises:
            ValueError: *per_second* is not positive.
            Whatever *chunks* raises, after the line was ended.
        """
        if not per_second > 0:
            raise ValueError(f"per_second must be positive: {per_second!r}")
        display = _Display(sys.stderr if file is None else file, 1 / per_second, self)
        if not display.is_terminal:
            return self.watch(chunks)
        return self._show(chunks, display)

    def _show(self, chunks: Iterable[T], display: _Display) -> Iterator[T]:
        source = _ticking(chunks, display.interval) if isinstance(chunks, Channel) else iter(chunks)
        try:
            for chunk in source:
                if chunk is not None:
                    self.feed(chunk)  # type: ignore[arg-type]  # which says what it wants
                display.draw(self._clock())
                if chunk is not None:
                    yield chunk
        finally:
            self.stop()
            display.end()


def _text_of(chunk: Any) -> Optional[str]:
    if not isinstance(chunk, ChatCompletionChunk):
        raise TypeError(f"expected a chunk or text, not {type(chunk).__name__}: pass stream.chunks")
    return text_alone(chunk)


def _unseen_of(choice: Any) -> int:
    delta = choice.delta
    said = [delta.content, delta.refusal, delta.reasoning and delta.reasoning.content]
    for call in delta.tool_calls or ():
        said += [call.function.name, call.function.arguments]
    return sum(len(text) for text in said if text)


def _ticking(channel: Channel[Any], seconds: float) -> Iterator[Any]:
    """What comes, and None whenever nothing has come for so long."""
    while True:
        try:
            item = channel.get(timeout=seconds)
        except queue.Empty:
            yield None
            continue
        if item is None:
            return
        yield item


class _Display:
    """One line of a terminal, drawn over itself. A terminal that has gone does not end the stream."""

    def __init__(self, file: TextIO, interval: float, progress: Progress) -> None:
        self.interval = interval
        self._file = file
        self._progress = progress
        self._drawn: Optional[float] = None
        self._width = 0
        try:
            self.is_terminal = bool(file.isatty())
        except (AttributeError, ValueError):  # no file at all, or a closed one
            self.is_terminal = False

    def draw(self, now: float) -> None:
        if self._drawn is None or now - self._drawn >= self.interval:
            self._drawn = now
            self._write("")

    def end(self) -> None:
        self._write("\n")

    def _write(self, end: str) -> None:
        columns = 80
        with contextlib.suppress(AttributeError, OSError, ValueError):
            columns = os.get_terminal_size(self._file.fileno()).columns or columns
        line = self._progress.line()[: columns - 1]  # in the last column the cursor would go to the next line
        with contextlib.suppress(OSError, ValueError):
            self._file.write(f"\r{line.ljust(min(self._width, columns - 1))}{end}")
            self._file.flush()
        self._width = len(line)
