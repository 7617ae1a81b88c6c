"""Where we differ from official clients is written down, is little, and is really so."""

from __future__ import annotations

from pathlib import Path

import pytest
from recordings import RECORDINGS, exceptions_in_file

KEYS = {"client", "field", "cause", "file", "ours", "theirs", "why"}
#: The test of recordings that asks each client.
TESTS = {
    "openai": "test_recordings_chat",
    "openai, responses": "test_recordings_responses",
    "anthropic": "test_recordings_anthropic",
    "google-genai": "test_recordings_gemini",
    "cohere": "test_recordings_cohere",
    "botocore": "test_recordings_bedrock",
}


def test_there_are_few_and_each_says_everything():
    found = exceptions_in_file()
    assert len(found) <= 10
    assert len({(entry["client"], entry["field"]) for entry in found}) == len(found)
    for entry in found:
        assert entry.keys() == KEYS
        assert entry["client"] in TESTS
        assert entry["ours"] != entry["theirs"]
        assert len(entry["why"]) > 20


@pytest.mark.long
@pytest.mark.recordings
@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings")
@pytest.mark.parametrize("entry", exceptions_in_file(), ids=lambda entry: f"{entry['client']}-{entry['field']}")
def test_each_is_looked_at_where_its_client_is_asked(entry: dict[str, str]):
    """That test compares both values of the file with those that stand here."""
    module = pytest.importorskip(TESTS[entry["client"]])
    assert callable(getattr(module, entry["cause"]))
    if not any(RECORDINGS.glob(f"*/{entry['file']}.body")):
        return  # other recordings lie there
    assert entry["file"] in {recording.id for recording in module.STREAMS}


def test_each_test_of_recordings_uses_them():
    for name in TESTS.values():
        assert "EXCEPTIONS.check(" in Path(__file__).with_name(f"{name}.py").read_text("utf-8"), name
