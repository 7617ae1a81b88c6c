"""What people do with a stream while it comes: sentences and lines, progress, several readers."""

from __future__ import annotations

import gc
import io
import queue
import threading
from typing import Any, Iterable, Iterator, List

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import anyllm
from anyllm.channel import open_channel
from anyllm.errors import Cancelled, IncompleteStreamError
from anyllm.reading import Progress, Reader, lines, sentences, tee
from anyllm.testing import Reply, Stall, chat_events, fake, serve
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

PARAMS = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
TIMEOUT = 30


def ask(url: str) -> anyllm.Stream:
    return anyllm.completion_stream(anyllm.Context(timeout=60), PARAMS, provider="compatible", base_url=url)


# -- sentences ---------------------------------------------------------------------------------------------------------

#: "|" stands where a sentence ends.
TEXTS = {
    "plain": "One two. |Three four! |Five?",
    "titles": "Dr. Smith met Mrs. Jones on Mt. Everest. |They spoke.",
    "initials": "J. K. Rowling wrote it. |J. A. Smith did not.",
    "leading to": "Use a tool, e.g. Make or i.e. Ninja, vs. Others. |Good.",
    "etc": "Apples, pears, etc. are fruit. |We sell tea, etc. |Come in.",
    "country": "The U.S. Army is in the U.S. |It is big.",
    "country before a number": "He left the U.S. 5 years ago.",
    "time of day": "It is 5 p.m. Monday. |At 6 p.m. |We eat.",
    "company": "Acme Inc. Europe is part of Acme Inc. |They sell it.",
    "months": "On Jan. 5 we met. |The sun. |Mercury is near.",
    "counting": "See No. 5 and Fig. 3. |No. |That is p. 7.",
    "a number far behind the last word": f"He has{' ' * 40}5. |The end.",
    "decimals": "Pi is 3.14. |It costs $2.50 or .5 more.",
    "versions": "Python 3.12.1 is out. |Get v2.0. |Then Python 3. |Next.",
    "links": "See https://example.com/a.html?b=c.d!e for more. |Mail a.b@example.org. |Thanks.",
    "files": "Open setup.cfg and main.py now. |Then .bashrc.",
    "ellipsis": "Well... maybe. |He left... |Then… he came… |Good. . . fine.",
    "both": "What?! |No way!! |Really?",
    "quotes": '"Stop." |"Go!" she said. |“Why?” |‘Because.’ |He left.',
    "brackets": "(He left.) |She stayed (for now). |It is [so.] |End.",
    "emphasis": "**Done.** |*Next.* |_Last._ |End.",
    "references": "It is so.[1][23] |It is not.[4] |End.",
    "lower case": "What? he asked. |It is approx. right and so on. and on.",
    "code begins it": "Use it. |`foo.bar` does. |“`x`” too.",
    "no space, no end": "This.is one. |Next.is.Two",
    "wide": "你好。|今天很好！|是吗？ |对。",
    "wide quotes": "「はい。」と言った。|「いいえ。」|「そう。」",
    "other scripts": "यह है। |वह था। |هل هذا؟ |نعم.",
    "paragraphs": "A title\n\n|A text\nthat goes on\n\n\n|Another",
    "headings": "# One\n|Text. |Text\n|## Two\n|Text",
    "lists": "Items:\n|- one. |Two\n|* three\n|+ four\n|1. First. |Then\n|2) Second\n|10. Tenth",
    "tables": "| a | b |\n¦| c. | d |\n",
    "quoted block": "He wrote:\n|> It is. |So\n|> Yes.",
    "line feeds": "One.\n|Two.\r\n|Three\r\nfour",
    "a fence": "So:\n|```py\na = 1. \nB = 2.\n\n``` no\n  ````  \n|Then. |End",
    "a fence of tildes": "~~~\nA. B\n```\nC. D\n~~~\n|Then. |End",
    "a fence without end": "```\nA. B\n\nC. D",
    "an indented fence": "- x\n  |```\n  A. B\n  ```\n|C",
    "no fence": "```a``` is. |So it is. |End",
    "white space first": " \n\n One. |Two",
    "only white space": " \n\n ",
    "nothing": "",
}


def parts(marked: str) -> List[str]:
    """ "¦" is cut at, and "|" too, unless the text has it: a table."""
    if "¦" in marked:
        return marked.split("¦")
    if marked.startswith("|"):
        return [marked]
    return [part for part in marked.split("|") if part]


@pytest.mark.parametrize("marked", TEXTS.values(), ids=TEXTS.keys())
def test_sentences_end_where_a_reader_would_end_them(marked: str):
    whole = parts(marked)
    assert list(sentences(["".join(whole)])) == whole
    assert list(sentences("".join(whole))) == whole, "letter by letter"


ALPHABET = [
    *"aB1 .!?…\n\t\r-#>|`~*\"'()[]。！」「।1,ß", "\n\n", "```", "~~~", "\n```", "Dr.", "e.g.", "U.S.", " The ", " Then",
    "\n- ", "\n1. ", "\n# ", "[1]", "etc.", " J.", "No. ", "      ", "\n   ", "`" * 40, "~" * 90, " " * 40, "x" * 40,
]  # fmt: skip


@st.composite
def cut_texts(draw: Any) -> List[str]:
    text = "".join(draw(st.lists(st.sampled_from(ALPHABET), max_size=40)))
    ends = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)])]


@settings(max_examples=400, deadline=None)
@given(cut_texts())
@example(["It is so.[", "1] Yes"])
@example(["``", "`\nA. B\n``", "`\nC. D"])
@example(["One.", " ", "\n", "\n", "two"])
def test_how_the_text_was_cut_makes_no_difference(pieces: List[str]):
    text = "".join(pieces)
    whole = list(sentences([text]))
    assert "".join(whole) == text
    assert list(sentences(pieces)) == whole == list(sentences(text))
    assert list(lines(pieces)) == list(lines(text)) == text_lines(text)


def text_lines(text: str) -> List[str]:
    return list(io.StringIO(text, newline="\n"))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_back_whole(text: str):
    assert "".join(sentences([text])) == text == "".join(lines([text]))
    assert list(sentences(text)) == list(sentences([text]))


def said_after(pieces: Iterable[str]) -> List[List[str]]:
    """What had been given by the time that each next piece was asked for."""
    seen: List[str] = []
    states: List[List[str]] = []

    def source() -> Iterator[str]:
        for piece in pieces:
            yield piece
            states.append(list(seen))

    seen.extend(sentences(source()))
    return states


def test_a_sentence_comes_as_soon_as_the_next_word_has_begun():
    assert said_after(["One.", " ", "T", "wo."]) == [[], [], ["One. "], ["One. "]]
    assert said_after(["好。", "是"]) == [[], ["好。"]]
    assert said_after(["A\n\n", "B"]) == [[], ["A\n\n"]]
    assert said_after(["He is in the U.S. ", "The", " end"]) == [[], [], ["He is in the U.S. "]], "perhaps Theresa"


def test_a_line_comes_with_its_line_feed():
    seen: List[str] = []
    pieces = iter(["a", "b\nc\n", "\nd"])
    cut = lines(iter(lambda: next(pieces, None), None))
    for line in cut:
        seen.append(line)
        if line == "c\n":
            assert next(pieces) == "\nd"  # it had not been asked for
            break
    assert seen == ["ab\n", "c\n"]


@pytest.mark.parametrize("cut", [sentences, lines])
def test_what_came_before_an_error_is_given_first(cut: Any):
    def source() -> Iterator[str]:
        yield "One.\nTwo wi"
        raise IncompleteStreamError("cut off")

    found: List[str] = []
    with pytest.raises(IncompleteStreamError, match="cut off"):
        found.extend(cut(source()))
    assert found == ["One.\n", "Two wi"]


def test_sentences_of_a_stream():
    provider = fake("Dr. Who came. He left.")
    with provider.completion_stream(anyllm.Context(timeout=60), PARAMS) as stream:
        assert list(sentences(stream.text_stream)) == ["Dr. Who came. ", "He left."]


@pytest.mark.parametrize("cut", [sentences, lines])
def test_chunks_are_no_text(cut: Any):
    stream = fake("Hello").completion_stream(anyllm.Context(timeout=60), PARAMS)
    with stream, pytest.raises(TypeError, match=r"not ChatCompletionChunk: pass stream\.text_stream"):
        list(cut(stream.chunks))


@pytest.mark.parametrize("unit", ["word ", ". ", ".", " ", "。", "Dr. ", "\n", "`", "[1]", "```\n", '"', "a", "1. "])
@pytest.mark.parametrize(("before", "size"), [("", 1), ("```\n", 1), ("", 4000)])
def test_cost_is_linear(unit: str, before: str, size: int, monkeypatch: pytest.MonkeyPatch):
    """The text that is waiting to be looked at again stays short, whatever comes and however."""
    from anyllm.reading import _sentences

    waiting: List[int] = []
    feed = _sentences._Sentences.feed

    def watched(self: Any, piece: str) -> List[str]:
        waiting.append(len(self._text) - self._at)
        return feed(self, piece)

    monkeypatch.setattr(_sentences._Sentences, "feed", watched)
    text = before + unit * (8000 // len(unit))
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert "".join(sentences(pieces)) == text
    assert max(waiting) <= _sentences._LONGEST_FENCE


# -- progress ----------------------------------------------------------------------------------------------------------


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


def test_usage_replaces_the_estimate_of_what_it_counts():
    """Some hosts count while they go on: what comes after their last word is estimated."""
    progress = Progress()
    progress.feed(chunk(usage=Usage(10, 1, 11)))
    progress.feed("12345678")
    assert (progress.tokens, progress.tokens_are_estimated) == (3, True)
    progress.feed(chunk("9", usage=Usage(10, 7, 17)))
    assert (progress.tokens, progress.tokens_are_estimated) == (7, False)
    progress.feed(chunk(usage=Usage(10, 8, 18, source="estimated")))
    assert (progress.tokens, progress.tokens_are_estimated) == (8, True)


def test_an_answer_that_begins_anew_is_counted_anew():
    progress = Progress()
    progress.feed(chunk("1234", usage=Usage(10, 7, 17)))
    progress.feed(ChatCompletionChunk(retry=RetryNotice("continue")))
    assert progress.characters == 4
    progress.feed(ChatCompletionChunk(retry=RetryNotice("restart")))
    progress.feed("12345678")
    assert (progress.characters, progress.tokens, progress.chunks) == (8, 2, 4)


def test_what_is_not_text_is_content_and_costs_tokens():
    clock = Clock()
    progress = Progress(clock=clock)
    clock.now += 1
    progress.feed(chunk(reasoning=Reasoning("12345678")))
    assert progress.first_content == 1
    progress.feed(chunk(tool_calls=(ToolCall(function=FunctionCall("name", '{"a"')),)))
    progress.feed(chunk(refusal="1234"))
    progress.feed(chunk("1234", index=1))
    assert (progress.characters, progress.tokens) == (0, 6)


def test_progress_refuses_what_is_no_chunk():
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
    said = terminal.getvalue()
    assert said.endswith(f"\r{progress.line()}\n")
    assert said.count("\n") == 1


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


def test_the_line_moves_on_while_the_model_is_silent():
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
        sender.put("a")
        sender.close()

    sending = threading.Thread(target=send)
    sending.start()
    assert list(Progress().show(chunks, Watched(), per_second=1000)) == ["a"]
    sending.join(TIMEOUT)


def closed_file() -> Any:
    file = io.StringIO()
    file.close()
    return file


@pytest.mark.parametrize("file", [io.StringIO(), closed_file(), object()])
def test_what_is_no_terminal_gets_nothing(file: Any):
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


# -- tee ---------------------------------------------------------------------------------------------------------------


def test_each_reader_gets_everything():
    first, second, third = tee(iter("abc"), 3, policy="unbounded")
    assert list(first) == ["a", "b", "c"]
    assert next(second) == "a"
    assert list(third) == ["a", "b", "c"]
    assert list(second) == ["b", "c"]
    assert list(first) == []


def test_nothing_is_read_before_it_is_wanted():
    read: List[int] = []
    first, second = tee((read.append(at) or at for at in range(9)), 2, policy="unbounded")
    assert read == []
    assert (next(first), next(second), read) == (0, 0, [0])


@pytest.mark.parametrize("policy", ["wait", "unbounded"])
@pytest.mark.parametrize("n", [2, 5])
def test_readers_in_threads_get_everything(policy: str, n: int, spawn: Any, fast_switches: None):
    readers = tee(iter(range(2000)), n, policy=policy, buffer=3)
    tasks = [spawn(list, reader) for reader in readers]
    for task in tasks:
        assert task.join() == list(range(2000))


def test_readers_of_a_channel_in_threads_get_everything(spawn: Any, fast_switches: None):
    sender, chunks = open_channel(2)
    tasks = [spawn(list, reader) for reader in tee(chunks, 3, buffer=2)]
    for at in range(1000):
        assert sender.put(at)
    sender.close()
    for task in tasks:
        assert task.join() == list(range(1000))


class Source:
    """An iterator that says how many items were taken, and is never empty."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> int:
        self.taken += 1
        return self.taken


def until_it_waits(reader: Reader[Any]) -> None:
    """Until somebody stands in line behind *reader*'s source."""
    for _ in range(TIMEOUT * 1000):
        if reader._shared.waiting:
            return
        threading.Event().wait(0.001)
    raise AssertionError("nobody waits")


def test_the_fast_reader_waits_for_the_slow_one(spawn: Any):
    source = Source()
    fast, slow = tee(source, 2, buffer=3)
    assert [next(fast) for _ in range(3)] == [1, 2, 3]
    task = spawn(next, fast)
    until_it_waits(fast)
    assert source.taken == 3
    assert next(slow) == 1  # which makes room for one
    assert task.join() == 4
    assert source.taken == 4


@pytest.mark.parametrize("leave", [Reader.close, lambda reader: None], ids=["closed", "let go of"])
def test_a_slow_reader_that_leaves_lets_the_others_go_on(leave: Any, spawn: Any):
    fast, slow = tee(Source(), 2, buffer=1)
    assert next(fast) == 1
    task = spawn(next, fast)
    until_it_waits(fast)
    leave(slow)
    del slow
    gc.collect()
    assert task.join() == 2
    assert [next(fast) for _ in range(50)] == list(range(3, 53))


def test_the_slow_reader_loses_the_oldest_and_knows_how_many():
    fast, slow = tee(iter(range(10)), 2, policy="drop", buffer=3)
    assert list(fast) == list(range(10))
    assert slow.lost == 7
    assert list(slow) == [7, 8, 9]
    assert fast.lost == 0


def test_a_closed_reader_gives_nothing_more():
    first, second = tee(iter("abc"), 2, policy="unbounded")
    assert next(first) == "a"
    with second:
        assert next(second) == "a"
    assert list(second) == []
    assert list(first) == ["b", "c"]


def test_the_source_is_let_go_of_when_all_have_left():
    sender, chunks = open_channel(4)
    first, second = tee(chunks, 2)
    del chunks
    sender.put("a")
    first.close()
    assert not sender.closed
    assert next(second) == "a"
    del second
    gc.collect()
    assert sender.closed


def test_a_stream_is_cancelled_when_all_have_left():
    with serve(Reply.sse([*chat_events("one", finish_reason=None), Stall()])) as server:
        stream = ask(server.url)  # which stays: its owner may ask it for errors
        first, second = tee(stream, 2)
        assert next(first).content == ""
        first.close()
        assert anyllm.active_streams() == 1
        second.close()
        error = stream.errors.get(timeout=TIMEOUT)
        assert isinstance(error, Cancelled)
        assert error.cause == "abandoned"
        assert server.wait_closed()


def test_a_generator_is_closed_when_all_have_left():
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(9)
        finally:
            closed.set()

    first, second = tee(source(), 2)
    next(first)
    first.close()
    assert not closed.is_set()
    second.close()
    gc.collect()
    assert closed.is_set()


@pytest.mark.parametrize("read_first", [0, 1])
def test_the_source_s_error_reaches_every_reader_after_what_came(read_first: int):
    def source() -> Iterator[str]:
        yield from "ab"
        raise IncompleteStreamError("cut off")

    readers = tee(source(), 2, policy="unbounded")
    for reader in (readers[read_first], readers[1 - read_first]):
        found: List[str] = []
        for _ in range(2):
            with pytest.raises(IncompleteStreamError, match="cut off"):
                found.extend(reader)
        assert found == ["a", "b"]


def test_an_error_reaches_readers_that_wait(spawn: Any):
    """One waits for the source, the other for the first; both must learn of it."""
    go, begun = threading.Event(), threading.Event()

    def source() -> Iterator[str]:
        begun.set()
        assert go.wait(TIMEOUT)
        raise IncompleteStreamError("cut off")
        yield ""

    first, second = tee(source(), 2)
    tasks = [spawn(next, first)]
    assert begun.wait(TIMEOUT)
    tasks.append(spawn(next, second))
    until_it_waits(second)
    go.set()
    for task in tasks:
        with pytest.raises(IncompleteStreamError):
            task.join()


def test_the_error_of_a_stream_reaches_every_reader():
    with serve(Reply.sse(chat_events("so far", finish_reason=None, usage=False), done=False)) as server:
        for reader in tee(ask(server.url), 2, policy="unbounded"):
            found: List[str] = []
            with pytest.raises(IncompleteStreamError):
                found.extend(each.content for each in reader)
            assert "".join(found) == "so far"


def test_closing_frees_a_reader_that_waits_for_a_channel(spawn: Any):
    """And the other, which waited for the first to read, reads for itself."""
    sender, chunks = open_channel(1)
    first, second = tee(chunks, 2)
    task = spawn(list, first)
    until_receiving(chunks)
    other = spawn(list, second)
    until_it_waits(second)
    first.close()
    assert task.join() == []
    sender.put("a")
    sender.close()
    assert other.join() == ["a"]


def until_receiving(chunks: Any) -> None:
    for _ in range(TIMEOUT * 1000):
        if chunks._pipes[0].receivers:
            return
        threading.Event().wait(0.001)
    raise AssertionError("nobody receives")


def test_closing_frees_a_reader_that_waits_for_another(spawn: Any):
    sender, chunks = open_channel(1)
    first, second = tee(chunks, 2)
    reading = spawn(list, first)
    until_receiving(chunks)
    waiting = spawn(list, second)
    until_it_waits(second)
    second.close()
    assert waiting.join() == []
    sender.close()
    assert reading.join() == []


def test_whoever_comes_late_to_the_source_does_not_read_past_the_bound():
    """Between seeing that there is room and getting the turn, another may have read something for everybody."""
    source = Source()
    first, second = tee(source, 2, buffer=1)
    shared: Any = first._shared
    turn = shared._turn

    class Late:
        def acquire(self, blocking: bool = True) -> bool:
            shared._turn = turn
            assert next(second) == 1
            return turn.acquire(blocking)  # type: ignore[no-any-return]

    shared._turn = Late()
    assert next(first) == 1
    assert source.taken == 1


def test_what_interrupts_a_reader_of_a_channel_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C comes to one thread; nothing of the channel is lost."""
    from anyllm.reading import _tee

    sender, chunks = open_channel(4)
    first, second = tee(chunks, 2, policy="unbounded")

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_tee, "select", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(first)
    sender.put("a")
    sender.close()
    assert list(second) == list(first) == ["a"]


def test_a_reader_may_be_collected_in_the_middle_of_anything():
    """A finalizer runs in any line, also while its own thread has the turn: it must not wait for that."""
    done: List[Any] = []

    def source() -> Iterator[int]:
        done.append(readers.pop())
        done.pop()  # the last reference: it is collected here, inside `next`
        gc.collect()
        yield 1
        yield 2

    readers = list(tee(source(), 3))
    first, second = readers[0], readers[1]
    assert next(first) == 1
    assert next(second) == 1
    assert next(first) == 2


@pytest.mark.parametrize("lets_go_of", ["n", "buffer"])
@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (True, TypeError), (1.5, TypeError)])
def test_numbers_are_checked(lets_go_of: str, value: Any, error: Any):
    with pytest.raises(error, match=lets_go_of):
        tee([], **{lets_go_of: value})


def test_policies_are_checked():
    with pytest.raises(ValueError, match="one of wait, drop, unbounded: 'block'"):
        tee([], policy="block")
    with pytest.raises(TypeError):
        tee(5)  # type: ignore[arg-type]


def test_a_queue_error_of_a_source_is_an_error():
    """`queue.Empty` is how a Channel says "not yet"; of any other source it is a failure."""

    def source() -> Iterator[int]:
        raise queue.Empty
        yield 1

    with pytest.raises(queue.Empty):
        list(tee(source(), 1)[0])
