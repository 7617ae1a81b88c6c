"""Mending characters cut in two; test_conformance_transcripts.py tries every dialect with them."""

from __future__ import annotations

from anyllm.wire._base.surrogate_joiner import Halves, mend, mend_all

HIGH, LOW, MARK = "\ud83d", "\ude00", "\ufffd"


def test_mending():
    assert mend("plain é \U0001f600") == "plain é \U0001f600"
    assert mend(HIGH + LOW) == "\U0001f600"
    assert mend(f"a{LOW}{HIGH}b") == f"a{MARK}{MARK}b"
    assert mend_all({HIGH: [LOW, 1, None, (HIGH + LOW,)]}) == {MARK: [MARK, 1, None, ["\U0001f600"]]}


def test_halves_are_known_by_their_place():
    halves = Halves()
    assert halves.mend({"a": HIGH, "b": "x"}, ()) == {"a": "", "b": "x"}
    assert halves.mend({"a": LOW, "b": LOW}, ()) == {"a": "\U0001f600", "b": MARK}
    assert not halves.waiting
    halves.mend([{"index": 3, "t": HIGH}], ())
    assert list(halves.take()) == [(3, "t")]
    assert not halves.waiting
