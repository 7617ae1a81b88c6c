"""Where we differ from official clients is written down, is little, and is really so."""

from __future__ import annotations

import pytest
from official_clients import CLIENTS
from recordings import RECORDINGS, exceptions_in_file

KEYS = {"client", "field", "cause", "file", "ours", "theirs", "why"}
BY_NAME = {client.name: client for client in CLIENTS}


def test_there_are_few_and_each_says_everything():
    found = exceptions_in_file()
    assert len(found) <= 10
    assert len({(entry["client"], entry["field"]) for entry in found}) == len(found)
    for entry in found:
        assert entry.keys() == KEYS
        assert entry["ours"] != entry["theirs"]
        assert len(entry["why"]) > 20


def test_each_has_its_cause_where_its_client_is_asked_and_each_cause_its_entry():
    """`test_conformance_official` compares both values of the file with those that stand there."""
    found = {(entry["client"], entry["field"]): entry["cause"] for entry in exceptions_in_file()}
    causes = {(client.name, field): cause for client in CLIENTS for field, cause in client.causes.items()}
    assert {place: cause.__name__ for place, cause in causes.items()} == found


@pytest.mark.long
@pytest.mark.recordings
@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings")
@pytest.mark.parametrize("entry", exceptions_in_file(), ids=lambda entry: f"{entry['client']}-{entry['field']}")
def test_each_is_looked_at_where_its_client_is_asked(entry: dict[str, str]):
    if not any(RECORDINGS.glob(f"*/{entry['file']}.body")):
        return  # other recordings lie there
    assert entry["file"] in {recording.id for recording in BY_NAME[entry["client"]].streams}
