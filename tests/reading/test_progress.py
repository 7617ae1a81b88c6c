"""Progress: its counts and times, and the line on the terminal."""

from __future__ import annotations

import io
import threading
from typing import Any, Iterator

import pytest
from conftest import TIMEOUT
from loopback import PARAMS

import anyllm
from anyllm.channel import open_channel
from anyllm.errors import IncompleteStreamError
from anyllm.reading import Progress
from anyllm.testing import fake
from anyllm.types import (
    ChatCompletionChunk,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Reasoning,
    RetryNotice,
    ToolCall,
    Usage,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def chunk(content: Any = None, usage: Any = None, index: int = 0, **delta: Any) -> ChatCompletionChunk:
    return ChatCompletionChunk(choices=(ChunkChoice(index, ChunkDelta(content=content, **delta)),), usage=usage)


def test_progress_counts_and_measures():
    clock = Clock()
    progress = Progress(clock=clock)
    assert (progress.elapsed, progress.characters_per_second, progress.tokens_per_second) == (0, 0, 0)
    for seconds, piece in ((1, chunk(role="assistant", content="")), (1, "Hello"), (3, chunk(" you")), (1, chunk("!"))):
        clock.now += seconds
        progress.feed(piece)
    assert progress.first_content == 2
    assert progress.longest_gap == 3
    assert progress.mean_gap == 2
    clock.now += 4
    assert (progress.chunks, progress.characters, progress.tokens) == (4, 10, 3)
    assert progress.tokens_are_estimated
    assert progress.elapsed == 10
    assert progress.characters_per_second == 1
    assert progress.tokens_per_second == 0.3
    progress.stop()
    clock.now += 100
    progress.stop()
    assert progress.elapsed == 10


def test_usage_replaces_the_estimate_for_the_same_text():
    """Some hosts count while they go on: what comes after their last word is estimated."""
    progress = Progress()
    progress.feed(chunk(usage=Usage(10, 1, 11)))
    progress.feed("12345678")
    assert (progress.tokens, progress.tokens_are_estimated) == (3, True)
    progress.feed(chunk("9", usage=Usage(10, 7, 17)))
    assert (progress.tokens, progress.tokens_are_estimated) == (7, False)
    progress.feed(chunk(usage=Usage(10, 8, 18, source="estimated")))
    assert (progress.tokens, progress.tokens_are_estimated) == (8, True)


def test_a_restarted_answer_resets_the_count():
    progress = Progress()
    progress.feed(chunk("1234", usage=Usage(10, 7, 17)))
    progress.feed(ChatCompletionChunk(retry=RetryNotice("continue")))
    assert progress.characters == 4
    progress.feed(ChatCompletionChunk(retry=RetryNotice("restart")))
    progress.feed("12345678")
    assert (progress.characters, progress.tokens, progress.chunks) == (8, 2, 4)


def test_reasoning_and_tool_calls_are_content_and_cost_tokens():
    clock = Clock()
    progress = Progress(clock=clock)
    clock.now += 1
    progress.feed(chunk(reasoning=Reasoning("12345678")))
    assert progress.first_content == 1
    progress.feed(chunk(tool_calls=(ToolCall(function=FunctionCall("name", '{"a"')),)))
    progress.feed(chunk(refusal="1234"))
    progress.feed(chunk("1234", index=1))
    assert (progress.characters, progress.tokens) == (0, 6)


def test_progress_refuses_other_objects():
    stream = fake("Hello").completion_stream(anyllm.Context(timeout=60), PARAMS)
    with stream, pytest.raises(TypeError, match=r"not Channel: pass stream\.chunks"):
        list(Progress().watch(stream))


def test_watch_gives_the_same_chunks_and_stops_the_clock():
    clock = Clock()
    progress = Progress(clock=clock)
    stream = fake("Hello you").completion_stream(anyllm.Context(timeout=60), PARAMS)
    assert "".join(each.content for each in progress.watch(stream.chunks)) == "Hello you"
    clock.now += 5
    assert progress.elapsed == 0
    assert progress.characters == 9
    assert not progress.tokens_are_estimated


def test_watch_stops_the_clock_when_it_is_left():
    clock = Clock()
    progress = Progress(clock=clock)
    watched = progress.watch(["a", "b"])
    assert next(watched) == "a"
    watched.close()
    clock.now += 5
    assert progress.elapsed == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_is_one_line_of_ascii():
    clock = Clock()
    progress = Progress(clock=clock)
    clock.now += 1.5
    assert progress.line() == "1.5 s, nothing yet"
    progress.feed("é" * 30)
    clock.now += 0.5
    assert progress.line() == "2.0 s, 30 characters, ~8 tokens, ~4.0 tokens/s, first after 1.50 s"
    progress.feed(chunk(usage=Usage(1, 10, 11)))
    assert progress.line() == "2.0 s, 30 characters, 10 tokens, 5.0 tokens/s, first after 1.50 s"


def test_a_terminal_gets_so_many_lines_a_second_and_a_clean_end():
    clock = Clock()
    progress = Progress(clock=clock)
    terminal = Terminal()
    drawn = []
    for _ in progress.show(["a"] * 5, terminal, per_second=2):
        clock.now += 0.25
        drawn.append(terminal.getvalue().count("\r"))
    assert drawn == [1, 1, 2, 2, 3]
    output = terminal.getvalue()
    assert output.endswith(f"\r{progress.line()}\n")
    assert output.count("\n") == 1


def test_a_shorter_line_covers_the_longer_one(monkeypatch: pytest.MonkeyPatch):
    progress = Progress(clock=Clock())
    texts = iter(["a long line", "short", "end"])
    monkeypatch.setattr(progress, "line", lambda: next(texts))
    terminal = Terminal()
    list(progress.show(["a"], terminal))
    assert terminal.getvalue() == "\ra long line\rshort      \n"


def test_a_line_never_wraps():
    terminal = Terminal()
    progress = Progress()
    progress.line = lambda: "x" * 200  # type: ignore[method-assign]
    list(progress.show(["a"], terminal))
    assert max(map(len, terminal.getvalue().split("\r"))) <= 80  # 79 and the line feed


def test_the_line_ends_before_an_error_passes_on():
    def source() -> Iterator[str]:
        yield "a"
        raise IncompleteStreamError("cut off")

    terminal = Terminal()
    with pytest.raises(IncompleteStreamError):
        list(Progress().show(source(), terminal))
    assert terminal.getvalue().endswith("\n")


def test_the_line_ends_when_the_loop_is_left():
    terminal = Terminal()
    shown = Progress().show(["a", "b"], terminal)
    next(shown)
    shown.close()
    assert terminal.getvalue().endswith("\n")


def test_the_line_moves_on_while_the_model_is_silent(spawn: Any):
    """The sender waits until it has been drawn twice without anything new."""
    sender, chunks = open_channel(4)
    drawn = threading.Semaphore(0)

    class Watched(Terminal):
        def write(self, text: str) -> int:
            drawn.release()
            return super().write(text)

    def send() -> None:
        for _ in range(2):
            assert drawn.acquire(timeout=TIMEOUT)
        sender.close("a")

    sending = spawn(send)
    assert list(Progress().show(chunks, Watched(), per_second=1000)) == ["a"]
    sending.join()


def closed_file() -> Any:
    file = io.StringIO()
    file.close()
    return file


@pytest.mark.parametrize("file", [io.StringIO(), closed_file(), object()])
def test_nothing_is_written_to_files_that_are_no_terminal(file: Any):
    assert list(Progress().show(["a", "b"], file)) == ["a", "b"]
    if isinstance(file, io.StringIO) and not file.closed:
        assert file.getvalue() == ""


def test_standard_error_is_looked_up_when_it_is_needed(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    list(Progress().show(["a"]))
    assert terminal.getvalue().endswith("\n")


def test_a_terminal_that_has_gone_does_not_end_the_stream():
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    assert list(Progress().show(["a", "b"], Gone())) == ["a", "b"]


@pytest.mark.parametrize("per_second", [0, -1, float("nan")])
def test_nothing_is_drawn_less_than_never(per_second: float):
    with pytest.raises(ValueError, match="per_second must be positive"):
        Progress().show([], per_second=per_second)
