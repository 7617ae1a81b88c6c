"""Cohere's dialect: what is its own of transcripts, requests, errors, conversations and vectors."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from choice_streams import decode
from conftest import ROOT
from recordings import answering

from anyllm import errors
from anyllm._framing.detect import JSONEvent
from anyllm.errors import (
    AnyLLMError,
    APIError,
    AuthenticationError,
    ContentFilterError,
    ContextLengthExceededError,
    InvalidRequestError,
    MalformedStreamError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
    UnsupportedParameterError,
)
from anyllm.types import (
    CompletionParams,
    ContentPart,
    EmbeddingParams,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
)
from anyllm.wire.cohere_v2.dialect import CohereV2Dialect, host_url

TRANSCRIPTS = ROOT / "tests" / "transcripts" / "cohere_v2"
CASES = sorted(path.stem for path in TRANSCRIPTS.glob("*.sse"))


def bodies_of(case: str) -> list[Any]:
    lines = (TRANSCRIPTS / f"{case}.sse").read_text("utf-8").splitlines()
    return [json.loads(line[5:]) for line in lines if line.startswith("data: {")]


# -- transcripts -------------------------------------------------------------------------------------------------------


def test_chunks_keep_what_the_host_said() -> None:
    chunks, _, _ = decode(CohereV2Dialect(), [(TRANSCRIPTS / "citations.sse").read_bytes()])
    cited = [chunk for chunk in chunks if chunk.raw["type"].startswith("citation")]
    assert [chunk.choices for chunk in cited] == [(), ()]
    assert cited[0].raw["delta"]["message"]["citations"]["text"] == "Paris"


def test_done_and_complete_are_said_as_soon_as_they_are_so() -> None:
    decoder = CohereV2Dialect().decoder()
    states = []
    for data in [json.dumps(body) for body in bodies_of("text")] + ["", "[DONE]", "{"]:
        decoder.feed(JSONEvent(data))
        states.append((decoder.complete, decoder.done))
    assert states == [(False, False)] * 5 + [(True, False)] * 2 + [(True, True)] * 2


def test_half_an_emoji_without_its_other_half_is_replaced_in_every_shape_of_content() -> None:
    shapes: list[Any] = [{"text": "a\ud83d"}, "a\ud83d", [{"text": "a\ud83d"}], ["a\ud83d"]]
    for content in shapes:
        delta = {"type": "content-delta", "index": 0, "delta": {"message": {"content": content}}}
        first, *_, last = bodies_of("text")
        reads = [b"data: %b\n\n" % json.dumps(body).encode() for body in (first, delta, last)]
        _, answer, error = decode(CohereV2Dialect(), reads)
        assert error is None
        assert answer.content == "a\ufffd"


# -- whole answers -----------------------------------------------------------------------------------------------------

USAGE = {"billed_units": {"input_tokens": 3, "output_tokens": 2}, "tokens": {"input_tokens": 10, "output_tokens": 4}}


def whole(reason: str = "COMPLETE", **message: Any) -> dict[str, Any]:
    return {"id": "c1", "finish_reason": reason, "message": {"role": "assistant", **message}, "usage": USAGE}


def a_call(name: str, arguments: Any, call_id: str | None = "x") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b'{"message": "invalid api token"}', APIError, "invalid api token"),
        (b'{"id": "x", "message": "too many tokens: size limit"}', ContextLengthExceededError, "size limit"),
        (b'{"error": {"message": "no", "code": "rate_limit_exceeded"}}', RateLimitError, "no"),
        (json.dumps(whole("ERROR")).encode(), ServerError, "finish_reason 'ERROR'"),
        (json.dumps({**whole("ERROR"), "error": {"message": "worker"}}).encode(), APIError, "worker"),
        (json.dumps(whole("ERROR_TOXIC")).encode(), ContentFilterError, "ERROR_TOXIC"),
        (b'{"text": "an answer of version 1"}', MalformedStreamError, "has no message"),
        (b'{"message": [1]}', MalformedStreamError, "has no message"),
        (b"[]", MalformedStreamError, "a list"),
        (b"", MalformedStreamError, "empty"),
        (b"<html><title>502 Bad Gateway</title>", MalformedStreamError, "502 Bad Gateway"),
        (b'{"message": {"content": 7}}', MalformedStreamError, "content is a number"),
        (b'{"message": {"tool_calls": [7]}}', MalformedStreamError, "a tool call is a number"),
    ],
)
def test_whole_error_is_an_error(body: bytes, kind: type[AnyLLMError], words: str) -> None:
    with pytest.raises(AnyLLMError, match=words) as caught:
        CohereV2Dialect(provider="host").response(body)
    assert type(caught.value) is kind
    assert caught.value.provider == "host"


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "invalid request: message must be at least 1 token long", InvalidRequestError),
        (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081", ContextLengthExceededError),
        (400, "too many tokens: max tokens must be less than or equal to 4096", InvalidRequestError),
        (401, "invalid api token", AuthenticationError),
        (402, "please add a payment method", errors.InsufficientFundsError),
        (404, "model 'command-x' not found, make sure the correct model ID was used", ModelNotFoundError),
        (422, "invalid type: parameter p is of type string", InvalidRequestError),
        (429, "You are using a Trial key, which is limited to 20 API calls / minute", RateLimitError),
        (498, "blocked output", ContentFilterError),
        (500, "internal server error", ServerError),
        (503, "unavailable", errors.OverloadedError),
    ],
)
def test_status_and_words_make_the_error(status: int, message: str, kind: type[APIError]) -> None:
    body = json.dumps({"id": "e1", "message": message}).encode()
    error = CohereV2Dialect(provider="host").error(status, {"Retry-After": "3", "X-Request-Id": "r"}, body)
    assert type(error) is kind
    assert (error.status_code, error.provider, error.retry_after, error.request_id) == (status, "host", 3.0, "r")
    assert message in str(error)
    assert error.body == json.loads(body)


# -- the request -------------------------------------------------------------------------------------------------------


def sent(messages: Any = None, *, stream: bool = True, **params: Any) -> dict[str, Any]:
    asked = CompletionParams("command", messages or [Message.user("Hi")], **params)
    request = CohereV2Dialect().request(asked, model="command", stream=stream)
    assert (request.method, request.path) == ("POST", "/v2/chat")
    body: dict[str, Any] = json.loads(request.body)
    return body


def sent_turn(message: Message | dict[str, Any]) -> Any:
    return sent([message])["messages"][0]


TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g"}}
OTHER_SENT = {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}
STRICT = {"type": "function", "function": {"name": "s", "strict": True, "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 0.5}, {"p": 0.5}),
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"seed": 3}, {"seed": 3}),
        ({"logprobs": True}, {"logprobs": True}),
        ({"stop": "a"}, {"stop_sequences": ["a"]}),
        ({"stop": ("a", "b")}, {"stop_sequences": ["a", "b"]}),
        ({"n": 1}, {}),
        ({"stream_options": {"include_usage": False}}, {}),
        ({"tools": [TOOL, OTHER]}, {"tools": [TOOL, OTHER_SENT]}),
        ({"tools": []}, {}),
        ({"functions": [TOOL["function"]]}, {"tools": [TOOL]}),
        ({"tools": [{"type": "native", "x": 1}]}, {"tools": [{"type": "native", "x": 1}]}),
        (
            {"tools": [STRICT]},
            {
                "tools": [{"type": "function", "function": {"name": "s", "parameters": {"type": "object"}}}],
                "strict_tools": True,
            },
        ),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": "REQUIRED"}),
        ({"tools": [TOOL], "tool_choice": "none"}, {"tools": [TOOL], "tool_choice": "NONE"}),
        ({"tools": [TOOL], "function_call": "none"}, {"tools": [TOOL], "tool_choice": "NONE"}),
        (
            {"tools": [TOOL, OTHER], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            {"tools": [OTHER_SENT], "tool_choice": "REQUIRED"},
        ),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        (
            {"response_format": {"type": "json_object", "json_schema": SCHEMA}},
            {"response_format": {"type": "json_object", "json_schema": SCHEMA}},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
            {"response_format": {"type": "json_object", "json_schema": SCHEMA}},
        ),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "minimal"}, {"thinking": {"type": "enabled", "token_budget": 512}}),
        ({"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "token_budget": 1024}}),
        ({"reasoning_effort": "medium"}, {"thinking": {"type": "enabled", "token_budget": 8192}}),
        ({"reasoning_effort": "high"}, {"thinking": {"type": "enabled"}}),
        ({"reasoning_effort": "max"}, {"thinking": {"type": "enabled"}}),
        ({"reasoning_effort": "auto"}, {}),
        ({"thinking_budget": 0, "reasoning_effort": "high"}, {"thinking": {"type": "disabled"}}),
        ({"thinking_budget": 100, "reasoning_effort": "none"}, {"thinking": {"type": "enabled", "token_budget": 100}}),
        ({"extra_body": {"k": 5, "documents": ["d"]}}, {"k": 5, "documents": ["d"]}),
        ({"temperature": 1, "extra_body": {"temperature": 0.1}}, {"temperature": 0.1}),
    ],
)
def test_parameters_are_what_cohere_calls_them(params: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sent(**params) == {**sent(), **expected}


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"n": 2}, "n"),
        ({"user": "me"}, "user"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"stream_options": {"chunk": 1}}, "stream_options"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"tool_choice": "f"}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"messages": [Message.user([{"type": "file", "file": {"file_id": "f"}}])]}, "file"),
        ({"messages": [Message.user([ContentPart.from_audio(b"RIFF0000WAVE", format="wav")])]}, "input_audio"),
        ({"messages": [Message.user("Hi", name="Ann")]}, "name"),
    ],
)
def test_what_the_host_cannot_do_is_refused(params: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameterError) as caught:
        sent(**params)
    assert (caught.value.param, caught.value.provider) == (param, "cohere")


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"messages": [Message("tool", "22")]}, "messages"),
        ({"temperature": float("nan")}, "temperature"),
        ({"extra_headers": {"X": "a\nb"}}, "X"),
    ],
)
def test_what_cannot_be_sent_is_said_before(params: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        sent(**params)
    assert type(caught.value) is InvalidRequestError
    assert caught.value.param == param


PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Message.system("Be brief."), {"role": "system", "content": "Be brief."}),
        (Message("developer", "Be brief."), {"role": "system", "content": "Be brief."}),
        (Message.user(["a", {"type": "text", "text": "b"}]), {"role": "user", "content": ["a", "b"]}),
        (
            Message.user([ContentPart("image_url", image_url={"url": PNG, "detail": "low"})]),
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}]},
        ),
        (
            Message.user([ContentPart.from_image("https://host/x.png")]),
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://host/x.png"}}]},
        ),
        (
            Message.user([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]),
            {"role": "user", "content": ["a"]},
        ),
        (Message.assistant("Hello"), {"role": "assistant", "content": "Hello"}),
        (Message.user("Hi", reasoning="Hm."), {"role": "user", "content": "Hi"}),
        (Message.assistant(None, refusal="No."), {"role": "assistant", "content": "No."}),
        (
            Message.assistant("4", reasoning=Reasoning("Hm.", field="thinking")),
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, "4"]},
        ),
        (
            Message.assistant(["4"], reasoning="Hm."),
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, "4"]},
        ),
        (
            Message.assistant(None, reasoning=Reasoning("Cut sho", field="thinking")),
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Cut sho"}]},
        ),
        (
            Message.assistant(
                None,
                tool_calls=[ToolCall("x", FunctionCall("f", "{}"))],
                reasoning=Reasoning("Plan.", field="tool_plan"),
            ),
            {"role": "assistant", "tool_plan": "Plan.", "tool_calls": [a_call("f", "{}")]},
        ),
        (
            Message.assistant(
                None,
                tool_calls=[ToolCall("x", FunctionCall("f", ""))],
                reasoning=Reasoning("From elsewhere.", field="reasoning_content"),
            ),
            {"role": "assistant", "tool_plan": "From elsewhere.", "tool_calls": [a_call("f", "{}")]},
        ),
        (
            Message.assistant(
                None, reasoning=Reasoning("A", details=[{"type": "reasoning.text", "text": "A", "index": 0}])
            ),
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "A"}]},
        ),
        (Message.tool("22", "x"), {"role": "tool", "tool_call_id": "x", "content": "22"}),
        (Message.tool("22", "x", name="f"), {"role": "tool", "tool_call_id": "x", "content": "22"}),
        (
            Message.tool([{"type": "document", "document": {"id": "1", "data": {"t": 22}}}], "x"),
            {
                "role": "tool",
                "tool_call_id": "x",
                "content": [{"type": "document", "document": {"id": "1", "data": {"t": 22}}}],
            },
        ),
    ],
)
def test_messages_are_in_coheres_shape(message: Message, expected: dict[str, Any]) -> None:
    content = expected.get("content")
    if isinstance(content, list):
        expected = {
            **expected,
            "content": [{"type": "text", "text": part} if isinstance(part, str) else part for part in content],
        }
    assert sent_turn(message) == expected


@pytest.mark.parametrize("case", ["thinking_and_plan", "parallel_calls", "thinking", "text", "call_without_arguments"])
def test_answer_goes_back_as_it_came(case: str) -> None:
    body = (TRANSCRIPTS / f"{case}.whole.json").read_bytes()
    answer = CohereV2Dialect().response(body)
    came = {key: value for key, value in json.loads(body)["message"].items() if value}
    for call in came.get("tool_calls", ()):
        call["function"]["arguments"] = call["function"]["arguments"] or "{}"
    if case == "text":
        came["content"] = "Hello"
    assert sent_turn(answer.to_message()) == came


def test_calls_of_the_older_form_get_ids_and_their_results_find_them() -> None:
    call = ToolCall(None, FunctionCall("f", '{"x": 1}'))
    turns = sent([Message.user("Hi"), Message.assistant(None, tool_calls=[call]), Message("function", "2", name="f")])
    assert turns["messages"][1]["tool_calls"][0]["id"] == "call_0"
    assert turns["messages"][2] == {"role": "tool", "tool_call_id": "call_0", "content": "2"}


# -- the same calls through the official client ------------------------------------------------------------------------


#: The paths and bodies that the official client sent.
SENT: list[tuple[str, Any]] = []


def answer_to(path: str, raw: bytes) -> tuple[bytes, str]:
    body = json.loads(raw)
    SENT.append((path, body))
    answer = {"id": "e", "embeddings": {"float": []}} if "embed" in path else whole(content=[])
    is_stream = body.get("stream")
    data = b"data: [DONE]\n\n" if is_stream else json.dumps(answer).encode()
    return data, "text/event-stream" if is_stream else "application/json"


@pytest.fixture(scope="module")
def official() -> Iterator[Any]:
    """The official client, before a loopback server that keeps what it is sent."""
    cohere = pytest.importorskip("cohere")
    import httpx

    with answering(answer_to) as url, httpx.Client() as transport:
        yield cohere.ClientV2("none", base_url=url, httpx_client=transport)


HI = [{"role": "user", "content": "Hi"}]
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [a_call("f", '{"x": 1}')]},
    {"role": "tool", "tool_call_id": "x", "content": [{"type": "text", "text": "22"}]},
]
OUR_TURNS = [
    Message.system("Be brief."),
    Message.user("Weather?"),
    Message.assistant(
        None,
        tool_calls=[ToolCall("x", FunctionCall("f", '{"x": 1}'))],
        reasoning=Reasoning("I will look.", field="tool_plan"),
    ),
    Message.tool(["22"], "x"),
]
THOUGHT = {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "4"}]}
SHOWN = {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}
LOOK = {"role": "user", "content": [{"type": "text", "text": "What?"}, SHOWN]}

#: What we are asked, and the official client's words for it.
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "temperature": ({"temperature": 0.3}, {"temperature": 0.3}),
    "top_p": ({"top_p": 0.9}, {"p": 0.9}),
    "max_tokens": ({"max_tokens": 50}, {"max_tokens": 50}),
    "stop": ({"stop": "END"}, {"stop_sequences": ["END"]}),
    "seed": ({"seed": 1}, {"seed": 1}),
    "logprobs": ({"logprobs": True}, {"logprobs": True}),
    "tools": ({"tools": [TOOL]}, {"tools": [TOOL]}),
    "strict": (
        {"tools": [{"type": "function", "function": {**TOOL["function"], "strict": True}}]},  # type: ignore[dict-item]
        {"tools": [TOOL], "strict_tools": True},
    ),
    "required": ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": "REQUIRED"}),
    "none": ({"tools": [TOOL], "tool_choice": "none"}, {"tools": [TOOL], "tool_choice": "NONE"}),
    "json": ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    "schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        {"response_format": {"type": "json_object", "json_schema": SCHEMA}},
    ),
    "no_thinking": ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    "budget": ({"thinking_budget": 500}, {"thinking": {"type": "enabled", "token_budget": 500}}),
    "image": ({"messages": [LOOK]}, {"messages": [LOOK]}),
    "conversation": ({"messages": OUR_TURNS}, {"messages": TURNS}),
    "thought": (
        {"messages": [*HI, Message.assistant("4", reasoning=Reasoning("Hm.", field="thinking")), *HI]},
        {"messages": [*HI, THOUGHT, *HI]},
    ),
    "extra": ({"extra_body": {"k": 3, "safety_mode": "OFF"}}, {"k": 3, "safety_mode": "OFF"}),
}


@pytest.mark.long
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", CALLS)
def test_body_is_what_the_official_client_sends(case: str, stream: bool, official: Any) -> None:
    ours, theirs = CALLS[case]
    params = CompletionParams("command", **{"messages": HI, **ours})
    request = CohereV2Dialect().request(params, model="command", stream=stream)
    SENT.clear()
    if stream:
        list(official.chat_stream(model="command", **{"messages": HI, **theirs}))
    else:
        official.chat(model="command", **{"messages": HI, **theirs})
    assert [(request.path, json.loads(request.body))] == SENT


@pytest.mark.long
def test_embedding_body_is_what_the_official_client_sends(official: Any) -> None:
    SENT.clear()
    official.embed(model="e", texts=["a"], input_type="search_query", embedding_types=["float"], output_dimension=256)
    params = EmbeddingParams("e", "a", dimensions=256, extra_body={"input_type": "search_query"})
    request = CohereV2Dialect().embedding_request(params, model="e")
    assert [(request.path, json.loads(request.body))] == SENT


# -- vectors and models ------------------------------------------------------------------------------------------------


def test_vectors_are_asked_for_documents_unless_told_otherwise() -> None:
    request = CohereV2Dialect().embedding_request(
        EmbeddingParams("e", ["a", "b"], extra_headers={"X-A": "1"}), model="e"
    )
    assert json.loads(request.body) == {
        "model": "e",
        "texts": ["a", "b"],
        "input_type": "search_document",
        "embedding_types": ["float"],
    }
    assert request.headers["X-A"] == "1"


PACKED = base64.b64encode(struct.pack("<2f", 1.5, -2.0)).decode()


@pytest.mark.parametrize(
    ("found", "vectors"),
    [
        ({"float": [[1, 2.5], [3.0, 4]]}, [[1.0, 2.5], [3.0, 4.0]]),
        ({"int8": [[1, -2]], "float": None}, [[1.0, -2.0]]),
        ({"int8": [[1, -2]], "float": [[0.5]]}, [[0.5]]),
        ({"base64": [PACKED]}, [[1.5, -2.0]]),
        ([[1, 2]], [[1.0, 2.0]]),
        ({"float": []}, []),
    ],
)
def test_vectors_are_read(found: Any, vectors: list[list[float]]) -> None:
    answer = {"id": "x", "embeddings": found, "meta": {"billed_units": {"input_tokens": 5}}}
    made = CohereV2Dialect().embeddings(json.dumps(answer).encode())
    assert made.vectors == vectors
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.total_tokens) == (5, 5)
    assert (made.provider, made.raw) == ("cohere", answer)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b'{"message": "invalid api token"}', APIError, "invalid api token"),
        (b'{"id": "x"}', MalformedStreamError, "no embeddings"),
        (b'{"embeddings": {"float": 3}}', MalformedStreamError, "known type"),
        (b'{"embeddings": {}}', MalformedStreamError, "known type"),
        (b'{"embeddings": {"float": [["a"]]}}', MalformedStreamError, "list of numbers"),
        (b'{"embeddings": {"base64": ["!"]}}', MalformedStreamError, "base64"),
        (b'{"embeddings": [[1' + b"0" * 400 + b"]]}", MalformedStreamError, "too large"),
        (b"7", MalformedStreamError, "a number"),
    ],
)
def test_what_are_no_vectors_is_said(body: bytes, kind: type[AnyLLMError], words: str) -> None:
    with pytest.raises(AnyLLMError, match=words) as caught:
        CohereV2Dialect().embeddings(body)
    assert type(caught.value) is kind


def test_models_are_listed() -> None:
    request = CohereV2Dialect().models_request()
    assert (request.method, request.path.partition("?")[0], request.body) == ("GET", "/v1/models", b"")
    item = {"name": "command-a-03-2025", "endpoints": ["chat"], "context_length": 256000}
    (model,) = CohereV2Dialect().models(json.dumps({"models": [item]}).encode())
    assert (model.id, model.created, model.provider, model.raw) == ("command-a-03-2025", 0, "cohere", item)


@pytest.mark.parametrize("body", [b'{"models": [1]}', b'{"models": [{"name": null}]}', b"[]", b'{"models": 3}'])
def test_what_is_no_list_of_models_is_said(body: bytes) -> None:
    with pytest.raises(MalformedStreamError):
        CohereV2Dialect().models(body)


@pytest.mark.parametrize("url", ["https://host", "https://host/v1", "https://host/v2", "https://host/v2/"])
def test_version_in_the_base_url_is_no_matter(url: str) -> None:
    assert host_url(url, "command") == "https://host"
    assert host_url("https://host/v1/proxy") == "https://host/v1/proxy"
