"""Ollama's format in both directions: requests and answers, written by one side and read by the other."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from formats_of import answer_of, every_stream, read, said_by
from hypothesis import given, settings
from hypothesis import strategies as st
from params_strategies import SCHEMAS, TEXTS, TOOLS, answers, conversations, params, text_part, thoughts
from recordings import Ours, Recording, bodies_of, each, recordings_of, replaying

from anyllm import formats
from anyllm.errors import IncompleteStreamError, MalformedStreamError
from anyllm.types import REASONING_EFFORTS, ChatCompletion, ContentPart
from anyllm.types._replay import replayed
from anyllm.wire.ollama.dialect import OllamaDialect as Dialect
from anyllm.wire.ollama.server.request_reader import read_chat
from anyllm.wire.ollama.server.writer import OllamaChat, OllamaGenerate

OLLAMA = [recording for recording in recordings_of("ollama-chat", "ollama-generate") if recording.status == 200]
EVERY = every_stream()

READ = Dialect(provider="read")
FORMATS = {"ollama-chat": OllamaChat, "ollama-generate": OllamaGenerate}
BOTH = pytest.mark.parametrize("wanted", [OllamaChat, OllamaGenerate])

# -- read(write(params)) == params -------------------------------------------------------------------------------------

IMAGES = st.sampled_from([b"\x89PNG\r\n\x1a\n rest", b"\xff\xd8\xff rest"]).map(ContentPart.from_image)
#: One text, and images after it, as the format has them.
CONTENTS = TEXTS | st.builds(
    lambda text, images: [*map(text_part, text), *images],
    st.lists(TEXTS, max_size=1),
    st.lists(IMAGES, min_size=1, max_size=2),
)
#: Reasoning has no name here, nor a signature.
MESSAGES = conversations(users=CONTENTS, reasoning=st.none() | TEXTS)
FORMAT = st.just({"type": "json_object"}) | SCHEMAS.map(
    lambda schema: {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
)
FLOATS = st.floats(0, 2) | st.integers(0, 2)
FIELDS = {
    "temperature": FLOATS,
    "top_p": FLOATS,
    "max_tokens": st.integers(1, 10**6),
    "seed": st.integers(0, 10**6),
    "stop": st.lists(TEXTS, min_size=1, max_size=2),
    "tools": TOOLS,
    "response_format": FORMAT,
    "reasoning_effort": st.sampled_from(REASONING_EFFORTS),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(1, 5),
}
#: The efforts that the format has no level of its own for.
EFFORTS = {"minimal": "low", "xhigh": "high", "auto": None}


@given(asked=params(MESSAGES, **FIELDS), stream=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_request_is_read_as_it_was_written(asked, stream):
    """But for efforts without a level of their own, and logprobs of false, which say nothing."""
    body = json.loads(Dialect().request(asked, model="m", stream=stream).body)
    found = read_chat(body)
    effort = EFFORTS.get(asked.reasoning_effort, asked.reasoning_effort)
    assert found.params == asked.evolve(reasoning_effort=effort)
    assert (found.stream, found.unknown_fields, found.ignorable_fields, found.native) == (stream, {}, {}, (Dialect,))


# -- decode(write(answer)) == answer -----------------------------------------------------------------------------------

REASONS = [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("unknown", "tired")]
ANSWERS = answers(reasoning=thoughts("thinking"), finish_reasons=REASONS)


def as_it_is_read(answer: ChatCompletion) -> ChatCompletion:
    """The format has no id of an answer, and no word of its own for calls as an end."""
    (choice,) = answer.choices
    reason = "stop" if choice.message.tool_calls else choice.raw_finish_reason
    return attrs.evolve(answer, id="", choices=(attrs.evolve(choice, raw_finish_reason=reason),), provider="read")


@BOTH
@given(answer=ANSWERS)
@settings(max_examples=100, deadline=None)
def test_an_answer_is_read_as_it_was_written(wanted, answer):
    """As a stream, and whole."""
    expected = as_it_is_read(answer)
    streamed = Ours(READ, [b"".join(formats.encode(replayed(answer), wanted()))])
    assert streamed.error is None
    assert streamed.answer == expected
    whole = READ.response(wanted().whole(answer))
    assert attrs.evolve(whole, raw=None) == expected


# -- recordings --------------------------------------------------------------------------------------------------------


def without_times(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "created_at"}


@pytest.mark.recordings
@each(OLLAMA)
def test_a_recorded_stream_comes_back_chunk_by_chunk(recording: Recording):
    """And line by line, but for the times of the lines, of which a chunk has the first, in seconds."""
    ours = Ours(READ, [recording.body])
    again = Ours(READ, [said_by(ours, FORMATS[recording.api]())])
    assert again.chunks == ours.chunks
    assert again.error is None
    assert [without_times(chunk.raw) for chunk in again.chunks] == [without_times(chunk.raw) for chunk in ours.chunks]


@pytest.mark.recordings
@each(OLLAMA)
def test_a_recorded_stream_may_be_written_as_the_other_of_the_two(recording: Recording):
    ours = Ours(READ, [recording.body])
    other = OllamaChat() if recording.api == "ollama-generate" else OllamaGenerate()
    assert Ours(READ, [said_by(ours, other)]).chunks == ours.chunks


def is_sayable(ours: Ours) -> bool:
    """Whether the format has words for it: one answer, no sound, and calls with objects."""
    answer = ours.answer
    has_one = not any(choice.index for choice in answer.choices)
    return has_one and answer.to_message().audio is None and all(call.is_complete for call in answer.tool_calls)


def expected(ours: Ours) -> dict[str, Any]:
    """The answer, as it is read back; a refusal is text here, and what cannot be said is an error."""
    said = answer_of(ours)
    said["text"] += ours.answer.refusal
    if ours.error is not None:
        return {key: said[key] for key in ("text", "reasoning", "has_error")}  # the rest comes with the end
    return said if is_sayable(ours) else {"has_error": True}


@pytest.mark.recordings
@each(EVERY)
def test_any_recorded_answer_is_the_same_answer(recording: Recording):
    ours = read(recording)
    again = Ours(READ, [said_by(ours, OllamaChat())])
    said, meant = answer_of(again), expected(ours)
    assert {key: said[key] for key in meant} == meant
    if not meant["has_error"]:
        assert [call.id for call in again.answer.tool_calls] == [call.id for call in ours.answer.tool_calls]
    assert not isinstance(again.error, (IncompleteStreamError, MalformedStreamError))


@pytest.mark.recordings
@pytest.mark.long
def test_the_official_client_reads_the_same():
    """From the recording, and from what we make of it."""
    ollama = pytest.importorskip("ollama")
    written = {
        recording.id: said_by(Ours(READ, [recording.body]), FORMATS[recording.api]()).replace(b"\n", b"\n ")
        for recording in OLLAMA
    }
    written = {name: body[:-1] for name, body in written.items()}  # a sign of life before each line, none at the end
    kind = "application/x-ndjson"
    with replaying(bodies_of(OLLAMA), content_type=kind) as theirs, replaying(written, content_type=kind) as ours:
        for recording in OLLAMA:
            original, passed = (_read(ollama, f"{url}/{recording.id}", recording.api) for url in (theirs, ours))
            assert passed == original, recording.id


@pytest.mark.recordings
@pytest.mark.long
def test_the_official_client_reads_answers_of_others():
    """Every line of the shortest answer of each host, and of its shortest with calls."""
    ollama = pytest.importorskip("ollama")
    shortest: dict[Any, Recording] = {}
    for recording in sorted(EVERY, key=lambda recording: len(recording.body), reverse=True):
        shortest[recording.provider, "tool" in recording.id] = recording
    whole = {recording.id: read(recording) for recording in shortest.values()}
    good = {name: ours for name, ours in whole.items() if ours.error is None and is_sayable(ours)}
    written = {name: said_by(ours, OllamaChat()) for name, ours in good.items()}
    with replaying(written, content_type="application/x-ndjson") as url:
        for name, ours in good.items():
            parts = _read(ollama, f"{url}/{name}", "ollama-chat")
            text = "".join(part["message"].get("content") or "" for part in parts)
            assert text == ours.answer.content + ours.answer.refusal, name
            calls = [call for part in parts for call in part["message"].get("tool_calls") or ()]
            assert [call["function"]["arguments"] for call in calls] == [c.parse() for c in ours.answer.tool_calls]
            assert [part["done"] for part in parts] == [False] * (len(parts) - 1) + [True]


def _read(ollama: Any, url: str, api: str) -> list[dict[str, Any]]:
    """All parts, as the client's own values, but for their times."""
    client = ollama.Client(host=url)
    if api == "ollama-generate":
        parts = client.generate("m", "Hi", stream=True)
    else:
        parts = client.chat("m", [{"role": "user", "content": "Hi"}], stream=True)
    read = [without_times(part.model_dump(exclude_unset=True)) for part in parts]
    client._client.close()
    return read
