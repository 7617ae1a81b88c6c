"""
A JSON document that is read while it is still being written.

Strategy: the readers that take incomplete JSON (jiter, partial-json-parser) start from the beginning each time, so a
document in n pieces costs n/2 times its length; this one stands where it stopped. What it needs to know lies in a few
fields and a stack of the open containers, so nothing recurses. A step is a function that takes the text from one place
to the next and says which step follows. What comes out is what `json.loads` makes of the whole document.
"""

from __future__ import annotations

import enum
import re
from typing import Any, Callable, Final, Union

__all__ = ["JSONStream", "JSONStreamError", "repair"]

_SPACE = re.compile(r"[ \t\n\r]*").match
_LEAD = re.compile("[ \t\n\r\ufeff]*").match
_TICKS = re.compile("`*").match
_INFO = re.compile(r"[\w+.-]*").match
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*').match
_HEX = re.compile("[0-9a-fA-F]*").match
#: What a number may hold; whether it is one shows when it has ended.
_NUMERIC = re.compile("[-+.0-9eE]*").match
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?").fullmatch
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
#: By their first letter. The last three are not JSON, but what Python's own writer and reader make of such floats.
_LITERALS = {
    "t": ("true", True),
    "f": ("false", False),
    "n": ("null", None),
    "N": ("NaN", float("nan")),
    "I": ("Infinity", float("inf")),
    "-": ("-Infinity", float("-inf")),
}
_FENCE = 3
_HEX_DIGITS = 4
_join = "".join


class _Nothing(enum.Enum):
    """A type of its own, whose one member stays itself when it is copied or pickled."""

    NOTHING = "nothing"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "JSONStream.NOTHING"


class JSONStreamError(ValueError):
    """
    The text is not one JSON document.

    Attributes:
        reason: What is wrong, without the place.
        position: Where: characters from the start of all that was fed, a fence and white space included.
        is_truncated: Whether the text was right as far as it came, and only ended too early.
    """

    def __init__(self, reason: str, position: int, is_truncated: bool = False) -> None:
        super().__init__(reason, position, is_truncated)
        self.reason = reason
        self.position = position
        self.is_truncated = is_truncated

    def __str__(self) -> str:
        return f"{self.reason} at character {self.position}"


class JSONStream:
    """
    Reads one JSON document from text that comes in any pieces.

    The document may stand after white space, a byte order mark or the opening line of a Markdown code fence. What
    follows it is kept in `rest` and not looked at. Feeding costs in total what the text is long. One thread at a time.

    Attributes:
        NOTHING: What `value` is while nothing has begun; false, and not None, which is a document too.
        error: Why the text is no JSON, or None. After an error further text is ignored.
        is_complete: Whether the document has ended. A number at the top ends with what follows it, or in `finish`.
    """

    NOTHING: Final = _Nothing.NOTHING

    def __init__(self) -> None:
        self.error: JSONStreamError | None = None
        self.is_complete = False
        self._step: Callable[[JSONStream, str, int], int] = JSONStream._lead
        self._fed = 0  # characters, of the pieces before this one
        self._ticks = 0
        self._root: Any = JSONStream.NOTHING
        self._open: list[Union[dict[str, Any], list[Any]]] = []
        # For each open container the key of its last value, if it is an object.
        self._keys: list[str | None] = []
        self._key: str | None = None  # has been read, and its value not begun
        self._is_key = False  # of the string that is open
        self._pieces: list[str] = []  # of the string or number that is open
        self._stale = False  # the open string has grown since it was last put into the value
        self._high = ""  # half a surrogate pair, whose other half may come
        self._digits = ""  # of an escape
        self._literal: tuple[str, Any] = ("", None)
        self._matched = 0
        self._begin = 0  # where the document begins
        self._kept = 0  # up to where the text is in the value
        self._rest: list[str] = []

    # -- what callers see --------------------------------------------------------------------------------------

    def feed(self, text: str) -> None:
        """Read on. Raises nothing for what *text* says: see `error`."""
        at, end = 0, len(text)
        while at < end and self.error is None:
            at = self._step(self, text, at)
        self._fed += end

    @property
    def value(self) -> Any:
        """
        The document so far, or `NOTHING`; always a beginning of what it will be.

        Objects have the keys whose values have begun, strings are as long as is certain (half an escape or surrogate
        pair is held back), numbers are there once they have ended, and literals once they are whole. Where a key comes
        twice, the second value takes the first one's place when it begins.

        This is the live value: dicts and lists are the same ones each time, and grow as text is fed; the string that
        is open is brought up to date in them when `value` is read, which copies that string. See `snapshot`.
        """
        if self._stale:
            self._stale = False
            said = _join(self._pieces)
            self._pieces = [said]
            self._replace(said)
        return self._root

    def snapshot(self) -> Any:
        """A copy of `value`, all the way down, that does not change any more. Costs what the document is large."""
        return _copy(self.value)

    @property
    def path(self) -> tuple[str | int, ...]:
        """Keys and indexes that lead from `value` to what came last: the value that grows, or the one that ended."""
        way = zip(self._open, self._keys)
        return tuple(len(container) - 1 if key is None else key for container, key in way if container)

    @property
    def rest(self) -> str:
        """The text behind the document: the end of the fence, and what the model had to add."""
        said = _join(self._rest)
        self._rest = [said]
        return said

    def finish(self) -> Any:
        """
        Say that no more text comes; gives `value`.

        Raises:
            JSONStreamError: what came is not a whole JSON document; the error says where and why.
        """
        if self._step is JSONStream._number and self.error is None:
            said = _join(self._pieces)
            # At the top it ends here. Elsewhere it is only short, if with a digit more it would be a number.
            is_whole, is_short = _NUMBER(said) is not None, _NUMBER(said + "0") is not None
            if (is_whole and not self._open) or not (is_whole or is_short):
                self._end_number(said, 0)
        if self.error is not None:
            raise self.error
        if not self.is_complete:
            raise JSONStreamError(f"the document is cut off: {self._expected()}", self._fed, is_truncated=True)
        return self.value

    def _expected(self) -> str:
        if self._step in _IN_TEXT:
            return "the key is not closed" if self._is_key else "the string is not closed"
        if self._step is JSONStream._number:
            return "the number may go on"
        if self._step is JSONStream._word:
            return f"{self._literal[0]} is not whole"
        if not self._open:
            return "no value has begun"
        return f"the {'object' if isinstance(self._open[-1], dict) else 'list'} is not closed"

    # -- around the document -----------------------------------------------------------------------------------

    def _lead(self, text: str, at: int) -> int:
        at = _end(_LEAD(text, at))
        if at < len(text):
            self._step = JSONStream._fence if text[at] == "`" else JSONStream._first_value
        return at

    def _fence(self, text: str, at: int) -> int:
        end = _end(_TICKS(text, at))
        self._ticks += end - at
        if end < len(text):
            if self._ticks < _FENCE:
                return self._fail("expected a value", end - self._ticks, end)
            self._step = JSONStream._info
        return end

    def _info(self, text: str, at: int) -> int:
        """The language, up to the end of the word."""
        end = _end(_INFO(text, at))
        if end < len(text):
            self._step = JSONStream._after_fence
        return end

    def _after_fence(self, text: str, at: int) -> int:
        at = _end(_SPACE(text, at))
        if at < len(text):
            self._step = JSONStream._first_value
        return at

    def _first_value(self, text: str, at: int) -> int:
        self._begin = self._fed + at
        return self._value(text, at)

    def _after_document(self, text: str, at: int) -> int:
        self._rest.append(text[at:])
        return len(text)

    # -- between values ----------------------------------------------------------------------------------------

    def _value(self, text: str, at: int) -> int:
        at = _end(_SPACE(text, at))
        if at == len(text):
            return at
        sign = text[at]
        if sign == '"':
            self._is_key = False
            self._place("")
            self._pieces = []
            self._step = JSONStream._text
            self._kept = self._fed + at + 1
        elif sign == "{":
            self._enter({}, JSONStream._first_key, at)
        elif sign == "[":
            self._enter([], JSONStream._first_item, at)
        elif sign == "-" or "0" <= sign <= "9":
            self._pieces = []
            self._step = JSONStream._number
            return at
        elif sign in _LITERALS:
            self._literal, self._matched = _LITERALS[sign], 1
            self._step = JSONStream._word
        else:
            return self._fail("expected a value", at, at)
        return at + 1

    def _first_item(self, text: str, at: int) -> int:
        at = _end(_SPACE(text, at))
        if at < len(text) and text[at] == "]":
            return self._leave(at)
        return self._value(text, at) if at < len(text) else at

    def _first_key(self, text: str, at: int) -> int:
        at = _end(_SPACE(text, at))
        if at < len(text) and text[at] == "}":
            return self._leave(at)
        return self._begin_key(text, at, "expected a key or '}'")

    def _next_key(self, text: str, at: int) -> int:
        return self._begin_key(text, _end(_SPACE(text, at)), "expected a key")

    def _begin_key(self, text: str, at: int, otherwise: str) -> int:
        if at == len(text):
            return at
        if text[at] != '"':
            return self._fail(otherwise, at, at)
        self._is_key = True
        self._pieces = []
        self._step = JSONStream._text
        return at + 1

    def _colon(self, text: str, at: int) -> int:
        at = _end(_SPACE(text, at))
        if at == len(text):
            return at
        if text[at] != ":":
            return self._fail("expected ':'", at, at)
        self._step = JSONStream._value
        return at + 1

    def _after_value(self, text: str, at: int) -> int:
        at = _end(_SPACE(text, at))
        if at == len(text):
            return at
        is_object = isinstance(self._open[-1], dict)
        if text[at] == ",":
            self._step = JSONStream._next_key if is_object else JSONStream._value
            return at + 1
        if text[at] == ("}" if is_object else "]"):
            return self._leave(at)
        return self._fail(f"expected ',' or {'}' if is_object else ']'!r}", at, at)

    # -- strings, numbers, literals ----------------------------------------------------------------------------

    def _text(self, text: str, at: int) -> int:
        end = _end(_PLAIN(text, at))
        if end > at:
            self._say(text[at:end], end)
        if end == len(text):
            return end
        if text[end] == "\\":
            self._step = JSONStream._escape
        elif text[end] == '"':
            self._end_text(end + 1)
        else:
            return self._fail("a control character that is not escaped", end, end)
        return end + 1

    def _escape(self, text: str, at: int) -> int:
        if text[at] == "u":
            self._digits = ""
            self._step = JSONStream._hex
        elif text[at] in _ESCAPES:
            self._say(_ESCAPES[text[at]], at + 1)
            self._step = JSONStream._text
        else:
            return self._fail(f"no such escape: {text[at]!r}", at, at)
        return at + 1

    def _hex(self, text: str, at: int) -> int:
        piece = text[at : at + _HEX_DIGITS - len(self._digits)]
        good = _end(_HEX(piece, 0))
        if good < len(piece):
            return self._fail("expected four hexadecimal digits", at + good, at)
        self._digits += piece
        at += len(piece)
        if len(self._digits) == _HEX_DIGITS:
            self._step = JSONStream._text
            self._say_code(int(self._digits, 16), at)
        return at

    def _say_code(self, code: int, end: int) -> None:
        if self._high and 0xDC00 <= code <= 0xDFFF:
            whole = 0x10000 + ((ord(self._high) - 0xD800) << 10) + (code - 0xDC00)
            self._high = ""
            self._say(chr(whole), end)
        elif 0xD800 <= code <= 0xDBFF:
            if self._high:  # nothing that follows completes the one before; it stays as it is, as in json.loads
                self._say("", end - 6)
            self._high = chr(code)
        else:
            self._say(chr(code), end)

    def _say(self, text: str, end: int) -> None:
        if self._high:
            text, self._high = self._high + text, ""
        self._pieces.append(text)
        if not self._is_key:
            self._stale = True
            self._kept = self._fed + end

    def _end_text(self, end: int) -> None:
        if self._high:
            self._say("", end - 1)
        said = _join(self._pieces)
        self._pieces = []
        if self._is_key:
            self._key = said
            self._step = JSONStream._colon
            return
        self._stale = False
        self._replace(said)
        self._end_value(end)

    def _number(self, text: str, at: int) -> int:
        end = _end(_NUMERIC(text, at))
        self._pieces.append(text[at:end])
        if end == len(text):
            return end
        said = _join(self._pieces)
        if said == "-" and text[end] == "I":
            self._pieces = []
            self._literal, self._matched = _LITERALS["-"], 1
            self._step = JSONStream._word
        else:
            self._end_number(said, end)
        return end

    def _end_number(self, said: str, end: int) -> None:
        match = _NUMBER(said)
        if match is None:
            self._fail(f"no number: {said[:40]}", end - len(said), end)
            return
        try:
            number = float(said) if match[1] or match[2] else int(said)
        except ValueError as exc:  # Python limits the digits of an int
            self._fail(str(exc), end - len(said), end)
            return
        self._pieces = []
        self._place(number)
        self._end_value(end)

    def _word(self, text: str, at: int) -> int:
        word, value = self._literal
        piece = text[at : at + len(word) - self._matched]
        if not word.startswith(piece, self._matched):
            return self._fail(f"expected {word}", at - self._matched, at)
        self._matched += len(piece)
        at += len(piece)
        if self._matched == len(word):
            self._place(value)
            self._end_value(at)
        return at

    # -- the value ---------------------------------------------------------------------------------------------

    def _place(self, value: Any) -> None:
        """A value begins, or comes whole."""
        if not self._open:
            self._root = value
            return
        container = self._open[-1]
        if isinstance(container, list):
            container.append(value)
        else:
            self._keys[-1], self._key = self._key, None
            self._replace(value)

    def _replace(self, value: Any) -> None:
        """The value that began last is now *value*."""
        if not self._open:
            self._root = value
        else:
            container: Any = self._open[-1]
            key = self._keys[-1]
            container[-1 if key is None else key] = value

    def _enter(self, container: Any, step: Callable[[JSONStream, str, int], int], at: int) -> None:
        self._place(container)
        self._open.append(container)
        self._keys.append(None)
        self._step = step
        self._kept = self._fed + at + 1

    def _leave(self, at: int) -> int:
        self._open.pop()
        self._keys.pop()
        self._end_value(at + 1)
        return at + 1

    def _end_value(self, end: int) -> None:
        self._kept = self._fed + end
        self.is_complete = not self._open
        self._step = JSONStream._after_document if self.is_complete else JSONStream._after_value

    def _fail(self, reason: str, where: int, at: int) -> int:
        """Give up; *where* counts from the start of this piece, and may lie in one before."""
        self.error = JSONStreamError(reason, self._fed + where)
        return at


def repair(text: str) -> tuple[Any, str]:
    """
    The value of a document that was cut off, and its text, closed.

    Strings, lists and objects that are open are closed. Dropped are keys without a value, numbers (which might go on),
    literals, escapes and surrogate pairs that are not whole, a trailing comma, and what stands around the document. A
    whole document is left as it is. What is wrong, not only short, is not repaired.

    Raises:
        JSONStreamError: *text* is malformed, or nothing of it is left.
    """
    stream = JSONStream()
    stream.feed(text)
    try:
        stream.finish()
    except JSONStreamError as exc:
        if not exc.is_truncated or stream.value is JSONStream.NOTHING:
            raise
    is_text = not stream.is_complete and not stream._is_key and stream._step in _IN_TEXT
    ends = ["}" if isinstance(container, dict) else "]" for container in reversed(stream._open)]
    return stream.value, _join([text[stream._begin : stream._kept], '"' if is_text else "", *ends])


_IN_TEXT = (JSONStream._text, JSONStream._escape, JSONStream._hex)


def _end(match: Any) -> int:
    """Where a pattern that always matches ended."""
    end: int = match.end()
    return end


def _copy(value: Any) -> Any:
    """Dicts and lists all the way down, however deep: `copy.deepcopy` recurses."""
    top = [value]
    todo: list[Any] = [top]
    while todo:
        container = todo.pop()
        places = container if isinstance(container, dict) else range(len(container))
        for place in places:
            inner = container[place]
            if isinstance(inner, (dict, list)):
                container[place] = inner.copy()
                todo.append(container[place])
    return top[0]
