"""OpenAI's chat completions in both directions: written by one side, read by the other, and by the official client."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from formats_of import answer_of, every_stream, read, said_by
from hypothesis import given, settings
from hypothesis import strategies as st
from params_strategies import SCHEMAS, TEXTS, TOKENS, TOOLS, answers, conversations, params, text_part, thoughts
from recordings import Ours, Recording, bodies_of, each, recordings_of, replaying

from anyllm import formats
from anyllm.types import (
    REASONING_EFFORTS,
    ChatCompletionChunk,
    CompletionParams,
    ContentPart,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
    Usage,
)
from anyllm.types._replay import replayed
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect
from anyllm.wire.openai_chat.server.request_reader import read_chat
from anyllm.wire.openai_chat.server.writer import OpenAIChat

CHAT = [recording for recording in recordings_of("chat") if recording.status == 200]
EVERY = every_stream()

READ = OpenAIChatDialect(provider="read", thinking_budget_key="thinking_budget")

# -- read(write(params)) == params -------------------------------------------------------------------------------------

PARTS = st.one_of(
    TEXTS.map(text_part),
    st.just(ContentPart("text", "x", cache_control={"type": "ephemeral"})),
    st.just(ContentPart.from_image("https://example.org/x.png", detail="low")),
    st.just(ContentPart.from_audio(b"RIFF\x00\x00\x00\x00WAVE", format="wav")),
    st.just(ContentPart.from_file(b"%PDF-", filename="x.pdf")),
    st.just(ContentPart("video_url", extra={"video_url": {"url": "https://example.org/x.mp4"}})),
)
CONTENTS = TEXTS | st.lists(PARTS, min_size=1, max_size=3)
DETAILS = st.builds(
    lambda text, signature: [{"type": "reasoning.text", "text": text, "signature": signature, "index": 0}], TEXTS, TEXTS
)
#: Under the first name in OpenAI-compatible APIs, it has no origin; a signature is one of the details.
REASONING = st.one_of(
    st.none(),
    st.builds(Reasoning, TEXTS, field=st.sampled_from([None, "reasoning", "thinking", "thought"])),
    st.builds(
        lambda text, details: Reasoning(text, details[0]["signature"], None, details), st.none() | TEXTS, DETAILS
    ),
)
MESSAGES = conversations(
    systems=("system", "developer"),
    users=CONTENTS,
    answers=TEXTS | st.none(),
    results=TEXTS | st.lists(TEXTS.map(text_part), min_size=1, max_size=2),
    reasoning=REASONING,
)
CHOICES = st.sampled_from(["auto", "none", "required"])
FORMATS = st.sampled_from([{"type": "text"}, {"type": "json_object"}]) | st.builds(
    lambda schema, strict: {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": strict}},
    SCHEMAS,
    st.booleans(),
)
FLOATS = st.floats(0, 2) | st.integers(0, 2)
FIELDS = {
    **dict.fromkeys(("temperature", "top_p"), FLOATS),
    **dict.fromkeys(("max_tokens", "n", "thinking_budget"), st.integers(1, 10**6)),
    **dict.fromkeys(("seed", "top_logprobs"), st.integers(0, 20)),
    **dict.fromkeys(("parallel_tool_calls", "logprobs"), st.booleans()),
    "stop": TEXTS | st.lists(TEXTS, min_size=1, max_size=2),
    "user": TEXTS,
    "tools": TOOLS,
    "tool_choice": CHOICES | st.just({"type": "function", "function": {"name": "f"}}),
    "functions": TOOLS.map(lambda tools: [tool["function"] for tool in tools]),
    "function_call": CHOICES | st.just({"name": "f"}),
    "response_format": FORMATS,
    "reasoning_effort": st.sampled_from(REASONING_EFFORTS),
}


@given(asked=params(MESSAGES, **FIELDS), stream=st.booleans(), include_usage=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_request_is_read_as_it_was_written(asked, stream, include_usage):
    """But for the effort "auto", which is not sent. A whole answer has its usage, asked for or not."""
    options = {"stream_options": {"include_usage": include_usage}} if stream else {}
    body = json.loads(READ.request(asked.evolve(**options), model="m", stream=stream).body)
    found = read_chat(body)
    effort = None if asked.reasoning_effort == "auto" else asked.reasoning_effort
    assert found.params == asked.evolve(reasoning_effort=effort)
    assert (found.stream, found.unknown_fields, found.ignorable_fields) == (stream, {}, {})
    assert found.format == OpenAIChat(include_usage=include_usage or not stream, model="m")


def test_what_is_older_or_rarer_is_read_as_it_was_written():
    """The form before tools, a custom tool's free text, and a sound that the provider has."""
    turns = [
        Message.assistant(tool_calls=[ToolCall(None, FunctionCall("f", "{}"))]),
        Message("function", "7", name="f"),
        Message.assistant(tool_calls=[ToolCall("c", FunctionCall("sql", "select"), "custom")]),
        Message.tool("7", "c"),
        Message.assistant(refusal="No.", audio={"id": "audio_1"}),
    ]
    asked = CompletionParams("m", turns)
    assert read_chat(json.loads(READ.request(asked, model="m", stream=False).body)).params == asked


# -- decode(write(answer)) == answer -----------------------------------------------------------------------------------

USAGE = st.builds(
    lambda prompt, completion, reasoning, cached, written: Usage(
        *(prompt + cached, completion + reasoning, prompt + cached + completion + reasoning),
        *(reasoning, cached, written),
    ),
    *[TOKENS] * 5,
)
ANSWERS = answers(
    reasoning=thoughts("reasoning_content"),
    finish_reasons=[(reason, reason) for reason in ("stop", "length", "content_filter")] + [("unknown", "tired")],
    usage=USAGE,
    choices=2,
)


@given(answer=ANSWERS)
@settings(max_examples=200, deadline=None)
def test_an_answer_is_read_as_it_was_written(answer):
    """As a stream, and whole."""
    expected = attrs.evolve(answer, provider="read")
    streamed = Ours(READ, [b"".join(formats.encode(replayed(answer), "openai"))])
    assert streamed.error is None
    assert streamed.answer == expected
    whole = READ.response(formats.encode_whole(answer, "openai"))
    assert attrs.evolve(whole, raw=None) == expected


# -- recordings --------------------------------------------------------------------------------------------------------

#: How reasoning is called that came in the text, in parts of it, or in details alone: it is given a key of its own.
RENAMED = ("<think>", "content", "reasoning_details")


def renamed(chunk: ChatCompletionChunk) -> Any:
    """The chunk as a dict, with reasoning under the key that it is written under."""
    said = chunk.to_dict()
    for choice in said["choices"]:
        reasoning = choice["delta"].get("reasoning")
        if reasoning and reasoning.get("field") in RENAMED:
            reasoning["field"] = "reasoning_content"
    return said


@pytest.mark.recordings
@each(CHAT)
def test_a_recorded_stream_comes_back_chunk_by_chunk(recording: Recording):
    ours = Ours(READ, [recording.body])
    again = Ours(READ, [said_by(ours, "openai")])
    assert [renamed(chunk) for chunk in again.chunks] == [renamed(chunk) for chunk in ours.chunks]
    assert (again.error is None) == (ours.error is None)


@pytest.mark.recordings
@each(EVERY)
def test_any_recorded_answer_is_the_same_answer(recording: Recording):
    ours = read(recording)
    again = Ours(READ, [said_by(ours, "openai")])
    assert answer_of(again) == answer_of(ours)


@pytest.mark.recordings
@pytest.mark.long
def test_the_official_client_reads_the_same():
    """From the recording, and from what we make of it. It takes half a millisecond for each chunk of long ones."""
    openai = pytest.importorskip("openai")
    read_by_us = {recording.id: Ours(READ, [recording.body]) for recording in CHAT}
    short = (recording for recording in CHAT if len(read_by_us[recording.id].chunks) < 150)
    whole = [recording for recording in short if read_by_us[recording.id].error is None]
    written = {recording.id: said_by(read_by_us[recording.id], "openai") for recording in whole}
    kind = "text/event-stream"
    with replaying(bodies_of(whole), content_type=kind) as theirs, replaying(written, content_type=kind) as ours:
        for recording in whole:
            (*original, their_tokens), (*passed, our_tokens) = (
                _read(openai, f"{url}/{recording.id}") for url in (theirs, ours)
            )
            assert passed == original, recording.id
            if their_tokens is not None:  # Groq's stand under a key of its own, which we read
                assert our_tokens == their_tokens, recording.id


def _read(openai: Any, url: str) -> Any:
    """Text, calls, ends and tokens."""
    client = openai.OpenAI(api_key="x", base_url=url, max_retries=0)
    texts: dict[int, str] = {}
    ends: dict[int, str] = {}
    calls: dict[tuple[int, int], list[str]] = {}
    usage = None
    with client.chat.completions.create(model="m", messages=[], stream=True) as stream:
        for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices or ():
                delta = choice.delta
                texts[choice.index] = texts.get(choice.index, "") + _text(delta.content if delta else None)
                for call in (delta.tool_calls if delta else None) or ():
                    said = calls.setdefault((choice.index, call.index or 0), [])
                    said.append((call.function.arguments or "") if call.function else "")
                if choice.finish_reason:
                    ends[choice.index] = choice.finish_reason
    client.close()
    counts = usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    return texts, {key: "".join(said) for key, said in calls.items()}, ends, counts


def _text(content: Any) -> str:
    """The client hands on whatever stands there: a text, or Mistral's parts."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
