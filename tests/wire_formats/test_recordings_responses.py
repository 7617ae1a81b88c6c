"""Recorded OpenAI Responses, each read three ways: by us, plainly by this file, and by the official client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import Exceptions, Ours, Recording, bodies_of, calls_of, each, marks, recordings_of, replaying

from anyllm import errors
from anyllm._framing.detect import events
from anyllm.errors import APIError, IncompleteStreamError
from anyllm.types import FINISH_REASONS, ChatCompletion, CompletionParams, Message
from anyllm.types._accumulate import Assembler
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect

ALL = recordings_of("responses")
STREAMS = [recording for recording in ALL if recording.status == 200]
WITH_SIZES = [recording for recording in STREAMS if recording.sizes]
REFUSALS = [recording for recording in ALL if recording.status != 200]

ENDS = ("response.completed", "response.incomplete", "response.failed")
CALLS = ("function_call", "custom_tool_call")

pytestmark = marks(ALL)
each_stream = each(STREAMS)


def dialect_of(recording: Recording) -> OpenAIResponsesDialect:
    return OpenAIResponsesDialect(provider=recording.provider)


def read(recording: Recording, reads: list[bytes] | None = None) -> Ours:
    return Ours(dialect_of(recording), reads or [recording.body])


# -- a plain reading ---------------------------------------------------------------------------------------------------


class Plain:
    """A recording as a person would read it: JSON on each data line, pieces joined, up to the first end."""

    def __init__(self, bodies: list[dict[str, Any]]) -> None:
        self.text = ""
        self.thoughts: dict[Any, str] = {}
        self.calls: dict[int, dict[str, Any]] = {}
        self.final: dict[str, Any] | None = None
        self.error: Any = None
        self.custom: set[str] = set()
        for body in bodies:
            if body["type"] == "error":
                self.error = body["error"]
                break
            self._read(body)

    @property
    def reasoning(self) -> str:
        return "\n\n".join(self.thoughts.values())

    @property
    def finish(self) -> str | None:
        if self.final is None:
            return None
        details = self.final.get("incomplete_details")
        return details["reason"] if details else self.final["status"]

    def _read(self, body: dict[str, Any]) -> None:
        kind = body["type"]
        if kind == "response.created":
            self.custom = {tool["name"] for tool in body["response"]["tools"] if tool["type"] == "custom"}
        elif kind == "response.output_text.delta":
            self.text += body["delta"]
        elif kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            part = (body["output_index"], body.get("summary_index"), body.get("content_index"))
            self.thoughts[part] = self.thoughts.get(part, "") + body["delta"]
        elif kind == "response.output_item.added" and body["item"]["type"] in CALLS:
            item = body["item"]
            if item["type"] == "function_call" or item["name"] in self.custom:
                call = {"id": item["call_id"], "name": item["name"], "arguments": "", "item_id": item["id"]}
                self.calls[body["output_index"]] = call
        elif kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
            if body["output_index"] in self.calls:
                self.calls[body["output_index"]]["arguments"] += body["delta"]
        elif kind in ENDS:
            self.final = body["response"]


def bodies_in(body: bytes) -> list[dict[str, Any]]:
    """The JSON of each data line up to the first end: one recording holds four responses, one after the other."""
    bodies: list[dict[str, Any]] = []
    for line in body.decode().replace("\r\n", "\n").split("\n"):
        if line.startswith("data:"):
            bodies.append(json.loads(line[5:]))
            if bodies[-1]["type"] in ENDS:
                break
    return bodies


def assert_same(answer: ChatCompletion, plain: Plain) -> None:
    assert answer.content == plain.text
    assert answer.reasoning == plain.reasoning
    expected = [(call["id"], call["name"], call["arguments"]) for call in plain.calls.values()]
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == expected
    extras = [call["item_id"] for call in plain.calls.values()]
    assert [call.extra_content["openai"]["item_id"] for call in answer.tool_calls if call.extra_content] == extras
    if plain.error is None:
        assert answer.raw_finish_reason == plain.finish
    usage = (plain.final or {}).get("usage")
    assert (answer.usage.raw if answer.usage else None) == usage


@each_stream
def test_stream_is_what_a_plain_reading_gives(recording: Recording) -> None:
    ours, plain = read(recording), Plain(bodies_in(recording.body))
    if plain.error:
        assert isinstance(ours.error, APIError), ours.error
        assert plain.error["message"] in str(ours.error)
        assert ours.error.code == plain.error["code"]
    else:
        assert ours.error is None
    assert_same(ours.answer, plain)


@each_stream
def test_chunks_have_one_form_whoever_sent_them(recording: Recording) -> None:
    seen = False
    opened = 0
    for chunk in read(recording).chunks:
        assert chunk.provider == recording.provider
        assert chunk.raw["type"]
        assert chunk.id
        assert chunk.model
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
    ours = read(recording)
    answer, usage = ours.answer, ours.answer.usage
    assert answer.finish_reason != "unknown"
    if answer.tool_calls:
        assert answer.finish_reason in ("tool_calls", "length")
    for call in answer.tool_calls:
        assert call.type == "custom" or call.is_complete
    if usage is not None:
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert (usage.cache_read_tokens or 0) <= usage.prompt_tokens
        assert (usage.reasoning_tokens or 0) <= usage.completion_tokens


@each_stream
def test_cut_at_every_event_is_never_silently_short(recording: Recording) -> None:
    """And what has come is in the partial answer."""
    bodies = bodies_in(recording.body)
    decoder, assembler = dialect_of(recording).decoder(), Assembler()
    for fed, event in enumerate(events([recording.body], max_event_bytes=1 << 24)):
        assert not decoder.complete
        with pytest.raises(IncompleteStreamError):
            decoder.finish()
        if fed % 7 == 0:  # reading it all again each time is slow
            assert_same(assembler.snapshot(), Plain(bodies[:fed]))
        try:
            for chunk in decoder.feed(event):
                assembler.add(chunk)
        except APIError:
            return
        if decoder.done:
            break
    assert decoder.complete
    assert_same(assembler.snapshot(), Plain(bodies))


@pytest.mark.parametrize("recording", WITH_SIZES, ids=lambda recording: recording.id)
def test_read_sizes_do_not_matter(recording: Recording) -> None:
    assert read(recording, recording.reads).chunks == read(recording).chunks


if STREAMS:

    @settings(max_examples=100, deadline=None)
    @given(st.sampled_from([r for r in STREAMS if len(r.body) < 50_000]), st.lists(st.integers(0, 50_000), max_size=9))
    def test_cuts_do_not_matter(recording: Recording, cuts: list[int]) -> None:
        places = sorted({0, *(cut for cut in cuts if cut < len(recording.body)), len(recording.body)})
        reads = [recording.body[start:end] for start, end in zip(places, places[1:])]
        assert read(recording, reads).chunks == read(recording).chunks


# -- the whole response ------------------------------------------------------------------------------------------------


def final_of(recording: Recording) -> Any:
    """The whole response in the last event; None where that is an error, or holds no items."""
    final = Plain(bodies_in(recording.body)).final
    return final if final is not None and final["output"] else None


@each([recording for recording in STREAMS if final_of(recording) is not None])
def test_whole_response_is_what_its_stream_gives(recording: Recording) -> None:
    """The last event holds the whole response; logprobs differ, as OpenAI rounds them there."""
    ours, final = read(recording), final_of(recording)
    whole = dialect_of(recording).response(json.dumps(final).encode())
    assert whole.raw == final
    for answer in (whole, ours.answer):
        for choice in answer.choices:
            choice.logprobs = None
    assert whole.id == ours.answer.id or "tmp" in json.dumps(final)
    assert whole == ours.answer


@each_stream
def test_answer_can_be_sent_back_as_it_came(recording: Recording) -> None:
    """The official advice for the next turn is to send the output items back; ours come in the same order."""
    ours, plain = read(recording), Plain(bodies_in(recording.body))
    message = ours.answer.to_message()
    results = [Message.tool("fine", call.id or "") for call in message.tool_calls]
    params = CompletionParams("m", [Message.user("Hi"), message, *results, Message.user("Go on")])
    sent = json.loads(dialect_of(recording).request(params, model="m", stream=True).body)["input"]
    turn = sent[1 : -1 - len(results)]
    output = (plain.final or {}).get("output") or []
    if message.reasoning is not None and message.reasoning.details is not None and output:
        items = [item for item in output if item.get("type") != "custom_tool_call" or item["name"] in plain.custom]
        while items and items[-1]["type"] == "reasoning":
            items.pop()
        assert turn == items
    else:
        assert not any(item["type"] == "reasoning" and item.get("encrypted_content") for item in output)
        assert "".join(part["text"] for item in turn for part in item.get("content", [])) == plain.text
    calls = [item["call_id"] for item in turn if item.get("type") in CALLS]
    assert calls == [item["call_id"] for item in sent[len(sent) - 1 - len(results) : -1]]


# -- errors ------------------------------------------------------------------------------------------------------------

BY_STATUS = {400: "InvalidRequestError", 401: "AuthenticationError", 429: "RateLimitError", 500: "ServerError"}
#: What a body says that is more than its status says.
BY_WORDS = {'"model_not_found"': "ModelNotFoundError", "is not supported": "UnsupportedParameterError"}


@pytest.mark.parametrize("recording", REFUSALS, ids=lambda recording: recording.id)
def test_refusal_is_the_right_error_and_says_why(recording: Recording) -> None:
    error = dialect_of(recording).error(recording.status, {}, recording.body)
    text = recording.body.decode()
    kind = next((kind for words, kind in BY_WORDS.items() if words in text), BY_STATUS[recording.status])
    assert type(error) is getattr(errors, kind)
    assert error.status_code == recording.status
    assert error.provider == recording.provider
    body = json.loads(text)["error"]
    assert body["message"] in str(error)
    assert (error.code, error.type, error.param) == (body["code"], body["type"], body["param"])


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """The official client, and behind it any recording under its id."""
    openai = pytest.importorskip("openai")
    with (
        replaying(bodies_of(STREAMS), content_type="text/event-stream") as base_url,
        openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as official,
    ):
        yield official


class Official:
    """A recording as the official client gives it: the final response, and the reasoning of its events."""

    def __init__(self, client: Any, recording: Recording) -> None:
        self.pieces = ""
        self.thoughts: dict[Any, str] = {}
        self.final: Any = None
        self.error: Any = None
        here = client.with_options(base_url=f"{str(client.base_url).rstrip('/')}/{recording.id}/v1")
        openai = pytest.importorskip("openai")
        try:
            with here.responses.create(model="m", input="Hi", stream=True) as stream:
                for event in stream:
                    self._add(event)
                    if self.final is not None:
                        break
        except openai.APIError as exc:
            self.error = exc

    def _add(self, event: Any) -> None:
        if event.type == "response.output_text.delta":
            self.pieces += event.delta
        elif event.type in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            number = getattr(event, "summary_index", None), getattr(event, "content_index", None)
            part = (event.output_index, *number)
            self.thoughts[part] = self.thoughts.get(part, "") + event.delta
        elif event.type in ENDS:
            self.final = event.response

    @property
    def calls(self) -> list[tuple[Any, ...]]:
        calls = [item for item in self.final.output if item.type in CALLS]
        return [
            (call.call_id, call.name, json.loads(call.arguments) if call.type == "function_call" else call.input)
            for call in calls
        ]

    @property
    def finish(self) -> str:
        details = self.final.incomplete_details
        return details.reason if details else self.final.status


def has_an_empty_output(recording: Recording) -> bool:
    final = Plain(bodies_in(recording.body)).final
    return final is not None and not final["output"]


def has_calls_of_the_providers_own(recording: Recording) -> bool:
    plain = Plain(bodies_in(recording.body))
    output = plain.final["output"] if plain.final else []
    return any(item["type"] == "custom_tool_call" and item["name"] not in plain.custom for item in output)


EXCEPTIONS = Exceptions("openai, responses")


@pytest.mark.long
@each_stream
def test_stream_is_what_the_official_client_gives(recording: Recording, client: Any) -> None:
    ours, theirs = read(recording), Official(client, recording)
    if theirs.error is not None:
        assert isinstance(ours.error, APIError)
        assert theirs.error.message in str(ours.error)
        return
    answer = ours.answer
    assert answer.content == theirs.pieces
    assert answer.reasoning == "\n\n".join(theirs.thoughts.values())
    assert answer.raw_finish_reason == theirs.finish
    assert answer.usage is not None
    assert answer.usage.raw == theirs.final.usage.model_dump(exclude_unset=True)
    assert (answer.id, answer.model) == (theirs.final.id, theirs.final.model)
    is_empty, has_own = has_an_empty_output(recording), has_calls_of_the_providers_own(recording)
    if not is_empty:
        assert answer.content == theirs.final.output_text
    custom = [(call.id, call.name, call.arguments) for call in answer.tool_calls if call.type == "custom"]
    functions = calls_of(tuple(call for call in answer.tool_calls if call.type == "function"))
    made, calls = (sorted(map(list, found), key=str) for found in ([*custom, *functions], theirs.calls))
    if has_own:
        EXCEPTIONS.check(recording, "calls of the provider's own", made, calls, has_cause=True)
        assert answer.tool_calls == ()
    else:
        EXCEPTIONS.check(recording, "calls", made, calls, has_cause=is_empty)
        assert is_empty or custom or functions == theirs.calls
