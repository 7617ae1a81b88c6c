"""
Incremental JSON parser: the value of a document while its text is still arriving.

Strategy: parsers of incomplete JSON (jiter, partial-json-parser) start again with each piece of text, so a document in
n pieces costs n/2 times its length. This one continues where it stopped. Its state is a few fields and a stack of open
containers, so nothing recurses. Each step is a method of the text and an index, which reads as far as it can, sets
the next step and returns the next index. The result equals that of `json.loads` on the whole document.

The module is long because it is one state machine: every step reads and sets the same fields.
"""

from __future__ import annotations

import enum
import re
from typing import Any, Callable, Final, Union

__all__ = ["JSONStream", "JSONStreamError", "repair"]

_SPACE = re.compile(r"[ \t\n\r]*").match
_SPACE_OR_BOM = re.compile("[ \t\n\r\ufeff]*").match
_TICKS = re.compile("`*").match
_LANGUAGE = re.compile(r"[\w+.-]*").match
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*').match
_HEX = re.compile("[0-9a-fA-F]*").match
#: The characters of a number; `_NUMBER` checks it at its end.
_NUMERIC = re.compile("[-+.0-9eE]*").match
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?").fullmatch
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
#: By first character. The last three are not JSON, but Python's json module writes and reads them.
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
_joined = "".join


class _Nothing(enum.Enum):
    """The type of `JSONStream.NOTHING`. An enum, because its member stays identical when copied or pickled."""

    NOTHING = "nothing"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "JSONStream.NOTHING"


class JSONStreamError(ValueError):
    """
    The text is not one JSON document.

    Attributes:
        reason: What is wrong, without the position.
        position: Characters from the start of all text that was fed, a fence and white space included.
        is_truncated: Whether the text is the beginning of a valid document.
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
    Parser of one JSON document that arrives in pieces of any size.

    White space, a byte order mark or the opening line of a Markdown code fence may precede the document. Text after it
    goes to `rest`, unparsed. The total cost is linear in the length of the text. For one thread at a time.

    Attributes:
        NOTHING: `value` before the document has begun. It is falsy; None is a document of its own.
        error: Why the text is not JSON, or None. After an error further text is ignored.
        is_complete: Whether the document has ended. A number at the top ends with the character after it, or in
            `finish`.
    """

    NOTHING: Final = _Nothing.NOTHING

    def __init__(self) -> None:
        self.error: JSONStreamError | None = None
        self.is_complete = False
        self._step: Callable[[JSONStream, str, int], int] = JSONStream._before_document
        self._offset = 0  # characters in the earlier pieces
        self._ticks = 0
        self._root: Any = JSONStream.NOTHING
        self._containers: list[Union[dict[str, Any], list[Any]]] = []
        # For each open container: the key of its last value, None for a list.
        self._keys: list[str | None] = []
        self._key: str | None = None  # read, but its value has not begun
        self._is_key = False  # whether the open string is a key
        self._pieces: list[str] = []  # of the open string or number
        self._stale = False  # the open string has grown since it was put into the value
        self._high_surrogate = ""  # the first half of a surrogate pair, whose second half may follow
        self._digits = ""  # of a \u escape
        self._literal: tuple[str, Any] = ("", None)
        self._matched = 0
        self._start = 0  # position of the document
        self._valid_end = 0  # up to here, the text is part of the value
        self._rest: list[str] = []

    # -- public interface -------------------------------------------------------------------------------------

    def feed(self, text: str) -> None:
        """Parse the next piece of text. Malformed text raises nothing here: see `error`."""
        at, end = 0, len(text)
        while at < end and self.error is None:
            at = self._step(self, text, at)
        self._offset += end

    @property
    def value(self) -> Any:
        """
        The document so far, or `NOTHING`; always a prefix of the final value.

        Objects have the keys whose values have begun. Strings lack an unfinished escape or surrogate pair. Numbers and
        literals appear when they have ended. The second value of a repeated key replaces the first when it begins.

        This is the live value: its dicts and lists are the same objects each time, and grow with the text. Reading
        `value` copies the open string into them. See `snapshot`.
        """
        if self._stale:
            self._stale = False
            self._pieces = [_joined(self._pieces)]
            self._set_value(self._pieces[0])
        return self._root

    def snapshot(self) -> Any:
        """A deep copy of `value`. Its cost is linear in the size of the document."""
        return _copy(self.value)

    @property
    def path(self) -> tuple[str | int, ...]:
        """Keys and indexes from `value` to its last part: the value that is open, or the one that ended last."""
        levels = zip(self._containers, self._keys)
        return tuple(len(container) - 1 if key is None else key for container, key in levels if container)

    @property
    def rest(self) -> str:
        """The text after the document: the end of the fence, and what the model added."""
        self._rest = [_joined(self._rest)]
        return self._rest[0]

    def finish(self) -> Any:
        """
        End the text and return `value`.

        Raises:
            JSONStreamError: the text is not a whole JSON document; the error says where and why.
        """
        if self._step is JSONStream._number and self.error is None:
            number = _joined(self._pieces)
            # At the top, the number ends here. Elsewhere it is cut off, if one more digit would make it a number.
            is_whole, is_incomplete = _NUMBER(number) is not None, _NUMBER(number + "0") is not None
            if (is_whole and not self._containers) or not (is_whole or is_incomplete):
                self._end_number(number, 0)
        if self.error is not None:
            raise self.error
        if not self.is_complete:
            raise JSONStreamError(f"the document is cut off: {self._missing_end()}", self._offset, is_truncated=True)
        return self.value

    def _missing_end(self) -> str:
        if self._step in _IN_STRING:
            return "the key is not closed" if self._is_key else "the string is not closed"
        if self._step is JSONStream._number:
            return "the number may go on"
        if self._step is JSONStream._literal_rest:
            return f"{self._literal[0]} is not whole"
        if not self._containers:
            return "no value has begun"
        return f"the {'object' if isinstance(self._containers[-1], dict) else 'list'} is not closed"

    # -- around the document -----------------------------------------------------------------------------------

    def _before_document(self, text: str, at: int) -> int:
        at = _end_of(_SPACE_OR_BOM(text, at))
        if at < len(text):
            self._step = JSONStream._fence if text[at] == "`" else JSONStream._first_value
        return at

    def _fence(self, text: str, at: int) -> int:
        end = _end_of(_TICKS(text, at))
        self._ticks += end - at
        if end < len(text):
            if self._ticks < _FENCE:
                return self._fail("expected a value", end - self._ticks, end)
            self._step = JSONStream._fence_language
        return end

    def _fence_language(self, text: str, at: int) -> int:
        """The language after the opening fence."""
        end = _end_of(_LANGUAGE(text, at))
        if end < len(text):
            self._step = JSONStream._after_fence
        return end

    def _after_fence(self, text: str, at: int) -> int:
        at = _end_of(_SPACE(text, at))
        if at < len(text):
            self._step = JSONStream._first_value
        return at

    def _first_value(self, text: str, at: int) -> int:
        self._start = self._offset + at
        return self._value(text, at)

    def _after_document(self, text: str, at: int) -> int:
        self._rest.append(text[at:])
        return len(text)

    # -- between values ----------------------------------------------------------------------------------------

    def _value(self, text: str, at: int) -> int:
        at = _end_of(_SPACE(text, at))
        if at == len(text):
            return at
        char = text[at]
        if char == '"':
            self._is_key = False
            self._start_value("")
            self._pieces = []
            self._step = JSONStream._string
            self._valid_end = self._offset + at + 1
        elif char == "{":
            self._open_container({}, JSONStream._first_key, at)
        elif char == "[":
            self._open_container([], JSONStream._first_item, at)
        elif char == "-" or "0" <= char <= "9":
            self._pieces = []
            self._step = JSONStream._number
            return at
        elif char in _LITERALS:
            self._literal, self._matched = _LITERALS[char], 1
            self._step = JSONStream._literal_rest
        else:
            return self._fail("expected a value", at, at)
        return at + 1

    def _first_item(self, text: str, at: int) -> int:
        at = _end_of(_SPACE(text, at))
        if at < len(text) and text[at] == "]":
            return self._close_container(at)
        return self._value(text, at) if at < len(text) else at

    def _first_key(self, text: str, at: int) -> int:
        at = _end_of(_SPACE(text, at))
        if at < len(text) and text[at] == "}":
            return self._close_container(at)
        return self._start_key(text, at, "expected a key or '}'")

    def _next_key(self, text: str, at: int) -> int:
        return self._start_key(text, _end_of(_SPACE(text, at)), "expected a key")

    def _start_key(self, text: str, at: int, message: str) -> int:
        if at == len(text):
            return at
        if text[at] != '"':
            return self._fail(message, at, at)
        self._is_key = True
        self._pieces = []
        self._step = JSONStream._string
        return at + 1

    def _colon(self, text: str, at: int) -> int:
        at = _end_of(_SPACE(text, at))
        if at == len(text):
            return at
        if text[at] != ":":
            return self._fail("expected ':'", at, at)
        self._step = JSONStream._value
        return at + 1

    def _after_value(self, text: str, at: int) -> int:
        at = _end_of(_SPACE(text, at))
        if at == len(text):
            return at
        is_object = isinstance(self._containers[-1], dict)
        if text[at] == ",":
            self._step = JSONStream._next_key if is_object else JSONStream._value
            return at + 1
        if text[at] == ("}" if is_object else "]"):
            return self._close_container(at)
        return self._fail(f"expected ',' or {'}' if is_object else ']'!r}", at, at)

    # -- strings, numbers, literals ----------------------------------------------------------------------------

    def _string(self, text: str, at: int) -> int:
        end = _end_of(_PLAIN(text, at))
        if end > at:
            self._append(text[at:end], end)
        if end == len(text):
            return end
        if text[end] == "\\":
            self._step = JSONStream._escape
        elif text[end] == '"':
            self._end_string(end + 1)
        else:
            return self._fail("a control character that is not escaped", end, end)
        return end + 1

    def _escape(self, text: str, at: int) -> int:
        if text[at] == "u":
            self._digits = ""
            self._step = JSONStream._hex
        elif text[at] in _ESCAPES:
            self._append(_ESCAPES[text[at]], at + 1)
            self._step = JSONStream._string
        else:
            return self._fail(f"no such escape: {text[at]!r}", at, at)
        return at + 1

    def _hex(self, text: str, at: int) -> int:
        piece = text[at : at + _HEX_DIGITS - len(self._digits)]
        digits = _end_of(_HEX(piece, 0))
        if digits < len(piece):
            return self._fail("expected four hexadecimal digits", at + digits, at)
        self._digits += piece
        at += len(piece)
        if len(self._digits) == _HEX_DIGITS:
            self._step = JSONStream._string
            self._append_code_unit(int(self._digits, 16), at)
        return at

    def _append_code_unit(self, code: int, end: int) -> None:
        if self._high_surrogate and 0xDC00 <= code <= 0xDFFF:
            whole = 0x10000 + ((ord(self._high_surrogate) - 0xD800) << 10) + (code - 0xDC00)
            self._high_surrogate = ""
            self._append(chr(whole), end)
        elif 0xD800 <= code <= 0xDBFF:
            if self._high_surrogate:  # the earlier half stays alone, as in json.loads
                self._append("", end - 6)
            self._high_surrogate = chr(code)
        else:
            self._append(chr(code), end)

    def _append(self, text: str, end: int) -> None:
        if self._high_surrogate:
            text, self._high_surrogate = self._high_surrogate + text, ""
        self._pieces.append(text)
        if not self._is_key:
            self._stale = True
            self._valid_end = self._offset + end

    def _end_string(self, end: int) -> None:
        if self._high_surrogate:
            self._append("", end - 1)
        string = _joined(self._pieces)
        self._pieces = []
        if self._is_key:
            self._key = string
            self._step = JSONStream._colon
            return
        self._stale = False
        self._set_value(string)
        self._end_value(end)

    def _number(self, text: str, at: int) -> int:
        end = _end_of(_NUMERIC(text, at))
        self._pieces.append(text[at:end])
        if end == len(text):
            return end
        number = _joined(self._pieces)
        if number == "-" and text[end] == "I":
            self._pieces = []
            self._literal, self._matched = _LITERALS["-"], 1
            self._step = JSONStream._literal_rest
        else:
            self._end_number(number, end)
        return end

    def _end_number(self, text: str, end: int) -> None:
        match = _NUMBER(text)
        if match is None:
            self._fail(f"no number: {text[:40]}", end - len(text), end)
            return
        try:
            value = float(text) if match[1] or match[2] else int(text)
        except ValueError as exc:  # Python limits the digits of an int
            self._fail(str(exc), end - len(text), end)
            return
        self._pieces = []
        self._start_value(value)
        self._end_value(end)

    def _literal_rest(self, text: str, at: int) -> int:
        name, value = self._literal
        piece = text[at : at + len(name) - self._matched]
        if not name.startswith(piece, self._matched):
            return self._fail(f"expected {name}", at - self._matched, at)
        self._matched += len(piece)
        at += len(piece)
        if self._matched == len(name):
            self._start_value(value)
            self._end_value(at)
        return at

    # -- the value ---------------------------------------------------------------------------------------------

    def _start_value(self, value: Any) -> None:
        """Add a value, whole or just begun, to the innermost open container."""
        if not self._containers:
            self._root = value
            return
        container = self._containers[-1]
        if isinstance(container, list):
            container.append(value)
        else:
            self._keys[-1], self._key = self._key, None
            self._set_value(value)

    def _set_value(self, value: Any) -> None:
        """Replace the value that began last."""
        if not self._containers:
            self._root = value
        else:
            container: Any = self._containers[-1]
            key = self._keys[-1]
            container[-1 if key is None else key] = value

    def _open_container(self, container: Any, step: Callable[[JSONStream, str, int], int], at: int) -> None:
        self._start_value(container)
        self._containers.append(container)
        self._keys.append(None)
        self._step = step
        self._valid_end = self._offset + at + 1

    def _close_container(self, at: int) -> int:
        self._containers.pop()
        self._keys.pop()
        self._end_value(at + 1)
        return at + 1

    def _end_value(self, end: int) -> None:
        self._valid_end = self._offset + end
        self.is_complete = not self._containers
        self._step = JSONStream._after_document if self.is_complete else JSONStream._after_value

    def _fail(self, reason: str, where: int, at: int) -> int:
        """Record the error. *where* counts from the start of this piece; it is negative in an earlier one."""
        self.error = JSONStreamError(reason, self._offset + where)
        return at


def repair(text: str) -> tuple[Any, str]:
    """
    Close a document that was cut off.

    Open strings, lists and objects are closed. Removed are a key without a value, an open number (it might continue),
    an unfinished literal, escape or surrogate pair, a trailing comma, and text around the document. A whole document
    is unchanged. Malformed text is not repaired.

    Returns:
        The value, and the text of the closed document.

    Raises:
        JSONStreamError: *text* is malformed, or no value has begun in it.
    """
    stream = JSONStream()
    stream.feed(text)
    try:
        stream.finish()
    except JSONStreamError as exc:
        if not exc.is_truncated or stream.value is JSONStream.NOTHING:
            raise
    in_string = not stream.is_complete and not stream._is_key and stream._step in _IN_STRING
    ends = ["}" if isinstance(container, dict) else "]" for container in reversed(stream._containers)]
    return stream.value, _joined([text[stream._start : stream._valid_end], '"' if in_string else "", *ends])


_IN_STRING = (JSONStream._string, JSONStream._escape, JSONStream._hex)


def _end_of(match: Any) -> int:
    """The end of a match that cannot fail."""
    end: int = match.end()
    return end


def _copy(value: Any) -> Any:
    """Deep copy of dicts and lists, without the recursion of `copy.deepcopy`."""
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
