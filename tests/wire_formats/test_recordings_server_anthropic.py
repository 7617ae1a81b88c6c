"""Recorded answers of every format, written as Anthropic's: read by our dialect, and by the official client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from formats_of import answer_of, every_stream, read, said_by
from recordings import Ours, Recording, bodies_of, each, marks, recordings_of, replaying

from anyllm.errors import InvalidRequestError
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect as Dialect
from anyllm.wire.anthropic_messages.server.writer import AnthropicMessages

MESSAGES = [recording for recording in recordings_of("messages") if recording.status == 200]
#: Those that are whole, and one answer: some recorders have written several into one file.
WHOLE = [recording for recording in MESSAGES if recording.body.count(b"event: message_stop") == 1]
REFUSALS = [recording for recording in recordings_of("messages") if recording.status != 200]
EVERY = every_stream()

pytestmark = marks(EVERY)
READ = Dialect(provider="read")
FORMAT = AnthropicMessages()


def wanted(ours: Ours) -> dict[str, Any]:
    """
    The answer in this format's words: a refusal is text, and so is a reason for the end that nobody gave; where nobody
    counted its clients, which reckon with counts, read zeros.
    """
    answer = answer_of(ours)
    answer["text"] += ours.answer.refusal
    if ours.error is None:
        answer["tokens"] = answer["tokens"] or (0, 0)
        answer["finish"] = answer["finish"] or ("tool_calls" if answer["calls"] else "stop")
    return answer


def has_no_words(ours: Ours) -> bool:
    """Whether the answer is more than the format can say: several answers, or a sound."""
    answer = ours.answer
    return len(answer.choices) > 1 or answer.to_message().audio is not None


@each(MESSAGES)
def test_a_recorded_stream_comes_back_chunk_by_chunk(recording: Recording):
    ours = Ours(READ, [recording.body])
    again = Ours(READ, [said_by(ours, FORMAT)])
    assert again.chunks == ours.chunks
    assert (again.error is None) == (ours.error is None)


@pytest.mark.parametrize("recording", REFUSALS, ids=lambda recording: recording.id)
def test_a_recorded_refusal_is_passed_on_as_it_came(recording: Recording):
    """With its status, and in the middle of a stream."""
    refusal, said = READ.error(recording.status, {}, recording.body), json.loads(recording.body)
    for body in (FORMAT.problem(refusal, recording.status), FORMAT.writer().error(refusal).split(b"data: ")[1]):
        assert {**json.loads(body), "request_id": said.get("request_id")} == {"request_id": None, **said}
        assert json.loads(body)["request_id"] == said.get("request_id")


@each(EVERY)
def test_any_recorded_answer_is_the_same_answer(recording: Recording):
    ours = read(recording)
    again = Ours(READ, [said_by(ours, FORMAT)])
    if has_no_words(ours):
        assert isinstance(again.error, InvalidRequestError)
        return
    assert answer_of(again) == wanted(ours)


@each(EVERY)
def test_any_recorded_answer_is_the_same_answer_whole(recording: Recording):
    ours = read(recording)
    if has_no_words(ours):
        with pytest.raises(InvalidRequestError):
            FORMAT.whole(ours.answer)
        return
    again = Ours(READ, [])
    again.error, again.answer = None, READ.response(FORMAT.whole(ours.answer))
    ours.error = None
    answer = wanted(ours)
    for place, (call_id, name, arguments) in enumerate(answer["calls"]):
        if isinstance(arguments, str):  # which a whole call has no place for but this
            answer["calls"][place] = (call_id, name, {"INVALID_JSON": arguments})
    assert answer_of(again) == answer


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    anthropic = pytest.importorskip("anthropic")
    with anthropic.Anthropic(base_url="http://127.0.0.1", api_key="none", max_retries=0) as official:
        yield official


@pytest.mark.long
def test_the_official_client_reads_the_same(client: Any):
    """From the recordings, and from what we make of them: all blocks, the end, the tokens."""
    written = {recording.id: said_by(Ours(READ, [recording.body]), FORMAT) for recording in WHOLE}
    kind = "text/event-stream"
    with replaying(bodies_of(WHOLE), content_type=kind) as theirs, replaying(written, content_type=kind) as ours:
        for recording in WHOLE:
            original, passed = (streamed(client, f"{url}/{recording.id}") for url in (theirs, ours))
            assert passed == original, recording.id


@pytest.mark.long
def test_the_official_client_reads_any_answer(client: Any):
    """What chunks of other dialects became is what a client of this format reads: one of each kind of recording."""
    varied = {(recording.api, *kind_of(recording)): recording for recording in EVERY if recording.api != "messages"}
    answers = {recording.id: read(recording) for recording in varied.values()}
    answers = {name: ours for name, ours in answers.items() if not (ours.error or has_no_words(ours))}
    written = {name: said_by(ours, FORMAT) for name, ours in answers.items()}
    with replaying(written, content_type="text/event-stream") as url:
        for name, ours in answers.items():
            message, answer = streamed(client, f"{url}/{name}"), wanted(ours)
            content = message["content"]
            assert "".join(block["text"] for block in content if block["type"] == "text") == answer["text"], name
            thoughts = [block["thinking"] for block in content if block["type"] == "thinking"]
            assert "".join(thoughts) == answer["reasoning"], name
            calls = [(block["id"], block["name"], block["input"]) for block in content if block["type"] == "tool_use"]
            assert calls == answer["calls"], name
            usage = message["usage"]
            cached = [usage.get(f"cache_{name}_input_tokens") or 0 for name in ("read", "creation")]
            assert (usage["input_tokens"] + sum(cached), usage["output_tokens"]) == answer["tokens"], name


@pytest.mark.long
def test_the_official_client_reads_the_same_whole(client: Any):
    """Answers that came whole in this format are passed on as they came; others are made."""
    originals = {recording.id: json.dumps(as_whole(client, recording)).encode() for recording in WHOLE[:12]}
    answers = {name: READ.response(body) for name, body in originals.items()}
    made = {name: FORMAT.whole(answer) for name, answer in answers.items()}
    kind = "application/json"
    with replaying(originals, content_type=kind) as theirs, replaying(made, content_type=kind) as ours:
        for name in originals:
            original, passed = (created(client, f"{url}/{name}") for url in (theirs, ours))
            assert passed == original, name


ASKED: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


def kind_of(recording: Recording) -> list[bool]:
    """What sort of answer it is, as its name says."""
    return [word in recording.id for word in ("parallel", "tools", "thinking", "refusal", "citations", "text")]


def streamed(client: Any, url: str) -> Any:
    """The answer that the client puts together, twice: by its helper, and of plain events."""
    here = client.with_options(base_url=url)
    with here.messages.stream(**ASKED) as stream:
        message = stream.get_final_message()
    with here.messages.create(stream=True, **ASKED) as plain:
        kinds = [event.type for event in plain]
    assert (kinds[0], kinds[-1], kinds.count("message_delta")) == ("message_start", "message_stop", 1)
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == len(message.content)
    return without_nothing(message.to_dict(warnings=False))


def created(client: Any, url: str) -> Any:
    return client.with_options(base_url=url).messages.create(**ASKED).to_dict(warnings=False)


def as_whole(client: Any, recording: Recording) -> Any:
    """The recorded answer as it would have come whole."""
    with replaying(bodies_of([recording]), content_type="text/event-stream") as url:
        return streamed(client, f"{url}/{recording.id}")


def without_nothing(message: Any) -> Any:
    """A message without blocks that say nothing, which the chunks between do not either."""
    content = [block for block in message["content"] if block.get("text") != "" and block.get("thinking") != ""]
    return {**message, "content": content}
