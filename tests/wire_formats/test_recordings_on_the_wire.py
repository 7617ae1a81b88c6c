"""
Recorded streams over real HTTP, cut at the boundaries of their events in every way that HTTP can end.

Strategy: what the cut stream has to give is what the dialect makes of the same bytes without a network, which
test_conformance_official compares with the official client. Long streams are cut at a sample of their boundaries, the
first and the last ones among them; the dialect's own test cuts at all of them.
"""

from __future__ import annotations

import re

import pytest
from profiles import BY_NAME
from recordings import Recording, marks, recordings_of

import anyllm
from anyllm.testing import Reply, serve

CHAT = BY_NAME["openai_chat"]
STREAMS = [recording for recording in recordings_of(*CHAT.apis) if recording.status == 200]

pytestmark = marks(STREAMS)

ONE_TRY = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
ASK = {"model": "any", "messages": [{"role": "user", "content": "Hi"}]}
#: How the HTTP ends: chunked and properly, chunked and reset, and with the connection, which looks like a cut.
ENDINGS = [("chunked", "clean"), ("chunked", "reset"), ("close", "clean")]
MOST = 8


def boundaries(body: bytes) -> list[int]:
    """Some of the offsets at which an event ends: the first ones, the last ones, and some between."""
    every = [match.end() for match in re.finditer(rb"\r?\n\r?\n", body)]
    if len(every) <= MOST:
        return every
    between = every[2:-3][:: max(1, len(every) // (MOST - 5))]
    return sorted({*every[:2], *between, *every[-3:]})


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.id)
def test_a_cut_is_never_taken_for_the_end(recording: Recording) -> None:
    """The chunks before the cut arrive, and then either a whole answer or one typed error with what came."""
    cuts = [(at, *ending) for at in boundaries(recording.body) for ending in ENDINGS]

    def reply(request):
        at, framing, how = cuts[int(request.path.split("/")[1])]
        return Reply.recorded(recording.body, sizes=4096, cut_at=at, cut=how, framing=framing)

    # Snowflake writes no finish reason: there [DONE] is the end.
    name = "snowflake" if recording.provider == "snowflake" else "compatible"
    with serve(reply) as server:
        host = anyllm.provider(name, api_key="none", options=ONE_TRY)
        for number, (at, framing, how) in enumerate(cuts):
            expected = CHAT.read(recording, [recording.body[:at]])
            stream = host.completion_stream(anyllm.Context(timeout=60), ASK, base_url=f"{server.url}/{number}")
            came = [chunk.content for chunk in stream.chunks]
            error = stream.errors.get(timeout=10)
            where = f"cut at {at}, {framing}, {how}"
            if how == "reset":
                # What a reset overtakes is lost with it, on the way here: fewer chunks, but never a false end.
                assert error is not None or expected.error is None, where
                continue
            assert type(error) is type(expected.error), where
            if error is None:
                assert came == [chunk.content for chunk in expected.chunks], where
            whole = stream.partial
            assert whole.choices == expected.answer.choices, where
        host.close()
