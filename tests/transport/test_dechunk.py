"""The chunked framing: the same payload however it is cut, an end that is seen, and nonsense that is refused."""

from __future__ import annotations

import random
from typing import Iterable, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyllm._transport.dechunk import Dechunker

BODY = b"5\r\nhello\r\n1;name=value\r\n \r\n00A\r\n0123456789\r\n0\r\nTrailer: yes\r\n\r\n"
PAYLOAD = b"hello 0123456789"


def fed(pieces: Iterable[bytes]) -> Tuple[Dechunker, bytes]:
    framing = Dechunker()
    return framing, b"".join([framing.feed(piece) for piece in pieces])


@pytest.mark.parametrize("size", range(1, len(BODY) + 1))
def test_the_same_however_it_is_cut(size):
    framing, payload = fed(BODY[at : at + size] for at in range(0, len(BODY), size))
    assert payload == PAYLOAD
    assert framing.done
    assert not framing.excess


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.lists(st.integers(1, 50)))
def test_any_payload_comes_out(chunks: List[bytes], sizes: List[int]):
    body = chunked(chunks) + b"0\r\n\r\n"
    pieces, at = [], 0
    for size in sizes:
        pieces.append(body[at : at + size])
        at += size
    framing, payload = fed([*pieces, body[at:]])
    assert payload == b"".join(chunks)
    assert framing.done


def chunked(payloads: Iterable[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(payload), payload) for payload in payloads)


LOOKALIKES = (b"a" * 16, b"a\r\n5\r\nb", b"\r\n", b"1\r\n", b"\r\n5\r\nhello\r\n", b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("seed", range(40))
def test_what_looks_like_a_size_line_in_a_run_of_chunks_is_none(seed: int):
    dice = random.Random(seed)
    likely = dice.choice((1, 2, len(LOOKALIKES)))  # of one kind, or two, a run may be found
    payloads = [b"".join(dice.choices(LOOKALIKES[:likely], k=dice.randint(1, 4))) for _ in range(300)]
    body = chunked(payloads) + dice.choice((b"0\r\n\r\n", b"0\r\nTrailer: yes\r\n\r\n"))
    size = dice.randint(1000, 5000)
    framing, payload = fed(body[at : at + size] for at in range(0, len(body), size))
    assert payload == b"".join(payloads)
    assert framing.done
    assert not framing.excess


def test_a_run_is_looked_for_once_in_a_read(monkeypatch: pytest.MonkeyPatch):
    """Else payloads that look like size lines would make each chunk cost as much as the read."""
    looks: List[int] = []
    run = Dechunker._run

    def spy(data: bytes, at: int, parts: List[bytes]) -> int:
        looks.append(run(data, at, parts))
        return looks[-1]

    monkeypatch.setattr(Dechunker, "_run", staticmethod(spy))
    disguised, plain = chunked([b"\r\n5\r\n"] * 1000), chunked([b"hello"] * 1000)
    assert fed([disguised])[1] == b"\r\n5\r\n" * 1000
    assert looks == [0]
    assert fed([plain])[1] == b"hello" * 1000
    assert looks[1] > len(plain) - 50


@pytest.mark.parametrize("cut", range(len(BODY)))
def test_a_cut_body_is_not_done(cut):
    framing, payload = fed([BODY[:cut]])
    assert not framing.done
    assert PAYLOAD.startswith(payload)


def test_an_unfinished_chunk_is_handed_on():
    framing = Dechunker()
    assert framing.feed(b"ff\r\nabc") == b"abc"
    assert framing.feed(b"d") == b"d"


def test_bytes_after_the_end_are_dropped_and_reported():
    """The host and we disagree about the end, so the connection must not serve again."""
    framing, payload = fed([BODY + b"HTTP/1.1 200 OK\r\n"])
    assert payload == PAYLOAD
    assert framing.excess
    assert framing.feed(b"more") == b""


@pytest.mark.parametrize("body", [b"hello\r\n", b"\r\n\r\n", b"-5\r\nhello\r\n", b"5 5\r\n", b";x\r\n", b"\xff\r\n"])
def test_nonsense_is_refused(body):
    with pytest.raises(ValueError):  # noqa: PT011  # whose text is int()'s
        fed([body])


@pytest.mark.parametrize("size", [1000, 100_000])
def test_an_endless_size_line_is_refused(size):
    with pytest.raises(ValueError, match="endless"):
        fed([b"1" * size] * 100)


@pytest.mark.parametrize("bad", [b"zz\r\n", b"-5\r\n", b"\r\n0\r\n\r\n"])
def test_what_came_before_broken_framing_is_given(bad: bytes):
    """In the same read; in one of its own, that is an error at once."""
    framing = Dechunker()
    assert framing.feed(b"3\r\nabc\r\n" + bad) == b"abc"
    assert framing.done
    assert isinstance(framing.broken, ValueError)
    again = Dechunker()
    assert again.feed(b"3\r\nabc\r\n") == b"abc"
    with pytest.raises(ValueError):  # noqa: PT011  # whose text is int()'s
        again.feed(bad)


def test_a_trailer_is_no_size_that_is_known():
    framing = Dechunker()
    assert framing.feed(b"3\r\nabc\r\n3\r\nabc\r\n0\r\n3\r\n\r\n") == b"abcabc"
    assert framing.done
