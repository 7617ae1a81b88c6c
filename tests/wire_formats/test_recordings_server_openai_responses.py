"""Recorded answers of every format, written as OpenAI's Responses: read by our dialect, and by the official client."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from formats_of import answer_of, every_stream, read, said_by
from recordings import Ours, Recording, bodies_of, each, marks, recordings_of, replaying

from anyllm.types import ChatCompletionChunk, CompletionParams, Message
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect
from anyllm.wire.openai_responses.server.request import read_responses
from anyllm.wire.openai_responses.server.writer import OpenAIResponses as Format

OWN = [recording for recording in recordings_of("responses") if recording.status == 200]
EVERY = every_stream()

pytestmark = marks(EVERY)
#: Bytes of a stream that the official helper is given, and five times as many for the client: both take their time.
LONGEST = 12_000
READ = OpenAIResponsesDialect(provider="read")


@functools.cache
def read_once(recording: Recording) -> Ours:
    """The recording, as we read it."""
    return read(recording)


@functools.cache
def said_once(recording: Recording) -> bytes:
    """All that is said of it in this format."""
    return said_by(read_once(recording), Format())


@functools.cache
def again_of(recording: Recording) -> Ours:
    """And that, read again."""
    return Ours(READ, [said_once(recording)])


def own_of(recording: Recording) -> Ours:
    return Ours(READ, [recording.body])


def shown(ours: Ours) -> list[ChatCompletionChunk]:
    """
    The chunks that say anything; the others bring an event alone, and how many there are a chunk does not say.

    OpenRouter calls items otherwise in the last event, where ours keep their names: those names are left out.
    """
    chunks = [chunk for chunk in ours.chunks if chunk.choices]
    for chunk in chunks:
        reasoning = chunk.choices[0].delta.reasoning
        for item in (reasoning.details if reasoning else None) or ():
            if str(item.get("id")).startswith("rs_tmp_"):
                item["id"] = "rs_tmp"
    return chunks


@each(OWN)
def test_a_recorded_stream_comes_back_chunk_by_chunk(recording: Recording) -> None:
    ours = own_of(recording)
    again = Ours(READ, [said_by(ours, Format())])
    assert shown(again) == shown(ours)
    assert type(again.error) is type(ours.error)


@each([recording for recording in OWN if own_of(recording).error is None])
def test_a_hosts_own_work_is_passed_on(recording: Recording) -> None:
    """Whatever items a host had, which chunks have no words for: whole, and with as many events of their own."""
    ours = own_of(recording)
    bodies, again = ([chunk.raw for chunk in found.chunks] for found in (ours, Ours(READ, [said_by(ours, Format())])))
    assert beside(again) == beside(bodies)


def beside(bodies: list[Any]) -> Any:
    """The types of events about a host's own items, and those items in the last event, or else where they end."""
    kinds = [body["type"] for body in bodies if "_call." in body["type"] and "custom_tool" not in body["type"]]
    done = [body["item"] for body in bodies if body["type"] == "response.output_item.done"]
    output = bodies[-1]["response"]["output"] or done
    shown = ("message", "reasoning", "function_call", "custom_tool_call")
    return kinds, [item for item in output if item["type"] not in shown]


@each(EVERY)
def test_any_recorded_answer_is_the_same_answer(recording: Recording) -> None:
    """But for what has no place: a second answer, a sound. An error has no reason for an end beside it."""
    ours, again = read_once(recording), again_of(recording)
    if any(choice.index or choice.message.audio for choice in ours.answer.choices):
        assert "no place for" in str(again.error)
        return
    before, after = answer_of(ours), answer_of(again)
    if ours.error is not None:
        before["finish"] = after["finish"] = None
    assert after == before


@each(EVERY)
def test_a_whole_answer_is_read_as_the_streams(recording: Recording) -> None:
    ours = read_once(recording)
    if ours.error is not None or any(choice.index or choice.message.audio for choice in ours.answer.choices):
        return
    whole = READ.response(Format().whole(ours.answer))
    streamed = again_of(recording).answer
    for name in ("content", "reasoning", "refusal", "finish_reason"):
        assert getattr(whole, name) == getattr(streamed, name) == getattr(ours.answer, name)
    calls = [(call.id, call.name, call.arguments) for call in ours.answer.tool_calls]
    assert [(call.id, call.name, call.arguments) for call in whole.tool_calls] == calls
    assert (whole.usage and whole.usage.total_tokens) == (streamed.usage and streamed.usage.total_tokens)


@each(OWN)
def test_an_answer_sent_back_through_us_reaches_its_host_as_it_was(recording: Recording) -> None:
    ours = own_of(recording)
    message = ours.answer.to_message()
    results = [Message.tool("fine", call.id or "") for call in message.tool_calls]
    params = CompletionParams("m", [Message.user("Hi"), message, *results, Message.user("Go on")])
    body = json.loads(READ.request(params, model="m", stream=True).body)
    again = READ.request(read_responses(body).params, model="m", stream=True)
    assert json.loads(again.body) == body


@pytest.mark.long
def test_the_official_client_reads_the_same_of_its_own() -> None:
    """From the recording, and from what we make of it."""
    openai = pytest.importorskip("openai")
    short = [recording for recording in OWN if len(recording.body) < 5 * LONGEST]
    whole = [recording for recording in short if own_of(recording).error is None]
    written = {recording.id: said_by(own_of(recording), Format()) for recording in whole}
    kind = "text/event-stream"
    with (
        replaying(bodies_of(whole), content_type=kind) as theirs,
        replaying(written, content_type=kind) as ours,
        openai.OpenAI(api_key="x", max_retries=0) as client,
    ):
        for recording in whole:
            original, passed = (
                _read(client.with_options(base_url=f"{url}/{recording.id}").responses) for url in (theirs, ours)
            )
            assert passed == original, recording.id


def _read(responses: Any) -> Any:
    """Texts, thoughts and arguments piece by piece, and the last response's tokens."""
    pieces: dict[str, str] = {}
    with responses.create(model="m", input="Hi", stream=True) as stream:
        for event in stream:
            if event.type.endswith(".delta"):
                pieces[event.type] = pieces.get(event.type, "") + str(event.delta)
            elif event.type in ("response.completed", "response.incomplete"):
                return pieces, event.response.usage, event.response.status
    return None


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Pydantic")  # of xAI's tools, which the client does not know
def test_the_official_helper_takes_every_answer_together() -> None:
    """It holds events to their order: items before parts before text, under numbers that stay."""
    openai = pytest.importorskip("openai")
    answers = {recording.id: read_once(recording) for recording in EVERY}
    written = {recording.id: said for recording in EVERY if b"event: error" not in (said := said_once(recording))}
    assert len(written) > len(answers) * 0.9
    written = {name: said for name, said in written.items() if len(said) < LONGEST}
    kind = "text/event-stream"
    with replaying(written, content_type=kind) as url, openai.OpenAI(api_key="x", max_retries=0) as client:
        for name in written:
            with client.with_options(base_url=f"{url}/{name}").responses.stream(model="m", input="Hi") as stream:
                last = list(stream)[-1].response
            answer = answers[name].answer
            assert last.output_text == answer.content, name
            calls = [(item.call_id, item.name) for item in last.output if item.type == "function_call"]
            assert calls == [(call.id, call.name) for call in answer.tool_calls if call.type == "function"], name
