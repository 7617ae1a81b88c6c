"""`Progress`: counts and times of a running stream, and a line on the terminal that shows them."""

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

T = TypeVar("T")


#: The mean length of a token of English text; see OpenAI's "What are tokens and how to count them?".
_CHARACTERS_PER_TOKEN = 4


class Progress:
    """
    Counts and times of a running stream, from when this is made. One thread feeds it; any thread may read it.

    Attributes:
        chunks: The number of chunks.
        characters: The number of characters of the answer's text (choice 0). An answer that restarts resets it.
        first_content: Seconds until the first content (text, reasoning, a refusal, a tool call); None before it.
        longest_gap: Seconds of the longest silence between two contents; 0.0 before the second.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._ended: Optional[float] = None
        self._last_content = 0.0
        self._contents = 0
        self._other_characters = 0  # of reasoning, refusals, tool calls and other choices, which cost tokens too
        self._usage: Optional[Usage] = None
        self._characters_in_usage = 0  # characters that came before it
        self.chunks = 0
        self.characters = 0
        self.first_content: Optional[float] = None
        self.longest_gap = 0.0

    def feed(self, chunk: Union[ChatCompletionChunk, str]) -> None:
        """
        Count one chunk, or one piece of text.

        Raises:
            TypeError: it is neither.
        """
        self.chunks += 1
        if not isinstance(chunk, (str, ChatCompletionChunk)):
            raise TypeError(f"expected a chunk or text, not {type(chunk).__name__}: pass stream.chunks")
        other = 0
        if isinstance(chunk, str):
            text = chunk
        elif (only_text := text_alone(chunk)) is not None:
            text = only_text
        else:
            if chunk.retry is not None and chunk.retry.policy == "restart":
                self.characters = self._other_characters = self._characters_in_usage = 0
                self._usage = None
            text = chunk.content
            other = sum(map(_characters_of, chunk.choices)) - len(text)
        if text or other:
            self.characters += len(text)
            self._other_characters += other
            self._count_content(self._clock())
        if not isinstance(chunk, str) and chunk.usage is not None:
            self._usage = chunk.usage
            self._characters_in_usage = self.characters + self._other_characters

    def _count_content(self, now: float) -> None:
        if self._contents:
            self.longest_gap = max(self.longest_gap, now - self._last_content)
        else:
            self.first_content = now - self._started
        self._contents += 1
        self._last_content = now

    def stop(self) -> None:
        """Stop the clock at the end of the stream. `watch` and `show` call this."""
        if self._ended is None:
            self._ended = self._clock()

    @property
    def elapsed(self) -> float:
        """Seconds since this was made, or until the end."""
        return (self._clock() if self._ended is None else self._ended) - self._started

    @property
    def tokens(self) -> int:
        """Tokens of the answer so far, including reasoning and tool calls; see `tokens_are_estimated`."""
        reported = 0 if self._usage is None else self._usage.completion_tokens
        return reported - (-self._characters_after_usage // _CHARACTERS_PER_TOKEN)

    @property
    def tokens_are_estimated(self) -> bool:
        """Whether `tokens` is partly estimated from characters that no usage of the provider includes yet."""
        return self._usage is None or self._usage.source != "provider" or self._characters_after_usage > 0

    @property
    def _characters_after_usage(self) -> int:
        return self.characters + self._other_characters - self._characters_in_usage

    @property
    def characters_per_second(self) -> float:
        """Over `elapsed`, which includes the wait for the first content; 0.0 before any time has passed."""
        return self.characters / elapsed if (elapsed := self.elapsed) > 0 else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Over `elapsed`, which includes the wait for the first content; 0.0 before any time has passed."""
        return self.tokens / elapsed if (elapsed := self.elapsed) > 0 else 0.0

    @property
    def mean_gap(self) -> float:
        """Mean seconds between two contents; 0.0 before the second."""
        if self._contents < 2 or self.first_content is None:
            return 0.0
        return (self._last_content - self._started - self.first_content) / (self._contents - 1)

    def line(self) -> str:
        """The main numbers in one line of ASCII; "~" marks an estimate."""
        if self.first_content is None:
            return f"{self.elapsed:.1f} s, nothing yet"
        mark = "~" if self.tokens_are_estimated else ""
        return (
            f"{self.elapsed:.1f} s, {self.characters} characters, {mark}{self.tokens} tokens, "
            f"{mark}{self.tokens_per_second:.1f} tokens/s, first after {self.first_content:.2f} s"
        )

    def watch(self, chunks: Iterable[T]) -> Iterator[T]:
        """
        The same chunks (or pieces of text), counted.

        Raises:
            The exception of *chunks*.
        """
        try:
            for chunk in chunks:
                self.feed(chunk)  # type: ignore[arg-type]  # which checks the type
                yield chunk
        finally:
            self.stop()

    def show(self, chunks: Iterable[T], file: Optional[TextIO] = None, *, per_second: float = 10) -> Iterator[T]:
        """
        The same chunks, counted, with `line` drawn on a terminal. If *file* is no terminal, nothing is written.

        For a Channel the line is also redrawn while the model is silent.

        Args:
            chunks: ``stream.chunks``, or any iterable of chunks or text.
            file: The terminal; standard error by default.
            per_second: How often the line is drawn at most.

        Raises:
            ValueError: *per_second* is not positive.
            The exception of *chunks*, after the line was ended.
        """
        if not per_second > 0:
            raise ValueError(f"per_second must be positive: {per_second!r}")
        terminal_line = _TerminalLine(sys.stderr if file is None else file, 1 / per_second, self)
        if not terminal_line.is_terminal:
            return self.watch(chunks)
        return self._show(chunks, terminal_line)

    def _show(self, chunks: Iterable[T], terminal_line: _TerminalLine) -> Iterator[T]:
        source = _items_or_none(chunks, terminal_line.interval) if isinstance(chunks, Channel) else iter(chunks)
        try:
            for chunk in source:
                if chunk is not None:
                    self.feed(chunk)  # type: ignore[arg-type]  # which checks the type
                terminal_line.draw(self._clock())
                if chunk is not None:
                    yield chunk
        finally:
            self.stop()
            terminal_line.end()


def _characters_of(choice: Any) -> int:
    delta = choice.delta
    texts = [delta.content, delta.refusal, delta.reasoning and delta.reasoning.content]
    for call in delta.tool_calls or ():
        texts += [call.function.name, call.function.arguments]
    return sum(len(text) for text in texts if text)


def _items_or_none(channel: Channel[Any], seconds: float) -> Iterator[Any]:
    """The items of *channel*, and None after each *seconds* of silence."""
    while True:
        try:
            item = channel.get(timeout=seconds)
        except queue.Empty:
            yield None
            continue
        if item is None:
            return
        yield item


class _TerminalLine:
    """One line of a terminal, drawn over itself. A closed terminal does not end the stream."""

    def __init__(self, file: TextIO, interval: float, progress: Progress) -> None:
        self.interval = interval
        self._file = file
        self._progress = progress
        self._drawn: Optional[float] = None
        self._width = 0
        try:
            self.is_terminal = bool(file.isatty())
        except (AttributeError, ValueError):  # it is no file, or closed
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
        line = self._progress.line()[: columns - 1]  # a full line would move the cursor to the next
        with contextlib.suppress(OSError, ValueError):
            self._file.write(f"\r{line.ljust(min(self._width, columns - 1))}{end}")
            self._file.flush()
        self._width = len(line)
