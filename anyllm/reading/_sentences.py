"""Sentences and lines of a text that comes in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Union

from anyllm.reading._sentence_splitter import SentenceSplitter


def sentences(pieces: Iterable[str]) -> Iterator[str]:
    """
    Split text into whole sentences, each as soon as the next one begins; for speech, translation or a steady display.

    Joined they are the text again: white space stays at the end of the sentence before it. Paragraphs, list items,
    headings and table rows end a sentence too; a fenced block of code is one piece. It knows the abbreviations of
    English, and a few of German, French and Spanish.

    Args:
        pieces: Text cut anywhere, as `Stream.text_stream` gives it.

    Raises:
        The exception of *pieces*, after the text that came before it.
    """
    return _split(pieces, SentenceSplitter())


def lines(pieces: Iterable[str]) -> Iterator[str]:
    """
    Split text into whole lines with their line feeds; the last line may have none.

    Argument and exceptions as in `sentences`.
    """
    return _split(pieces, _LineSplitter())


def _split(pieces: Iterable[str], splitter: Union[SentenceSplitter, _LineSplitter]) -> Iterator[str]:
    source = iter(pieces)
    while True:
        try:
            piece = next(source)
        except StopIteration:
            break
        except Exception:
            yield from splitter.finish()
            raise
        if not isinstance(piece, str):
            raise TypeError(f"expected text, not {type(piece).__name__}: pass stream.text_stream")
        yield from splitter.feed(piece)
    yield from splitter.finish()


class _LineSplitter:
    def __init__(self) -> None:
        self._parts: list[str] = []

    def feed(self, piece: str) -> list[str]:
        *whole, rest = piece.split("\n")
        if whole:
            whole[0] = "".join((*self._parts, whole[0]))
            self._parts.clear()
        if rest:
            self._parts.append(rest)
        return [f"{line}\n" for line in whole]

    def finish(self) -> list[str]:
        return ["".join(self._parts)] if self._parts else []
