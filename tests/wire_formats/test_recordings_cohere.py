"""Recorded responses of Cohere, each read three ways: by us, plainly by this file, and by the official client."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import Exceptions, Ours, Recording, bodies_of, calls_of, each, marks, recordings_of, replaying

from anyllm._framing.detect import events
from anyllm.errors import AnyLLMError, IncompleteStreamError, ModelNotFoundError
from anyllm.types import FINISH_REASONS, ChatCompletion, CompletionParams, Message
from anyllm.types._accumulate import Assembler
from anyllm.wire.cohere_v2.dialect import CohereV2Dialect

STREAMS = [recording for recording in recordings_of("cohere-v2") if recording.status == 200]
#: Both versions of the API refuse in the same words.
REFUSALS = [recording for recording in recordings_of("cohere-v1", "cohere-v2") if recording.status != 200]

pytestmark = marks(STREAMS)
each_stream = each(STREAMS)


def read(recording: Recording, reads: list[bytes] | None = None) -> Ours:
    return Ours(CohereV2Dialect(provider=recording.provider), reads or [recording.body])


# -- a plain reading ---------------------------------------------------------------------------------------------------


class Plain:
    """A recording as a person would read it: JSON on each data line, pieces joined."""

    def __init__(self, bodies: list[dict[str, Any]]) -> None:
        self.id = ""
        self.text = self.reasoning = ""
        self.finish: str | None = None
        self.calls: list[dict[str, Any]] = []
        self.usage: dict[str, Any] | None = None
        self.began = False
        for body in bodies:
            self._read(body["type"], body, (body.get("delta") or {}).get("message") or {})

    def _read(self, kind: str, body: dict[str, Any], message: dict[str, Any]) -> None:
        if kind == "message-start":
            self.began, self.id = True, body["id"]
        elif kind in ("content-start", "content-delta"):
            self.text += message["content"].get("text") or ""
            self.reasoning += message["content"].get("thinking") or ""
        elif kind == "tool-plan-delta":
            self.reasoning += message["tool_plan"]
        elif kind == "tool-call-start":
            call = message["tool_calls"]
            self.calls.append({"id": call["id"], **call["function"]})
        elif kind == "tool-call-delta":
            self.calls[body["index"]]["arguments"] += message["tool_calls"]["function"]["arguments"]
        elif kind == "message-end":
            self.finish, self.usage = body["delta"]["finish_reason"], body["delta"]["usage"]


def bodies_in(body: bytes) -> list[dict[str, Any]]:
    """The JSON of each data line up to [DONE]."""
    lines = [line[5:].strip() for line in body.decode().splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def assert_same(answer: ChatCompletion, plain: Plain, *, whole: bool = True) -> None:
    assert len(answer.choices) == plain.began
    assert answer.id == plain.id
    assert answer.content == plain.text
    assert answer.reasoning == plain.reasoning
    assert answer.raw_finish_reason == plain.finish
    wanted = [(call["id"], call["name"], call["arguments"] or ("{}" if whole else "")) for call in plain.calls]
    found = [(call.id, call.name, call.arguments) for call in answer.tool_calls]
    assert found == wanted
    assert (answer.usage.raw if answer.usage else None) == plain.usage


@each_stream
def test_stream_is_what_a_plain_reading_gives(recording: Recording) -> None:
    ours = read(recording)
    assert ours.error is None
    assert_same(ours.answer, Plain(bodies_in(recording.body)))


@each_stream
def test_chunks_have_one_form(recording: Recording) -> None:
    chunks = read(recording).chunks
    opened = 0
    for place, chunk in enumerate(chunks):
        assert chunk.provider == "cohere"
        assert chunk.raw is not None
        assert chunk.id == chunks[0].id
        for choice in chunk.choices:
            assert choice.index == 0
            assert choice.delta.role == (None if place else "assistant")
            assert choice.finish_reason in (None, *FINISH_REASONS)
            for fragment in choice.delta.tool_calls or ():
                begins = fragment.index == opened
                opened += begins
                assert begins == bool(fragment.id) == bool(fragment.name)
                assert fragment.index < opened


@each_stream
def test_answers_are_worth_having(recording: Recording) -> None:
    """Calls parse, totals add up, no end is of an unknown kind, and the next turn can hold the answer."""
    ours = read(recording).answer
    assert ours.finish_reason == ("tool_calls" if ours.tool_calls else "stop")
    assert all(call.is_complete for call in ours.tool_calls)
    usage = ours.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    assert (usage.cache_read_tokens or 0) <= usage.prompt_tokens
    results = [Message.tool("{}", call.id or "") for call in ours.tool_calls]
    params = CompletionParams("m", [Message.user("Hi"), ours.to_message(), *results])
    sent = json.loads(CohereV2Dialect().request(params, model="m", stream=True).body)["messages"]
    assert [call["id"] for call in sent[1].get("tool_calls", [])] == [turn["tool_call_id"] for turn in sent[2:]]


@each_stream
def test_cut_at_every_event_is_never_silently_short(recording: Recording) -> None:
    """And what has come is in the partial answer."""
    bodies = bodies_in(recording.body)
    decoder, assembler = CohereV2Dialect().decoder(), Assembler()
    for fed, event in enumerate(events([recording.body], max_event_bytes=1 << 24)):
        plain = Plain(bodies[:fed])
        whole = plain.finish is not None
        assert decoder.complete == whole
        with contextlib.nullcontext() if whole else pytest.raises(IncompleteStreamError):
            decoder.finish()
        ended = [body.get("index") for body in bodies[:fed] if body["type"] == "tool-call-end"]
        assert_same(assembler.snapshot(), plain, whole=len(ended) == len(plain.calls))
        for chunk in decoder.feed(event):
            assembler.add(chunk)
    assert decoder.complete
    assert decoder.done == (b"data: [DONE]" in recording.body)


@each_stream
def test_cut_at_every_byte_is_never_silently_short(recording: Recording) -> None:
    """Only the line of the last event, and what follows it, may be missing."""
    end = recording.body.index(b'"type":"message-end"')
    step = max(1, end // 60)
    for at in range(0, end, step):
        assert isinstance(read(recording, [recording.body[:at]]).error, IncompleteStreamError)


@each_stream
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cuts_between_reads_do_not_matter(recording: Recording, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(recording.body) - 1), max_size=40)))
    places = [0, *cuts, len(recording.body)]
    reads = [recording.body[start:end] for start, end in zip(places, places[1:])]
    ours = read(recording, reads)
    assert ours.error is None
    assert ours.chunks == read(recording).chunks


@each_stream
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoilt_event_raises_our_errors_only(recording: Recording, data: st.DataObject) -> None:
    bodies = bodies_in(recording.body)
    kinds = sorted({body["type"] for body in bodies})
    kind = data.draw(st.sampled_from(kinds))
    place = data.draw(st.sampled_from([at for at, body in enumerate(bodies) if body["type"] == kind]))
    spot = data.draw(st.sampled_from(list(_spots(bodies[place]))))
    _spoil(bodies[place], spot, data.draw(_ODD))
    lines = b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)
    error = read(recording, [lines]).error
    assert error is None or isinstance(error, AnyLLMError)


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "thinking", "function", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)


def _spots(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, item in value.items() if isinstance(value, dict) else ():
        yield (*way, key)
        yield from _spots(item, (*way, key))


def _spoil(body: dict[str, Any], spot: tuple[Any, ...], value: Any) -> None:
    *way, last = spot
    for key in way:
        body = body[key]
    body[last] = value


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recording", REFUSALS, ids=lambda recording: recording.id)
def test_refusal_is_the_right_error_and_says_why(recording: Recording) -> None:
    error = CohereV2Dialect().error(recording.status, {}, recording.body)
    assert type(error) is ModelNotFoundError
    assert error.status_code == recording.status == 404
    assert json.loads(recording.body)["message"] in str(error)


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """Where any recording lies under its id."""
    with replaying(bodies_of(STREAMS), content_type="text/event-stream") as url:
        yield url


class Official:
    """A recording as the official client gives it, its pieces joined as its documentation joins them."""

    def __init__(self, base_url: str, recording: Recording) -> None:
        import httpx

        cohere = pytest.importorskip("cohere")
        self.text = self.reasoning = ""
        self.finish: str | None = None
        self.usage: Any = None
        self.calls: list[dict[str, str]] = []
        self.id: str | None = None
        with httpx.Client() as transport:
            client = cohere.ClientV2("none", base_url=f"{base_url}/{recording.id}", httpx_client=transport)
            for event in client.chat_stream(model="m", messages=[{"role": "user", "content": "Hi"}]):
                self._add(event)

    def _add(self, event: Any) -> None:
        if event.type == "message-start":
            self.id = event.id
        elif event.type in ("content-start", "content-delta"):
            content = event.delta.message.content
            self.text += content.text or ""
            self.reasoning += content.thinking or ""
        elif event.type == "tool-plan-delta":
            self.reasoning += event.delta.message.tool_plan
        elif event.type == "tool-call-start":
            call = event.delta.message.tool_calls
            self.calls.append({"id": call.id, "name": call.function.name, "arguments": call.function.arguments})
        elif event.type == "tool-call-delta":
            self.calls[event.index]["arguments"] += event.delta.message.tool_calls.function.arguments
        elif event.type == "message-end":
            self.finish = event.delta.finish_reason
            self.usage = event.delta.usage.model_dump(exclude_unset=True)


def has_no_arguments(calls: list[dict[str, str]]) -> bool:
    return any(not call["arguments"] for call in calls)


EXCEPTIONS = Exceptions("cohere")


@pytest.mark.long
@each_stream
def test_stream_is_what_the_official_client_gives(recording: Recording, base_url: str) -> None:
    pytest.importorskip("cohere")
    ours, theirs = read(recording).answer, Official(base_url, recording)
    assert ours.id == theirs.id
    assert ours.content == theirs.text
    assert ours.reasoning == theirs.reasoning
    assert ours.raw_finish_reason == theirs.finish
    assert calls_of(ours.tool_calls) == [
        (call["id"], call["name"], json.loads(call["arguments"] or "{}")) for call in theirs.calls
    ]
    EXCEPTIONS.check(
        recording,
        "arguments",
        [call.arguments for call in ours.tool_calls],
        [call["arguments"] for call in theirs.calls],
        has_cause=has_no_arguments(theirs.calls),
    )
    assert ours.usage is not None
    assert ours.usage.raw == theirs.usage
