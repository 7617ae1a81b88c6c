"""Cohere's older dialect: what is its own of transcripts, requests, errors and conversations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from choice_streams import decode
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import answering

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
    ChatCompletion,
    ChatCompletionChunk,
    CompletionParams,
    ContentPart,
    FunctionCall,
    Message,
    ToolCall,
)
from anyllm.wire.cohere_v1.dialect import CohereV1Dialect

TRANSCRIPTS = ROOT / "tests" / "transcripts" / "cohere_v1"
PATHS = {path.stem: path for path in sorted(TRANSCRIPTS.iterdir()) if path.suffix != ".json"}


def read(case: str) -> tuple[list[ChatCompletionChunk], ChatCompletion, AnyLLMError | None]:
    return decode(CohereV1Dialect(), [PATHS[case].read_bytes()])


def bodies_of(case: str) -> list[Any]:
    lines = [line.partition("data:")[2] or line for line in PATHS[case].read_text("utf-8").splitlines()]
    return [json.loads(line) for line in lines if line.strip().startswith("{") and line.endswith("}")]


# -- transcripts -------------------------------------------------------------------------------------------------------


def test_chunks_keep_what_the_host_said() -> None:
    chunks, _, _ = read("search_and_citations")
    kinds = [(chunk.raw["event_type"], bool(chunk.choices)) for chunk in chunks]
    assert kinds == [
        ("stream-start", True),
        ("search-queries-generation", False),
        ("search-results", False),
        ("text-generation", True),
        ("citation-generation", False),
        ("text-generation", True),
        ("debug", False),
        ("stream-end", True),
    ]
    assert chunks[4].raw["citations"][0]["text"] == "Paris"


# -- whole answers -----------------------------------------------------------------------------------------------------

META = {
    "api_version": {"version": "1"},
    "billed_units": {"input_tokens": 3, "output_tokens": 2},
    "tokens": {"input_tokens": 10, "output_tokens": 4},
}


def whole(reason: str | None = "COMPLETE", **fields: Any) -> dict[str, Any]:
    return {"response_id": "r1", "text": "", "generation_id": "g1", "finish_reason": reason, "meta": META, **fields}


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b'{"message": "invalid api token"}', APIError, "invalid api token"),
        (b'{"id": "x", "message": "too many tokens: size limit"}', ContextLengthExceededError, "size limit"),
        (b'{"error": {"message": "no", "code": "rate_limit_exceeded"}}', RateLimitError, "no"),
        (b'{"text": "a", "error": "broken"}', APIError, "broken"),
        (json.dumps(whole("ERROR")).encode(), ServerError, "finish_reason 'ERROR'"),
        (json.dumps(whole("ERROR_TOXIC", text="x")).encode(), ContentFilterError, "ERROR_TOXIC"),
        (json.dumps(whole("ERROR_LIMIT")).encode(), ContextLengthExceededError, "ERROR_LIMIT"),
        (b'{"id": "x", "finish_reason": "COMPLETE"}', MalformedStreamError, "has no text"),
        (b'{"text": 7}', MalformedStreamError, "text is a number"),
        (b'{"text": "", "tool_calls": 7}', MalformedStreamError, "tool_calls is a number"),
        (b"[]", MalformedStreamError, "a list"),
        (b"", MalformedStreamError, "empty"),
        (b"<html><title>502 Bad Gateway</title>", MalformedStreamError, "502 Bad Gateway"),
    ],
)
def test_whole_error_is_an_error(body: bytes, kind: type[AnyLLMError], words: str) -> None:
    with pytest.raises(AnyLLMError, match=words) as caught:
        CohereV1Dialect(provider="host").response(body)
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
        (404, "model 'command-x' was removed in spring", ModelNotFoundError),
        (429, "You are using a Trial key, which is limited to 20 API calls / minute", RateLimitError),
        (498, "blocked output", ContentFilterError),
        (500, "internal server error", ServerError),
    ],
)
def test_status_and_words_make_the_error(status: int, message: str, kind: type[APIError]) -> None:
    body = json.dumps({"id": "e1", "message": message}).encode()
    error = CohereV1Dialect(provider="host").error(status, {"Retry-After": "3", "X-Request-Id": "r"}, body)
    assert type(error) is kind
    assert (error.status_code, error.provider, error.retry_after, error.request_id) == (status, "host", 3.0, "r")
    assert message in str(error)
    assert error.body == json.loads(body)


# -- the request -------------------------------------------------------------------------------------------------------


def sent(messages: Any = None, *, stream: bool = True, **params: Any) -> dict[str, Any]:
    asked = CompletionParams("command", messages or [Message.user("Hi")], **params)
    request = CohereV1Dialect().request(asked, model="command", stream=stream)
    assert (request.method, request.path) == ("POST", "/v1/chat")
    body: dict[str, Any] = json.loads(request.body)
    return body


def function(parameters: Any = None, name: str = "f", **fields: Any) -> dict[str, Any]:
    schema = {} if parameters is None else {"parameters": parameters}
    return {"type": "function", "function": {"name": name, **schema, **fields}}


FORECAST = {
    "type": "object",
    "title": "Forecast",
    "properties": {
        "city": {"type": "string", "description": "Where."},
        "days": {"type": "integer", "title": "Days"},
        "scale": {"type": "number"},
        "brief": {"type": "boolean"},
        "hours": {"type": "array", "items": {"type": "integer"}},
        "grid": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        "any": {"type": "array"},
        "more": {"type": "object"},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
FORECAST_SENT = {
    "city": {"description": "Where.", "type": "str", "required": True},
    "days": {"type": "int", "required": True},
    "scale": {"type": "float", "required": False},
    "brief": {"type": "bool", "required": False},
    "hours": {"type": "List[int]", "required": False},
    "grid": {"type": "List[List[str]]", "required": False},
    "any": {"type": "List", "required": False},
    "more": {"type": "Dict", "required": False},
}
OWN = {"name": "search", "description": "d", "parameter_definitions": {"q": {"type": "str", "required": True}}}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 0.5}, {"p": 0.5}),
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"seed": 3}, {"seed": 3}),
        ({"stop": "a"}, {"stop_sequences": ["a"]}),
        ({"stop": ("a", "b")}, {"stop_sequences": ["a", "b"]}),
        ({"n": 1}, {}),
        ({"stream_options": {"include_usage": True}}, {}),
        ({"reasoning_effort": "auto"}, {}),
        ({"tools": []}, {}),
        ({"tools": [function()]}, {"tools": [{"name": "f", "description": ""}]}),
        ({"tools": [function(SCHEMA, description="d")], "tool_choice": "auto"}, None),
        ({"tools": [OWN]}, {"tools": [OWN]}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        (
            {"response_format": {"type": "json_object", "schema": SCHEMA}},
            {"response_format": {"type": "json_object", "schema": SCHEMA}},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
            {"response_format": {"type": "json_object", "schema": SCHEMA}},
        ),
        ({"extra_body": {"k": 5, "connectors": [{"id": "web-search"}]}}, None),
        ({"temperature": 1, "extra_body": {"temperature": 0.1}}, {"temperature": 0.1}),
    ],
)
def test_parameters_are_what_cohere_calls_them(params: dict[str, Any], expected: dict[str, Any] | None) -> None:
    if expected is None:
        x = {"x": {"type": "int", "required": False}}
        tools = {"tools": [{"name": "f", "description": "d", "parameter_definitions": x}]}
        expected = params.get("extra_body") or tools
    assert sent(**params) == {**sent(), **expected}


def test_schema_becomes_python_types() -> None:
    (tool,) = sent(tools=[function(FORECAST, description="d")])["tools"]
    assert tool == {"name": "f", "description": "d", "parameter_definitions": FORECAST_SENT}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "description": "said nowhere"},
        {"type": "object", "properties": ["x"]},
        {"type": "object", "properties": {"x": {"type": "string", "enum": ["a", "b"]}}},
        {"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}}},
        {"type": "object", "properties": {"x": {"type": ["string", "null"]}}},
        {"type": "object", "properties": {"x": {"anyOf": [{"type": "string"}]}}},
        {"type": "object", "properties": {"x": {"type": "object", "properties": {"y": {"type": "string"}}}}},
        {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string", "pattern": "a"}}}},
        {"type": "object", "properties": {"x": {"type": "string", "items": {"type": "string"}}}},
        {"type": "object", "properties": {"x": {}}},
        {"type": "object", "properties": {"x": True}},
        {"type": "object", "properties": {}, "required": "x"},
    ],
)
def test_schema_that_says_more_is_refused(schema: Any) -> None:
    """A model that is not told what a schema asks for would not keep to it."""
    with pytest.raises(UnsupportedParameterError, match="version 2") as caught:
        sent(tools=[function(schema)])
    assert caught.value.param == "tools"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"n": 2}, "n"),
        ({"user": "me"}, "user"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"stream_options": {"chunk": 1}}, "stream_options"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"reasoning_effort": "none"}, "reasoning_effort"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"thinking_budget": 100}, "thinking_budget"),
        ({"tools": [function()], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [function()], "tool_choice": "none"}, "tool_choice"),
        ({"tools": [function()], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "f"}}, "function_call"),
        ({"tools": [function(strict=True)]}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"messages": [Message.user([ContentPart.from_image("https://host/x.png")])]}, "image_url"),
        ({"messages": [Message.user([{"type": "file", "file": {"file_id": "f"}}])]}, "file"),
        ({"messages": [Message.user([{"type": "document", "document": {}}])]}, "document"),
        ({"messages": [Message.user("Hi", name="Ann")]}, "name"),
    ],
)
def test_what_the_host_cannot_do_is_refused(params: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameterError) as caught:
        sent(**params)
    assert (caught.value.param, caught.value.provider) == (param, "cohere_v1")


CALL = ToolCall("c1", FunctionCall("f", '{"x": 1}'))


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"tools": [{"type": "function", "function": {}}]}, "tools"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"temperature": float("nan")}, "temperature"),
        ({"extra_headers": {"X": "a\nb"}}, "X"),
        ({"messages": [Message.system("Be brief.")]}, "messages"),
        ({"messages": [Message.user("Hi"), Message.assistant("Hello")]}, "messages"),
        ({"messages": [Message.user("Hi"), Message.system("Be brief.")]}, "messages"),
        ({"messages": [Message("critic", "No.")]}, "messages"),
        ({"messages": [Message("tool", "22")]}, "messages"),
        ({"messages": [Message.tool("22", "c1")]}, "messages"),
        ({"messages": [Message.assistant(tool_calls=[CALL]), Message.tool("22", "other")]}, "messages"),
        (
            {"messages": [Message.assistant(tool_calls=[ToolCall("c", FunctionCall("f", "[1]"))]), Message.user("?")]},
            "messages",
        ),
        (
            {"messages": [Message.assistant(tool_calls=[ToolCall("c", FunctionCall(None))]), Message.user("?")]},
            "messages",
        ),
    ],
)
def test_what_cannot_be_sent_is_said_before(params: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        sent(**params)
    assert type(caught.value) is InvalidRequestError
    assert caught.value.param == param


# -- the conversation --------------------------------------------------------------------------------------------------


def test_what_is_told_first_is_the_preamble_and_what_is_told_later_stays_there() -> None:
    told = [Message.system("Be brief."), Message("developer", ["Be ", "kind."])]
    body = sent(
        [*told, Message.user("Hi"), Message.assistant("Hello"), Message.system("Be rude."), Message.user("So?")]
    )
    assert body["preamble"] == "Be brief.\n\nBe kind."
    assert body["chat_history"] == [
        {"role": "USER", "message": "Hi"},
        {"role": "CHATBOT", "message": "Hello"},
        {"role": "SYSTEM", "message": "Be rude."},
    ]
    assert body["message"] == "So?"


def test_earlier_turns_are_the_history() -> None:
    turns = [Message.user("a"), Message.user("b"), Message.assistant(None, refusal="No."), Message.user(["c", "d"])]
    body = sent(turns)
    assert [turn["message"] for turn in body["chat_history"]] == ["a", "b", "No."]
    assert body["message"] == "cd"


def test_results_of_tools_are_answered_beside_an_empty_message() -> None:
    calls = [CALL, ToolCall("c2", FunctionCall("g", ""))]
    asked = [Message.user("Hi"), Message.assistant("Let me see.", tool_calls=calls)]
    body = sent([*asked, Message.tool("22", "c2"), Message.tool('{"y": 2}', "c1")])
    f, g = {"name": "f", "parameters": {"x": 1}}, {"name": "g", "parameters": {}}
    assert body["message"] == ""
    assert body["chat_history"] == [
        {"role": "USER", "message": "Hi"},
        {"role": "CHATBOT", "message": "Let me see.", "tool_calls": [f, g]},
    ]
    results = [{"call": g, "outputs": [{"output": "22"}]}, {"call": f, "outputs": [{"y": 2}]}]
    assert body["tool_results"] == results
    body = sent([*asked, Message.tool("22", "c2"), Message.tool('{"y": 2}', "c1"), Message.user("And now?")])
    assert body["message"] == "And now?"
    assert body["chat_history"][2] == {"role": "TOOL", "tool_results": results}
    assert "tool_results" not in body


@pytest.mark.parametrize(
    ("said", "outputs"),
    [
        ("22", [{"output": "22"}]),
        ("", [{"output": ""}]),
        ('{"a": 1}', [{"a": 1}]),
        ('[{"a": 1}, {"b": 2}]', [{"a": 1}, {"b": 2}]),
        ("[]", [{"output": "[]"}]),
        ("[1]", [{"output": "[1]"}]),
        ("{oops", [{"output": "{oops"}]),
    ],
)
def test_results_are_objects(said: str, outputs: list[Any]) -> None:
    body = sent([Message.user("Hi"), Message.assistant(tool_calls=[CALL]), Message.tool(said, "c1")])
    assert body["tool_results"][0]["outputs"] == outputs


def test_made_up_ids_that_come_again_mean_the_latest_call() -> None:
    """Each answer's first call is "call_0"."""
    one, two = ToolCall("call_0", FunctionCall("f", "{}")), ToolCall("call_0", FunctionCall("g", "{}"))
    turns = [Message.user("Hi"), Message.assistant(tool_calls=[one]), Message.tool("1", "call_0")]
    body = sent([*turns, Message.assistant(tool_calls=[two]), Message.tool("2", "call_0")])
    assert body["chat_history"][2]["tool_results"][0]["call"]["name"] == "f"
    assert body["tool_results"][0]["call"]["name"] == "g"


def test_results_of_the_older_form_find_their_calls_by_name() -> None:
    call = ToolCall(None, FunctionCall("f", '{"x": 1}'))
    body = sent([Message.user("Hi"), Message.assistant(tool_calls=[call]), Message("function", "2", name="f")])
    assert body["tool_results"] == [{"call": {"name": "f", "parameters": {"x": 1}}, "outputs": [{"output": "2"}]}]


@pytest.mark.parametrize("case", ["calls_in_pieces", "calls_whole", "call_without_parameters", "text"])
def test_answer_goes_back_as_it_came(case: str) -> None:
    answer = read(case)[1]
    body = sent([Message.user("Hi"), answer.to_message(), Message.user("Go on.")])
    end = bodies_of(case)[-1]["response"]
    wanted = {"role": "CHATBOT", "message": end.get("text") or "", "tool_calls": end.get("tool_calls")}
    if case == "call_without_parameters":
        wanted["tool_calls"] = [{"name": "now", "parameters": {}}]
    assert body["chat_history"][1] == {key: value for key, value in wanted.items() if value is not None}


# -- the same calls through the official client ------------------------------------------------------------------------


#: The paths and bodies that the official client sent.
SENT: list[tuple[str, Any]] = []


def answer_to(path: str, raw: bytes) -> tuple[bytes, str]:
    body = json.loads(raw)
    SENT.append((path, body))
    answer = whole(text="Hello")
    end = {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": answer}
    kind = "application/stream+json" if body["stream"] else "application/json"
    return json.dumps(end if body["stream"] else answer).encode() + b"\n", kind


@pytest.fixture(scope="module")
def official() -> Iterator[Any]:
    """The official client of version 1, before a loopback server that keeps what it is sent."""
    cohere = pytest.importorskip("cohere")
    import httpx

    with answering(answer_to) as url, httpx.Client() as transport:
        yield cohere.Client("none", base_url=url, httpx_client=transport)


HI = [Message.user("Hi")]
F = {"name": "f", "parameters": {"x": 1}}
CALLED = [
    Message.user("Weather?"),
    Message.assistant("I will look.", tool_calls=[CALL]),
    Message.tool('{"t": 22}', "c1"),
]
CALLED_SENT = [
    {"role": "USER", "message": "Weather?"},
    {"role": "CHATBOT", "message": "I will look.", "tool_calls": [F]},
]
RESULT = {"call": F, "outputs": [{"t": 22}]}
TOOL_SENT = {"name": "f", "description": "d", "parameter_definitions": FORECAST_SENT}

#: What we are asked, and the official client's words for it.
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "temperature": ({"temperature": 0.3}, {"temperature": 0.3}),
    "top_p": ({"top_p": 0.9}, {"p": 0.9}),
    "max_tokens": ({"max_tokens": 50}, {"max_tokens": 50}),
    "stop": ({"stop": "END"}, {"stop_sequences": ["END"]}),
    "stops": ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
    "seed": ({"seed": 1}, {"seed": 1}),
    "tools": ({"tools": [function(FORECAST, description="d")]}, {"tools": [TOOL_SENT]}),
    "own_tool": ({"tools": [OWN]}, {"tools": [OWN]}),
    "json": ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    "schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
    ),
    "preamble": ({"messages": [Message.system("Be brief."), *HI]}, {"preamble": "Be brief."}),
    "history": (
        {"messages": [Message.user("a"), Message.assistant("b"), Message.system("c"), *HI]},
        {
            "chat_history": [
                {"role": "USER", "message": "a"},
                {"role": "CHATBOT", "message": "b"},
                {"role": "SYSTEM", "message": "c"},
            ]
        },
    ),
    "results": (
        {"messages": CALLED, "tools": [OWN]},
        {"message": "", "chat_history": CALLED_SENT, "tool_results": [RESULT], "tools": [OWN]},
    ),
    "results_before": (
        {"messages": [*CALLED, *HI]},
        {"chat_history": [*CALLED_SENT, {"role": "TOOL", "tool_results": [RESULT]}]},
    ),
    "extra": (
        {"extra_body": {"k": 3, "connectors": [{"id": "web-search"}], "safety_mode": "NONE"}},
        {"k": 3, "connectors": [{"id": "web-search"}], "safety_mode": "NONE"},
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", CALLS)
def test_body_is_what_the_official_client_sends(case: str, stream: bool, official: Any) -> None:
    ours, theirs = CALLS[case]
    params = CompletionParams("command", **{"messages": HI, **ours})
    request = CohereV1Dialect().request(params, model="command", stream=stream)
    SENT.clear()
    asked = {"model": "command", "message": "Hi", **theirs}
    if stream:
        list(official.chat_stream(**asked))
    else:
        official.chat(**asked)
    assert [(request.path, json.loads(request.body))] == SENT


# -- hostile input -----------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40))
def test_random_results_can_be_sent(text: str) -> None:
    sent([Message.user("Hi"), Message.assistant(tool_calls=[CALL]), Message.tool(text, "c1")])
