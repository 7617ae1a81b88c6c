"""
Recorded responses of hosts that speak Anthropic's Messages, each read three ways: by us, plainly by this file, and by
the official client.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import Exceptions, Ours, Recording, bodies_of, calls_of, each, marks, recordings_of, replaying

from anyllm import errors
from anyllm._framing.detect import events
from anyllm.errors import IncompleteStreamError
from anyllm.types import FINISH_REASONS, ChatCompletion, CompletionParams, Message
from anyllm.types._accumulate import Assembler
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect

ALL = recordings_of("messages")
STREAMS = [recording for recording in ALL if recording.status == 200]
WITH_SIZES = [recording for recording in STREAMS if recording.sizes]
REFUSALS = [recording for recording in ALL if recording.status != 200]

pytestmark = marks(ALL)
each_stream = each(STREAMS)


def dialect_of(recording: Recording) -> AnthropicMessagesDialect:
    return AnthropicMessagesDialect(provider=recording.provider)


def read(recording: Recording, reads: list[bytes] | None = None) -> Ours:
    return Ours(dialect_of(recording), reads or [recording.body])


# -- a plain reading ---------------------------------------------------------------------------------------------------


class Plain:
    """A recording as a person would read it: JSON on each data line, pieces joined, up to the first message's stop."""

    def __init__(self, bodies: list[dict[str, Any]]) -> None:
        self.about: dict[str, Any] = {}
        self.blocks: dict[int, dict[str, Any]] = {}
        self.finish: str | None = None
        self.usage: dict[str, Any] = {}
        self.stopped = False
        for body in bodies:
            self._read(body)
            if self.stopped:
                break

    def _read(self, body: dict[str, Any]) -> None:
        kind = body["type"]
        if kind == "message_start":
            self.about = body["message"]
            self.usage.update(self.about["usage"])
        elif kind == "content_block_start":
            self.blocks[body["index"]] = {**body["content_block"], "json": "", "over": False}
        elif kind == "content_block_delta":
            block, delta = self.blocks[body["index"]], body["delta"]
            for name in ("text", "thinking", "signature"):
                if name in delta:
                    block[name] = block.get(name, "") + delta[name]
            block["json"] += delta.get("partial_json", "")
        elif kind == "content_block_stop":
            block = self.blocks[body["index"]]
            block["over"] = True
            if block["type"] == "tool_use" and not block["json"]:  # given with the start, or called with none
                block["json"] = json.dumps(block["input"], separators=(",", ":"))
        elif kind == "message_delta":
            self.finish = body["delta"]["stop_reason"]
            self.usage.update({key: value for key, value in body["usage"].items() if value is not None})
        self.stopped = kind == "message_stop"

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [block for block in self.blocks.values() if block["type"] in kinds]

    def joined(self, kind: str) -> str:
        return "".join(block[kind] for block in self.of(kind))

    @property
    def thoughts(self) -> list[dict[str, Any]]:
        """The thinking blocks that are over, without what this class added."""
        extra = ("json", "over")
        return [
            {key: value for key, value in block.items() if key not in extra and value != ""}
            for block in self.of("thinking", "redacted_thinking")
            if block["over"] or block["type"] == "redacted_thinking"
        ]


def bodies_in(body: bytes) -> list[dict[str, Any]]:
    lines = body.decode().replace("\r\n", "\n").split("\n")
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def assert_same(answer: ChatCompletion, plain: Plain) -> None:
    assert (answer.id, answer.model) == (plain.about.get("id", ""), plain.about.get("model", ""))
    assert answer.content == plain.joined("text")
    assert answer.reasoning == plain.joined("thinking")
    assert answer.raw_finish_reason == plain.finish
    calls = plain.of("tool_use")
    wanted = [(call["id"], call["name"], call["json"]) for call in calls]
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == wanted
    reasoning = answer.to_message().reasoning
    details = (reasoning.details if reasoning else None) or []
    found = [{key: value for key, value in detail.items() if value != "" and key != "index"} for detail in details]
    assert found == plain.thoughts
    assert (answer.usage.raw if answer.usage else {}) == plain.usage


@each_stream
def test_stream_is_what_a_plain_reading_gives(recording: Recording) -> None:
    ours, plain = read(recording), Plain(bodies_in(recording.body))
    assert isinstance(ours.error, IncompleteStreamError) == (not plain.stopped), ours.error
    assert plain.stopped or recording.cut_short
    assert_same(ours.answer, plain)


@each_stream
def test_chunks_have_one_form_whoever_sent_them(recording: Recording) -> None:
    seen, opened = False, 0
    for chunk in read(recording).chunks:
        assert chunk.provider == recording.provider
        assert chunk.id
        assert chunk.model
        assert chunk.raw["type"] == "message_start" or seen
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
    """Calls parse, totals add up, and no end but a pause is of an unknown kind."""
    answer = read(recording).answer
    assert (answer.finish_reason == "unknown") == (answer.raw_finish_reason == "pause_turn")
    assert all(call.is_complete for call in answer.tool_calls)
    assert bool(answer.tool_calls) == (answer.finish_reason == "tool_calls")
    usage = answer.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    assert (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0) <= usage.prompt_tokens
    assert (usage.reasoning_tokens or 0) <= usage.completion_tokens


@each_stream
def test_cut_at_every_event_is_never_silently_short(recording: Recording) -> None:
    """And what has come is in the partial answer."""
    bodies = bodies_in(recording.body)
    decoder, assembler = dialect_of(recording).decoder(), Assembler()
    for fed, event in enumerate(events([recording.body], max_event_bytes=1 << 24)):
        assert_same(assembler.snapshot(), Plain(bodies[:fed]))
        assert not decoder.complete
        with pytest.raises(IncompleteStreamError):
            decoder.finish()
        for chunk in decoder.feed(event):
            assembler.add(chunk)
        if decoder.done:
            assert decoder.complete
            assert list(decoder.finish()) == []
            return
    assert recording.cut_short


@pytest.mark.parametrize("recording", WITH_SIZES, ids=lambda recording: recording.id)
def test_read_sizes_do_not_matter(recording: Recording) -> None:
    assert read(recording, recording.reads).chunks == read(recording).chunks


@each_stream
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 20))
def test_cuts_anywhere_do_not_matter(recording: Recording, seed: int) -> None:
    dice = random.Random(seed)
    body, reads = recording.body, []
    while body:
        size = dice.randint(1, dice.choice((3, 40, 3000)))
        reads.append(body[:size])
        body = body[size:]
    cut, whole = read(recording, reads), read(recording)
    assert cut.chunks == whole.chunks
    assert str(cut.error) == str(whole.error)


@each_stream
def test_streams_and_whole_answers_are_the_same(recording: Recording) -> None:
    plain = Plain(bodies_in(recording.body))
    if not plain.stopped:
        return
    content = []
    for block in plain.blocks.values():
        block = {key: value for key, value in block.items() if key not in ("json", "over")}
        if block["type"] == "tool_use":
            block["input"] = json.loads(plain.blocks[len(content)]["json"] or "{}")
        content.append(block)
    whole = {**plain.about, "content": content, "stop_reason": plain.finish, "usage": plain.usage}
    ours, streamed = dialect_of(recording).response(json.dumps(whole).encode()), read(recording).answer
    assert ours.raw == whole
    assert calls_of(ours.tool_calls) == calls_of(streamed.tool_calls)
    for answer in (ours, streamed):  # the same arguments may be written with other spaces
        object.__setattr__(answer.to_message(), "tool_calls", ())
    assert ours == streamed


@each_stream
def test_answers_can_be_sent_back(recording: Recording) -> None:
    """Thinking blocks unchanged and first, then text, then calls."""
    plain, answer = Plain(bodies_in(recording.body)), read(recording).answer
    results = [Message.tool("42", call.id or "") for call in answer.tool_calls]
    params = CompletionParams(
        model="m", messages=[Message.user("Hi"), answer.to_message(), *results, Message.user("Go on")]
    )
    request = dialect_of(recording).request(params, model="m", stream=True)
    _, turn, after = json.loads(request.body)["messages"]
    content = [{"type": "text", "text": turn["content"]}] if isinstance(turn["content"], str) else turn["content"]
    thoughts = [block for block in content if block["type"] in ("thinking", "redacted_thinking")]
    assert [{key: value for key, value in block.items() if value != ""} for block in thoughts] == plain.thoughts
    texts = [{"type": "text", "text": text}] if (text := plain.joined("text")) else []
    calls = [
        {"type": "tool_use", "id": call["id"], "name": call["name"], "input": json.loads(call["json"] or "{}")}
        for call in plain.of("tool_use")
    ]
    assert content[len(thoughts) :] == texts + calls
    if calls:
        assert [block.get("tool_use_id") for block in after["content"]] == [*(call["id"] for call in calls), None]


# -- errors ------------------------------------------------------------------------------------------------------------

BY_TYPE = {
    "invalid_request_error": "InvalidRequestError",
    "authentication_error": "AuthenticationError",
    "not_found_error": "ModelNotFoundError",
    "rate_limit_error": "RateLimitError",
}


@pytest.mark.parametrize("recording", REFUSALS, ids=lambda recording: recording.id)
def test_refusal_is_the_right_error_and_says_why(recording: Recording) -> None:
    error = dialect_of(recording).error(recording.status, {}, recording.body)
    body = json.loads(recording.body)
    said = body["error"]
    assert type(error) is getattr(errors, BY_TYPE[said["type"]])
    assert (error.status_code, error.provider, error.type) == (recording.status, recording.provider, said["type"])
    assert said["message"] in str(error)
    assert error.request_id == body.get("request_id")


@pytest.mark.parametrize("recording", REFUSALS, ids=lambda recording: recording.id)
def test_refusal_inside_a_stream_is_the_same_error(recording: Recording) -> None:
    compact = json.dumps(json.loads(recording.body)).encode()
    ours = read(recording, [b"event: error\ndata: " + compact + b"\n\n"])
    said = json.loads(recording.body)["error"]
    assert isinstance(ours.error, errors.APIError)
    assert said["message"] in str(ours.error)


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """The official client, and behind it any recording under its id."""
    anthropic = pytest.importorskip("anthropic")
    with (
        replaying(bodies_of(STREAMS), content_type="text/event-stream") as base_url,
        anthropic.Anthropic(base_url=base_url, api_key="none", max_retries=0) as official,
    ):
        yield official


def official_answer(client: Any, recording: Recording) -> Any:
    """The official client's own snapshot of the first message."""
    here = client.with_options(base_url=f"{str(client.base_url).rstrip('/')}/{recording.id}")
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    with here.messages.stream(**asked) as stream:
        for event in stream:
            if event.type == "message_stop":
                break
        return stream.current_message_snapshot


def has_counts_the_client_does_not_merge(plain: Plain) -> bool:
    return "iterations" in plain.usage


EXCEPTIONS = Exceptions("anthropic")


@pytest.mark.long
@each_stream
def test_stream_is_what_the_official_client_gives(recording: Recording, client: Any) -> None:
    answer, plain = read(recording).answer, Plain(bodies_in(recording.body))
    theirs = official_answer(client, recording)
    assert answer.content == "".join(block.text for block in theirs.content if block.type == "text")
    thoughts = [block for block in theirs.content if block.type == "thinking"]
    assert answer.reasoning == "".join(block.thinking for block in thoughts)
    reasoning = answer.to_message().reasoning
    details = (reasoning.details if reasoning else None) or []
    ours = [(detail["thinking"], detail.get("signature", "")) for detail in details if detail["type"] == "thinking"]
    assert ours == [(block.thinking, getattr(block, "signature", "") or "") for block in thoughts]
    hidden = [block.data for block in theirs.content if block.type == "redacted_thinking"]
    assert [detail["data"] for detail in details if detail["type"] == "redacted_thinking"] == hidden
    calls = [(block.id, block.name, block.input) for block in theirs.content if block.type == "tool_use"]
    assert calls_of(answer.tool_calls) == calls
    assert answer.raw_finish_reason == theirs.stop_reason
    assert (answer.id, answer.model) == (theirs.id, theirs.model)
    assert answer.usage is not None
    counted = theirs.usage.model_dump(mode="json", exclude_unset=True)
    has_cause = has_counts_the_client_does_not_merge(plain)
    EXCEPTIONS.check(recording, "usage", answer.usage.raw, counted, has_cause=has_cause)
