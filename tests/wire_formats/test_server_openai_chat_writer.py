"""OpenAI's chat completions, written: what is in the events, and that our own dialect reads the same out of them."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from chunk_builders import WHOLE, call, chunk, restart, text
from formats_of import chunks_in
from server_openai_chat import PROFILE

from anyllm import formats
from anyllm.types import ChatCompletionChunk, Choice, ChunkDelta, Message, Reasoning, Usage
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect as Dialect

DIALECT = Dialect(provider="p")


def written(chunks: list[Any], **settings: Any) -> list[Any]:
    """The data of the events; the last is [DONE]."""
    body = PROFILE.written(chunks, **settings)
    assert body.endswith(b"data: [DONE]\n\n")
    return PROFILE.events(body)


def read_back(output: bytes) -> list[ChatCompletionChunk]:
    return chunks_in(DIALECT, output)


NATIVE = {"choices": []}
STREAM = [
    chunk(ChunkDelta("assistant", ""), raw=NATIVE),
    chunk(ChunkDelta(reasoning=Reasoning("hm", None, "reasoning")), raw=NATIVE),
    text('He said "é\u2028\U0001f600"'),
    call(0, "", "f", raw=NATIVE),
    call(0, '{"x":', raw=NATIVE),
    call(1, "{}", "g", raw=NATIVE),
    call(0, "1}", raw=NATIVE),
    chunk(ChunkDelta(), "tool_calls", raw=NATIVE),
    chunk(usage=Usage(3, 2, 5, 1, 2), raw=NATIVE),
]


def test_our_dialect_reads_the_same_chunks():
    assert read_back(b"".join(formats.encode(iter(STREAM), "openai"))) == STREAM


def test_a_delta_after_the_end_adds_no_second_end():
    chunks = [text("a"), chunk(ChunkDelta(), "length"), chunk(ChunkDelta("assistant", ""), usage=Usage(3, 2, 5))]
    reasons = [choice["finish_reason"] for event in written(chunks)[:-1] for choice in event["choices"]]
    assert reasons == [None, "length", None]


def test_a_chunk_by_itself_is_written_as_in_a_stream():
    assert [json.loads(item.to_json()) for item in STREAM] == written(STREAM)
    assert read_back("".join(item.to_sse() for item in STREAM).encode() + b"data: [DONE]\n\n") == STREAM


def test_a_chunk_by_itself_in_each_of_three_forms():
    item = text("Hi")
    data = (
        '{"id":"a-1","object":"chat.completion.chunk","created":1700000000,"model":"m",'
        '"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}'
    )
    assert item.to_json() == data
    assert item.to_sse() == f"data: {data}\n\n"
    assert item.to_ndjson() == f"{data}\n"


@pytest.mark.parametrize("content", ["a\nb\u2028c\u0085d", "\U0001f600", "\ud83d", 'quo"te'])
def test_a_chunk_by_itself_is_one_line_of_valid_json(content: str):
    """Half an emoji too, which is no text: a host may cut one in two."""
    item = chunk(ChunkDelta(None, content))
    assert len(item.to_json().splitlines()) == 1
    item.to_json().encode()
    assert json.loads(item.to_json())["choices"][0]["delta"]["content"] == content


def test_what_other_providers_say_is_in_a_chunk_by_itself_in_openais_words():
    item = chunk(
        ChunkDelta("assistant", reasoning=Reasoning("hm", "sig")),
        finish="length",
        raw_finish="MAX_TOKENS",
        usage=Usage(3, 2, 5, 1),
    )
    body = json.loads(item.to_json())
    assert body["choices"][0]["delta"]["reasoning_content"] == "hm"
    assert body["choices"][0]["delta"]["reasoning_details"] == [{"type": "reasoning.text", "signature": "sig"}]
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["total_tokens"] == 5
    again = restart()
    assert json.loads(again.to_json())["retry"]["policy"] == "restart"


def test_what_another_provider_says_is_put_into_openais_words():
    """Anthropic's reasons, names and running totals would be taken for OpenAI's own, and are not."""
    chunks = [
        chunk(ChunkDelta("assistant"), usage=Usage(3, 1, 4), id="", created=0),
        chunk(ChunkDelta(reasoning=Reasoning("hm", None, "thinking")), id="", created=0),
        chunk(ChunkDelta(None, "x"), id="", created=0),
        chunk(ChunkDelta(), finish="stop", raw_finish="end_turn", usage=Usage(3, 2, 5), id="", created=0),
    ]
    first, reasoning, words, end, usage = written(chunks)
    assert {item["id"] for item in (first, reasoning, words, end, usage)} == {first["id"]}
    assert first["id"].startswith("chatcmpl-")
    assert first["created"] > 1_600_000_000
    assert "usage" not in first
    assert reasoning["choices"][0]["delta"] == {"reasoning_content": "hm"}
    assert end["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 5)


def test_tokens_are_told_to_those_who_ask():
    assert all("usage" not in item for item in written(STREAM, include_usage=False))
    assert len(written(STREAM, include_usage=False)) == len(STREAM) - 1
    running = [chunk(ChunkDelta(None, "x"), raw=NATIVE, usage=Usage(1, 1, 2)), STREAM[-2]]
    assert len(written(running, include_usage=False)) == 2  # the text of such a chunk stays


def test_the_hosts_own_usage_is_passed_on():
    own = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.25}
    *_, last = written([*STREAM[:-1], chunk(usage=Usage(3, 2, 5, raw=own), raw=NATIVE)])
    assert last["usage"] == own


def test_further_keys_of_a_host_of_this_format_are_passed_on():
    """Perplexity's citations, llama.cpp's timings."""
    raw = {"choices": [], "citations": ["https://example.org"], "obfuscation": "xx"}
    first, *_ = written([chunk(ChunkDelta("assistant", "x"), raw=raw), STREAM[-2]])
    assert first["citations"] == ["https://example.org"]
    assert "obfuscation" not in first
    other = {"candidates": [], "citations": ["https://example.org"]}
    assert "citations" not in written([chunk(ChunkDelta("assistant", "x"), raw=other)])[0]


def test_what_was_signed_can_be_sent_back():
    details = [{"type": "thinking", "thinking": "hm", "signature": "sig"}]
    signed = chunk(ChunkDelta(reasoning=Reasoning(None, "sig", "thinking", details)))
    bare = chunk(ChunkDelta(reasoning=Reasoning(None, "sig")))
    one, other = written([signed, bare])[:2]
    # Numbered, because OpenAI's client puts lists together by that.
    assert one["choices"][0]["delta"]["reasoning_details"] == [{**details[0], "index": 0}]
    assert other["choices"][0]["delta"]["reasoning_details"][0]["signature"] == "sig"


def test_a_custom_tool_is_called_with_text():
    custom = call(0, "select", "sql", id="c", type="custom", raw=NATIVE)
    output = written([custom, STREAM[-2]])[0]["choices"][0]["delta"]["tool_calls"][0]
    assert output == {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": "select"}}


def test_a_whole_answer_is_read_back():
    (first,), about = WHOLE.choices, {"system_fingerprint": "fp", "service_tier": "default"}
    choices = (
        attrs.evolve(first, logprobs={"content": []}),
        Choice(1, Message.assistant(refusal="no"), "stop", "stop"),
    )
    whole = attrs.evolve(WHOLE, choices=choices, usage=Usage(3, 2, 5, 1, 2, 0), **about)
    again = DIALECT.response(formats.encode_whole(whole, "openai"))
    assert attrs.evolve(again, raw=None) == whole
