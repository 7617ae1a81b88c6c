"""Recorded answers of every format, written as Google's: read by our dialect, and by the official client."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from formats_of import answer_of, every_stream, read, said_by
from recordings import Ours, Recording, each, marks, recordings_of, replaying

from anyllm.errors import APIError
from anyllm.types import ChatCompletionChunk
from anyllm.wire.gemini.dialect import GeminiDialect as Dialect
from anyllm.wire.gemini.server.writer import Gemini

GEMINI = [recording for recording in recordings_of("gemini") if recording.status == 200]
REFUSALS = [recording for recording in recordings_of("gemini", "gemini-unary") if recording.status != 200]
EVERY = every_stream()

pytestmark = marks(EVERY)
READ = Dialect(provider="read")
GOOGLE = ("gemini", "vertex_gemini")
SSE, ARRAY = Gemini(), Gemini(array=True)


def bodies_in(body: bytes) -> list[dict[str, Any]]:
    """The events, of a stream or of an array."""
    text = body.decode()
    if text.startswith("["):
        return list(json.loads(text))
    return [json.loads(line[5:]) for line in text.replace("\r\n", "\n").split("\n") if line.startswith("data:")]


def without_raw(chunk: ChatCompletionChunk) -> ChatCompletionChunk:
    """The chunk as another step would make it anew, which says nothing of what else was in the event."""
    return ChatCompletionChunk.from_dict(chunk.to_dict())


@each(GEMINI)
@pytest.mark.parametrize("form", [SSE, ARRAY], ids=["sse", "array"])
def test_a_recorded_stream_comes_back_event_by_event(recording: Recording, form: Gemini) -> None:
    """And so chunk by chunk: whatever else Google said in them is there."""
    ours = Ours(READ, [recording.body])
    said = said_by(ours, form)
    again = Ours(READ, [said])
    assert again.chunks == ours.chunks
    if ours.error is None:
        assert again.error is None
        assert bodies_in(said) == bodies_in(recording.body)
    else:
        assert isinstance(again.error, APIError)  # of a cut stream as well: it is said, where the original ended
        if isinstance(ours.error, APIError):
            assert type(again.error) is type(ours.error)
            assert (again.error.code, again.error.message) == (ours.error.code, ours.error.message)


@each(GEMINI)
def test_a_recorded_stream_that_was_taken_apart_is_the_same_answer(recording: Recording) -> None:
    """Of chunks without their events."""
    ours = Ours(READ, [recording.body])
    if ours.error is not None:
        return
    writer = SSE.writer()
    pieces = [writer.chunk(without_raw(chunk)) for chunk in ours.chunks]
    again = Ours(READ, [*pieces, writer.end()])
    assert answer_of(again) == answer_of(ours)
    assert again.error is None


@pytest.mark.parametrize("recording", REFUSALS, ids=lambda recording: recording.id)
def test_a_recorded_refusal_is_passed_on_as_it_came(recording: Recording) -> None:
    """With its status, and in the middle of a stream; in a list where the stream is one."""
    refusal, said = READ.error(recording.status, {}, recording.body), json.loads(recording.body)
    assert json.loads(SSE.problem(refusal, recording.status)) == said
    assert json.loads(ARRAY.problem(refusal, recording.status)) == [said]
    assert bodies_in(SSE.writer().error(refusal)) == [said]


def wanted(ours: Ours) -> dict[str, Any]:
    """
    The answer in this format's words: what was refused, or spoken, is text, a reason that nobody gave is given, and a
    call whose arguments are no object cannot be made.
    """
    answer = answer_of(ours)
    message = ours.answer.to_message()
    answer["text"] += message.refusal or ""
    answer["text"] += (message.audio or {}).get("transcript") or ""
    if ours.error is None:
        answer["finish"] = answer["finish"] or ("tool_calls" if answer["calls"] else "stop")
    else:
        answer["finish"] = None  # it was not told before the answer was known to be whole
    return answer


def is_broken(ours: Ours) -> bool:
    return ours.error is None and any(
        not call.is_complete for c in ours.answer.choices for call in c.message.tool_calls
    )


@each(EVERY)
def test_any_recorded_answer_is_the_same_answer(recording: Recording) -> None:
    ours = read(recording)
    again = Ours(READ, [said_by(ours, SSE)])
    if is_broken(ours):
        assert again.error is not None
        return
    expected, found = wanted(ours), answer_of(again)
    if ours.error is not None:
        found["finish"] = None
    assert found == expected
    assert [choice.message.text for choice in again.answer.choices[1:]] == [
        choice.message.text for choice in ours.answer.choices[1:]
    ]


@each(EVERY)
def test_any_recorded_answer_is_the_same_answer_whole(recording: Recording) -> None:
    ours = read(recording)
    if ours.error is not None or is_broken(ours):
        return
    again = Ours(READ, [])
    again.answer, again.error = READ.response(SSE.whole(ours.answer)), None
    assert answer_of(again) == wanted(ours)


@each(GEMINI)
def test_a_recorded_event_that_is_an_answer_comes_back_as_it_is(recording: Recording) -> None:
    """Every method's answer is one such event; those that bring pieces of a call are none."""
    if Ours(READ, [recording.body]).error is not None or b"partialArgs" in recording.body:
        return
    for body in bodies_in(recording.body):
        if body.get("candidates"):
            assert json.loads(SSE.whole(READ.response(json.dumps(body).encode()))) == body


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def genai() -> Any:
    return pytest.importorskip("google.genai")


@contextlib.contextmanager
def client_of(genai: Any, bodies: dict[str, bytes], content_type: str) -> Iterator[Any]:
    """The official client, and behind it what is said, as models of these names."""
    with replaying(bodies, at=_model_in, content_type=content_type) as base_url:
        client = genai.Client(api_key="none", http_options=genai.types.HttpOptions(base_url=base_url))
        yield client
        client.close()


def _model_in(path: str) -> str:
    return path.rpartition("/")[2].partition(":")[0]


def as_events(recording: Recording) -> bytes:
    """The recording as the client can read it, which asks for events."""
    return b"".join(b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies_in(recording.body))


def dumped(chunk: Any) -> Any:
    return chunk.model_dump(mode="json", exclude={"sdk_http_response"}, exclude_none=True)


@pytest.mark.long
def test_the_official_client_reads_the_same_of_googles_own(genai: Any) -> None:
    """Object by object, from the recording and from what we make of it; also with a sign of life before each event."""
    whole = [recording for recording in GEMINI if Ours(READ, [recording.body]).error is None]
    theirs = {recording.id: as_events(recording) for recording in whole}
    ours = {recording.id: said_by(Ours(READ, [recording.body]), SSE) for recording in whole}
    alive = {name: SSE.keep_alive + said.replace(b"data: ", SSE.keep_alive + b"data: ") for name, said in ours.items()}
    kind = SSE.content_type
    read_by: list[dict[str, Any]] = []
    for bodies in (theirs, ours, alive):
        with client_of(genai, bodies, kind) as client:
            streams = {name: client.models.generate_content_stream(model=name, contents="Hi") for name in bodies}
            read_by.append({name: [dumped(chunk) for chunk in stream] for name, stream in streams.items()})
    assert read_by[0] == read_by[1] == read_by[2]
    assert len(read_by[0]) == len(whole)


@pytest.mark.long
def test_the_official_client_reads_any_providers_answer(genai: Any) -> None:
    """Text, thoughts, calls, ends and tokens, of a stream and of a whole answer."""
    read_ones = {recording.id: read(recording) for recording in EVERY[::6]}
    whole = {name: ours for name, ours in read_ones.items() if ours.error is None and not is_broken(ours)}
    assert len(whole) > 30
    streams = {name: said_by(ours, SSE) for name, ours in whole.items()}
    with client_of(genai, streams, SSE.content_type) as client:
        for name, ours in whole.items():
            chunks = list(client.models.generate_content_stream(model=name, contents="Hi"))
            check(ours, chunks)
            assert [candidate.finish_reason for candidate in chunks[-1].candidates or ()] != [None], name
    with client_of(genai, {name: SSE.whole(ours.answer) for name, ours in whole.items()}, SSE.whole_type) as client:
        for name, ours in whole.items():
            check(ours, [client.models.generate_content(model=name, contents="Hi")])


def check(ours: Ours, responses: list[Any]) -> None:
    """What the client read is what we did, of the first answer."""
    said: dict[bool, str] = {True: "", False: ""}
    calls = []
    ends = []
    for response in responses:
        for candidate in response.candidates or ():
            if candidate.index not in (None, 0):
                continue
            for part in (candidate.content and candidate.content.parts) or ():
                said[bool(part.thought)] += part.text or ""
                if part.function_call and part.function_call.name:
                    calls.append((part.function_call.name, part.function_call.args))
            ends += [candidate.finish_reason.value] if candidate.finish_reason else []
    expected = wanted(ours)
    assert (said[False], said[True]) == (expected["text"], expected["reasoning"])
    if not any("partialArgs" in json.dumps(chunk.raw) for chunk in ours.chunks):  # which it hands on as they are
        assert calls == [(name, arguments) for _, name, arguments in expected["calls"]]
    assert len(ends) == 1 or (ends and ours.answer.provider in GOOGLE)  # which may say it again, or another
    usage = next((response.usage_metadata for response in reversed(responses) if response.usage_metadata), None)
    if expected["tokens"] is not None:
        counts = (
            usage.prompt_token_count or 0,
            (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        )
        tools = usage.tool_use_prompt_token_count or 0
        assert expected["tokens"] in (counts, (counts[0] + tools, counts[1]))
