"""The Anthropic Messages dialect: hand-written transcripts for each oddity, then its request, errors, hostile input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import choice_streams
import pytest
from choice_streams import Captured, Result, answering
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from anyllm import errors
from anyllm._framing.detect import JSONEvent
from anyllm.errors import (
    APIError,
    IncompleteStreamError,
    InvalidRequestError,
    MalformedStreamError,
    UnsupportedParameterError,
)
from anyllm.types import CompletionParams, ContentPart, Message
from anyllm.wire._base.surrogate_joiner import mend
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect

TRANSCRIPTS = ROOT / "tests" / "transcripts" / "anthropic_messages"
VERTEX = AnthropicMessagesDialect(
    provider="vertex",
    path="/models/{model}:rawPredict",
    stream_path="/models/{model}:streamRawPredict",
    version_in_body="vertex-2023-10-16",
)


def decode(reads: list[bytes]) -> Result:
    return choice_streams.decode(AnthropicMessagesDialect(), reads)


def sse(*bodies: Any) -> list[bytes]:
    return [f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode() for body in bodies]


def start(**message: Any) -> dict[str, Any]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    return {"type": "message_start", "message": {"id": "m1", "model": "c", "content": [], "usage": usage, **message}}


def delta(kind: str, at: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": at, "delta": {"type": kind, **fields}}


def end(reason: str = "end_turn") -> tuple[dict[str, Any], dict[str, Any]]:
    usage = {"output_tokens": 2}
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}, {"type": "message_stop"}


# -- transcripts -------------------------------------------------------------------------------------------------------


def test_what_has_no_place_in_a_chunk_is_in_raw() -> None:
    citation = delta("citations_delta", citation={"cited_text": "Grass"})
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    query = delta("input_json_delta", 1, partial_json='{"query": "x"}')
    block = {"type": "content_block_start", "index": 1, "content_block": search}
    chunks, answer, _ = decode(sse(start(), citation, block, query, *end()))
    assert [chunk.raw for chunk in chunks[1:4]] == [citation, block, query]
    assert [chunk.choices for chunk in chunks[1:4]] == [(), (), ()]
    assert answer.tool_calls == ()


def test_events_without_text_bring_nothing() -> None:
    decoder = AnthropicMessagesDialect().decoder()
    assert [list(decoder.feed(JSONEvent(data))) for data in ("", " \n", '{"type": "ping"}', "{}")] == [[], [], [], []]
    assert not decoder.complete


def test_end_comes_once_and_last() -> None:
    """Arguments that were held back come before it, and it knows of the calls."""
    tool = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}
    block = {"type": "content_block_start", "index": 0, "content_block": tool}
    message_delta, message_stop = end()
    chunks, _, error = decode(sse(start(), block, message_delta, message_delta, message_stop))
    assert error is None
    assert [(chunk.finish_reason, chunk.raw_finish_reason) for chunk in chunks[2:]] == [
        (None, None),
        ("tool_calls", "end_turn"),
        (None, None),
    ]
    assert chunks[2].tool_calls[0].arguments == '{"x":1}'
    assert chunks[4].usage is not None


def test_half_of_a_character_outside_of_text_brings_no_chunk_of_its_own() -> None:
    citation = delta("citations_delta", citation={"cited_text": "a\ud83d"})
    chunks, _, _ = decode(sse(start(), citation, *end()))
    assert len(chunks) == 3
    assert chunks[1].raw["delta"]["citation"]["cited_text"] == "a"


def test_usage_is_there_before_the_end() -> None:
    """Whoever stops early wants to know what the prompt cost."""
    chunks, answer, error = decode(sse(start(), delta("text_delta", text="a")))
    assert isinstance(error, IncompleteStreamError)
    assert chunks[0].usage is not None
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 1


@pytest.mark.parametrize(
    ("raw", "normalised"),
    [
        *[(word, "stop") for word in ("end_turn", "stop_sequence")],
        *[(word, "length") for word in ("max_tokens", "model_context_window_exceeded")],
        *[("tool_use", "tool_calls"), ("refusal", "content_filter")],
        *[(word, "unknown") for word in ("pause_turn", "compaction", "something_new")],
    ],
)
def test_stop_reason_is_normalised_and_kept(raw: str, normalised: str) -> None:
    chunks, answer, error = decode(sse(start(), delta("text_delta", text="a"), *end(raw)))
    assert error is None
    assert (chunks[-1].finish_reason, chunks[-1].raw_finish_reason) == (normalised, raw)
    assert (answer.finish_reason, answer.raw_finish_reason) == (normalised, raw)


@pytest.mark.parametrize(
    ("raw", "figures"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, (3, 4, 7, None, None, None)),
        ({"input_tokens": 3.0, "output_tokens": "4"}, (3, 4, 7, None, None, None)),
        (
            {"input_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0, "output_tokens": 4},
            (8, 4, 12, None, 5, 0),
        ),
        ({"output_tokens": 4, "output_tokens_details": {"thinking_tokens": 3}}, (0, 4, 4, 3, None, None)),
        ({"output_tokens": 4, "input_tokens": -1, "output_tokens_details": []}, (0, 4, 4, None, None, None)),
        ({"speed": "fast"}, None),
        ([1], None),
    ],
)
def test_usage_counts_the_cache_in(raw: Any, figures: Any) -> None:
    whole = {"content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn", "usage": raw}
    usage = AnthropicMessagesDialect().response(json.dumps(whole).encode()).usage
    if figures is None:
        assert usage is None
        return
    assert usage is not None
    found = (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.reasoning_tokens)
    assert (*found, usage.cache_read_tokens, usage.cache_write_tokens) == figures
    assert usage.raw == raw


# -- what cannot be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        '{"type": "message_start"}',
        '{"type": "message_start", "message": []}',
        '{"type": "message_start", "message": {"id": {}}}',
        '{"type": "message_start", "message": {"content": "x"}}',
        '{"type": "message_start", "message": {"content": [1]}}',
        '{"type": "message_start", "message": {"stop_reason": []}}',
        '{"type": "message", "content": 7}',
        '{"type": "content_block_start", "index": 0}',
        '{"type": "content_block_start", "index": [], "content_block": {}}',
        '{"type": "content_block_start", "index": true, "content_block": {}}',
        '{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": []}}',
        '{"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "signature": 1}}',
        '{"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a"}}',
        '{"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": {}, "name": "f"}}',
        '{"type": "content_block_delta", "index": 0}',
        '{"type": "content_block_delta", "index": 0, "delta": "x"}',
        '{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 1}}',
        '{"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{"}}',
        '{"type": "message_delta", "delta": 1}',
        '{"type": "message_delta", "delta": {"stop_reason": true}}',
    ],
)
def test_nonsense_is_a_malformed_stream(data: str) -> None:
    with pytest.raises(MalformedStreamError) as caught:
        AnthropicMessagesDialect(provider="host").decoder().feed(JSONEvent(data))
    assert caught.value.provider == "host"
    assert len(str(caught.value)) < 250


@given(st.text(alphabet="a\ud83d\ude00é", max_size=12), st.integers(1, 3))
@settings(max_examples=200)
def test_text_cut_anywhere_is_the_mended_text(text: str, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    for key, kind in (("text", "text_delta"), ("thinking", "thinking_delta"), ("partial_json", "input_json_delta")):
        tool = {"type": "tool_use", "id": "a", "name": "f", "input": "x"}
        begin = [{"type": "content_block_start", "index": 0, "content_block": tool}] if key == "partial_json" else []
        chunks, answer, _ = decode(sse(start(), *begin, *[delta(kind, **{key: piece}) for piece in pieces], *end()))
        arguments = answer.tool_calls[0].arguments if begin else ""
        found = {"text": answer.content, "thinking": answer.reasoning, "partial_json": arguments}
        assert found[key] == (mend(text) or ("x" if begin else ""))
        json.dumps([chunk.to_dict(raw=True) for chunk in chunks], ensure_ascii=False).encode()


# -- whole answers -----------------------------------------------------------------------------------------------------


def test_whole_answer_with_an_error_inside_is_that_error() -> None:
    with pytest.raises(errors.OverloadedError, match="no room"):
        AnthropicMessagesDialect().response(
            b'{"type": "error", "error": {"type": "overloaded_error", "message": "no room"}}'
        )
    with pytest.raises(errors.RateLimitError):
        AnthropicMessagesDialect().response(b'{"content": [], "error": {"message": "slow down", "code": 429}}')


def test_whole_answer_without_words_is_one() -> None:
    answer = AnthropicMessagesDialect().response(b'{"id": "m", "content": [], "stop_reason": "end_turn"}')
    assert (answer.id, answer.content, answer.finish_reason, answer.usage) == ("m", "", "stop", None)


# -- requests: parameters ----------------------------------------------------------------------------------------------

TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "Does it.", "parameters": {"type": "object", "properties": {}}},
}
F = {"name": "f", "description": "Does it.", "input_schema": {"type": "object", "properties": {}}}


def params(*messages: Any, **fields: Any) -> CompletionParams:
    return CompletionParams(model="anthropic/m", messages=messages or ({"role": "user", "content": "Hi"},), **fields)


def sent(*messages: Any, dialect: AnthropicMessagesDialect | None = None, stream: bool = False, **fields: Any) -> Any:
    request = (dialect or AnthropicMessagesDialect()).request(params(*messages, **fields), model="m", stream=stream)
    return json.loads(request.body)


def turns(*messages: Any) -> Any:
    return sent(*messages)["messages"]


def test_what_asks_for_nothing_is_not_sent() -> None:
    nothing = {"n": 1, "logprobs": False, "stream_options": {"include_usage": True}, "reasoning_effort": "auto"}
    assert sent(**nothing, response_format={"type": "text"}) == sent()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("seed", 0),
        ("logprobs", True),
        ("top_logprobs", 2),
        ("stream_options", {"include_obfuscation": False}),
        ("response_format", {"type": "json_object"}),
    ],
)
def test_what_the_host_cannot_do_is_named(name: str, value: Any) -> None:
    with pytest.raises(UnsupportedParameterError) as caught:
        sent(**{name: value})
    assert caught.value.param == name
    assert caught.value.provider == "anthropic"
    assert caught.value.status_code is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"function_call": {"name": "f"}}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False},
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tool_choice(given: dict[str, Any], expected: Any) -> None:
    assert sent(tools=[TOOL], **given).get("tool_choice") == expected


def test_tools() -> None:
    cached = {**TOOL, "cache_control": {"type": "ephemeral"}}
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    strict = {"type": "function", "function": {"name": "g", "strict": True, "parameters": {"properties": {"a": {}}}}}
    bare = {"type": "function", "function": {"name": "h"}}
    assert sent(tools=[cached, search, strict, bare])["tools"] == [
        {**F, "cache_control": {"type": "ephemeral"}},
        search,
        {"name": "g", "input_schema": {"type": "object", "properties": {"a": {}}}, "strict": True},
        {"name": "h", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert sent(functions=[TOOL["function"]])["tools"] == [F]
    with pytest.raises(InvalidRequestError, match="name"):
        sent(tools=[{"type": "function", "function": {}}])


@pytest.mark.parametrize(
    ("given", "thinking", "max_tokens"),
    [
        ({}, None, 4096),
        ({"reasoning_effort": "auto"}, None, 4096),
        ({"reasoning_effort": "none"}, {"type": "disabled"}, 4096),
        ({"reasoning_effort": "minimal"}, 1024, 4096),
        ({"reasoning_effort": "low"}, 1024, 4096),
        ({"reasoning_effort": "medium"}, 4096, 8192),
        ({"reasoning_effort": "high"}, 16384, 20480),
        ({"reasoning_effort": "xhigh"}, 32000, 36096),
        ({"reasoning_effort": "max", "max_tokens": 40000}, 32000, 40000),
        ({"reasoning_effort": "low", "max_tokens": 100}, 1024, 1124),
        ({"thinking_budget": 2000}, 2000, 4096),
        ({"thinking_budget": 2000, "max_tokens": 2000}, 2000, 4000),
        ({"thinking_budget": 2000, "reasoning_effort": "high"}, 2000, 4096),
        ({"thinking_budget": 0, "max_tokens": 7}, {"type": "disabled"}, 7),
    ],
)
def test_thinking_has_room(given: dict[str, Any], thinking: Any, max_tokens: int) -> None:
    body = sent(**given)
    expected = {"type": "enabled", "budget_tokens": thinking} if isinstance(thinking, int) else thinking
    assert body.get("thinking") == expected
    assert body["max_tokens"] == max_tokens


def test_effort_falls_back_to_the_words_of_newer_models() -> None:
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    asked = params(reasoning_effort="minimal", response_format=schema, extra_body={"top_k": 5})
    request = AnthropicMessagesDialect().request(asked, model="m", stream=True)
    ((named, fallback),) = request.fallbacks.items()
    said = (
        '"thinking.type.enabled" is not supported for this model. '
        'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
    )
    error = AnthropicMessagesDialect().error(400, {}, json.dumps({"error": {"message": said}}).encode())
    assert isinstance(error, InvalidRequestError)
    assert named in str(error)
    body = json.loads(request.body)
    assert json.loads(fallback) == {
        **body,
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {**body["output_config"], "effort": "low"},
    }
    assert body["top_k"] == 5


@pytest.mark.parametrize(
    "given",
    [
        {"thinking_budget": 2000},
        {"thinking_budget": 2000, "reasoning_effort": "high"},
        {"reasoning_effort": "none"},
        {"reasoning_effort": "high", "extra_body": {"thinking": {"type": "adaptive"}}},
    ],
)
def test_what_the_caller_said_exactly_has_no_fallback(given: dict[str, Any]) -> None:
    assert AnthropicMessagesDialect().request(params(**given), model="m", stream=True).fallbacks == {}


def test_extra_body_and_headers_win() -> None:
    asked = params(
        temperature=1,
        extra_body={"temperature": 2, "top_k": 5, "model": "other", "max_tokens": 1},
        extra_headers={"Anthropic-Version": "2099-01-01", "anthropic-beta": "b"},
    )
    request = AnthropicMessagesDialect().request(asked, model="m", stream=False)
    body = json.loads(request.body)
    assert (body["temperature"], body["top_k"], body["model"], body["max_tokens"]) == (2, 5, "other", 1)
    assert request.headers["Anthropic-Version"] == "2099-01-01"
    assert request.headers["anthropic-beta"] == "b"
    assert "anthropic-version" not in request.headers


def test_other_clouds_have_the_version_in_the_body_and_the_model_in_the_path() -> None:
    request = VERTEX.request(params(), model="claude-x@2025 1/2", stream=True)
    assert request.path == "/models/claude-x@2025%201%2F2:streamRawPredict"
    assert VERTEX.request(params(), model="c", stream=False).path == "/models/c:rawPredict"
    assert "anthropic-version" not in request.headers
    assert json.loads(request.body) == {
        "anthropic_version": "vertex-2023-10-16",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 4096,
        "stream": True,
    }


# -- requests: messages ------------------------------------------------------------------------------------------------

CACHE = {"type": "ephemeral"}
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ([], None),
        ([Message.system("")], None),
        ([Message.system("A")], "A"),
        ([Message.system("A"), Message("developer", "B")], "A\n\nB"),
        ([Message.system([{"type": "text", "text": "A"}])], "A"),
        ([Message.system("A", cache_control=CACHE)], [text("A", cache_control=CACHE)]),
        (
            [Message.system([text("A"), text("B", cache_control=CACHE)]), Message.system("C")],
            [text("A"), text("B", cache_control=CACHE), text("C")],
        ),
        ([Message.system([text("A"), text("B")], cache_control=CACHE)], [text("A"), text("B", cache_control=CACHE)]),
    ],
)
def test_system_messages_are_lifted_out(system: list[Message], expected: Any) -> None:
    body = sent(*system[:1], Message.user("Hi"), *system[1:])
    assert body.get("system") == expected
    assert body["messages"] == [{"role": "user", "content": "Hi"}]


def test_turns_of_one_role_are_one_turn() -> None:
    assert turns(Message.user("A"), Message.user([text("B")]), Message.assistant("C"), Message.assistant("D")) == [
        {"role": "user", "content": [text("A"), text("B")]},
        {"role": "assistant", "content": [text("C"), text("D")]},
    ]


def test_calls_and_results() -> None:
    calls = [
        {"id": "a", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "b.1:x", "function": {"name": "g", "arguments": ""}},
    ]
    found = turns(
        Message.user("Go"),
        Message.assistant("", tool_calls=calls),
        Message.tool("42", "a", name="f"),
        Message.tool([text("43"), ContentPart.from_image(PNG)], "b.1:x", cache_control=CACHE),
        Message.user("And?"),
    )
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    assert found[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b_1_x", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "42"},
                {
                    "type": "tool_result",
                    "tool_use_id": "b_1_x",
                    "content": [text("43"), image],
                    "cache_control": CACHE,
                },
                text("And?"),
            ],
        },
    ]
    assert turns(Message.tool(None, "a"))[0]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_cache_control_moves_to_the_last_block() -> None:
    assert turns(Message.user("A", cache_control=CACHE))[0]["content"] == [text("A", cache_control=CACHE)]
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {}, "cache_control": CACHE}
    assistant = Message.assistant("A", tool_calls=[call], cache_control=CACHE)
    assert turns(Message.user("x"), assistant)[1]["content"] == [text("A"), use]
    other = {"type": "ephemeral", "ttl": "1h"}
    parts = Message.user([text("A", cache_control=other)], cache_control=CACHE)
    assert turns(parts)[0]["content"] == [text("A", cache_control=other)]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (text("A", cache_control=CACHE), text("A", cache_control=CACHE)),
        (
            {"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "low"}},
            {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
        ),
        (
            ContentPart.from_file(PDF, filename="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                "title": "a.pdf",
            },
        ),
        (
            ContentPart.from_file("https://a.example/x.pdf"),
            {"type": "document", "source": {"type": "url", "url": "https://a.example/x.pdf"}},
        ),
        (
            {"type": "file", "file": {"file_id": "file_1"}, "citations": {"enabled": True}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}, "citations": {"enabled": True}},
        ),
        (
            ContentPart.from_file(b"h\xc3\xa9", media_type="text/csv"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hé"}},
        ),
        (
            ContentPart.from_file(PNG),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        ),
        (
            {"type": "search_result", "source": "s", "title": "t", "content": [text("x")]},
            {"type": "search_result", "source": "s", "title": "t", "content": [text("x")]},
        ),
    ],
)
def test_parts_become_blocks(part: Any, block: dict[str, Any]) -> None:
    assert turns(Message.user([part, "and"]))[0]["content"] == [block, text("and")]


@pytest.mark.parametrize(
    ("message", "kind", "param"),
    [
        (
            Message.user([ContentPart("input_audio", input_audio={"data": "x"})]),
            UnsupportedParameterError,
            "input_audio",
        ),
        (Message.user([ContentPart.from_file(b"x", media_type="font/ttf")]), UnsupportedParameterError, "file"),
        (Message.user([ContentPart.from_file(b"\xff", media_type="text/csv")]), InvalidRequestError, "file"),
        (Message.user([{"type": "image_url"}]), InvalidRequestError, "messages"),
        (Message.user("Hi", name="Ada"), UnsupportedParameterError, "name"),
        (Message.system([ContentPart.from_image(PNG)]), UnsupportedParameterError, "messages"),
        (Message("tool", "42"), InvalidRequestError, "messages"),
        (Message.assistant(tool_calls=[{"function": {"name": "f"}}]), InvalidRequestError, "messages"),
        (
            Message.assistant(tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "{"}}]),
            InvalidRequestError,
            "messages",
        ),
    ],
)
def test_messages_that_cannot_be_sent_are_refused(message: Message, kind: type[APIError], param: str) -> None:
    with pytest.raises(kind) as caught:
        sent(message)
    assert type(caught.value) is kind
    assert caught.value.param == param
    assert caught.value.provider == "anthropic"


@pytest.mark.parametrize(
    ("reasoning", "blocks"),
    [
        ({"content": "Hm", "signature": "s"}, [{"type": "thinking", "thinking": "Hm", "signature": "s"}]),
        ({"signature": "s", "field": "thinking"}, [{"type": "thinking", "thinking": "", "signature": "s"}]),
        ({"content": "Hm"}, []),  # refused without a signature
        ({"content": "Hm", "signature": "s", "field": "reasoning_content"}, []),  # another format's
        ({"details": [{"type": "reasoning.text", "text": "Hm"}]}, []),
        (
            {"details": [{"type": "redacted_thinking", "data": "x"}, {"type": "thinking", "thinking": "", "index": 2}]},
            [{"type": "redacted_thinking", "data": "x"}, {"type": "thinking", "thinking": ""}],
        ),
    ],
)
def test_reasoning_goes_back_first(reasoning: Any, blocks: list[Any]) -> None:
    message = Message.assistant("Yes", reasoning=reasoning)
    found = turns(Message.user("x"), message)[1]["content"]
    assert found == ([*blocks, text("Yes")] if blocks else "Yes")
    assert turns(Message.user("Yes", reasoning=reasoning))[0]["content"] == "Yes"


def test_answer_goes_back_as_it_came() -> None:
    _, answer, _ = decode([(TRANSCRIPTS / "thinking_interleaved.sse").read_bytes()])
    message = Message.from_dict(json.loads(json.dumps(answer.to_message().to_dict())))
    assert turns(Message.user("x"), message, Message.tool("42", "toolu_1"))[1]["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "s1"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "thinking", "thinking": "Ah.", "signature": "s2"},
        text("Wait. "),
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
    ]


def test_answer_that_says_nothing_is_left_out() -> None:
    """Models end with one after tool results, and refuse to have empty text sent back."""
    assert turns(Message.user("A"), Message.assistant(None), Message.assistant(" \n"), Message.user("B")) == [
        {"role": "user", "content": [text("A"), text("B")]}
    ]


def test_refusal_is_sent_as_what_was_said() -> None:
    assert turns(Message.user("A"), Message.assistant(refusal="No."))[1]["content"] == "No."


def test_request_changes_nothing_that_it_was_given() -> None:
    part, details = ContentPart("text", "A"), [{"type": "thinking", "thinking": "", "signature": "s", "index": 1}]
    given = params(Message.user([part], cache_control=CACHE), Message.assistant("B", reasoning={"details": details}))
    before = given.to_dict()
    first = AnthropicMessagesDialect().request(given, model="m", stream=False)
    assert given.to_dict() == before
    assert details[0]["index"] == 1
    assert AnthropicMessagesDialect().request(given, model="m", stream=False) == first


# -- models ------------------------------------------------------------------------------------------------------------


def test_models_are_listed() -> None:
    request = AnthropicMessagesDialect().models_request()
    assert (request.method, request.path) == ("GET", "/v1/models?limit=1000")
    assert request.headers["anthropic-version"] == "2023-06-01"
    dates = ("2025-02-19T00:00:00Z", "2025-02-19T00:00:00.250+00:00", "1970-01-02T00:00:00", "soon", 7)
    listed = [{"type": "model", "id": f"m{at}", "created_at": date} for at, date in enumerate(dates)]
    body = json.dumps({"data": listed, "has_more": False}).encode()
    found = AnthropicMessagesDialect(provider="host").models(body)
    assert [(model.id, model.created) for model in found] == [
        ("m0", 1739923200),
        ("m1", 1739923200),
        ("m2", 86400),
        ("m3", 0),
        ("m4", 0),
    ]
    assert {model.provider for model in found} == {"host"}
    assert found[0].raw == listed[0]


def test_error_instead_of_a_list_is_that_error() -> None:
    with pytest.raises(errors.AuthenticationError):
        AnthropicMessagesDialect().models(
            b'{"type": "error", "error": {"type": "authentication_error", "message": "no"}}'
        )


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", "InvalidRequestError"),
        (401, "authentication_error", "AuthenticationError"),
        (402, "billing_error", "InsufficientFundsError"),
        (403, "permission_error", "PermissionDeniedError"),
        (404, "not_found_error", "InvalidRequestError"),
        (413, "request_too_large", "InvalidRequestError"),
        (429, "rate_limit_error", "RateLimitError"),
        (500, "api_error", "ServerError"),
        (504, "timeout_error", "ServerError"),
        (529, "overloaded_error", "OverloadedError"),
    ],
)
def test_documented_errors(status: int, kind: str, expected: str) -> None:
    """Source: https://platform.claude.com/docs/en/api/errors"""
    body = {"type": "error", "error": {"type": kind, "message": "said"}, "request_id": "req_1"}
    error = AnthropicMessagesDialect().error(status, {"retry-after": "3"}, json.dumps(body).encode())
    assert type(error) is getattr(errors, expected)
    assert (error.type, error.message, error.request_id, error.retry_after) == (kind, "said", "req_1", 3.0)
    assert error.is_retryable == (status in (429, 500, 504, 529))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("prompt is too long: 215000 tokens > 200000 maximum", "ContextLengthExceededError"),
        ("Your credit balance is too low to access the Anthropic API.", "InsufficientFundsError"),
        ("Output blocked by content filtering policy", "ContentFilterError"),
        ("seed: Extra inputs are not permitted", "UnsupportedParameterError"),
    ],
)
def test_words_tell_bare_400s_apart(message: str, expected: str) -> None:
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    error = AnthropicMessagesDialect().error(400, {}, json.dumps(body).encode())
    assert type(error) is getattr(errors, expected)


# -- requests: the official client -------------------------------------------------------------------------------------


ANSWER = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


@pytest.fixture(scope="module")
def official() -> Iterator[tuple[Any, Captured]]:
    """The official client, and what a loopback server got from it."""
    anthropic = pytest.importorskip("anthropic")
    with (
        answering(json.dumps(ANSWER).encode(), "application/json") as (url, captured),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("NO_PROXY", "*")
        with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
            yield client, captured


HI = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
USE = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
SOURCE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}

#: The same call, as it is written for us and for the official client; messages are "Hi", max_tokens 4096 if not given.
SAME_CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "stream": ({"stream": True}, {"stream": True}),
    "max_tokens": ({"max_tokens": 10}, {"max_tokens": 10}),
    "sampling": ({"temperature": 0.2, "top_p": 0.5}, {"extra_body": {"temperature": 0.2, "top_p": 0.5}}),
    "stop": ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
    "stop once": ({"stop": "END"}, {"stop_sequences": ["END"]}),
    "user": ({"user": "u"}, {"metadata": {"user_id": "u"}}),
    "system": ({"messages": [{"role": "system", "content": "S"}, HI]}, {"system": "S"}),
    "system cached": (
        {"messages": [{"role": "system", "content": "S", "cache_control": CACHE}, HI]},
        {"system": [text("S", cache_control=CACHE)]},
    ),
    "tools": ({"tools": [TOOL]}, {"tools": [F]}),
    "tool_choice named": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [F], "tool_choice": {"type": "tool", "name": "f"}},
    ),
    "tool_choice required": (
        {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": [F], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    "thinking": ({"thinking_budget": 2000}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
    "thinking off": ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    "json_schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "image": (
        {"messages": [Message.user(["See", ContentPart.from_image(PNG)])]},
        {"messages": [{"role": "user", "content": [text("See"), {"type": "image", "source": SOURCE}]}]},
    ),
    "tool turn": (
        {
            "messages": [
                HI,
                Message.assistant("So.", tool_calls=[CALL], reasoning={"content": "Hm.", "signature": "s"}),
                Message.tool("42", "a"),
            ],
            "tools": [TOOL],
        },
        {
            "messages": [
                HI,
                {"role": "assistant", "content": [THOUGHT, text("So."), USE]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "42"}]},
            ],
            "tools": [F],
        },
    ),
    "extra_body": ({"extra_body": {"top_k": 5}}, {"extra_body": {"top_k": 5}}),
}


@pytest.mark.parametrize(("ours", "theirs"), SAME_CALLS.values(), ids=SAME_CALLS)
def test_request_has_each_parameter_under_its_name(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    fields = {"messages": [HI], **ours}
    body = sent(*fields.pop("messages"), **fields)
    expected = {"model": "m", "max_tokens": 4096, "messages": [HI], **theirs, **theirs.get("extra_body", {})}
    expected.pop("extra_body", None)
    assert body == expected


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", SAME_CALLS)
def test_request_is_what_the_official_client_sends(name: str, official: tuple[Any, Captured]) -> None:
    (client, captured), (ours, theirs) = official, SAME_CALLS[name]
    fields = {"messages": [HI], **ours}
    messages, stream = fields.pop("messages"), fields.pop("stream", False)
    request = AnthropicMessagesDialect().request(params(*messages, **fields), model="claude-x", stream=stream)
    captured.count = 0
    client.messages.create(**{"model": "claude-x", "max_tokens": 4096, "messages": [HI], **theirs})
    assert captured.count == 1
    assert json.loads(request.body) == captured.body
    assert request.path == captured.path
    assert request.headers["Content-Type"] == captured.headers["content-type"]
    # Since its second edition the client asks for version 2026-10-21, which refuses temperature and top_p. We take
    # them, and so ask for the version before, which is the one that other hosts speak.
    assert request.headers["anthropic-version"] == "2023-06-01" <= captured.headers["anthropic-version"]
