"""The binary framing of AWS: every cut gives the same events, and no damage passes unseen."""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from aws_frames import event, frame
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("botocore")

from anyllm._framing.aws_eventstream import FrameParser
from anyllm.errors import AnyLLMError, MalformedStreamError

LIMIT = 1 << 20


def frames(reads: Iterable[bytes], limit: int) -> Iterator[Any]:
    parser = FrameParser(limit)
    for data in reads:
        yield from parser.feed(data)


def read(*reads: bytes, limit: int = LIMIT) -> list[tuple[str, str]]:
    return [(found.event, found.data) for found in frames(reads, limit)]


ONE, TWO = event("messageStart", {"role": "assistant"}), event("contentBlockDelta", {"delta": {"text": "é"}})
BOTH = [("messageStart", '{"role": "assistant"}'), ("contentBlockDelta", '{"delta": {"text": "\\u00e9"}}')]


def test_events_have_the_name_and_the_payload_of_their_frames() -> None:
    assert read(ONE, TWO) == BOTH
    assert read() == read(b"", b"") == []


@pytest.mark.parametrize("size", [1, 2, 3, 11, 12, 13, 40, 1000])
def test_cuts_do_not_matter(size: int) -> None:
    body = ONE + TWO
    assert read(*(body[at : at + size] for at in range(0, len(body), size))) == BOTH


def test_half_a_frame_at_the_end_is_none() -> None:
    for end in range(len(TWO)):
        assert read(ONE + TWO[:end]) == BOTH[:1]


def test_events_come_as_soon_as_their_last_byte_is_there() -> None:
    def reads() -> Iterator[bytes]:
        for at in range(len(ONE)):
            yield ONE[at : at + 1]
        raise AssertionError("read on, with an event in hand")

    assert next(frames(reads(), LIMIT)).event == "messageStart"


def test_frame_without_a_name_is_a_message() -> None:
    assert read(frame(b"{}", {})) == [("message", "{}")]


def test_empty_payload_and_bad_utf8_are_events() -> None:
    assert read(frame(b"", {":event-type": "initial-response"})) == [("initial-response", "")]
    assert read(frame(b'"\xff"', {":event-type": "x"})) == [("x", '"\ufffd"')]


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "headers", "error"),
    [
        (
            b'{"message": "no", "originalStatusCode": 500}',
            {":exception-type": "modelStreamErrorException", ":message-type": "exception"},
            {"message": "no", "originalStatusCode": 500, "code": "modelStreamErrorException"},
        ),
        (
            b"",
            {":error-code": "InternalError", ":error-message": "broken", ":message-type": "error"},
            {"code": "InternalError", "message": "broken"},
        ),
    ],
    ids=["exception", "error"],
)
def test_exceptions_and_errors_are_error_events(payload: bytes, headers: Any, error: Any) -> None:
    ((name, data),) = read(frame(payload, headers))
    assert (name, json.loads(data)) == ("error", {"error": error})


@pytest.mark.parametrize("payload", [b"", b"no JSON", b"[1]", b'{"message": "\\ud83d"}', b'{"a":' * 3000])
def test_exception_with_any_payload_is_an_error_event(payload: bytes) -> None:
    ((name, data),) = read(frame(payload, {":exception-type": "xException", ":message-type": "exception"}))
    assert name == "error"
    assert json.loads(data)["error"]["code"] == "xException"


@pytest.mark.parametrize("broken", ["prelude", "payload"])
def test_wrong_checksum_is_an_error_after_what_came_before(broken: str) -> None:
    events = frames([ONE + frame(b"{}", {":event-type": "x"}, broken=broken)], LIMIT)
    assert next(events).event == "messageStart"
    with pytest.raises(MalformedStreamError, match="damaged"):
        next(events)


def test_length_is_not_believed_before_its_checksum() -> None:
    """Else a flipped bit would make us wait for megabytes that never come."""
    damaged = bytearray(ONE)
    damaged[1] ^= 1
    with pytest.raises(MalformedStreamError, match="damaged"):
        read(bytes(damaged[:12]))


@settings(max_examples=200)
@given(at=st.integers(0, len(ONE) - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_passes_unseen(at: int, bit: int) -> None:
    damaged = bytearray(ONE)
    damaged[at] ^= 1 << bit
    with pytest.raises(MalformedStreamError):
        read(bytes(damaged) + TWO)


def prelude(length: int, headers_length: int) -> bytes:
    both = struct.pack("!II", length, headers_length)
    return both + struct.pack("!I", binascii.crc32(both))


@pytest.mark.parametrize("sizes", [(0, 0), (12, 0), (15, 0), (20, 5), (16, 1 << 31), (40, 1 << 20)])
def test_impossible_sizes_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(MalformedStreamError, match="damaged"):
        read(prelude(*sizes))


@pytest.mark.parametrize("head", [b"\x05ab", b"\x01a\x63", b"\x01a\x07\x00\x01\xff", b"\x01a\x00\x01a\x00", b"\x01a"])
def test_headers_that_make_no_sense_are_refused(head: bytes) -> None:
    message = prelude(16 + len(head), len(head)) + head
    with pytest.raises(MalformedStreamError, match="damaged"):
        read(message + struct.pack("!I", binascii.crc32(message)))


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_raise_only_our_errors(pieces: list[bytes]) -> None:
    try:
        read(*pieces, limit=1 << 16)
    except AnyLLMError:
        pass


# -- size --------------------------------------------------------------------------------------------------------------


def test_frame_above_the_limit_is_refused_before_it_has_come() -> None:
    large = event("x", "a" * 1000)
    assert read(large, limit=len(large))
    with pytest.raises(MalformedStreamError, match=r"max_event_bytes \(1000 bytes\)"):
        read(large[:12], limit=1000)


def test_what_comes_before_a_frame_that_is_too_large_is_not_lost() -> None:
    events = frames([ONE + event("x", "a" * 1000)], 1000)
    assert next(events).event == "messageStart"
    with pytest.raises(MalformedStreamError):
        next(events)


def test_bytes_are_copied_a_constant_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are cut: botocore alone joins every read to all that waits, and would copy gigabytes here."""
    from botocore import eventstream

    added: list[int] = []
    original = eventstream.EventStreamBuffer.add_data

    def add_data(self: Any, data: bytes) -> None:
        added.append(len(self._data) + len(data))
        original(self, data)

    monkeypatch.setattr(eventstream.EventStreamBuffer, "add_data", add_data)
    body = event("x", "a" * 500_000)
    assert len(read(*(body[at : at + 100] for at in range(0, len(body), 100)))) == 1
    assert sum(added) <= len(body) + 12
    added.clear()
    body = ONE * 1000
    assert len(read(body)) == 1000
    assert sum(added) <= len(body) + 12 * 1000
