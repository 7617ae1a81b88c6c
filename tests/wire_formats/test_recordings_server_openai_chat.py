"""Recorded answers of every format, written as OpenAI's: read by our dialect, and by the official client."""

from __future__ import annotations

from typing import Any

import pytest
from formats_of import answer_of, every_stream, read, said_by
from recordings import Ours, Recording, bodies_of, each, marks, recordings_of, replaying

from anyllm.types import ChatCompletionChunk
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect

CHAT = [recording for recording in recordings_of("chat") if recording.status == 200]
EVERY = every_stream()

pytestmark = marks(EVERY)
READ = OpenAIChatDialect(provider="read")
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


@each(CHAT)
def test_a_recorded_stream_comes_back_chunk_by_chunk(recording: Recording):
    ours = Ours(READ, [recording.body])
    again = Ours(READ, [said_by(ours, "openai")])
    assert [renamed(chunk) for chunk in again.chunks] == [renamed(chunk) for chunk in ours.chunks]
    assert (again.error is None) == (ours.error is None)


@each(EVERY)
def test_any_recorded_answer_is_the_same_answer(recording: Recording):
    ours = read(recording)
    again = Ours(READ, [said_by(ours, "openai")])
    assert answer_of(again) == answer_of(ours)


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
