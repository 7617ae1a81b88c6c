"""A little of what ``python tests/fuzz.py`` does at length."""

from __future__ import annotations

import fuzz
import pytest

pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", sorted(fuzz.dialects()))
def test_nothing_but_our_errors_comes_out(name: str) -> None:
    if not fuzz.TRANSCRIPTS.joinpath(name).is_dir():
        pytest.fail(f"{name} has no transcripts")
    fuzz.run(name, inputs=150, seed=1)


def test_a_failure_says_which_input_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(fuzz, "check", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fuzz.run("gemini", inputs=1, seed=3, say=lines.append)
    assert lines[0].startswith("gemini: seed 3, input 0: b'")
