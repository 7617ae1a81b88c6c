"""Bytes to events: any cuts, any content, and work that is linear in the bytes."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import sys
import tracemalloc
from typing import Any, Iterable, Iterator, List, Tuple

import loopback
import pytest
import sseclient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anyllm._framing import body_events, ndjson, sse
from anyllm.errors import IncompleteStreamError, MalformedStreamError
from anyllm.testing import Reply, chat_events, serve

LIMIT = 16 * 1024 * 1024
BOM = b"\xef\xbb\xbf"
Pair = Tuple[str, str]


def read(pieces: Iterable[bytes], limit: int = LIMIT) -> List[Pair]:
    return [(event.event, event.data) for event in body_events.events(pieces, max_event_bytes=limit)]


def read_until_error(pieces: Iterable[bytes], limit: int) -> Tuple[List[Pair], str]:
    """The events, and the class of the error that ended them."""
    pairs: List[Pair] = []
    try:
        pairs.extend((event.event, event.data) for event in body_events.events(pieces, max_event_bytes=limit))
    except MalformedStreamError as exc:
        return pairs, type(exc).__name__
    return pairs, ""


def bytewise(body: bytes) -> List[bytes]:
    return [body[at : at + 1] for at in range(len(body))]


def cut(body: bytes, seed: int) -> List[bytes]:
    chance = random.Random(seed)
    ends = sorted(chance.randrange(len(body) + 1) for _ in range(chance.randrange(1, 8)))
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)])]


# -- however the bytes are cut -----------------------------------------------------------------------------------------

TWO = [("message", '{"a":1}'), ("message", '{"b":"é😀"}')]
BODIES = {
    "sse": (b'data: {"a":1}\n\ndata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}\n\n', TWO),
    "crlf": (b'data: {"a":1}\r\n\r\ndata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}\r\n\r\n', TWO),
    "cr": (b'data: {"a":1}\r\rdata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}\r\r', TWO),
    "mixed endings": (b'data: {"a":1}\n\r\ndata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}\r\n\n', TWO),
    "cr then crlf": (b'data: {"a":1}\r\r\ndata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}\r\n\r', TWO),
    "byte order mark": (BOM + b'data: {"a":1}\n\ndata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}\n\n', TWO),
    "blank lines before": (b'\n\r\n \ndata: {"a":1}\n\n\n\n\ndata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}\n\n\n', TWO),
    "comments": (b': hello\n\n:\n\ndata: {"a":1}\n: x\n\n: ping\ndata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}\n\n: end', TWO),
    "without space": (b'data:{"a":1}\n\ndata:{"b":"\xc3\xa9\xf0\x9f\x98\x80"}\n\n', TWO),
    "other fields": (
        (
            b'id: 7\nretry: 10\nfoo: bar\ndata: {"a":1}\n\n'
            b'retry: 5\n\nevent: ping\n\ndata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}\n\n'
        ),
        TWO,
    ),
    "single newlines": (b'data: {"a":1}\ndata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}\n', TWO),
    "single newlines, then a cut": (b'data: {"a":1}\ndata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}\ndata: {"c', TWO),
    "done follows at once": (b'data: {"a":1}\ndata: [DONE]\n\n', [TWO[0], ("message", "[DONE]")]),
    "last blank line missing": (b'data: {"a":1}\n\ndata: {"b":"\xc3\xa9\xf0\x9f\x98\x80"}', TWO),
    "half an event at the end": (b'data: {"a":1}\n\ndata: {"b":"\xc3', TWO[:1]),
    "half a name at the end": (b'data: {"a":1}\n\neve', TWO[:1]),
    "named": (b'event: error\ndata: {"x":2}\n\ndata: {"a":1}\n\n', [("error", '{"x":2}'), TWO[0]]),
    "error field": (b'data: {"a":1}\n\nerror: {"x":2}\n\n', [TWO[0], ("error", '{"x":2}')]),
    "error field at the end": (b'data: {"a":1}\n\nerror: {"x":2}', [TWO[0], ("error", '{"x":2}')]),
    "document over lines": (b'data: {\ndata: "a":\ndata: 1}\n\n', [("message", '{\n"a":\n1}')]),
    "bad utf-8": (b'data: {"a":"\xff\xfe"}\n\ndata: {"a":1}\n\n', [("message", '{"a":"\ufffd\ufffd"}'), TWO[0]]),
    "separators of unicode": (
        'data: {"a":"\u2028\u2029\x85"}\n\n'.encode(),
        [("message", '{"a":"\u2028\u2029\x85"}')],
    ),
    "ndjson": (b'{"a":1}\n{"b":"\xc3\xa9\xf0\x9f\x98\x80"}\n', TWO),
    "ndjson, crlf and no end": (b'{"a":1}\r\n\r\n{"b":"\xc3\xa9\xf0\x9f\x98\x80"}', TWO),
    "ndjson, byte order mark": (BOM + b' \n{"a":1}\n{"b":"\xc3\xa9\xf0\x9f\x98\x80"}\n', TWO),
    "ndjson, cut": (b'{"a":1}\n{"b":"\xc3', TWO[:1]),
    "documents without a gap": (b'{"a":1}{"b":"\xc3\xa9\xf0\x9f\x98\x80"}', TWO),
    "array": (b'[{"a":1}\n,\r\n{"b":"\xc3\xa9\xf0\x9f\x98\x80"}]', TWO),
    "array, never closed": (b'[{"a":1},{"b":"\xc3\xa9\xf0\x9f\x98\x80"}', TWO),
    "braces and quotes in strings": (b'[{"a":"}]\\"{[\\\\"},{"b":[{"c":"\\\\\\""}]}]', None),
    "pretty": (b'{\n  "a": {\n    "b": [1, 2]\n  }\n}\n', [("message", '{\n  "a": {\n    "b": [1, 2]\n  }\n}')]),
    "nothing": (b"", []),
    "white space": (b" \r\n\t\n", []),
    "only a byte order mark": (BOM, []),
    "text": (b"Internal Server Error", []),
}


@pytest.mark.parametrize("name", BODIES)
def test_any_cuts_give_the_same_events(name: str):
    """Where a byte order mark, a line ending or a character is cut in two is where framing goes wrong."""
    body, expected = BODIES[name]
    whole = read([body])
    if expected is not None:
        assert whole == expected
    assert read(bytewise(body)) == whole
    assert all(read(cut(body, seed)) == whole for seed in range(60))
    for at in range(len(body) + 1):
        assert read([body[:at], body[at:]]) == whole, at


LINES = st.sampled_from(
    [
        *(b'data: {"a":1}', b"data:{}", b"data: [DONE]", b"data: {", b'data: "x"}', b": c", b":", b"event: error"),
        *(b"data: }", b"}", b"event: x", b"da"),
        *(b"id: 1", b"retry: 3", b"data", b"data:", b"", b"junk", b'error: {"m":1}', b"data: \xff", b"data: \xc3\xa9"),
    ]
)
SSE = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n"])), max_size=12).map(
    lambda lines: b"".join(line + end for line, end in lines)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.lists(st.dictionaries(st.text(max_size=4), JSON, max_size=3), min_size=1, max_size=5)


def documents(values: List[Any], style: str) -> bytes:
    if style == "array":
        return json.dumps(values).encode()
    indent = 2 if style == "pretty" else None
    return "\n".join(json.dumps(value, indent=indent, ensure_ascii=style == "pretty") for value in values).encode()


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    body=SSE, mark=st.booleans(), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), limit=st.integers(1, 60)
)
def test_chunking_never_changes_what_an_sse_body_says(body: bytes, mark: bool, sizes: List[int], limit: int):
    """The limit included: an event is too large, or it is not, whoever cut it."""
    body = (BOM if mark else b"") + body
    expected = read_until_error([body], limit)
    assert read_until_error(bytewise(body), limit) == expected
    assert read_until_error(in_sizes(body, sizes), limit) == expected


def in_sizes(body: bytes, sizes: List[int]) -> Iterator[bytes]:
    at = turn = 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        yield body[at : at + size]
        at, turn = at + size, turn + 1


@settings(max_examples=200)
@given(values=DOCUMENTS, style=st.sampled_from(["lines", "pretty", "array"]), size=st.integers(1, 7))
def test_every_json_document_comes_out_whole(values: List[Any], style: str, size: int):
    body = documents(values, style)
    for pieces in ([body], bytewise(body), in_sizes(body, [size])):
        assert [json.loads(data) for _, data in read(pieces)] == values


@settings(max_examples=200)
@given(
    body=st.binary(max_size=80), start=st.sampled_from([b"", b"{", b"[", b"data: ", b"\0", BOM]), size=st.integers(1, 5)
)
def test_no_bytes_at_all_break_it(body: bytes, start: bytes, size: int):
    expected = read_until_error([start + body], 64)
    assert read_until_error(in_sizes(start + body, [size]), 64)[0] == expected[0]


def as_they_come(pieces: List[bytes]) -> List[Tuple[int, str]]:
    """The data of events, each with how many of the pieces had been read when it came."""
    count = [0]

    def reads() -> Iterator[bytes]:
        for piece in pieces:
            count[0] += 1
            yield piece

    return [(count[0], event.data) for event in body_events.events(reads(), max_event_bytes=LIMIT)]


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_an_event_comes_with_its_last_byte(ending: bytes):
    """Not with the first byte of the next: that may be seconds away."""
    pieces = [b'data: {"n":%d}' % number + ending for number in range(3)]
    assert as_they_come(pieces) == [(number + 1, f'{{"n":{number}}}') for number in range(3)]


def test_events_of_a_host_that_forgets_blank_lines_come_with_the_next():
    """Not with the last: a stream that is read at its end is none."""
    pieces = [b'data: {"n":%d}\n' % number for number in range(4)]
    expected = [(min(n + 2, 4), f'{{"n":{n}}}') for n in range(4)]
    assert as_they_come(pieces) == expected
    assert [data for _, data in read([b"".join(pieces)])] == [data for _, data in expected]


def test_one_document_over_several_data_lines_is_waited_for():
    """Its first line is no object by itself."""
    pieces = [b'data: {"a":\n', b"data: 1\n", b"data: }\n", b"\n", b'data: {"b":2}\n\n']
    assert as_they_come(pieces) == [(4, '{"a":\n1\n}'), (5, '{"b":2}')]


def test_without_blank_lines_each_event_is_as_large_as_it_may_be():
    body = b'data: {"n":1}\n' * 4
    assert len(read([body], 13)) == len(read(bytewise(body), 13)) == 4
    with pytest.raises(MalformedStreamError):
        read(bytewise(body), 12)


def test_a_web_page_is_refused_with_its_beginning():
    with pytest.raises(MalformedStreamError, match=r"web page.*<title>Bad Gateway"):
        read([b"\n <html>\n<head><title>Bad Gateway</title>"])


def test_without_botocore_frames_of_aws_say_what_to_install(monkeypatch: pytest.MonkeyPatch):
    """From a host that is not AWS, too, should its answer begin with a zero."""
    monkeypatch.setitem(sys.modules, "botocore.eventstream", None)
    with pytest.raises(MalformedStreamError, match="pip install botocore"):
        read([b"\0\0\0\x10"])


# -- the parser --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, (body, _) in BODIES.items() if b"data:" in body or b"error:" in body])
def test_no_sse_body_is_read_without_sseclient(name: str, monkeypatch: pytest.MonkeyPatch):
    """It is the parser, not an ornament."""
    monkeypatch.setattr(sseclient, "SSEClient", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read([BODIES[name][0]])


def test_an_event_of_many_lines_reaches_the_parser_as_few(monkeypatch: pytest.MonkeyPatch):
    """sseclient concatenates lines, which takes quadratic time for many."""
    lines: List[int] = []
    original = sseclient.SSEClient

    class Source:
        def __init__(self, source: Iterable[bytes]) -> None:
            self.source = source

        def __iter__(self) -> Iterator[bytes]:
            for block in self.source:
                lines.extend(len(event.splitlines()) for event in block.split(b"\n\n"))
                yield block

    monkeypatch.setattr(sseclient, "SSEClient", lambda source: original(Source(source)))
    pretty = "\n".join(["{", *(f'"key{n}": {n},' for n in range(5000)), '"end": 0', "}"])
    body = "event: named\n" + "".join(f"data: {line}\n" for line in pretty.split("\n")) + ": c\n" * 5000 + "\n"
    assert read([body.encode()]) == [("named", pretty)]
    assert max(lines) <= 2 * sse._MANY_LINES


# -- bounds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"), [(b"data: ", b"\n\n"), (b"data: ", b""), (b'{"a":"', b'"}'), (b'[{"a":"', b'"}]')]
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_beyond_the_limit_is_refused(before: bytes, after: bytes, size: int):
    body = before + b"x" * 101 + after
    with pytest.raises(MalformedStreamError, match=r"max_event_bytes \(100 bytes\)"):
        read(in_sizes(body, [size]), 100)


def test_events_before_one_beyond_the_limit_are_not_lost():
    body = b'data: {"a":1}\n\ndata: ' + b"x" * 200 + b"\n\n"
    assert read_until_error([body], 100) == ([TWO[0]], "MalformedStreamError")


def test_many_small_events_in_one_read_are_not_one_large_event():
    assert len(read([b'data: {"a":1}\n\n' * 1000], 20)) == 1000
    assert len(read([b'{"a":1}\n' * 1000], 20)) == 1000


class Counted(bytearray):
    """A buffer that counts the bytes which are moved or searched in it."""

    touched = 0

    def __iadd__(self, data: bytes) -> Counted:  # type: ignore[override]
        Counted.touched += len(data)
        return super().__iadd__(data)  # type: ignore[return-value]

    def rfind(self, what: bytes, start: int = 0) -> int:  # type: ignore[override]
        Counted.touched += len(self) - start
        return super().rfind(what, start)

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        Counted.touched += len(found)
        return found

    def endswith(self, *args: Any) -> bool:
        Counted.touched += 1
        return super().endswith(*args)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sse, ndjson):
        monkeypatch.setattr(module, "bytearray", Counted, raising=False)


def touched(pieces: Iterable[bytes], limit: int = LIMIT) -> int:
    Counted.touched = 0
    read_until_error(pieces, limit)
    return Counted.touched


HUGE = {
    "one line": lambda n: b'data: {"a":"' + b"x" * n + b'"}\n\n',
    "many lines": lambda n: b"data: {\n" + b"data: \n" * (n // 7) + b"data: }\n\n",
    "an endless line": lambda n: b"data: " + b"x" * n,
    "empty events": lambda n: b"data\n\n" * (n // 6),
    "blank lines": lambda n: b":\n\n" + b"\n" * n,
    "comments": lambda n: b": ping\n\n" * (n // 8),
}


@pytest.mark.parametrize("kind", HUGE)
@pytest.mark.parametrize("size", [61, 1460])
def test_the_work_is_linear_in_the_bytes_of(kind: str, size: int, counting: None):
    """Counted, not timed: twice the bytes, cut the same way, are twice the bytes touched."""
    once, twice = (touched(in_sizes(HUGE[kind](n), [size])) for n in (50_000, 100_000))
    assert once <= 6 * 50_000
    assert twice <= 2.2 * once
    assert once or kind == "blank lines"  # which are whole events in each read, and never wait in the buffer


class CountingPattern:
    """A regular expression that counts the bytes it passes."""

    passed = 0

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def search(self, buffer: Any, position: int) -> Any:
        found = self._pattern.search(buffer, position)
        CountingPattern.passed += (found.end() if found else len(buffer)) - position
        return found


@pytest.mark.parametrize(
    "make",
    [
        lambda n: b'{"a":"' + b"x" * n + b'"}',
        lambda n: b'{"a":"' + b"x" * n,
        lambda n: b"[" + b'{"a":1},' * (n // 8) + b"]",
        lambda n: b'{"a":"' + b"\\\\" * (n // 2) + b'"}',
        lambda n: b"[" + b" " * n,
    ],
    ids=["one string", "an endless string", "many documents", "backslashes", "blanks"],
)
def test_json_documents_are_passed_once(make: Any, monkeypatch: pytest.MonkeyPatch):
    for name in ("_OUTSIDE", "_INSIDE"):
        monkeypatch.setattr(ndjson._Documents, name, CountingPattern(getattr(ndjson._Documents, name)))
    for n in (20_000, 40_000):
        CountingPattern.passed = 0
        read(in_sizes(make(n), [50]))
        assert 0.5 * n <= CountingPattern.passed <= 1.2 * n  # what a backslash escapes is skipped


def peak_of(pieces: Iterable[bytes], limit: int = LIMIT) -> int:
    tracemalloc.start()
    try:
        read_until_error(pieces, limit)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_million_empty_events_leave_nothing_behind():
    named = (b"event: ping\n\n" * 1000 for _ in range(200))
    blank = (b"\n\n" * 1000 for _ in range(1000))
    for pieces in (named, blank):
        assert peak_of(pieces) < 2_000_000


def test_an_endless_line_is_held_up_to_the_limit_only():
    endless = itertools.chain([b"data: "], itertools.repeat(b"x" * 65536))
    assert peak_of(endless, 4_000_000) < 20_000_000


def test_an_event_of_sixteen_mebibytes_is_read():
    text = "x" * (LIMIT - 100)
    body = b'data: {"a":"' + text.encode() + b'"}\n\n'
    assert len(read(in_sizes(body, [65536]))[0][1]) == len(text) + 8


# -- over real HTTP ----------------------------------------------------------------------------------------------------


def answer(body: bytes, **fields: Any) -> Any:
    """The text and the error of a stream with *body*."""
    with serve(Reply(body=[body], **fields)) as server:
        chunks, errors = loopback.stream(server.url)
        return "".join(chunk.content for chunk in chunks), errors.get()


EVENTS = chat_events("Hello world")
MESSAGE = {"role": "assistant", "content": "Hello world"}
WHOLE = {"object": "chat.completion", "id": "x", "choices": [{"message": MESSAGE, "finish_reason": "stop"}]}


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json", "application/x-ndjson", "text/html"])
@pytest.mark.parametrize(
    "body",
    [
        b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in EVENTS),
        b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS),
        json.dumps(EVENTS, indent=1).encode(),
        json.dumps(WHOLE, indent=2).encode(),
    ],
    ids=["sse", "lines", "list", "whole answer"],
)
def test_the_first_byte_overrules_the_content_type(body: bytes, content_type: str):
    """Hosts and proxies name the wrong one too often."""
    assert answer(body, content_type=content_type) == ("Hello world", None)


def test_a_gzip_bomb_costs_no_more_than_the_limit():
    """A hundred mebibytes in a hundred kibibytes: the decoded size counts."""
    bomb = gzip.compress(b"data: " + b"x" * (100 * 1024 * 1024))
    with serve(Reply(body=[bomb], headers={"Content-Encoding": "gzip"})) as server:
        tracemalloc.start()
        try:
            chunks, errors = loopback.stream(server.url, max_event_bytes=1_000_000)
            assert list(chunks) == []
            error = errors.get()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert isinstance(error, MalformedStreamError)
    assert "max_event_bytes (1000000 bytes)" in str(error)
    assert peak < 75_000_000  # what one read may come to, where urllib3 decodes it at once


def test_broken_compression_is_an_early_end():
    body = gzip.compress(b'data: {"choices":[]}\n\n' * 100)[:-30] + b"garbage" * 20
    _, error = answer(body, headers={"Content-Encoding": "gzip"})
    assert isinstance(error, IncompleteStreamError)
