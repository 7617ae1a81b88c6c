"""
Split text into sentences while it comes.

Strategy: a state machine walks the text once. It stores a few facts about the text behind it, looks at most `_LOOK`
characters back and ahead, and decides only when these characters have come: so the result does not depend on how the
text was cut into pieces, and the cost is linear. pysbd takes whole texts: called again with each piece it needs 0.3 ms
where this needs 6 µs, and it cuts "Well..." after the first dot, because it cannot know that more will come.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Optional

from anyllm.reading._abbreviations import (
    BEFORE_NAMES,
    BEFORE_NUMBERS,
    DATES,
    INTRODUCTIONS,
    SENTENCE_STARTERS,
    SOMETIMES_FINAL,
)

#: How many characters before a stop, and after the white space that follows it, a decision may depend on.
_LOOK = 32
#: The longest line that can close a fenced block of code.
LONGEST_FENCE = 80

_WIDE = "。！？｡"  # need no space after them
_STOPS = f".!?…‼⁇⁈⁉؟۔।॥{_WIDE}"
_CLOSERS = "\"'”’»›)\\]}*_`~」』）】》〉"
_OPENERS = "\"'“”„‘«‹(\\[{*_~`¿¡「『（【《〈"

_STOP = re.compile(f"[{_STOPS}\n]")
#: Further stops, closing quotes and brackets, and references ("[1]"), in any order.
_AFTER_STOP = re.compile(rf"(?:[{_STOPS}]|[{_CLOSERS}]|\[\d{{1,3}}\])*")
_REFERENCE_BEGUN = re.compile(r"\[\d{0,3}\Z")
_SPACE = re.compile(r"\s*")
_OPENING = re.compile(f"[{_OPENERS}]*")
_LETTERS = re.compile(r"[^\W\d_]+")
_WORD = re.compile(r"[^\s(\[{\"'“‘«*_`/–—]*\Z")
#: "1", "a" or "iv" at the beginning of a sentence: a list number.
_NUMBERING = re.compile(r"[\s\"'(\[*_>#+-]*(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})\Z")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_])+\Z|[A-Z]\Z")

_FENCE = re.compile(r"`{3,}|~{3,}")
_FENCE_BEGUN = re.compile(r"(?:`+|~+)\Z")
_HEADING = re.compile(r"#{1,6}\s")
_BLOCK = re.compile(r"[-*+•]\s|\d{1,9}[.)]\s|#{1,6}\s|[>|]")
_BLOCK_BEGUN = re.compile(r"(?:[-*+•]|\d{1,9}[.)]?|#{1,6})\Z")


class SentenceSplitter:
    """
    The state machine. Each step consumes text, and returns False when it needs more text.

    The consumed text of the current sentence is ``_parts`` and ``_text[_start:_at]``.
    """

    def __init__(self) -> None:
        self._text = ""
        self._start = 0
        self._at = 0
        self._parts: list[str] = []
        self._before = ""  # the last characters of `_parts`
        self._length = 0  # the number of characters in `_parts`
        self._is_last = False  # no more text will come
        self._sentences: list[str] = []
        # Facts about the consumed text:
        self._first = True  # it is only white space
        self._stops = 0  # stops since the last word; 0 after a bare line feed
        self._plain = False  # the only stop is "."
        self._wide = False  # one of the stops needs no space
        self._quoted = False  # a quote or bracket closes after the stops
        self._word = ""  # the word before the stops
        self._numbering = False  # that word is a list number
        self._feeds = 1  # line feeds after the stops; the text begins a line
        self._heading = False  # the sentence is a heading
        self._fence = ""  # the characters with which the block of code began
        self._code_over = False  # the block of code has ended
        self._may_close = False  # this line of the block may be its last
        self._step: Callable[[], bool] = self._in_space

    @property
    def pending(self) -> int:
        """How many characters will be looked at again with the next piece."""
        return len(self._text) - self._at

    def feed(self, piece: str) -> list[str]:
        """The sentences that end before or in *piece*."""
        consumed = self._text[self._start : self._at]
        if consumed:
            self._parts.append(consumed)
            self._before = (self._before + consumed[-_LOOK:])[-_LOOK:]
            self._length += len(consumed)
        self._text = self._text[self._at :] + piece
        self._start = self._at = 0
        return self._run()

    def finish(self) -> list[str]:
        """The last sentences, at the end of the text."""
        self._is_last = True
        self._run()
        self._at = len(self._text)
        self._cut()
        return self._sentences

    def _run(self) -> list[str]:
        self._sentences = []
        while self._at < len(self._text) and self._step():
            pass
        return self._sentences

    def _cut(self) -> None:
        sentence = "".join((*self._parts, self._text[self._start : self._at]))
        if sentence:
            self._sentences.append(sentence)
        self._parts.clear()
        self._before = ""
        self._length = 0
        self._start = self._at
        self._heading = False

    # -- the steps -----------------------------------------------------------------------------------------------------

    def _in_text(self) -> bool:
        stop = _STOP.search(self._text, self._at)
        if stop is None:
            self._at = len(self._text)
            return False
        self._at = stop.start()
        self._stops = self._feeds = 0
        self._plain = self._wide = self._quoted = self._code_over = False
        if stop.group() == "\n":
            self._step = self._in_space
            return True
        consumed = self._text[max(self._start, self._at - _LOOK) : self._at]
        behind = (self._before + consumed)[-_LOOK:]
        word = _WORD.search(behind)
        self._word = word.group() if word else ""
        is_whole = self._length + self._at - self._start <= _LOOK
        self._numbering = is_whole and _NUMBERING.match(behind) is not None
        self._step = self._in_stop
        return True

    def _in_stop(self) -> bool:
        run = _AFTER_STOP.match(self._text, self._at)
        assert run is not None  # it may be empty
        for letter in run.group():
            if letter in _STOPS:
                self._stops += 1
                self._plain = letter == "." and self._stops == 1
                self._wide = self._wide or letter in _WIDE
            else:
                self._quoted = True
        self._at = run.end()
        if self._at == len(self._text) or (not self._is_last and _REFERENCE_BEGUN.match(self._text, self._at)):
            return False
        after = self._text[self._at]
        if after.isspace():
            self._step = self._in_space
            return True
        # 「はい。」と言った continues, as "Yes." he said does.
        if self._wide and (not self._quoted or _OPENING.fullmatch(after)):
            self._cut()
        self._step = self._in_text
        return True

    def _in_space(self) -> bool:
        space = _SPACE.match(self._text, self._at)
        assert space is not None  # it may be empty
        self._feeds += space.group().count("\n")
        self._at = space.end()
        self._step = self._at_word
        return True

    def _at_word(self) -> bool:
        if self._text[self._at].isspace():  # the white space came in two pieces
            self._step = self._in_space
            return True
        ahead = self._text[self._at : self._at + _LOOK]
        is_all = self._is_last or len(ahead) == _LOOK
        starts_line = self._feeds > 0
        if starts_line and not is_all and (_FENCE_BEGUN.match(ahead) or _BLOCK_BEGUN.match(ahead)):
            return False
        fence = _FENCE.match(ahead) if starts_line else None
        ends = True if fence else self._ends_before(ahead, is_all)
        if ends is None:
            return False
        if ends and not self._first:
            self._cut()
        self._first = False
        self._heading = self._heading or (starts_line and _HEADING.match(ahead) is not None)
        self._step = self._in_text
        if fence:
            self._fence = fence.group()
            self._at += len(self._fence)
            self._step = self._after_fence
        return True

    def _after_fence(self) -> bool:
        """The rest of the fence's line names the language; with a backtick in it, it is code within a line of text."""
        end = re.compile("[\n`]" if self._fence[0] == "`" else "\n").search(self._text, self._at)
        if end is None:
            self._at = len(self._text)
            return False
        self._at = end.end()
        self._may_close = True
        self._step = self._in_code if end.group() == "\n" else self._in_text
        return True

    def _in_code(self) -> bool:
        end = self._text.find("\n", self._at)
        line = self._text[self._at :] if end < 0 else self._text[self._at : end]
        self._may_close = self._may_close and len(line) <= LONGEST_FENCE and not line.strip(f" \t\r{self._fence[0]}")
        if end < 0:
            if not self._may_close:  # else look at the whole line again
                self._at = len(self._text)
            return False
        self._at = end
        if self._may_close and self._fence in line and " " not in line.strip():
            self._stops = self._feeds = 0
            self._code_over = True
            self._step = self._in_space
        else:
            self._at += 1
            self._may_close = True
        return True

    # -- the decision --------------------------------------------------------------------------------------------------

    def _ends_before(self, ahead: str, is_all: bool) -> Optional[bool]:
        """Whether the sentence ends before *ahead*; None if more text is needed to decide."""
        if self._feeds >= 2 or self._code_over or self._wide or (self._feeds and self._heading):
            return True
        if self._feeds and _BLOCK.match(ahead):
            return True
        if not self._stops:
            return False
        opening = _OPENING.match(ahead)
        assert opening is not None  # it may be empty
        if opening.end() == len(ahead):
            return True if is_all else None
        first = ahead[opening.end()]
        is_code = "`" in opening.group()  # the case of code means nothing
        if first in ",;:)]}|.!?…" or (first.islower() and not is_code):
            return False
        return self._may_end_with(self._word, ahead, opening.end(), is_all) if self._plain else True

    def _may_end_with(self, word: str, ahead: str, at: int, is_all: bool) -> Optional[bool]:
        """Whether the "." after *word* ends a sentence, where the next word begins at ``ahead[at]``."""
        lowered = word.lower()
        if not word or self._numbering or word in BEFORE_NAMES or lowered in INTRODUCTIONS:
            return False
        if lowered in BEFORE_NUMBERS:
            return not ahead[at].isdigit()
        if lowered not in SOMETIMES_FINAL and word not in DATES and not _INITIALS.match(word):
            return True
        letters = _LETTERS.match(ahead, at)
        if letters is None:
            return False
        if letters.end() == len(ahead):
            return letters.group().lower() in SENTENCE_STARTERS if is_all else None
        return letters.group().lower() in SENTENCE_STARTERS and ahead[letters.end()] != "."
