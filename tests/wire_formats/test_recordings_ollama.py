"""
Recorded answers of Ollama servers, each read three ways: by us, plainly by this file, and by the official client.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from json_mutations import ODD_VALUES, places, replaced
from recordings import Ours, Recording, bodies_of, calls_of, each, marks, recordings_of, replaying

from anyllm._framing.detect import JSONEvent
from anyllm.errors import AnyLLMError, IncompleteStreamError
from anyllm.types import ChatCompletion
from anyllm.types._accumulate import Assembler
from anyllm.wire.ollama.dialect import OllamaDialect

ALL = recordings_of("ollama-chat", "ollama-generate")
STREAMS = [recording for recording in ALL if recording.status == 200]

pytestmark = marks(ALL)
each_stream = each(STREAMS)


def read(recording: Recording, reads: list[bytes] | None = None) -> Ours:
    return Ours(OllamaDialect(provider=recording.provider), reads or [recording.body])


def lines_in(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.decode().splitlines() if line.strip()]


# -- a plain reading ---------------------------------------------------------------------------------------------------


class Plain:
    """A recording as a person would read it: pieces joined, one line after the other."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        messages = [line.get("message") or {**line, "content": line["response"]} for line in lines]
        self.text = "".join(message.get("content") or "" for message in messages)
        self.reasoning = "".join(message.get("thinking") or "" for message in messages)
        functions = [call["function"] for message in messages for call in message.get("tool_calls") or []]
        self.calls = [(function["name"], function["arguments"]) for function in functions]
        last = lines[-1] if lines else {}
        self.done = last.get("done", False)
        self.finish = last.get("done_reason")
        figures = {key: value for key, value in last.items() if key.endswith(("_count", "_duration"))}
        self.usage = figures or None


def assert_same(answer: ChatCompletion, plain: Plain) -> None:
    assert answer.content == plain.text
    assert answer.reasoning == plain.reasoning
    assert [(call.name, call.parse()) for call in answer.tool_calls] == plain.calls
    assert answer.raw_finish_reason == plain.finish
    assert (answer.usage.raw if answer.usage else None) == plain.usage


@each_stream
def test_stream_is_what_a_plain_reading_gives(recording: Recording) -> None:
    ours, plain = read(recording), Plain(lines_in(recording.body))
    assert (ours.error is None) == plain.done
    assert_same(ours.answer, plain)


@each_stream
def test_chunks_have_one_form(recording: Recording) -> None:
    ours = read(recording)
    opened = 0
    for at, chunk in enumerate(ours.chunks):
        assert chunk.provider == recording.provider
        assert chunk.model == recording.about["model"]
        assert chunk.created == ours.chunks[0].created > 1_600_000_000
        (choice,) = chunk.choices
        assert choice.delta.role == ("assistant" if at == 0 else None)
        assert (choice.finish_reason is not None) == (chunk is ours.chunks[-1])
        for call in choice.delta.tool_calls or ():
            assert (call.index, call.id) == (opened, f"call_{opened}")
            assert call.is_complete
            opened += 1
    assert [chunk.raw for chunk in ours.chunks] == lines_in(recording.body)


@each_stream
def test_answers_are_worth_having(recording: Recording) -> None:
    answer = read(recording).answer
    assert answer.finish_reason == ("tool_calls" if answer.tool_calls else "stop")
    assert answer.content or answer.tool_calls
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@each_stream
def test_cut_at_every_event_is_never_silently_short(recording: Recording) -> None:
    """And what has come is in the partial answer."""
    lines = lines_in(recording.body)
    decoder, assembler = OllamaDialect().decoder(), Assembler()
    for fed, line in enumerate(lines):
        assert not decoder.complete
        assert not decoder.done
        with pytest.raises(IncompleteStreamError):
            decoder.finish()
        assert_same(assembler.snapshot(), Plain(lines[:fed]))
        for chunk in decoder.feed(JSONEvent(json.dumps(line))):
            assembler.add(chunk)
    assert decoder.complete
    assert decoder.done
    assert decoder.finish() == ()


@each_stream
def test_body_cut_in_the_middle_of_the_last_line_is_incomplete(recording: Recording) -> None:
    ours = read(recording, [recording.body.rstrip()[:-1]])
    assert isinstance(ours.error, IncompleteStreamError)


@each_stream
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_reads_cut_anywhere_do_not_matter(recording: Recording, data: st.DataObject) -> None:
    body = recording.body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=20)))
    reads = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)])]
    assert read(recording, reads).chunks == read(recording).chunks


@each_stream
def test_whole_answer_equals_the_stream(recording: Recording) -> None:
    """The server itself makes a whole answer so: pieces joined, and the last line's figures."""
    lines = lines_in(recording.body)
    plain, streamed = Plain(lines), read(recording).answer
    first, last = lines[0], lines[-1]
    if "response" in first:
        said: dict[str, Any] = {"response": plain.text}
    else:
        calls = [call for line in lines for call in line["message"].get("tool_calls") or ()]
        more = {"thinking": plain.reasoning, "tool_calls": calls}
        message = {"role": "assistant", "content": plain.text}
        said = {"message": {**message, **{key: value for key, value in more.items() if value}}}
    whole = {**last, **said, "created_at": first["created_at"]}
    answer = OllamaDialect(provider=recording.provider).response(json.dumps(whole).encode())
    assert answer == streamed
    assert answer.raw == whole


@each_stream
def test_answer_can_be_sent_back(recording: Recording) -> None:
    from anyllm.types import CompletionParams, Message

    answer = read(recording).answer
    results = [Message.tool("fine", call.id or "") for call in answer.tool_calls]
    params = CompletionParams(model="m", messages=[Message.user("Hi"), answer.to_message(), *results])
    sent = json.loads(OllamaDialect().request(params, model="m", stream=True).body)["messages"]
    assert sent[1]["content"] == answer.content
    assert sent[1].get("thinking", "") == answer.reasoning
    calls = [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in sent[1].get("tool_calls", ())
    ]
    assert calls == calls_of(answer.tool_calls)
    assert [message["tool_name"] for message in sent[2:]] == [call.name for call in answer.tool_calls]


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_recordings_raise_only_our_errors(data: st.DataObject) -> None:
    lines: list[Any] = lines_in(data.draw(st.sampled_from(STREAMS)).body)[-6:]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        path = data.draw(st.sampled_from(list(places(lines[at]))))
        lines[at] = replaced(lines[at], path, data.draw(st.sampled_from(ODD_VALUES)))
    decoder, assembler = OllamaDialect().decoder(), Assembler()
    try:
        for line in lines:
            for chunk in decoder.feed(JSONEvent(json.dumps(line))):
                assembler.add(chunk)
                json.dumps(chunk.to_dict(raw=True), ensure_ascii=False).encode()
        decoder.finish()
    except AnyLLMError as exc:
        str(exc).encode()
    json.dumps(assembler.snapshot().to_dict(raw=True), ensure_ascii=False).encode()


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Where any recording lies under its id."""
    pytest.importorskip("ollama")
    with (
        replaying(bodies_of(STREAMS), content_type="application/x-ndjson") as url,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.delenv("OLLAMA_API_KEY", raising=False)
        yield url


class Official:
    """A recording as the official client gives it, its pieces joined as its documentation joins them."""

    def __init__(self, server: str, recording: Recording) -> None:
        import ollama

        client = ollama.Client(host=f"{server}/{recording.id}")
        self.text = self.reasoning = ""
        self.calls: list[tuple[str, Any]] = []
        self.usage: dict[str, Any] = {}
        self.finish: str | None = None
        if recording.api == "ollama-generate":
            parts: Any = client.generate("m", "Hi", stream=True)
        else:
            parts = client.chat("m", [{"role": "user", "content": "Hi"}], stream=True)
        for part in parts:
            self._add(part, part if recording.api == "ollama-generate" else part.message)
        client._client.close()

    def _add(self, part: Any, message: Any) -> None:
        content = part.response if message is part else message.content
        self.text += content or ""
        self.reasoning += message.thinking or ""
        calls = () if message is part else message.tool_calls
        self.calls += [(call.function.name, dict(call.function.arguments)) for call in calls or ()]
        if part.done:
            self.finish = part.done_reason
            said = part.model_dump(exclude_unset=True)
            self.usage = {key: value for key, value in said.items() if key.endswith(("_count", "_duration"))}


@pytest.mark.long
@each_stream
def test_stream_is_what_the_official_client_gives(recording: Recording, server: str) -> None:
    """Without a difference: ids of calls, which the client does not know, are not in these recordings."""
    ours, theirs = read(recording), Official(server, recording)
    assert ours.error is None
    answer = ours.answer
    assert answer.content == theirs.text
    assert answer.reasoning == theirs.reasoning
    assert [(call.name, call.parse()) for call in answer.tool_calls] == theirs.calls
    assert answer.raw_finish_reason == theirs.finish
    assert answer.usage is not None
    assert answer.usage.raw == theirs.usage
