"""OpenAI's chat completions, written: what is in the events, and that our own dialect reads the same out of them."""

from __future__ import annotations

import json
from typing import Any, List

import pytest
from formats_of import chunks_in

from anyllm import errors, formats
from anyllm.errors import AnyLLMError
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Message,
    Reasoning,
    RetryNotice,
    ToolCall,
    Usage,
    text_chunk,
)
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect as Dialect

DIALECT = Dialect(provider="p")


def chunk(delta: Any = None, *, finish: Any = None, raw: Any = None, **more: Any) -> ChatCompletionChunk:
    choices = () if delta is None else (ChunkChoice(more.pop("index", 0), delta, finish, more.pop("said", finish)),)
    about = {"id": "a-1", "created": 7, "model": "m", **more}
    return ChatCompletionChunk(about.pop("id"), choices, provider="p", raw=raw, **about)


def written(chunks: List[Any], **settings: Any) -> List[Any]:
    """The data of the events; the last is [DONE]."""
    said = b"".join(formats.encode(iter(chunks), "openai", **settings)).decode()
    data = [event.split("data: ", 1)[1] for event in said.split("\n\n") if event]
    assert data[-1] == "[DONE]"
    return [json.loads(item) for item in data[:-1]]


def read_back(said: bytes) -> List[ChatCompletionChunk]:
    return chunks_in(DIALECT, said)


NATIVE = {"choices": []}
STREAM = [
    chunk(ChunkDelta("assistant", ""), raw=NATIVE),
    chunk(ChunkDelta(reasoning=Reasoning("hm", None, "reasoning")), raw=NATIVE),
    text_chunk("a-1", 'He said "é\u2028\U0001f600"', 7, "m", None, None, "p", None),
    chunk(ChunkDelta(tool_calls=(ToolCall("c1", FunctionCall("f", "")),)), raw=NATIVE),
    chunk(ChunkDelta(tool_calls=(ToolCall(None, FunctionCall(None, '{"x":')),)), raw=NATIVE),
    chunk(ChunkDelta(tool_calls=(ToolCall("c2", FunctionCall("g", "{}"), index=1),)), raw=NATIVE),
    chunk(ChunkDelta(tool_calls=(ToolCall(None, FunctionCall(None, "1}")),)), raw=NATIVE),
    chunk(ChunkDelta(), finish="tool_calls", raw=NATIVE),
    chunk(usage=Usage(3, 2, 5, 1, 2), raw=NATIVE),
]


def test_our_dialect_reads_the_same_chunks():
    assert read_back(b"".join(formats.encode(iter(STREAM), "openai"))) == STREAM


def test_a_chunk_by_itself_is_written_as_in_a_stream():
    assert [json.loads(item.to_json()) for item in STREAM] == written(STREAM)
    assert read_back("".join(item.to_sse() for item in STREAM).encode() + b"data: [DONE]\n\n") == STREAM


def test_a_chunk_by_itself_in_each_of_three_forms():
    item = text_chunk("a-1", "Hi", 7, "m", None, None, "p", None)
    data = (
        '{"id":"a-1","object":"chat.completion.chunk","created":7,"model":"m",'
        '"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}'
    )
    assert item.to_json() == data
    assert item.to_sse() == f"data: {data}\n\n"
    assert item.to_ndjson() == f"{data}\n"


@pytest.mark.parametrize("text", ["a\nb\u2028c\u0085d", "\U0001f600", "\ud83d", 'quo"te'])
def test_a_chunk_by_itself_is_one_line_of_valid_json(text: str):
    """Half an emoji too, which is no text: a host may cut one in two."""
    item = chunk(ChunkDelta(None, text))
    assert len(item.to_json().splitlines()) == 1
    item.to_json().encode()
    assert json.loads(item.to_json())["choices"][0]["delta"]["content"] == text


def test_what_other_providers_say_is_in_a_chunk_by_itself_in_openais_words():
    reasoning = Reasoning("hm", "sig")
    item = chunk(
        ChunkDelta("assistant", reasoning=reasoning), finish="length", said="MAX_TOKENS", usage=Usage(3, 2, 5, 1)
    )
    body = json.loads(item.to_json())
    assert body["choices"][0]["delta"]["reasoning_content"] == "hm"
    assert body["choices"][0]["delta"]["reasoning_details"] == [{"type": "reasoning.text", "signature": "sig"}]
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["total_tokens"] == 5
    again = ChatCompletionChunk(retry=RetryNotice("restart", 2, "cut"))
    assert json.loads(again.to_json())["retry"]["policy"] == "restart"


def test_the_answers_are_told_apart():
    chunks = [
        chunk(ChunkDelta("assistant", "one"), index=1),
        chunk(ChunkDelta("assistant", "two"), index=0),
        chunk(ChunkDelta(), index=0, finish="stop"),
        chunk(ChunkDelta(), index=1, finish="length"),
    ]
    assert [item["choices"][0]["index"] for item in written(chunks)] == [1, 0, 0, 1]


def test_what_another_provider_says_is_put_into_openais_words():
    """Anthropic's reasons, names and running totals would be taken for OpenAI's own, and are not."""
    chunks = [
        chunk(ChunkDelta("assistant"), usage=Usage(3, 1, 4), id="", created=0),
        chunk(ChunkDelta(reasoning=Reasoning("hm", None, "thinking")), id="", created=0),
        chunk(ChunkDelta(None, "x"), id="", created=0),
        chunk(ChunkDelta(), finish="stop", said="end_turn", usage=Usage(3, 2, 5), id="", created=0),
    ]
    first, thought, text, end, usage = written(chunks)
    assert {item["id"] for item in (first, thought, text, end, usage)} == {first["id"]}
    assert first["id"].startswith("chatcmpl-")
    assert first["created"] > 1_600_000_000
    assert "usage" not in first
    assert thought["choices"][0]["delta"] == {"reasoning_content": "hm"}
    assert end["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 5)


def test_a_reason_that_nobody_knows_is_quoted():
    (first,) = written([chunk(ChunkDelta("assistant"), finish="unknown", said="tired")])
    assert first["choices"][0]["finish_reason"] == "tired"


def test_an_answer_of_another_format_that_is_whole_without_a_reason_ends():
    """OpenAI's has no other sign for it; a host of its own is quoted, which gave none."""
    *_, end = written([chunk(ChunkDelta("assistant", "x"))])
    assert end["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert len(written([chunk(ChunkDelta("assistant", "x"), raw=NATIVE)])) == 1


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
    call = chunk(
        ChunkDelta("assistant", tool_calls=(ToolCall("c", FunctionCall("sql", "select"), "custom"),)), raw=NATIVE
    )
    said = written([call, STREAM[-2]])[0]["choices"][0]["delta"]["tool_calls"][0]
    assert said == {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": "select"}}


def test_half_an_emoji_is_json():
    """Such a text encodes to no UTF-8, and must not end the stream."""
    half = text_chunk("a-1", "\ud83d", 7, "m", None, None, "p", None)
    said = written([STREAM[0], half, STREAM[-2]])
    assert said[1]["choices"][0]["delta"]["content"] == "\ud83d"


WHOLE = ChatCompletion(
    "a-1",
    (
        Choice(
            0,
            Message.assistant(
                "Paris",
                reasoning=Reasoning("hm", None, "reasoning_content"),
                tool_calls=[ToolCall("c1", FunctionCall("f", '{"x": 1}'))],
            ),
            "tool_calls",
            "tool_calls",
            {"content": []},
        ),
        Choice(1, Message.assistant(None, refusal="no"), "stop", "stop"),
    ),
    7,
    "m",
    usage=Usage(3, 2, 5, 1, 2, 0),
    system_fingerprint="fp",
    service_tier="default",
    provider="p",
)


def test_a_whole_answer_is_read_back():
    again = DIALECT.response(formats.encode_whole(WHOLE, "openai"))
    again.raw = None
    assert again == WHOLE


# -- errors ------------------------------------------------------------------------------------------------------------

FAILURES: List[AnyLLMError] = [
    errors.AuthenticationError("no", status_code=401, code="invalid_api_key"),
    errors.AuthenticationError("no"),
    errors.PermissionDeniedError("no", status_code=403),
    errors.InsufficientFundsError("no"),
    errors.RateLimitError("slow down", status_code=429, retry_after=2),
    errors.InvalidRequestError("bad", param="temperature", status_code=422),
    errors.ContextLengthExceededError("too long"),
    errors.ContentFilterError("no"),
    errors.UnsupportedParameterError("no seed", param="seed"),
    errors.ModelNotFoundError("no such model"),
    errors.OverloadedError("later", status_code=529),
    errors.ServerError("oops", status_code=500),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_on_the_other_side(error):
    """As a response, and in the middle of a stream."""
    fmt = formats.find("openai")
    status = formats.status(error, "openai")
    again = DIALECT.error(status, {}, fmt.problem(error, status))
    assert type(again) is type(error)
    assert (again.message, again.param) == (error.message, getattr(error, "param", None))
    with pytest.raises(type(error)) as raised:
        read_back(fmt.writer().error(error))
    assert raised.value.message == error.message


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NetworkError("down"), 502),
        (errors.IncompleteStreamError("cut"), 502),
        (errors.MalformedStreamError("garbage"), 502),
        (errors.StreamTimeoutError("late", clock="idle", seconds=1), 504),
        (errors.DeadlineExceeded(), 504),
        (errors.Cancelled(), 503),
        (errors.MissingAPIKeyError("no key", env_var="X"), 502),
        (errors.UnsupportedProviderError("who?"), 404),
        (errors.APIError("odd", status_code=200), 502),
        (KeyError("bug"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_no_provider_said_has_a_status_and_a_type_too(error, status):
    assert formats.status(error, "openai") == status
    told = json.loads(formats.find("openai").problem(error, status))["error"]
    assert told["type"]
    assert told["message"]


def test_the_hosts_own_error_object_is_passed_on():
    own = {"message": "slow", "type": "tokens", "code": "rate_limit_exceeded", "param": None, "metadata": {"x": 1}}
    error = errors.RateLimitError("slow", status_code=429, body={"error": own})
    assert json.loads(formats.find("openai").problem(error, 429)) == {"error": own}
