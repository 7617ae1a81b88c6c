"""Anthropic's Messages: what one direction writes, the other reads as the same, for requests and for answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from anthropic_strategies import CACHE, IDS, NAMES, SCHEMAS, TEXTS, conversations, documents, functions, images
from formats_of import answer_of, chunks_in, every_stream, read, said_by, together
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import Ours, Recording, bodies_of, each, marks, recordings_of, replaying
from test_server_anthropic_writer import blocks

from anyllm import formats
from anyllm.errors import InvalidRequestError
from anyllm.types import (
    ChatCompletionChunk,
    ChunkChoice,
    ChunkDelta,
    CompletionParams,
    ContentPart,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
    Usage,
)
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect as Dialect
from anyllm.wire.anthropic_messages.server.request_reader import read_messages
from anyllm.wire.anthropic_messages.server.writer import AnthropicMessages

HI = {"role": "user", "content": "Hi"}
READ = Dialect(provider="read")
FORMAT = AnthropicMessages()

# -- requests ----------------------------------------------------------------------------------------------------------

THINKING = st.builds(
    lambda text, signature: {"type": "thinking", "thinking": text, "signature": signature}, TEXTS, TEXTS
)
HIDDEN = st.builds(lambda data: {"type": "redacted_thinking", "data": data}, TEXTS)
PARTS = (
    st.builds(ContentPart, text=TEXTS, cache_control=CACHE)
    | st.builds(
        lambda url, cached: ContentPart("image_url", image_url={"url": url}, cache_control=cached), images, CACHE
    )
    | st.builds(
        lambda file, extra: ContentPart("file", file=file, extra=extra),
        documents() | st.builds(lambda file_id: {"file_id": file_id}, IDS),
        st.sampled_from([None, {"citations": {"enabled": True}}]),
    )
    | st.just(ContentPart("search_result", extra={"source": "s", "title": "t", "content": [{"type": "text"}]}))
)
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
SYSTEM = st.builds(ContentPart, text=TEXTS, cache_control=CACHE)


@st.composite
def reasonings(draw: Any) -> Reasoning:
    """Thinking blocks, with the text and the last signature of all."""
    blocks = draw(st.lists(THINKING | HIDDEN, min_size=1, max_size=3))
    text = "".join(block.get("thinking", "") for block in blocks)
    signature = next((block["signature"] for block in reversed(blocks) if "signature" in block), None)
    return Reasoning(text or None, signature, "thinking", blocks)


@st.composite
def params(draw: Any) -> CompletionParams:
    """
    Parameters that the format can express.

    It has no effort beside a budget (see below), no name of a response format, no detail of an image, and one system
    prompt. ``max_tokens`` is required, and leaves room for the thinking.
    """
    tools = draw(st.none() | st.lists(functions() | st.just(SEARCH), min_size=1, max_size=3))
    name = {"type": "function", "function": {"name": draw(NAMES)}}
    choice = draw(st.sampled_from([None, "auto", "none", "required", name]))
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": draw(SCHEMAS)}}
    system = draw(st.none() | TEXTS | st.lists(SYSTEM, min_size=2, max_size=2))
    if isinstance(system, list) and not any(part.cache_control for part in system):
        system = "\n\n".join(part.text or "" for part in system)  # plain text is sent as text
    messages = draw(conversations(PARTS, st.none() | reasonings()))
    return CompletionParams(
        "m",
        [*([Message.system(system)] if system else []), *messages],
        max_tokens=draw(st.integers(4001, 9000)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        stop=draw(st.none() | st.lists(TEXTS, min_size=1, max_size=2)),
        user=draw(st.none() | TEXTS),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=None if choice in (None, "none") else draw(st.sampled_from([None, False])),
        response_format=draw(st.sampled_from([None, schema])),
        thinking_budget=draw(st.none() | st.integers(0, 4000)),
    )


@settings(max_examples=300, deadline=None)
@given(params(), st.booleans())
def test_a_request_that_is_written_is_read_as_its_parameters(params: CompletionParams, stream: bool):
    request = read_messages(json.loads(READ.request(params, model="m", stream=stream).body))
    assert request.params == params
    assert (request.stream, request.format, request.native_fields) == (stream, AnthropicMessages("m"), {})


@settings(max_examples=60, deadline=None)
@given(params(), st.sampled_from(["low", "medium", "high", "xhigh", "max"]))
def test_the_request_for_newer_models_is_read_as_the_effort(params: CompletionParams, effort: str):
    params = params.evolve(thinking_budget=None, reasoning_effort=effort, max_tokens=40000)
    (body,) = READ.request(params, model="m", stream=False).fallbacks.values()
    assert read_messages(json.loads(body)).params == params


# -- answers -----------------------------------------------------------------------------------------------------------

ARGUMENTS = st.sampled_from(['{"x":1}', "{}", '{"a":"}{","b":[{}]}', '{"é":"\\u00e9"}'])
GOOGLE = {"google": {"thought_signature": "s"}}
COUNTS = st.none() | st.integers(0, 3)


def chunk(**delta: Any) -> ChatCompletionChunk:
    return ChatCompletionChunk("a-1", (ChunkChoice(0, ChunkDelta(**delta)),), 0, "m", provider="p")


@st.composite
def calls(draw: Any, index: int) -> list[ChatCompletionChunk]:
    """The pieces of a call, of which the first has its id and its name."""
    whole = draw(ARGUMENTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
    first, *others = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)])]
    begin = ToolCall(
        f"c{index}", FunctionCall("f", first), index=index, extra_content=draw(st.sampled_from([None, GOOGLE]))
    )
    rest = [ToolCall(None, FunctionCall(None, other), index=index) for other in others]
    return [chunk(tool_calls=(call,)) for call in (begin, *rest)]


@st.composite
def answers(draw: Any) -> list[ChatCompletionChunk]:
    """The pieces of texts, reasoning and calls: those of one kind in order, all together in any order."""
    texts = draw(st.lists(st.text(min_size=1, max_size=4), max_size=4))
    thoughts = draw(st.lists(st.text(min_size=1, max_size=4), max_size=3))
    signature = draw(st.none() | TEXTS) if thoughts else None
    reasoning = [Reasoning(text) for text in thoughts] + ([Reasoning(None, signature)] if signature else [])
    queues = [[chunk(content=text) for text in texts], [chunk(reasoning=piece) for piece in reasoning]]
    queues += [draw(calls(index)) for index in range(draw(st.integers(0, 3)))]
    mixed = []
    while any(queues):
        mixed.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    read_tokens, written = draw(COUNTS), draw(COUNTS)
    prompt, completion = draw(st.integers(6, 9)), draw(st.integers(3, 9))
    usage = Usage(prompt, completion, prompt + completion, draw(COUNTS), read_tokens, written)
    finish = draw(st.sampled_from(["stop", "length", "content_filter"]))
    end = ChunkChoice(0, ChunkDelta(), finish, finish)
    return [*mixed, ChatCompletionChunk("a-1", (end,), 0, "m", usage=usage, provider="p")]


@settings(max_examples=300, deadline=None)
@given(answers())
def test_an_answer_that_is_written_is_read_as_the_answer(chunks: list[ChatCompletionChunk]):
    """As a stream and whole. A call waits for the one before it, so that calls may come in another order."""
    answer = together(chunks)
    written = b"".join(formats.encode(iter(chunks), FORMAT))
    assert len(blocks(written)) >= len(answer.tool_calls)  # which checks that blocks follow each other
    for found in (together(chunks_in(READ, written)), READ.response(FORMAT.whole(answer))):
        assert (found.id, found.model, found.usage) == ("a-1", "m", answer.usage)
        assert (found.content, found.reasoning) == (answer.content, answer.reasoning)
        assert found.finish_reason == answer.finish_reason
        assert signatures(found.to_message().reasoning) == signatures(answer.to_message().reasoning)
        assert by_id(found.tool_calls) == by_id(answer.tool_calls)


def signatures(reasoning: Any) -> Any:
    return reasoning and reasoning.signature


def by_id(calls: tuple[ToolCall, ...]) -> dict[Any, Any]:
    """Ids, names, arguments and what must be sent back."""
    return {call.id: (call.name, call.parse(), call.extra_content) for call in calls}


# -- recorded answers --------------------------------------------------------------------------------------------------

MESSAGES = [recording for recording in recordings_of("messages") if recording.status == 200]
#: Those that are whole, and one answer: some recorders have written several into one file.
WHOLE = [recording for recording in MESSAGES if recording.body.count(b"event: message_stop") == 1]
REFUSALS = [recording for recording in recordings_of("messages") if recording.status != 200]
EVERY = every_stream()


def recorded(recordings: list[Recording]) -> Callable[[Any], Any]:
    """A test for each recording."""

    def decorate(test: Any) -> Any:
        for mark in marks(recordings):
            test = mark(test)
        return each(recordings)(test)

    return decorate


def expected(ours: Ours) -> dict[str, Any]:
    """
    The answer as clients of this format read it: a refusal is text, and so is a missing reason for the end; they read
    zeros where nobody counted.
    """
    answer = answer_of(ours)
    answer["text"] += ours.answer.refusal
    if ours.error is None:
        answer["tokens"] = answer["tokens"] or (0, 0)
        answer["finish"] = answer["finish"] or ("tool_calls" if answer["calls"] else "stop")
    return answer


def is_beyond_format(ours: Ours) -> bool:
    """Whether the answer has several choices, or audio."""
    answer = ours.answer
    return len(answer.choices) > 1 or answer.to_message().audio is not None


@recorded(MESSAGES)
def test_a_recorded_stream_comes_back_chunk_by_chunk(recording: Recording):
    ours = Ours(READ, [recording.body])
    again = Ours(READ, [said_by(ours, FORMAT)])
    assert again.chunks == ours.chunks
    assert (again.error is None) == (ours.error is None)


@recorded(REFUSALS)
def test_a_recorded_refusal_is_passed_on_as_it_came(recording: Recording):
    """With its status, and in the middle of a stream."""
    refusal, body = READ.error(recording.status, {}, recording.body), json.loads(recording.body)
    for written in (FORMAT.problem(refusal, recording.status), FORMAT.writer().error(refusal).split(b"data: ")[1]):
        assert json.loads(written) == {"request_id": None, **body}


@recorded(EVERY)
def test_any_recorded_answer_is_the_same_answer(recording: Recording):
    """As a stream and whole."""
    ours = read(recording)
    again = Ours(READ, [said_by(ours, FORMAT)])
    if is_beyond_format(ours):
        assert isinstance(again.error, InvalidRequestError)
        with pytest.raises(InvalidRequestError):
            FORMAT.whole(ours.answer)
        return
    assert answer_of(again) == expected(ours)
    again.error, again.answer = None, READ.response(FORMAT.whole(ours.answer))
    ours.error = None
    answer = expected(ours)
    for place, (call_id, name, arguments) in enumerate(answer["calls"]):
        if isinstance(arguments, str):  # a whole call has no other place for them
            answer["calls"][place] = (call_id, name, {"INVALID_JSON": arguments})
    assert answer_of(again) == answer


@recorded(MESSAGES)
def test_a_recorded_answer_goes_back_through_a_client_as_it_came(recording: Recording):
    """
    Written to a client of this format, read from its next request, and sent: as if there were no client between.

    Not so thinking that nobody signed: from a client it may be any provider's.
    """
    ours = Ours(READ, [recording.body])
    content = json.loads(FORMAT.whole(ours.answer))["content"]
    if any(block.get("signature") == "" for block in content):
        return
    body = {"model": "m", "max_tokens": 9, "messages": [HI, {"role": "assistant", "content": content}]}
    read_params = read_messages(body).params
    params = read_params.evolve(messages=[HI, ours.answer.to_message()])
    sent, direct = (READ.request(one, model="m", stream=False).body for one in (read_params, params))
    assert json.loads(sent) == json.loads(direct)


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
    answers = {name: ours for name, ours in answers.items() if not (ours.error or is_beyond_format(ours))}
    written = {name: said_by(ours, FORMAT) for name, ours in answers.items()}
    with replaying(written, content_type="text/event-stream") as url:
        for name, ours in answers.items():
            message, answer = streamed(client, f"{url}/{name}"), expected(ours)
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


ASKED: Any = {"model": "m", "max_tokens": 9, "messages": [HI]}


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
