"""Incremental JSON: the value is always a prefix of the whole, in linear time, and `feed` never raises."""

from __future__ import annotations

import copy
import json
import pickle
import random
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyllm import json_stream
from anyllm.json_stream import JSONStream, JSONStreamError, repair

NOTHING = JSONStream.NOTHING
PIECES = list('"\\/\n\t\b\x7fé€😀\ud83d\ude00\u2028\0a{],')
NUMBERS = ["0", "-0", "-0.0", "12", "1e5", "1E+2", "-1.5e-3", "3.0", "123456789012345678901234567890", "1e999", "0.1"]


def is_prefix(part: Any, whole: Any) -> bool:
    """
    Whether *part* may be the value before *whole* has arrived.

    Strings are cut at any place. Lists have the first items and objects the first keys; all values but the last are
    whole, and the last is a prefix. Everything else is whole or absent, with its type: 1 is not 1.0 and not True.
    """
    if part is NOTHING:
        return True
    if type(part) is not type(whole):
        return False
    if isinstance(whole, str):
        return bool(whole.startswith(part))
    if isinstance(whole, dict):
        if list(part) != list(whole)[: len(part)]:
            return False
        part, whole = list(part.values()), list(whole.values())[: len(part)]
    if isinstance(whole, list):
        if not part:
            return True
        last = len(part) - 1
        return len(part) <= len(whole) and all(map(same, part[:last], whole)) and is_prefix(part[last], whole[last])
    return same(part, whole)


def same(one: Any, other: Any) -> bool:
    """Equal with their types and the order of keys, and NaN is NaN."""
    return type(one) is type(other) and repr(one) == repr(other)


def test_is_prefix_tells_prefixes_from_other_values() -> None:
    whole = {"a": [1, "xy"], "b": True}
    for part in (NOTHING, {}, {"a": []}, {"a": [1]}, {"a": [1, ""]}, {"a": [1, "x"]}, {"a": [1, "xy"]}, whole):
        assert is_prefix(part, whole)
    for part in (None, [], {"b": True}, {"a": ["xy"]}, {"a": [True]}, {"a": [1.0]}, {"a": [1, "y"]}):
        assert not is_prefix(part, whole)
    assert not is_prefix({"a": [1, "x"], "b": True}, whole)  # only the last may be cut
    assert not is_prefix([1, 2], [1])


# -- documents ---------------------------------------------------------------------------------------------------------


def text_of(rng: random.Random) -> str:
    """A JSON string with random escapes."""
    written = []
    for piece in rng.choices(PIECES, k=rng.randrange(7)):
        spelling = rng.randrange(3)
        if spelling == 0:
            written.append(json.dumps(piece)[1:-1])
        elif spelling == 1 and piece == "/":
            written.append("\\/")
        elif spelling == 1:
            units = piece.encode("utf-16-be", "surrogatepass").hex()
            written += [f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)]
        else:
            written.append(json.dumps(piece, ensure_ascii=False)[1:-1])
    return '"' + "".join(written) + '"'


def document(rng: random.Random, depth: int = 0) -> str:
    def space() -> str:
        return rng.choice(["", "", "", " ", "\n\t", "\r\n"])

    kind = rng.randrange(7) if depth < 4 else rng.randrange(4)
    if kind == 0:
        return text_of(rng)
    if kind == 1:
        return rng.choice(NUMBERS)
    if kind == 2:
        return rng.choice(["true", "false", "null", "NaN", "Infinity", "-Infinity"])
    if kind == 3:
        return text_of(rng)
    inner = [space() + document(rng, depth + 1) + space() for _ in range(rng.randrange(4))]
    if kind in (4, 5):
        keys = [text_of(rng)[:-1] + f'{at}"' for at in range(len(inner))]  # no key twice
        return "{" + ",".join(f"{space()}{key}{space()}:{value}" for key, value in zip(keys, inner)) + "}"
    return "[" + (",".join(inner) or space()) + "]"


def documents(count: int = 200) -> List[str]:
    rng = random.Random(8259)
    made = []
    while len(made) < count:
        text = document(rng)
        if len(text) < 400 and (len(text) > 12 or len(made) % 4 == 0):
            made.append(text)
    return made


DOCUMENTS = documents()


def fed(text: str, size: int = 1_000_000) -> JSONStream:
    """A stream that got *text* in pieces of *size*."""
    stream = JSONStream()
    for start in range(0, len(text), size):
        stream.feed(text[start : start + size])
    return stream


def values_of(text: str) -> List[Any]:
    """A copy of the value after each character, and after the end."""
    stream, values = JSONStream(), []
    for letter in text:
        stream.feed(letter)
        assert stream.error is None, (text, stream.error)
        values.append(stream.snapshot())
    values.append(stream.finish())
    return values


def test_random_documents_contain_every_kind_of_value() -> None:
    """Two hundred empty lists would prove nothing."""
    everything = "\n".join(DOCUMENTS)
    for piece in ["\\ud83d", "😀", "null", "1e999", "123456789012345678901234567890", "\\/", "[[", "}}", '\\"']:
        assert piece in everything, piece
    assert len(set(DOCUMENTS)) > 150


@pytest.mark.parametrize("part", range(10))
def test_value_is_a_prefix_after_every_character_and_whole_at_the_end(part: int) -> None:
    for text in DOCUMENTS[part::10]:
        whole = json.loads(text)
        values = values_of(text)
        for value in values:
            assert is_prefix(value, whole), (text, value)
        for before, after in zip(values, values[1:]):
            assert is_prefix(before, after), (text, before, after)
        assert same(values[-1], whole), text


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 1000])
def test_pieces_of_any_size_give_the_same_values(size: int) -> None:
    for text in DOCUMENTS[::4]:
        values, stream = values_of(text), JSONStream()
        for start in range(0, len(text), size):
            stream.feed(text[start : start + size])
            assert same(stream.value, values[min(start + size, len(text)) - 1])
        assert same(stream.finish(), values[-1])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(JSON_VALUES, st.booleans(), st.sampled_from([None, 1]), st.data())
def test_any_split_gives_the_same_value(value: Any, ascii_only: bool, indent: Any, data: Any) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stream = JSONStream()
    for start, end in zip([0, *cuts], [*cuts, len(text)]):
        stream.feed(text[start:end])
        assert is_prefix(stream.value, value)
    assert same(stream.finish(), json.loads(text))


TOKENS = [*'"\\u{}[],:1-.e0t \na', "d83d", "de00", "true", "null"]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(TOKENS), max_size=10).map("".join))
def test_accepts_the_same_documents_as_json_loads(text: str) -> None:
    """Except that text after the document is ignored. Malformed text sets `error`; `feed` does not raise."""
    try:
        whole, end = json.JSONDecoder().raw_decode(text.lstrip(" \n"))
    except ValueError:
        end = -1
    pieces, stream = fed(text, 1), fed(text)
    assert str(stream.error) == str(pieces.error)
    assert same(stream.value, pieces.value)
    if end >= 0 and type(whole) not in (int, float):
        assert same(stream.finish(), whole)
        return
    try:
        value = stream.finish()
    except JSONStreamError as exc:
        error = exc
    else:
        assert same(value, whole)  # a number at the top, with nothing attached to it
        return
    assert 0 <= error.position <= len(text)


@pytest.mark.long
def test_jiter_reads_the_same_from_incomplete_text() -> None:
    """An independent oracle, where it gives unfinished strings and no number is cut."""
    jiter = pytest.importorskip("jiter")
    text = '{"a": ["x\\u00e9y\\n", {"b": "zz", "c": [true, null, []]}], "d": {"e": "", "f": false}, "gé": "end"}'
    stream = JSONStream()
    compared = 0
    for at, letter in enumerate(text, 1):
        stream.feed(letter)
        theirs = jiter.from_json(text[:at].encode(), partial_mode="trailing-strings")
        if text[:at].endswith("\\") or "\\u" in text[max(0, at - 5) : at] or letter in ":,":
            continue
        if not is_prefix(stream.value, theirs):
            # Ours shows a string as soon as it begins.
            assert letter == '"', (text[:at], stream.value, theirs)
        compared += 1
    assert compared > 60
    assert stream.value == jiter.from_json(text.encode())


# -- partial values ---------------------------------------------------------------------------------------------------


#: By text: the value that is certain.
#: The value that is certain, and texts that have it.
CERTAIN: List[Tuple[Any, List[str]]] = [
    (NOTHING, ["", " \n", "12", "nul", "-Infin"]),
    ({}, ["{", '{"a', '{"a"', '{"a":', '{"a":1', '{"a": 1.5e', '{"a":tru', '{"a":-']),
    ({"a": 1}, ['{"a":1,', '{"a":1}']),
    ({"a": ""}, ['{"a":"', '{"a":[1],"a":"']),
    ({"a": True}, ['{"a":true']),
    ({"a": 3, "b": 2}, ['{"a":1,"b":2,"a":3}']),
    ([], ["[12"]),
    ([12], ["[12 "]),
    ([[]], ["[["]),
    (["x"], ['["x\\', '["x\\u00e', '["x\\ud83d', '["x\\ud83d\\', '["x\\ud83d\\ude0']),
    (["x\n"], ['["x\\n']),
    (["x😀"], ['["x\\ud83d\\ude00']),
    (["x\ud83dy"], ['["x\\ud83dy']),
    (["x\ud83d\n"], ['["x\\ud83d\\n']),
    (["x\ud83d😀"], ['["x\\ud83d\\ud83d\\ude00']),
    (["x\ud83d"], ['["x\\ud83d"']),
    (None, ["null"]),
]


@pytest.mark.parametrize(("text", "value"), [(text, value) for value, texts in CERTAIN for text in texts])
def test_value_has_only_what_is_certain(text: str, value: Any) -> None:
    for size in (1, 1000):
        stream = fed(text, size)
        assert stream.error is None
        assert same(stream.value, value)


def test_nothing_is_not_null() -> None:
    stream = JSONStream()
    assert stream.value is NOTHING
    assert not stream.value
    assert repr(stream.value) == "JSONStream.NOTHING"
    assert pickle.loads(pickle.dumps(NOTHING)) is NOTHING
    assert copy.deepcopy(NOTHING) is stream.snapshot() is NOTHING
    stream.feed("null")
    assert stream.value is None


def test_value_grows_in_place_and_snapshot_does_not() -> None:
    stream = JSONStream()
    stream.feed('{"a": [{"b": "x')
    live, inner, copied = stream.value, stream.value["a"][0], stream.snapshot()
    stream.feed('y", "c": 1}, 2')
    assert stream.value is live
    assert stream.value["a"][0] is inner
    assert inner == {"b": "xy", "c": 1}
    assert copied == {"a": [{"b": "x"}]}
    copied["a"][0]["b"] = "mine"
    assert live == {"a": [{"b": "xy", "c": 1}]}


def test_path_leads_to_the_last_part() -> None:
    paths: Dict[str, Tuple[Any, ...]] = {}
    stream, text = JSONStream(), ""
    for letter in '{"a": [true, {"b": "x"}], "c": {}}':
        stream.feed(letter)
        text += letter
        paths[text] = stream.path
        at = stream.value
        for key in stream.path:
            at = at[key]
    assert paths['{"a"'] == ()
    assert paths['{"a": ['] == ("a",)
    assert paths['{"a": [true'] == ("a", 0)
    assert paths['{"a": [true, {"b": "x'] == ("a", 1, "b")
    assert paths['{"a": [true, {"b": "x"}'] == ("a", 1)
    assert paths['{"a": [true, {"b": "x"}], "c"'] == ("a",)
    assert paths['{"a": [true, {"b": "x"}], "c": {'] == ("c",)


@pytest.mark.parametrize("text", ["12", "-1.5e3", "0"])
def test_a_number_at_the_top_ends_with_the_text(text: str) -> None:
    stream = fed(text)
    assert not stream.is_complete
    for _ in range(2):
        assert same(stream.finish(), json.loads(text))
        assert stream.is_complete


@pytest.mark.parametrize("text", ['{"a": [1]}', '"x"', "true", "[]"])
def test_a_document_is_complete_with_its_last_character(text: str) -> None:
    stream = JSONStream()
    for letter in text:
        assert not stream.is_complete
        stream.feed(letter)
    assert stream.is_complete


# -- around the document -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before", ["", " \r\n\t", "\ufeff", "\ufeff\n", "```json\n", "```\n", "\n```JSON\r\n  ", "````json5\n", "```json "]
)
@pytest.mark.parametrize("after", ["", "\n```", "\n```\nI hope that helps: [1, 2}", " \n", "{"])
def test_text_around_the_document_is_ignored(before: str, after: str) -> None:
    text = before + '{"a": "```"}' + after
    for size in (1, 3, len(text)):
        stream = fed(text, size)
        assert stream.finish() == {"a": "```"}
        assert stream.rest == after
        stream.feed("more")
        assert stream.rest == after + "more"


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("Sure!", 0, "expected a value"),
        (" \nSure!", 2, "expected a value"),
        ("``json", 0, "expected a value"),
        ("```json\nSure", 8, "expected a value"),
        ("[1 2]", 3, "expected ',' or ']'"),
        ('{"a" 1}', 5, "expected ':'"),
        ('{"a": 1 "b"', 8, "expected ',' or '}'"),
        ("{a: 1}", 1, "expected a key or '}'"),
        ('{"a": 1,}', 8, "expected a key"),
        ("[1,]", 3, "expected a value"),
        ("[01]", 1, "no number: 01"),
        ("[1.]", 1, "no number: 1."),
        ("[-]", 1, "no number: -"),
        ("[+1]", 1, "expected a value"),
        ("[truu]", 1, "expected true"),
        ('["a\nb"]', 3, "a control character that is not escaped"),
        ('["\\x"]', 3, "no such escape: 'x'"),
        ('["\\u00g0"]', 6, "expected four hexadecimal digits"),
        ("[1}", 2, "expected ',' or ']'"),
        ("]", 0, "expected a value"),
    ],
)
def test_malformed_text_sets_an_error_with_reason_and_position(text: str, position: int, reason: str) -> None:
    for size in (1, len(text)):
        stream = fed(text, size)
        assert stream.error is not None
        assert (stream.error.reason, stream.error.position) == (reason, position)
        assert not stream.error.is_truncated
        assert not stream.is_complete
        before = stream.snapshot()
        stream.feed('"more", [1]]}')
        assert stream.value == before
        with pytest.raises(JSONStreamError, match=f"at character {position}$") as caught:
            stream.finish()
        assert caught.value is stream.error


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no value has begun"),
        ("```json\n", "no value has begun"),
        ('{"a', "the key is not closed"),
        ('{"a": ', "the object is not closed"),
        ('["a\\', "the string is not closed"),
        ("[1", "the number may go on"),
        ("1.", "the number may go on"),
        ("[1,", "the list is not closed"),
        ("[nu", "null is not whole"),
    ],
)
def test_truncated_document_names_the_open_part(text: str, reason: str) -> None:
    stream = JSONStream()
    stream.feed(text)
    with pytest.raises(ValueError, match=reason) as caught:
        stream.finish()
    assert isinstance(caught.value, JSONStreamError)
    assert caught.value.is_truncated
    assert caught.value.position == len(text)
    assert stream.error is None  # more may come after all


@pytest.mark.parametrize("text", ["[--", "01", "[1e5.", "1.."])
def test_malformed_number_is_an_error_and_not_truncated(text: str) -> None:
    with pytest.raises(JSONStreamError, match="no number") as caught:
        fed(text).finish()
    assert not caught.value.is_truncated


def test_error_survives_copy_and_pickle() -> None:
    error = JSONStreamError("expected a value", 7, is_truncated=True)
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert str(again) == "expected a value at character 7"
        assert vars(again) == vars(error)


def test_int_with_too_many_digits_for_python_is_an_error_and_no_exception() -> None:
    text = "[" + "9" * 5000 + "]"
    stream = fed(text)
    try:
        whole = json.loads(text)
    except ValueError:
        assert stream.error is not None
        assert stream.error.position == 1
    else:  # Pythons without such a limit
        assert stream.finish() == whole


# -- cost --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["[", '{"a":'])
def test_nesting_has_no_limit(sign: str) -> None:
    stream = JSONStream()
    for _ in range(100):
        stream.feed(sign * 1000)
    assert stream.error is None
    depth, at = 1, stream.snapshot()
    while at:
        at = at[0] if isinstance(at, list) else at["a"]
        depth += 1
    assert depth == 100_000
    assert len(stream.path) == 99_999
    closing = "]" if sign == "[" else "}"
    stream.feed(("" if sign == "[" else "1") + closing * 100_000)
    assert stream.finish() is stream.value
    assert repair(sign * 100_000)[1].endswith(closing * 1000)


class Counted(str):
    """A str that counts the characters that are read from it, one by one or in slices."""

    characters = 0

    def __getitem__(self, key: Any) -> str:
        found = str.__getitem__(self, key)
        Counted.characters += len(found)
        return found


def work(monkeypatch: pytest.MonkeyPatch, text: str, size: int, read: bool = False) -> int:
    """Characters that are read, searched and joined for *text* in pieces of *size*."""
    done = 0

    def counted(match: Any) -> Any:
        def counting(text: str, *at: int) -> Any:
            nonlocal done
            found = match(text, *at)
            done += found.end() - found.start() + 1 if found else len(text)
            return found

        return counting

    def join(pieces: List[str]) -> str:
        nonlocal done
        done += sum(map(len, pieces))
        return "".join(pieces)

    with monkeypatch.context() as patch:
        for name in ("_SPACE", "_SPACE_OR_BOM", "_TICKS", "_LANGUAGE", "_PLAIN", "_HEX", "_NUMERIC", "_NUMBER"):
            patch.setattr(json_stream, name, counted(getattr(json_stream, name)))
        patch.setattr(json_stream, "_joined", join)
        Counted.characters = 0
        stream = JSONStream()
        for start in range(0, len(text), size):
            stream.feed(Counted(text[start : start + size]))
            if read:
                assert stream.value is not NOTHING
        stream.finish()
    return done + Counted.characters


LONG = {
    "one string": '["' + "word " * 4000 + '"]',
    "one key": '{"' + "word " * 4000 + '": 1}',
    "one number": "[0." + "123456789" * 2000 + "]",
    "escapes": '["' + "\\ud83d\\ude00\\n" * 1500 + '"]',
    "items": "[" + '{"a": [1, true, "x"]}, ' * 1000 + "0]",
    "white space": " " * 20000 + "[" + " " * 20000 + "]",
    "depth": "[" * 10000 + "]" * 10000,
    "what follows": "[]" + " word" * 4000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
@pytest.mark.parametrize("size", [1, 7, 100000])
def test_work_is_linear_for_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    assert 0.9 * len(text) < work(monkeypatch, text, size) < 8 * len(text)


def test_reading_value_costs_the_open_string_and_not_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "[" + ", ".join(['"' + "word " * 10 + '"'] * 400) + "]"
    assert work(monkeypatch, text, 5, read=True) < 20 * len(text)


# -- repair ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value", "closed"),
    [
        ('{"a": [1, "x', {"a": [1, "x"]}, '{"a": [1, "x"]}'),
        ('{"a": 1, "b', {"a": 1}, '{"a": 1}'),
        ('{"a": 1, "b": ', {"a": 1}, '{"a": 1}'),
        ("[1, 2", [1], "[1]"),
        ("[1, 2 ", [1, 2], "[1, 2]"),
        ("[1, tru", [1], "[1]"),
        ("[1,", [1], "[1]"),
        ('["x\\', ["x"], '["x"]'),
        ('["x\\ud83d\\ude', ["x"], '["x"]'),
        ('["\\ud83dx', ["\ud83dx"], '["\\ud83dx"]'),
        ('{"k": "', {"k": ""}, '{"k": ""}'),
        ('```json\n{"a": {"b": [', {"a": {"b": []}}, '{"a": {"b": []}}'),
        ("```json\n[1.0, 2]\n``` Done.", [1.0, 2], "[1.0, 2]"),
        ("12", 12, "12"),
        ('"abc', "abc", '"abc"'),
    ],
)
def test_repair_closes_a_truncated_document(text: str, value: Any, closed: str) -> None:
    assert repair(text) == (value, closed)


@pytest.mark.parametrize("text", ["", "  ", "nul", "1.", "-", "Sure!", "[1 2", '{"a":}'])
def test_repair_refuses_malformed_text_and_text_without_a_value(text: str) -> None:
    with pytest.raises(JSONStreamError):
        repair(text)


def test_repair_gives_the_value_that_arrived_and_its_json() -> None:
    checked = 0
    for text in DOCUMENTS[::3]:
        for at, value in enumerate(values_of(text)[:-1], 1):
            if value is not NOTHING:
                found, closed = repair(text[:at])
                assert same(found, value)
                assert same(json.loads(closed), value), (text[:at], closed)
                checked += 1
    assert checked > 1000
