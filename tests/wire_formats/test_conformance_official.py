"""Recorded streams are read as the official client of their provider reads them, but for what is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from official_clients import CLIENTS, Client, Official
from profiles import recorded
from recordings import Exceptions, Recording, marks

from anyllm.errors import APIError
from anyllm.types import ToolCall

pytestmark = marks([recording for _, recording in recorded()])


@pytest.fixture(scope="module")
def reads(request: pytest.FixtureRequest) -> Iterator[tuple[Client, Callable[[Recording], Official]]]:
    """A client, and a function that has it read a recording."""
    with request.param.ready() as read:
        yield request.param, read


STREAMS = [
    pytest.param(
        *(client, recording),
        id=f"{client.name}-{recording.id}",
        marks=[] if client.module == "botocore" else [pytest.mark.long],
    )
    for client in CLIENTS
    for recording in client.streams
]


@pytest.mark.parametrize(("reads", "recording"), STREAMS, indirect=["reads"])
def test_stream_is_what_the_official_client_gives(
    reads: tuple[Client, Callable[[Recording], Official]], recording: Recording
) -> None:
    client, read = reads
    ours, theirs = client.profile.read(recording), read(recording)
    bodies, exceptions = client.profile.bodies(recording.body), Exceptions(client.name)

    def check(field: str, our_value: Any, their_value: Any) -> None:
        has_cause = field in client.causes and client.causes[field](bodies)
        exceptions.check(recording, field, our_value, their_value, has_cause=has_cause)

    if theirs.error is not None:
        assert ours.error is not None
        assert theirs.error in str(ours.error)
        if not client.compares_after_error:
            return
    if isinstance(ours.error, APIError) and theirs.error is None:
        assert ours.error.code == theirs.finish[0]  # which it takes for an end like any other
        return
    for choice in ours.answer.choices:
        message, at = choice.message, choice.index
        assert (message.content or "") == theirs.texts.get(at, "")
        reasoning = (message.reasoning and message.reasoning.content) or ""
        check("reasoning", reasoning, theirs.reasoning.get(at, ""))
        calls = [list(call_of(call, client.exact)) for call in message.tool_calls]
        own = "calls of the provider's own"
        check(own if own in client.causes and client.causes[own](bodies) else "calls", *both(calls, theirs, at))
        # A finish reason on the event that carries the error is the error's, and we raise before it counts.
        if theirs.error is None:
            assert choice.raw_finish_reason == theirs.finish.get(at)
    raw = ours.answer.usage.raw if ours.answer.usage else None
    if client.usage == "same":
        check("usage", raw, theirs.usage)
    if theirs.usage is not None and client.usage != "other":
        known = {name: count for name, count in theirs.usage.items() if name != "trafficType"}
        assert raw is not None
        assert {name: raw.get(name) for name in known} == known
    assert client.usage != "part" or (theirs.usage is None) == (raw is None)
    if theirs.error is None:
        assert theirs.id is None or ours.answer.id == theirs.id
        assert theirs.model is None or ours.answer.model == theirs.model
        client.more(ours, theirs, bodies)


def call_of(call: ToolCall, exact: bool) -> Any:
    return call.id, call.name, call.arguments if exact or call.type == "custom" else call.parse()


def both(calls: list[Any], theirs: Official, at: int) -> tuple[Any, Any]:
    """Both lists of calls; OpenAI's items may stand in another order than their pieces came."""
    found = theirs.calls.get(at, [])
    return (sorted(calls, key=str), sorted(found, key=str)) if hasattr(theirs.other, "output") else (calls, found)
