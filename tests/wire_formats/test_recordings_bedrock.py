"""
Recorded responses of Bedrock, each read three ways: by us, plainly by this file, and by the official client.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import Exceptions, Ours, Recording, bodies_of, calls_of, each, marks, recordings_of, replaying

pytest.importorskip("botocore")

from anyllm import errors
from anyllm._framing.aws_eventstream import frames
from anyllm._framing.detect import Event, JSONEvent
from anyllm.errors import AnyLLMError, IncompleteStreamError
from anyllm.types import FINISH_REASONS, ChatCompletion
from anyllm.types._accumulate import Assembler
from anyllm.wire.bedrock_converse.dialect import BedrockConverseDialect

ALL = recordings_of("converse-stream", "converse-unary")
STREAMS = [recording for recording in ALL if recording.status == 200]
WITH_SIZES = [recording for recording in STREAMS if recording.sizes]
REFUSALS = [recording for recording in ALL if recording.status != 200]
INVOKED = [recording for recording in recordings_of("invoke-stream") if recording.status == 200]

pytestmark = marks(ALL)
each_stream = each(STREAMS)


def read(recording: Recording, reads: list[bytes] | None = None) -> Ours:
    return Ours(BedrockConverseDialect(), reads or [recording.body], frames)


# -- a plain reading ---------------------------------------------------------------------------------------------------


def frames_in(body: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Every frame's kind, name and payload; lengths and text headers are all that is looked at."""
    while body:
        length, headers_length = struct.unpack("!II", body[:8])
        assert binascii.crc32(body[: length - 4]) == struct.unpack("!I", body[length - 4 : length])[0]
        headers, about = body[12 : 12 + headers_length], {}
        while headers:
            size = headers[0]
            name, rest = headers[1 : 1 + size], headers[1 + size :]
            assert rest[0] == 7  # text
            (size,) = struct.unpack("!H", rest[1:3])
            about[name.decode()], headers = rest[3 : 3 + size].decode(), rest[3 + size :]
        yield about[":message-type"], about[":event-type"], body[12 + headers_length : length - 4]
        body = body[length:]


class Plain:
    """A recording as a person would read it: the JSON in each frame, pieces joined."""

    def __init__(self, bodies: list[tuple[str, dict[str, Any]]]) -> None:
        self.text = ""
        self.finish: str | None = None
        self.usage: dict[str, Any] | None = None
        self.calls: dict[int, dict[str, Any]] = {}
        self.thoughts: dict[int, dict[str, str]] = {}
        for name, body in bodies:
            self._read(name, body)

    @property
    def reasoning(self) -> str:
        return "".join(thought.get("text", "") for thought in self.thoughts.values())

    def _read(self, name: str, body: dict[str, Any]) -> None:
        at = body.get("contentBlockIndex")
        if name == "messageStop":
            self.finish = body["stopReason"]
        elif name == "metadata":
            self.usage = body.get("usage")
        elif name == "contentBlockStart":
            call = body["start"].get("toolUse")
            if call and call.get("type") != "server_tool_use":
                self.calls[at] = {"id": call["toolUseId"], "name": call["name"], "arguments": ""}
        elif name == "contentBlockDelta":
            delta = body["delta"]
            self.text += delta.get("text", "")
            if at in self.calls:
                self.calls[at]["arguments"] += delta["toolUse"]["input"]
            for key, piece in delta.get("reasoningContent", {}).items():
                thought = self.thoughts.setdefault(at, {})
                thought[key] = thought.get(key, "") + piece


def bodies_in(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    return [(name, json.loads(payload)) for kind, name, payload in frames_in(body) if kind == "event"]


def assert_same(answer: ChatCompletion, plain: Plain) -> None:
    message = answer.to_message() if answer.choices else None
    assert ((message and message.content) or "") == plain.text
    reasoning = message.reasoning if message else None
    assert ((reasoning and reasoning.content) or "") == plain.reasoning
    assert answer.raw_finish_reason == plain.finish
    wanted = [(call["id"], call["name"], call["arguments"]) for call in plain.calls.values()]
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == wanted
    assert (answer.usage.raw if answer.usage else None) == plain.usage


@each_stream
def test_stream_is_what_a_plain_reading_gives(recording: Recording) -> None:
    ours, plain = read(recording), Plain(bodies_in(recording.body))
    assert (ours.error is None) == (plain.finish is not None), ours.error
    assert_same(ours.answer, plain)


@each_stream
def test_reasoning_is_sent_back_as_it_came(recording: Recording) -> None:
    """Signatures and hidden thoughts, block by block, in the next request."""
    answer, plain = read(recording).answer, Plain(bodies_in(recording.body))
    wanted = []
    for thought in plain.thoughts.values():
        if "redactedContent" in thought:
            wanted.append({"redactedContent": thought["redactedContent"]})
        elif "signature" in thought:
            wanted.append({"reasoningText": {"text": thought["text"], "signature": thought["signature"]}})
    body = next_request(answer)
    blocks = body["messages"][1]["content"]
    assert [block["reasoningContent"] for block in blocks if "reasoningContent" in block] == wanted
    assert [set(block) for block in blocks[: len(wanted)]] == [{"reasoningContent"}] * len(wanted)
    called = [(block["toolUse"]["toolUseId"], block["toolUse"]["name"]) for block in blocks if "toolUse" in block]
    assert called == [(call["id"], call["name"]) for call in plain.calls.values()]


def next_request(answer: ChatCompletion) -> dict[str, Any]:
    from anyllm.types import CompletionParams, Message

    results = [Message.tool("done", call.id or "") for call in answer.tool_calls]
    messages = [Message.user("Hi"), answer.to_message(), *results]
    request = BedrockConverseDialect().request(CompletionParams(model="m", messages=messages), model="m", stream=True)
    return json.loads(request.body)


@each_stream
def test_chunks_have_one_form_whoever_sent_them(recording: Recording) -> None:
    seen, opened = False, 0
    for chunk in read(recording).chunks:
        assert chunk.provider == "bedrock"
        assert isinstance(chunk.raw, dict)
        for choice in chunk.choices:
            assert choice.index == 0
            assert choice.delta.role == (None if seen else "assistant")
            seen = True
            assert choice.finish_reason in (None, *FINISH_REASONS)
            for fragment in choice.delta.tool_calls or ():
                begins = fragment.index == opened
                opened += begins
                assert begins == bool(fragment.id) == bool(fragment.name)
                assert fragment.index < opened


@each_stream
def test_answers_are_worth_having(recording: Recording) -> None:
    """Calls parse, totals add up, and no end is of an unknown kind."""
    answer = read(recording).answer
    assert answer.finish_reason in ("stop", "length", "tool_calls", "content_filter")
    assert all(call.is_complete for call in answer.tool_calls)
    assert bool(answer.tool_calls) == (answer.finish_reason == "tool_calls")
    if answer.usage is not None:
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@each_stream
def test_cut_at_every_event_is_never_silently_short(recording: Recording) -> None:
    """And what has come is in the partial answer."""
    bodies = bodies_in(recording.body)
    decoder, assembler = BedrockConverseDialect().decoder(), Assembler()
    for fed, event in enumerate(frames([recording.body], 1 << 24)):
        plain = Plain(bodies[:fed])
        whole = plain.finish is not None
        assert decoder.complete == whole
        assert not decoder.done
        with contextlib.nullcontext() if whole else pytest.raises(IncompleteStreamError):
            decoder.finish()
        assert_same(assembler.snapshot(), plain)
        for chunk in decoder.feed(event):
            assembler.add(chunk)
    assert decoder.complete
    assert decoder.done == (bodies[-1][0] == "metadata")


@pytest.mark.parametrize("recording", WITH_SIZES, ids=lambda recording: recording.id)
def test_read_sizes_do_not_matter(recording: Recording) -> None:
    assert read(recording, recording.reads).chunks == read(recording).chunks


@each_stream
def test_cut_at_every_byte_gives_the_same_chunks(recording: Recording) -> None:
    pieces = [recording.body[at : at + 1] for at in range(len(recording.body))]
    assert read(recording, pieces).chunks == read(recording).chunks


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_cut_anywhere_gives_the_same_chunks(data: st.DataObject) -> None:
    recording = data.draw(st.sampled_from(STREAMS))
    places = data.draw(st.lists(st.integers(0, len(recording.body)), max_size=12))
    ends = [0, *sorted(places), len(recording.body)]
    pieces = [recording.body[start:end] for start, end in zip(ends, ends[1:])]
    ours, whole = read(recording, pieces), read(recording)
    assert ours.chunks == whole.chunks
    assert ours.answer == whole.answer


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_cut_short_anywhere_is_the_whole_or_an_error(data: st.DataObject) -> None:
    recording = data.draw(st.sampled_from(STREAMS))
    end = data.draw(st.integers(1, len(recording.body) - 1))
    ours = read(recording, [recording.body[:end]])
    if ours.error is None:
        assert ours.answer.raw_finish_reason == read(recording).answer.raw_finish_reason
        assert ours.answer.content == read(recording).answer.content
    else:
        assert isinstance(ours.error, IncompleteStreamError)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_changed_events_raise_only_our_errors(data: st.DataObject) -> None:
    """Any value of a recorded event may be of any type, or missing."""
    recording = data.draw(st.sampled_from(STREAMS))
    mutate = random.Random(data.draw(st.integers(0, 1 << 30)))
    decoder, assembler = BedrockConverseDialect().decoder(), Assembler()
    try:
        for name, body in bodies_in(recording.body):
            if mutate.random() < 0.3:
                body = mutated(body, mutate)
            for chunk in decoder.feed(JSONEvent(json.dumps(body), name)):
                assembler.add(chunk)
        decoder.finish()
    except AnyLLMError:
        pass
    assert assembler.snapshot() is not None


def mutated(value: Any, mutate: random.Random) -> Any:
    if mutate.random() < 0.25:
        odd = [None, True, 0, -1, 1.5, 1e300, "", "7", "\ud83d", [], [None], {}, {"text": None}, [[{}]], {"error": 1}]
        return mutate.choice(odd)
    if isinstance(value, dict):
        return {key: mutated(item, mutate) for key, item in value.items() if mutate.random() < 0.9}
    if isinstance(value, list):
        return [mutated(item, mutate) for item in value]
    return value


@each_stream
def test_whole_answer_is_what_its_stream_gives(recording: Recording) -> None:
    streamed = read(recording).answer
    whole = BedrockConverseDialect().response(json.dumps(whole_of(recording)).encode())
    assert whole.raw["stopReason"] == streamed.raw_finish_reason
    assert calls_of(whole.tool_calls) == calls_of(streamed.tool_calls)
    assert without_spelling(whole) == without_spelling(streamed)


def without_spelling(answer: ChatCompletion) -> Any:
    """*answer* without the spaces that a model writes into its arguments, and the raw figures' home."""
    body = answer.to_dict()
    body.pop("raw", None)
    for call in body["choices"][0]["message"].get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return body


def whole_of(recording: Recording) -> dict[str, Any]:
    """The answer that the host would have given whole, of the recorded stream."""
    blocks: dict[int, dict[str, Any]] = {}
    body: dict[str, Any] = {}
    for name, event in bodies_in(recording.body):
        at = event.get("contentBlockIndex")
        if name == "contentBlockStart":
            blocks[at] = {key: {**value} for key, value in event["start"].items()}
        elif name == "contentBlockDelta":
            block = blocks.setdefault(at, {})
            for key, piece in event["delta"].items():
                if key == "text":
                    block["text"] = block.get("text", "") + piece
                elif key == "toolUse":
                    block["toolUse"]["input"] = block["toolUse"].get("input", "") + piece["input"]
                elif key == "reasoningContent":
                    inner = block.setdefault("reasoningContent", {})
                    if "redactedContent" in piece:
                        inner.update(piece)
                    else:
                        text = inner.setdefault("reasoningText", {})
                        text.update({name: text.get(name, "") + more for name, more in piece.items()})
        elif name in ("messageStop", "metadata"):
            body.update(event)
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"].get("input") or "{}")
    return {"output": {"message": {"role": "assistant", "content": [blocks[at] for at in sorted(blocks)]}}, **body}


# -- errors ------------------------------------------------------------------------------------------------------------

BY_STATUS = {400: "InvalidRequestError", 403: "PermissionDeniedError"}


@pytest.mark.parametrize("recording", REFUSALS, ids=lambda recording: recording.id)
def test_refusal_is_the_right_error_and_says_why(recording: Recording) -> None:
    error = BedrockConverseDialect().error(recording.status, {}, recording.body)
    assert type(error) is getattr(errors, BY_STATUS[recording.status])
    assert error.status_code == recording.status
    assert error.provider == "bedrock"
    assert json.loads(recording.body)["message"] in str(error)


# -- the other format of the host, for its framing ---------------------------------------------------------------------


@each(INVOKED)
def test_frames_of_the_other_format_are_read_too(recording: Recording) -> None:
    events: list[Event] = list(frames(recording.reads, 1 << 24))
    assert [(event.event, json.loads(event.data)) for event in events] == bodies_in(recording.body)
    for event in events:
        assert isinstance(json.loads(base64.b64decode(json.loads(event.data)["bytes"])), dict)


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """The official client, and behind it any recording whose id is the model."""
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    session.set_credentials("id", "secret")
    kind = "application/vnd.amazon.eventstream"
    with replaying(bodies_of(STREAMS), at=lambda path: path.split("/")[2], content_type=kind) as base_url:
        client = session.create_client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=base_url,
            config=Config(retries={"max_attempts": 0}, parameter_validation=True),
        )
        yield client
        client.close()


class Official:
    """A recording as the official client reads it; blobs as they were on the wire."""

    def __init__(self, client: Any, recording: Recording) -> None:
        self.text = ""
        self.finish: str | None = None
        self.usage: Any = None
        self.calls: dict[int, dict[str, Any]] = {}
        self.thoughts: dict[int, dict[str, str]] = {}
        messages = [{"role": "user", "content": [{"text": "Hi"}]}]
        answer = client.converse_stream(modelId=recording.id, messages=messages)
        for event in answer["stream"]:
            (name,) = event
            self._add(name, event[name])

    def _add(self, name: str, body: dict[str, Any]) -> None:
        at = body.get("contentBlockIndex", 0)
        if name == "messageStop":
            self.finish = body["stopReason"]
        elif name == "metadata":
            self.usage = body.get("usage")
        elif name == "contentBlockStart" and "toolUse" in body["start"]:
            call = body["start"]["toolUse"]
            self.calls[at] = {"arguments": "", **call}
        elif name == "contentBlockDelta":
            delta = body["delta"]
            self.text += delta.get("text", "")
            if "toolUse" in delta:
                self.calls[at]["arguments"] += delta["toolUse"]["input"]
            for key, piece in delta.get("reasoningContent", {}).items():
                thought = self.thoughts.setdefault(at, {})
                said = base64.b64encode(piece).decode() if isinstance(piece, bytes) else piece
                thought[key] = thought.get(key, "") + said


EXCEPTIONS = Exceptions("botocore")


def has_calls_that_the_host_ran(theirs: Official) -> bool:
    return any(call.get("type") == "server_tool_use" for call in theirs.calls.values())


def has_counts_that_the_client_does_not_know(raw: Any) -> bool:
    return "serverToolUsage" in (raw or {})


@each_stream
def test_stream_is_what_the_official_client_gives(recording: Recording, client: Any) -> None:
    ours, theirs = read(recording), Official(client, recording)
    assert ours.error is None
    message = ours.answer.to_message()
    assert (message.content or "") == theirs.text
    thoughts = "".join(thought.get("text", "") for thought in theirs.thoughts.values())
    assert ((message.reasoning and message.reasoning.content) or "") == thoughts
    details = (message.reasoning.details if message.reasoning else None) or []
    ours_kept = [
        {**detail.get("reasoningText", {}), **{key: detail[key] for key in ("redactedContent",) if key in detail}}
        for detail in details
    ]
    assert ours_kept == list(theirs.thoughts.values())
    assert ours.answer.raw_finish_reason == theirs.finish
    made = [list(call) for call in calls_of(ours.answer.tool_calls)]
    calls = [[call["toolUseId"], call["name"], json.loads(call["arguments"] or "{}")] for call in theirs.calls.values()]
    EXCEPTIONS.check(recording, "calls", made, calls, has_cause=has_calls_that_the_host_ran(theirs))
    assert [call for call in calls if call in made] == made
    raw = ours.answer.usage.raw if ours.answer.usage else None
    has_cause = has_counts_that_the_client_does_not_know(raw)
    EXCEPTIONS.check(recording, "usage", raw, theirs.usage, has_cause=has_cause)
    assert {key: (raw or {}).get(key) for key in theirs.usage or {}} == (theirs.usage or {})
