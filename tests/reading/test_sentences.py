"""Sentences and lines: where they end, and that the cuts of the pieces make no difference."""

from __future__ import annotations

import io
from typing import Any, Iterable, Iterator, List

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loopback import PARAMS

import anyllm
from anyllm.errors import IncompleteStreamError
from anyllm.reading import lines, sentences
from anyllm.reading._sentence_splitter import LONGEST_FENCE, SentenceSplitter
from anyllm.testing import fake

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


@settings(max_examples=400)
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


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_any_text_comes_back_whole(text: str):
    assert "".join(sentences([text])) == text == "".join(lines([text]))
    assert list(sentences(text)) == list(sentences([text]))


def given_after(pieces: Iterable[str]) -> List[List[str]]:
    """The sentences that were out when each next piece was asked for."""
    found: List[str] = []
    states: List[List[str]] = []

    def source() -> Iterator[str]:
        for piece in pieces:
            yield piece
            states.append(list(found))

    found.extend(sentences(source()))
    return states


def test_a_sentence_comes_as_soon_as_the_next_word_has_begun():
    assert given_after(["One.", " ", "T", "wo."]) == [[], [], ["One. "], ["One. "]]
    assert given_after(["好。", "是"]) == [[], ["好。"]]
    assert given_after(["A\n\n", "B"]) == [[], ["A\n\n"]]
    assert given_after(["He is in the U.S. ", "The", " end"]) == [[], [], ["He is in the U.S. "]], "perhaps Theresa"


def test_a_line_comes_with_its_line_feed():
    pieces = iter(["a", "b\nc\n", "\nd"])
    cut = lines(pieces)
    assert [next(cut), next(cut)] == ["ab\n", "c\n"]
    assert next(pieces) == "\nd"  # it had not been asked for


@pytest.mark.parametrize("cut", [sentences, lines])
def test_text_before_an_error_comes_first(cut: Any):
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
def test_cost_is_linear(unit: str, before: str, size: int):
    """The text that will be looked at again stays short, whatever comes and however."""
    splitter = SentenceSplitter()
    text = before + unit * (8000 // len(unit))
    found: List[str] = []
    pending: List[int] = []
    for at in range(0, len(text), size):
        found += splitter.feed(text[at : at + size])
        pending.append(splitter.pending)
    assert "".join([*found, *splitter.finish()]) == text
    assert max(pending) <= LONGEST_FENCE
