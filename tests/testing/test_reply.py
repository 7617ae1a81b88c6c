"""Replies as data: the steps that each constructor makes, and mistakes in them."""

from __future__ import annotations

from typing import Any, List

import pytest

from anyllm.testing import Cut, Pause, Reply, chat_events


@pytest.mark.parametrize("text", ["", " ", "one", "  two\nwords ", "a\n\n\tb"])
def test_words_of_chat_events_join_to_the_text(text: str):
    events = chat_events(text, usage=False, role=False, finish_reason=None)
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == text


def test_chat_events_accepts_pieces_and_usage():
    pieces = iter(["a b", "c"])
    events = chat_events(pieces, model="m", id="i", usage={"total_tokens": 9}, finish_reason="length")
    assert [e["choices"][0]["delta"].get("content") for e in events[:-1]] == ["", "a b", "c", None]
    assert events[-2]["choices"][0]["finish_reason"] == "length"
    assert events[-1]["usage"] == {"total_tokens": 9}
    assert {(e["model"], e["id"]) for e in events} == {("m", "i")}


def test_sse_accepts_text_bytes_json_and_named_events():
    reply = Reply.sse(["a\nb", b"raw \xff", {"k": [1, 2]}, ("ping", {"t": 1})], done=False)
    assert reply.body == (
        b"data: a\ndata: b\n\n",
        b"data: raw \xff\n\n",
        b'data: {"k":[1,2]}\n\n',
        b'event: ping\ndata: {"t":1}\n\n',
    )


def test_sse_can_put_all_events_between_faults_in_one_write():
    pause = Pause(0)
    reply = Reply.sse(["a", "b", pause, "c"], event_per_write=False)
    assert reply.body == (b"data: a\n\ndata: b\n\n", pause, b"data: c\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize(
    ("sizes", "writes"),
    [
        (None, [b"0123456789"]),
        (1, [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"]),
        (4, [b"0123", b"4567", b"89"]),
        (10, [b"0123456789"]),
        ([2, 3], [b"01", b"234", b"56789"]),
        ([9, 9], [b"012345678", b"9"]),
    ],
)
def test_recorded_body_is_split_into_writes(sizes: Any, writes: List[bytes]):
    assert list(Reply.recorded(b"0123456789", sizes=sizes).body) == writes


def test_recorded_body_may_be_empty():
    assert Reply.recorded(b"", sizes=3).body == ()
    assert Reply.recorded(b"", cut_at=0, cut="reset").body == (Cut("reset"),)


def test_wrong_steps_are_refused_by_the_constructors():
    with pytest.raises(TypeError, match="not int"):
        Reply(body=[1])
    with pytest.raises(TypeError, match="not bytes"):
        Reply(body=b"forgot the list")
    with pytest.raises(ValueError, match="clean"):
        Cut("shred")
    with pytest.raises(ValueError, match="chunked"):
        Reply(framing="none")
    with pytest.raises(ValueError, match="at least 1"):
        Reply.recorded(b"abc", sizes=0)
    with pytest.raises(ValueError, match="outside"):
        Reply.recorded(b"abc", cut_at=4)
