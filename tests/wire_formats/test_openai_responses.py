"""The dialect of OpenAI's Responses, beside what the conformance suite holds all formats to."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ROOT
from recordings import Ours, answering

from anyllm import errors
from anyllm._framing.detect import JSONEvent
from anyllm.errors import (
    AnyLLMError,
    InvalidRequestError,
    MalformedStreamError,
    UnsupportedParameterError,
)
from anyllm.types import ChatCompletion, ChatCompletionChunk, CompletionParams, ContentPart, Message
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect

TRANSCRIPTS = ROOT / "tests" / "transcripts" / "openai_responses"
PNG = "data:image/png;base64,iVBORw0KGgo="


def decode(reads: list[bytes]) -> tuple[list[ChatCompletionChunk], ChatCompletion, AnyLLMError | None]:
    """All chunks, what they make together, and the error that ended them."""
    ours = Ours(OpenAIResponsesDialect(), reads)
    return ours.chunks, ours.answer, ours.error


def sse(*bodies: Any) -> list[bytes]:
    return [b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies]


def ended(**response: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed", **response}}


# -- streams ---------------------------------------------------------------------------------------------------------


def test_events_that_show_nothing_are_chunks_without_choices() -> None:
    chunks, _, _ = decode([(TRANSCRIPTS / "server_tool.sse").read_bytes()])
    silent = [chunk.raw["type"] for chunk in chunks if not chunk.choices]
    assert "response.web_search_call.searching" in silent
    assert "response.output_text.annotation.added" in silent


def test_what_was_said_once_stands_on_every_chunk() -> None:
    chunks, _, _ = decode([(TRANSCRIPTS / "end_without_status.sse").read_bytes()])
    assert {(chunk.id, chunk.model, chunk.created) for chunk in chunks} == {("resp_1", "m-1", 1700000000)}


def test_tier_and_time_are_the_providers() -> None:
    first = {"type": "response.created", "response": {"id": "r", "created_at": 5.0, "service_tier": "auto"}}
    chunks, answer, _ = decode(sse(first, ended(service_tier="flex")))
    assert (chunks[0].created, chunks[0].service_tier) == (5, "auto")
    assert (answer.created, answer.service_tier, answer.id) == (5, "flex", "r")


@pytest.mark.parametrize(
    ("raw", "figures"),
    [
        ({"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}, (10, 2, 12, None, None, None)),
        ({"input_tokens": 10.0, "output_tokens": "2", "total_tokens": None}, (10, 2, 12, None, None, None)),
        (
            {
                "input_tokens": 10,
                "output_tokens": 2,
                "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 3},
                "output_tokens_details": {"reasoning_tokens": 1},
            },
            (10, 2, 12, 1, 7, 3),
        ),
        ({"input_tokens": 10, "output_tokens": -1, "total_tokens": "x"}, (10, 0, 10, *[None] * 3)),
        ({"input_tokens": 10, "input_tokens_details": None, "output_tokens_details": [1]}, (10, 0, 10, *[None] * 3)),
    ],
)
def test_usage_is_read(raw: Any, figures: Any) -> None:
    (chunk,), _, _ = decode(sse(ended(usage=raw)))
    usage = chunk.usage
    assert usage is not None
    assert usage.raw == raw
    details = (usage.reasoning_tokens, usage.cache_read_tokens, usage.cache_write_tokens)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, *details) == figures


@pytest.mark.parametrize("raw", [None, {}, [1], {"input_tokens": None}, {"cost": 1}])
def test_no_figures_are_no_usage(raw: Any) -> None:
    (chunk,), _, _ = decode(sse(ended(usage=raw)))
    assert chunk.usage is None


# -- the whole response ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ({"error": {"message": "No.", "code": "invalid_api_key"}}, "AuthenticationError", "No."),
        ({"detail": "Not here."}, "APIError", "Not here."),
        ({"object": "response"}, "MalformedStreamError", "no output"),
        ([], "MalformedStreamError", "a list"),
        ({"output": [], "status": "queued"}, "IncompleteStreamError", "queued"),
        ({"output": [], "status": "cancelled"}, "APIError", "cancelled"),
        (
            {"output": [], "status": "failed", "error": {"code": "rate_limit_exceeded", "message": "Slow."}},
            "RateLimitError",
            "Slow.",
        ),
    ],
)
def test_whole_response_that_is_none_is_an_error(body: Any, kind: str, words: str) -> None:
    with pytest.raises(AnyLLMError, match=words) as caught:
        OpenAIResponsesDialect().response(json.dumps(body).encode())
    assert type(caught.value) is getattr(errors, kind)


def test_whole_response_does_not_invent_an_end() -> None:
    answer = OpenAIResponsesDialect().response(b'{"output": [], "model": "m"}')
    assert (answer.finish_reason, answer.raw_finish_reason) == (None, None)


# -- requests ----------------------------------------------------------------------------------------------------------


def body_of(messages: Any = ({"role": "user", "content": "Hi"},), *, stream: bool = False, **params: Any) -> Any:
    request = OpenAIResponsesDialect().request(
        CompletionParams("x/m", list(messages), **params), model="m", stream=stream
    )
    return json.loads(request.body)


def input_of(*messages: Any, **params: Any) -> Any:
    return body_of(messages, **params)["input"]


USER = {"role": "user", "content": "Hi"}
CALL = {"id": "k", "type": "function", "function": {"name": "f", "arguments": "{}"}}
HI: dict[str, Any] = {"model": "m", "input": [USER]}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
FLAT = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": False}
NAMED = {"type": "function", "function": {"name": "f"}}
NO_ARGUMENTS = {"type": "object", "properties": {}}
STRICT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
GRAMMAR = {"syntax": "lark", "definition": "start: /a/"}


#: Our parameters, and what the official client is given for the same request; ``input`` is a greeting.
REQUESTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"temperature": 0.5, "top_p": 0.9, "user": "u"}, {"temperature": 0.5, "top_p": 0.9, "user": "u"}),
    ({"max_tokens": 9}, {"max_output_tokens": 9}),
    ({"n": 1}, {}),
    ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
    ({"tools": [TOOL]}, {"tools": [FLAT]}),
    ({"functions": [TOOL["function"]]}, {"tools": [FLAT]}),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
        {"tools": [{"type": "function", "name": "f", "parameters": NO_ARGUMENTS, "strict": True}]},
    ),
    ({"tools": [FLAT, {"type": "web_search"}]}, {"tools": [FLAT, {"type": "web_search"}]}),
    (
        {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": GRAMMAR}}}]},
        {"tools": [{"type": "custom", "name": "c", "format": {"type": "grammar", **GRAMMAR}}]},
    ),
    ({"tool_choice": "required"}, {"tool_choice": "required"}),
    ({"function_call": "none"}, {"tool_choice": "none"}),
    (
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": {"type": "function", "name": "f"}},
    ),
    (
        {"tool_choice": {"type": "custom", "custom": {"name": "c"}}},
        {"tool_choice": {"type": "custom", "name": "c"}},
    ),
    ({"tool_choice": {"type": "web_search_preview"}}, {"tool_choice": {"type": "web_search_preview"}}),
    (
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}},
        {
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "f"}],
            }
        },
    ),
    ({"response_format": {"type": "text"}}, {"text": {"format": {"type": "text"}}}),
    ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
    (
        {"response_format": STRICT},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        {"text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}}},
    ),
    ({"reasoning_effort": "high"}, {"reasoning": {"effort": "high"}}),
    ({"reasoning_effort": "auto"}, {}),
    ({"logprobs": True}, {"include": ["message.output_text.logprobs"]}),
    ({"top_logprobs": 2}, {"include": ["message.output_text.logprobs"], "top_logprobs": 2}),
    ({"logprobs": False}, {}),
    ({"stream_options": {"include_usage": True}}, {}),
    ({"extra_body": {"store": False, "temperature": 1}, "temperature": 0}, {"store": False, "temperature": 1}),
    (
        {"extra_body": {"reasoning": {"summary": "auto"}}, "reasoning_effort": "low"},
        {"reasoning": {"effort": "low", "summary": "auto"}},
    ),
    (
        {"extra_body": {"include": ["reasoning.encrypted_content"]}, "logprobs": True},
        {"include": ["message.output_text.logprobs", "reasoning.encrypted_content"]},
    ),
    ({"extra_body": {"include": None}, "logprobs": True}, {"include": None}),
    ({"stream": True}, {"stream": True}),
    (
        {"messages": [{"role": "system", "content": "Be brief."}, USER]},
        {"input": [{"role": "system", "content": "Be brief."}, USER]},
    ),
    (
        {
            "messages": [
                USER,
                {"role": "assistant", "content": "Hello", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "k", "content": "1"},
            ]
        },
        {
            "input": [
                USER,
                {"role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
                {"type": "function_call", "call_id": "k", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "k", "output": "1"},
            ]
        },
    ),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}]}
            ]
        },
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PNG, "detail": "low"}]}]},
    ),
]


@pytest.mark.parametrize(("params", "official"), REQUESTS)
def test_parameters_become_the_providers(params: dict[str, Any], official: dict[str, Any]) -> None:
    assert body_of(**params) == {**HI, **official}


def test_stream_options_are_sent_without_usage() -> None:
    options = {"include_usage": True, "include_obfuscation": False}
    assert body_of(stream=True, stream_options=options)["stream_options"] == {"include_obfuscation": False}


def test_request_is_where_the_provider_expects_it() -> None:
    params = CompletionParams("m", [Message.user("Hi")], extra_headers={"accept": "a", "X-Y": "z"})
    request = OpenAIResponsesDialect().request(params, model="m", stream=True)
    assert (request.method, request.path) == ("POST", "/responses")
    assert request.headers == {"Content-Type": "application/json", "accept": "a", "X-Y": "z"}
    assert request.fallbacks == {}


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"stop": "x"}, "stop"),
        ({"seed": 1}, "seed"),
        ({"thinking_budget": 0}, "thinking_budget"),
        ({"n": 2}, "n"),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
    ],
)
def test_what_the_provider_lacks_is_refused_by_name(params: dict[str, Any], name: str) -> None:
    with pytest.raises(UnsupportedParameterError) as caught:
        body_of(**params)
    assert caught.value.param == name


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "x"},
        {"role": "function", "name": "f", "content": "x"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"role": "user", "content": "x", "name": "bob"},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
    ],
)
def test_messages_that_cannot_be_sent_are_refused(message: Any) -> None:
    with pytest.raises(InvalidRequestError):
        input_of(message)


def test_system_messages_stay_in_their_place() -> None:
    messages = [{"role": role, "content": role} for role in ("system", "user", "developer", "user")]
    assert input_of(*messages) == messages


def test_parts_become_input_parts() -> None:
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://e.org/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "https://e.org/a.pdf"}},
        {"type": "input_image", "file_id": "file-2"},
        {"type": "text", "text": "!", "cache_control": {"type": "ephemeral"}},
    ]
    (item,) = input_of({"role": "user", "content": parts})
    assert item["content"] == [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "image_url": "https://e.org/a.png", "detail": "low"},
        {"type": "input_image", "image_url": PNG},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_file", "file_url": "https://e.org/a.pdf"},
        {"type": "input_image", "file_id": "file-2"},
        {"type": "input_text", "text": "!", "cache_control": {"type": "ephemeral"}},
    ]


def test_turns_of_other_dialects_become_items() -> None:
    call = {"id": "k", "function": {"name": "f", "arguments": "{}"}}
    custom = {"id": "k2", "type": "custom", "function": {"name": "c", "arguments": "ls"}}
    sent = input_of(
        Message.assistant("Hm.", tool_calls=[call, custom], reasoning="I think."),
        Message.tool("1", "k"),
        Message.tool([ContentPart.from_image(PNG)], "k2"),
        Message.assistant("So.", refusal="No."),
        Message.assistant(None, tool_calls=[call]),
    )
    assert sent == [
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hm."}]},
        {"type": "function_call", "call_id": "k", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "k2", "name": "c", "input": "ls"},
        {"type": "function_call_output", "call_id": "k", "output": "1"},
        {
            "type": "custom_tool_call_output",
            "call_id": "k2",
            "output": [{"type": "input_image", "image_url": PNG}],
        },
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "So."}, {"type": "refusal", "refusal": "No."}],
        },
        {"type": "function_call", "call_id": "k", "name": "f", "arguments": "{}"},
    ]


# -- the next turn -----------------------------------------------------------------------------------------------------


def turn_of(case: str) -> Message:
    _, answer, error = decode([(TRANSCRIPTS / f"{case}.sse").read_bytes()])
    assert error is None
    return answer.to_message()


@pytest.mark.parametrize("case", ["two_reasonings", "phase", "server_tool", "reasoning_text", "summary_in_two_parts"])
def test_kept_items_go_back_unchanged_and_in_order(case: str) -> None:
    message = turn_of(case)
    assert message.reasoning is not None
    assert input_of(message) == message.reasoning.details
    assert input_of(Message.from_dict(message.to_dict())) == message.reasoning.details


def test_answers_that_their_text_says_go_back_as_text() -> None:
    assert input_of(turn_of("plain")) == [
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello, world"}]}
    ]
    assert input_of(turn_of("parallel_calls")) == [
        {"type": "function_call", "call_id": "k1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "k2", "name": "g", "arguments": '{"b":2}'},
    ]


def test_rewritten_turn_says_what_was_written() -> None:
    """Text, calls and arguments that somebody changed stand, the reasoning before them stays."""
    message = turn_of("two_reasonings").to_dict()
    first, second = message["tool_calls"]
    changed = {**first, "function": {"name": "f", "arguments": "{}"}}
    sent = input_of({**message, "content": "Changed.", "tool_calls": [changed]})
    kinds = [item.get("type") for item in sent]
    assert kinds == ["reasoning", None, "function_call"]
    assert sent[1] == {"role": "assistant", "content": [{"type": "output_text", "text": "Changed."}]}
    assert (sent[2]["id"], sent[2]["arguments"]) == ("fc_1", "{}")
    added = input_of({**message, "tool_calls": [first, second, {**second, "id": "k3"}]})
    assert [item.get("call_id") for item in added if "call_id" in item] == ["k1", "k2", "k3"]


def test_rewritten_message_is_said_once() -> None:
    message = turn_of("phase").to_dict()
    sent = input_of({**message, "content": "Changed."})
    assert sent[0] == {"role": "assistant", "content": [{"type": "output_text", "text": "Changed."}]}
    assert [item["call_id"] for item in sent[1:]] == ["k1"]
    sent = input_of({**turn_of("server_tool").to_dict(), "content": "Changed."})
    assert [item.get("type") for item in sent] == ["web_search_call", None]


def test_reasoning_that_nothing_follows_stays_here() -> None:
    message = turn_of("summary_in_two_parts").to_dict()
    assert input_of({**message, "tool_calls": []}) == []


def test_programs_caller_goes_back_with_call_and_result() -> None:
    caller = {"type": "program", "caller_id": "p"}
    item = {"type": "function_call", "id": "fc", "call_id": "k", "name": "f", "arguments": "{}", "caller": caller}
    _, answer, _ = decode(sse(ended(output=[item])))
    sent = input_of(answer.to_message(), Message.tool("1", "k"))
    assert sent == [item, {"type": "function_call_output", "call_id": "k", "output": "1", "caller": caller}]


# -- what cannot be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ['{"type": "response.output_text.delta", "delta": 1}', "[1, 2, 3, 4, 5]"])
def test_what_is_no_event_is_malformed(event: str) -> None:
    with pytest.raises(MalformedStreamError, match=r"a delta is a number|a list"):
        OpenAIResponsesDialect().decoder().feed(JSONEvent(event))


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def official() -> Iterator[Any]:
    """The official client, and the bodies that a loopback server got from it."""
    openai = pytest.importorskip("openai")
    bodies: list[Any] = []

    def keep(path: str, body: bytes) -> bytes:
        bodies.append((path, json.loads(body)))
        return b'{"id": "r", "object": "response", "output": []}'

    with contextlib.ExitStack() as stack:
        url = stack.enter_context(answering(keep, content_type="application/json"))
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        yield stack.enter_context(client), bodies


@pytest.mark.long
@pytest.mark.parametrize(("params", "theirs"), REQUESTS)
def test_request_is_the_official_clients(official: Any, params: dict[str, Any], theirs: dict[str, Any]) -> None:
    client, bodies = official
    answer = client.responses.create(**{"model": "m", "input": [USER], **theirs})
    if params.get("stream"):
        answer.close()
    path, body = bodies[-1]
    assert path == "/v1" + OpenAIResponsesDialect().request(CompletionParams("m", [USER]), model="m", stream=False).path
    assert body_of(**params) == body
