"""OpenAI's Responses in both directions: requests and answers, written by one side and read by the other."""

from __future__ import annotations

import functools
import json
from typing import Any

import attrs
import pytest
from formats_of import answer_of, every_stream, read, said_by
from hypothesis import given, settings
from hypothesis import strategies as st
from params_strategies import ARGUMENTS, NAMES, NONE, SCHEMAS, TEXTS, TOOLS, answers, conversations, params, text_part
from recordings import Ours, Recording, answering, bodies_of, each, recordings_of, replaying

from anyllm import formats
from anyllm.types import (
    REASONING_EFFORTS,
    ChatCompletion,
    ChatCompletionChunk,
    CompletionParams,
    ContentPart,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
)
from anyllm.types._replay import replayed
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect as Dialect
from anyllm.wire.openai_responses.server.request_reader import read_responses
from anyllm.wire.openai_responses.server.writer import OpenAIResponses as Format

OWN = [recording for recording in recordings_of("responses") if recording.status == 200]
EVERY = every_stream()
READ = Dialect(provider="read")
#: Bytes of a stream that the official helper is given, and five times as many for the client: both take their time.
LONGEST = 12_000


# -- read(write(params)) == params -------------------------------------------------------------------------------------

MARKS = st.just({"type": "ephemeral"})
IMAGES = st.builds(
    lambda url, detail: ContentPart.from_image(url, detail=detail),
    st.sampled_from(["data:image/png;base64,iVBORw0KGgo=", "https://example.org/a.png"]),
    st.none() | st.sampled_from(["low", "high"]),
)
FILES = st.sampled_from(
    [
        ContentPart.from_file("data:application/pdf;base64,JVBERg==", filename="a.pdf"),
        ContentPart("file", file={"file_id": "file-1"}),
        ContentPart("file", file={"file_data": "https://example.org/a.pdf"}),
        ContentPart("input_image", extra={"file_id": "file-2", "detail": "high"}),
    ]
)
MARKED = st.builds(lambda text, mark: ContentPart(text=text, cache_control=mark), TEXTS, MARKS)
CONTENTS = TEXTS | st.lists(TEXTS.map(text_part) | MARKED | IMAGES | FILES, min_size=1, max_size=3)
MESSAGES = conversations(
    systems=("system", "developer"),
    users=CONTENTS,
    answers=TEXTS | st.lists(TEXTS.map(text_part), min_size=2, max_size=3),
    results=CONTENTS,
)


@st.composite
def further_turns(draw: Any) -> list[Message]:
    """What few formats have: refusals, free-text calls, marks, and keys of a call that the provider wants back."""
    keys = {"openai": {"namespace": "n", "caller": {"type": "program", "caller_id": "p"}}}
    extra = draw(st.sampled_from([None, keys]))
    call = ToolCall("call_1", FunctionCall(draw(NAMES), draw(TEXTS | ARGUMENTS)), "custom", 0, extra)
    return [
        attrs.evolve(Message.user(draw(CONTENTS)), cache_control=draw(NONE | MARKS)),
        Message.assistant(draw(NONE | TEXTS), tool_calls=[call]),
        attrs.evolve(Message.tool(draw(CONTENTS), "call_1"), cache_control=draw(NONE | MARKS)),
        Message.assistant(draw(NONE | TEXTS), refusal=draw(TEXTS)),
    ]


CUSTOM_TOOLS = [
    {"type": "web_search", "search_context_size": "low"},
    {"type": "custom", "custom": {"name": "c", "description": "d"}},
    {
        "type": "custom",
        "custom": {
            "name": "d",
            "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}},
        },
    },
]
ALLOWED = [{"type": "custom", "custom": {"name": "c"}}, {"type": "web_search"}]
FORMATS = st.fixed_dictionaries(
    {"name": NAMES, "schema": SCHEMAS}, optional={"description": TEXTS, "strict": st.booleans()}
).map(lambda form: {"type": "json_schema", "json_schema": form})
FIELDS = {
    "temperature": st.floats(0, 2) | st.integers(0, 2),
    "top_p": st.floats(0, 1),
    "max_tokens": st.integers(1, 10**6),
    "user": NAMES,
    "parallel_tool_calls": st.booleans(),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(1, 5),
    "reasoning_effort": st.sampled_from(REASONING_EFFORTS),
    "response_format": st.just({"type": "text"}) | st.just({"type": "json_object"}) | FORMATS,
    "tools": TOOLS | st.just(CUSTOM_TOOLS),
    "tool_choice": st.sampled_from(
        [
            *("auto", "none", "required"),
            {"type": "function", "function": {"name": "f"}},
            {"type": "custom", "custom": {"name": "c"}},
            {"type": "web_search"},
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": ALLOWED}},
        ]
    ),
}


def as_it_is_read(params: CompletionParams) -> CompletionParams:
    """
    The format has no value for what is the default, writes out the defaults of a function, and shows log probabilities
    to everyone who wants to know how many.
    """
    tools = [_as_it_is_read(tool) for tool in params.tools] if params.tools is not None else None
    return params.evolve(
        reasoning_effort=None if params.reasoning_effort == "auto" else params.reasoning_effort,
        logprobs=True if params.logprobs or params.top_logprobs is not None else None,
        tools=tools,
    )


def _as_it_is_read(tool: Any) -> Any:
    if tool["type"] != "function":
        return tool
    defaults = {"parameters": {"type": "object", "properties": {}}, "strict": False}
    return {**tool, "function": {**defaults, **tool["function"]}}


@settings(max_examples=300, deadline=None)
@given(params(MESSAGES | further_turns(), **FIELDS), st.booleans())
def test_a_request_is_read_as_it_was_written(original: CompletionParams, stream: bool) -> None:
    body = json.loads(READ.request(original, model="m", stream=stream).body)
    found = read_responses(body)
    assert found.params == as_it_is_read(original)
    assert (found.stream, found.unknown_fields, found.ignorable_fields, found.native) == (stream, {}, {}, (Dialect,))
    assert json.loads(READ.request(found.params, model="m", stream=stream).body) == body


# -- decode(write(answer)) == answer -----------------------------------------------------------------------------------

#: Ours, another provider's, and the one that Responses have.
REASONS = {
    "stop": ("end_turn", "completed"),
    "length": ("max_tokens", "max_output_tokens"),
    "content_filter": ("SAFETY", "content_filter"),
    "unknown": ("tired", "tired"),
    "tool_calls": ("tool_use", "completed"),
}
BLOCKS = [{"type": "thinking", "thinking": "hm", "signature": "sig"}]
ANSWERS = answers(
    reasoning=NONE
    | st.builds(
        Reasoning,
        TEXTS,
        NONE | st.just("sig"),
        st.just("thinking"),
        NONE | st.just(BLOCKS),
    ),
    finish_reasons=[(ours, theirs) for ours, (theirs, _) in REASONS.items() if ours != "tool_calls"],
)


def without_origin(answer: ChatCompletion) -> ChatCompletion:
    """
    An answer without what a provider of this format adds to it: its items, their names, its counts and its reason.

    Reasoning is text here; a signature is in an item that only we can read, see below.
    """
    (choice,) = answer.choices
    message = choice.message
    calls = [attrs.evolve(call, extra_content=None) for call in message.tool_calls]
    reasoning = Reasoning(message.reasoning.content) if message.reasoning and message.reasoning.content else None
    message = attrs.evolve(message, tool_calls=calls, reasoning=reasoning)
    choice = attrs.evolve(choice, message=message, raw_finish_reason=REASONS[choice.finish_reason or ""][1])
    usage = answer.usage and attrs.evolve(answer.usage, raw=None, reasoning_tokens=0, cache_read_tokens=0)
    return attrs.evolve(answer, choices=(choice,), usage=usage, provider="read", raw=None)


@settings(max_examples=200, deadline=None)
@given(ANSWERS)
def test_an_answer_is_read_as_it_was_written(answer: ChatCompletion) -> None:
    """As a stream, and whole."""
    streamed = Ours(READ, [b"".join(formats.encode(replayed(answer), Format()))])
    assert streamed.error is None
    whole = READ.response(Format().whole(answer))
    assert without_origin(streamed.answer) == without_origin(whole) == without_origin(answer)
    for found in (streamed.answer, whole):
        assert found.choices[0].raw_finish_reason == REASONS[answer.finish_reason or ""][1]


@settings(max_examples=200, deadline=None)
@given(ANSWERS, st.sampled_from([None, {"google": {"thought_signature": "s"}}]))
def test_an_answer_that_a_client_sends_back_is_the_same_message(answer: ChatCompletion, extra: Any) -> None:
    """With its signatures, whichever provider they are from: by itself, and through our own client."""
    (choice,) = answer.choices
    calls = [attrs.evolve(call, extra_content=extra) for call in choice.message.tool_calls]
    message = attrs.evolve(choice.message, tool_calls=calls)
    if not (message.content or calls):
        return  # reasoning that nothing follows goes nowhere
    answer = attrs.evolve(answer, choices=(attrs.evolve(choice, message=message),))
    output = json.loads(Format().whole(answer))["output"]
    expected = attrs.evolve(message, tool_calls=[attrs.evolve(call, index=0) for call in calls])
    if message.reasoning is not None and message.reasoning.signature is None and message.reasoning.details is None:
        expected = attrs.evolve(expected, reasoning=Reasoning(message.reasoning.content, None, "output_items", output))
    (found,) = read_responses({"model": "m", "input": output}).params.messages
    assert found == expected
    params = CompletionParams("m", [READ.response(Format().whole(answer)).to_message()])
    (found,) = read_responses(json.loads(READ.request(params, model="m", stream=False).body)).params.messages
    assert (found.content, found.tool_calls) == (expected.content, expected.tool_calls)
    if message.reasoning is not None and message.reasoning.signature:
        assert found.reasoning == expected.reasoning


# -- recordings --------------------------------------------------------------------------------------------------------


@functools.cache
def read_once(recording: Recording) -> Ours:
    """The recording, as we read it."""
    return read(recording)


@functools.cache
def written_once(recording: Recording) -> bytes:
    """All of it, written in this format."""
    return said_by(read_once(recording), Format())


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


@pytest.mark.recordings
@each(OWN)
def test_a_recorded_stream_comes_back_chunk_by_chunk(recording: Recording) -> None:
    ours = own_of(recording)
    again = Ours(READ, [said_by(ours, Format())])
    assert shown(again) == shown(ours)
    assert type(again.error) is type(ours.error)


@pytest.mark.recordings
@each([recording for recording in OWN if own_of(recording).error is None])
def test_a_providers_own_work_is_passed_on(recording: Recording) -> None:
    """Whatever items a provider had, which chunks have no words for: whole, and with as many events of their own."""
    ours = own_of(recording)
    bodies, again = ([chunk.raw for chunk in found.chunks] for found in (ours, Ours(READ, [said_by(ours, Format())])))
    assert beside(again) == beside(bodies)


def beside(bodies: list[Any]) -> Any:
    """The types of events about a provider's own items, and those items in the last event, or else where they end."""
    kinds = [body["type"] for body in bodies if "_call." in body["type"] and "custom_tool" not in body["type"]]
    done = [body["item"] for body in bodies if body["type"] == "response.output_item.done"]
    output = bodies[-1]["response"]["output"] or done
    shown = ("message", "reasoning", "function_call", "custom_tool_call")
    return kinds, [item for item in output if item["type"] not in shown]


@pytest.mark.recordings
@each(EVERY)
def test_any_recorded_answer_is_the_same_answer(recording: Recording) -> None:
    """But for what has no place: a second answer, a sound. An error has no reason for an end beside it."""
    ours, again = read_once(recording), Ours(READ, [written_once(recording)])
    if any(choice.index or choice.message.audio for choice in ours.answer.choices):
        assert "no place for" in str(again.error)
        return
    before, after = answer_of(ours), answer_of(again)
    if ours.error is not None:
        before["finish"] = after["finish"] = None
    assert after == before
    if ours.error is None:
        again.answer = READ.response(Format().whole(ours.answer))
        assert answer_of(again) == before
        assert again.answer.refusal == ours.answer.refusal


@pytest.mark.recordings
@each(OWN)
def test_an_answer_sent_back_through_us_reaches_its_provider_as_it_was(recording: Recording) -> None:
    ours = own_of(recording)
    message = ours.answer.to_message()
    results = [Message.tool("fine", call.id or "") for call in message.tool_calls]
    params = CompletionParams("m", [Message.user("Hi"), message, *results, Message.user("Go on")])
    body = json.loads(READ.request(params, model="m", stream=True).body)
    again = READ.request(read_responses(body).params, model="m", stream=True)
    assert json.loads(again.body) == body


@pytest.mark.long
def test_the_official_clients_request_comes_through_unchanged() -> None:
    """With what its guides send: whole output items of the turn before, and all sorts of options."""
    openai = pytest.importorskip("openai")
    items = pytest.importorskip("openai.types.responses")
    bodies: list[Any] = []
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    part = {"type": "output_text", "text": "Wait", "annotations": [], "logprobs": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    call = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    schema = {"type": "object", "properties": {}}

    def keep(path: str, body: bytes) -> bytes:
        bodies.append(json.loads(body))
        return b"{}"

    with (
        answering(keep, content_type="application/json") as url,
        openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client,
    ):
        client.responses.create(
            model="m",
            input=[
                {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
                items.ResponseReasoningItem(**reasoning, encrypted_content="x"),
                items.ResponseOutputMessage(**message, phase="commentary"),
                items.ResponseFunctionToolCall(**call),
                {"type": "function_call_output", "call_id": "call_1", "output": "1"},
            ],
            tools=[{"type": "function", "name": "f", "parameters": schema, "strict": True}],
            tool_choice={"type": "function", "name": "f"},
            reasoning={"effort": "low", "summary": "auto"},
            text={"format": {"type": "json_schema", "name": "n", "schema": schema}, "verbosity": "low"},
            include=["reasoning.encrypted_content"],
            temperature=0.5,
            max_output_tokens=9,
            store=False,
        )
    (body,) = bodies
    found = read_responses(body)
    params = found.params.evolve(extra_body=found.native_fields)
    assert json.loads(READ.request(params, model="m", stream=found.stream).body) == body


@pytest.mark.recordings
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


@pytest.mark.recordings
@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Pydantic")  # of xAI's tools, which the client does not know
def test_the_official_helper_takes_every_answer_together() -> None:
    """It holds events to their order: items before parts before text, under numbers that stay."""
    openai = pytest.importorskip("openai")
    answers = {recording.id: read_once(recording) for recording in EVERY}
    written = {recording.id: body for recording in EVERY if b"event: error" not in (body := written_once(recording))}
    assert len(written) > len(answers) * 0.9
    written = {name: body for name, body in written.items() if len(body) < LONGEST}
    kind = "text/event-stream"
    with replaying(written, content_type=kind) as url, openai.OpenAI(api_key="x", max_retries=0) as client:
        for name in written:
            with client.with_options(base_url=f"{url}/{name}").responses.stream(model="m", input="Hi") as stream:
                last = list(stream)[-1].response
            answer = answers[name].answer
            assert last.output_text == answer.content, name
            calls = [(item.call_id, item.name) for item in last.output if item.type == "function_call"]
            assert calls == [(call.id, call.name) for call in answer.tool_calls if call.type == "function"], name
