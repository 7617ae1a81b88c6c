"""What both versions of Cohere's chat API have in common: errors, parameters, and the official client's bodies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cohere_requests import (
    CALL,
    DIALECTS,
    FORECAST,
    FORECAST_SENT,
    HI,
    OWN,
    PNG,
    SCHEMA,
    TOOL,
    a_call,
    function,
    request_of,
    sent,
    whole,
)
from recordings import answering

from anyllm import errors
from anyllm.errors import AnyLLMError, APIError, InvalidRequestError, MalformedStreamError, UnsupportedParameterError
from anyllm.types import EmbeddingParams, FunctionCall, Message, Reasoning, ToolCall

# -- errors ------------------------------------------------------------------------------------------------------------

WHOLE_ERRORS = [
    *(
        (version, *row)
        for version in DIALECTS
        for row in (
            (b'{"message": "invalid api token"}', APIError, "invalid api token"),
            (b'{"id": "x", "message": "too many tokens: size limit"}', errors.ContextLengthExceededError, "size limit"),
            (b'{"error": {"message": "no", "code": "rate_limit_exceeded"}}', errors.RateLimitError, "no"),
            (json.dumps(whole(version, "ERROR")).encode(), errors.ServerError, "finish_reason 'ERROR'"),
            (json.dumps(whole(version, "ERROR_TOXIC", "x")).encode(), errors.ContentFilterError, "ERROR_TOXIC"),
            (json.dumps({**whole(version, "ERROR"), "error": {"message": "worker"}}).encode(), APIError, "worker"),
        )
    ),
    (1, b'{"text": "a", "error": "broken"}', APIError, "broken"),
    (1, json.dumps(whole(1, "ERROR_LIMIT")).encode(), errors.ContextLengthExceededError, "ERROR_LIMIT"),
    (1, b'{"id": "x", "finish_reason": "COMPLETE"}', MalformedStreamError, "has no text"),
    (1, b'{"text": 7}', MalformedStreamError, "text is a number"),
    (1, b'{"text": "", "tool_calls": 7}', MalformedStreamError, "tool_calls is a number"),
    (2, b'{"text": "an answer of version 1"}', MalformedStreamError, "has no message"),
    (2, b'{"message": [1]}', MalformedStreamError, "has no message"),
    (2, b'{"message": {"content": 7}}', MalformedStreamError, "content is a number"),
    (2, b'{"message": {"tool_calls": [7]}}', MalformedStreamError, "a tool call is a number"),
]


@pytest.mark.parametrize(("version", "body", "kind", "words"), WHOLE_ERRORS)
def test_whole_error_is_an_error(version: int, body: bytes, kind: type[AnyLLMError], words: str) -> None:
    with pytest.raises(AnyLLMError, match=words) as caught:
        DIALECTS[version](provider="host").response(body)
    assert type(caught.value) is kind
    assert caught.value.provider == "host"


@pytest.mark.parametrize("version", DIALECTS)
@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "invalid request: message must be at least 1 token long", InvalidRequestError),
        (400, "too many tokens: the prompt cannot exceed 4081", errors.ContextLengthExceededError),
        (400, "too many tokens: max tokens must be less than or equal to 4096", InvalidRequestError),
        (404, "model 'command-x' not found, make sure the correct model ID was used", errors.ModelNotFoundError),
        (404, "model 'command-x' was removed in spring", errors.ModelNotFoundError),
        (498, "blocked output", errors.ContentFilterError),
    ],
)
def test_status_and_words_make_the_error(version: int, status: int, message: str, kind: type[APIError]) -> None:
    error = DIALECTS[version](provider="host").error(status, {}, json.dumps({"id": "e1", "message": message}).encode())
    assert type(error) is kind
    assert error.status_code == status
    assert message in str(error)


# -- parameters --------------------------------------------------------------------------------------------------------

OTHER = function(name="g")
OTHER_SENT = function({"type": "object", "properties": {}}, "g")
STRICT = function({"type": "object"}, "s", strict=True)
STRICT_SENT = function({"type": "object"}, "s")
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
#: Parameters, and what a request has beside the smallest one: the official client's arguments for the same call.
BOTH: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
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
    ({"response_format": {"type": "text"}}, {}),
    ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    ({"temperature": 1, "extra_body": {"temperature": 0.1}}, {"temperature": 0.1}),
    ({"extra_body": {"k": 5, "safety_mode": "NONE"}}, {"k": 5, "safety_mode": "NONE"}),
]
V1: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"tools": [function()]}, {"tools": [{"name": "f", "description": ""}]}),
    (
        {"tools": [function(FORECAST, description="d")], "tool_choice": "auto"},
        {"tools": [{"name": "f", "description": "d", "parameter_definitions": FORECAST_SENT}]},
    ),
    ({"tools": [OWN]}, {"tools": [OWN]}),
    (
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
    ),
    ({"response_format": JSON_SCHEMA}, {"response_format": {"type": "json_object", "schema": SCHEMA}}),
    ({"extra_body": {"connectors": [{"id": "web-search"}]}}, {"connectors": [{"id": "web-search"}]}),
    ({"messages": [Message.system("Be brief."), *HI]}, {"preamble": "Be brief."}),
    (
        {"messages": [Message.user("a"), Message.assistant("b"), Message.system("c"), *HI]},
        {
            "chat_history": [
                {"role": "USER", "message": "a"},
                {"role": "CHATBOT", "message": "b"},
                {"role": "SYSTEM", "message": "c"},
            ]
        },
    ),
]
V2: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"logprobs": True}, {"logprobs": True}),
    ({"tools": [TOOL, OTHER]}, {"tools": [TOOL, OTHER_SENT]}),
    ({"functions": [TOOL["function"]]}, {"tools": [TOOL]}),
    ({"tools": [{"type": "native", "x": 1}]}, {"tools": [{"type": "native", "x": 1}]}),
    ({"tools": [STRICT]}, {"tools": [STRICT_SENT], "strict_tools": True}),
    ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL]}),
    ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": "REQUIRED"}),
    ({"tools": [TOOL], "tool_choice": "none"}, {"tools": [TOOL], "tool_choice": "NONE"}),
    ({"tools": [TOOL], "function_call": "none"}, {"tools": [TOOL], "tool_choice": "NONE"}),
    (
        {"tools": [TOOL, OTHER], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        {"tools": [OTHER_SENT], "tool_choice": "REQUIRED"},
    ),
    (
        {"response_format": {"type": "json_object", "json_schema": SCHEMA}},
        {"response_format": {"type": "json_object", "json_schema": SCHEMA}},
    ),
    ({"response_format": JSON_SCHEMA}, {"response_format": {"type": "json_object", "json_schema": SCHEMA}}),
    ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    ({"reasoning_effort": "minimal"}, {"thinking": {"type": "enabled", "token_budget": 512}}),
    ({"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "token_budget": 1024}}),
    ({"reasoning_effort": "medium"}, {"thinking": {"type": "enabled", "token_budget": 8192}}),
    ({"reasoning_effort": "high"}, {"thinking": {"type": "enabled"}}),
    ({"reasoning_effort": "max"}, {"thinking": {"type": "enabled"}}),
    ({"thinking_budget": 0, "reasoning_effort": "high"}, {"thinking": {"type": "disabled"}}),
    ({"thinking_budget": 100, "reasoning_effort": "none"}, {"thinking": {"type": "enabled", "token_budget": 100}}),
    ({"extra_body": {"documents": ["d"]}}, {"documents": ["d"]}),
]

each_parameter = pytest.mark.parametrize(
    ("version", "params", "expected"), [(1, *row) for row in [*BOTH, *V1]] + [(2, *row) for row in [*BOTH, *V2]]
)


@each_parameter
def test_parameters_are_what_cohere_calls_them(version: int, params: Any, expected: Any) -> None:
    assert sent(version, **params) == {**sent(version), **expected}


@pytest.mark.parametrize(
    ("version", "params", "param"),
    [
        *((version, {"messages": [Message.user("Hi", name="Ann")]}, "name") for version in DIALECTS),
        (1, {"reasoning_effort": "low"}, "reasoning_effort"),
        (1, {"reasoning_effort": "none"}, "reasoning_effort"),
        (1, {"tools": [function()], "tool_choice": "required"}, "tool_choice"),
        (1, {"tools": [function()], "tool_choice": "none"}, "tool_choice"),
        (1, {"tools": [function()], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        (1, {"functions": [{"name": "f"}], "function_call": {"name": "f"}}, "function_call"),
        (1, {"tools": [function(strict=True)]}, "tools"),
        (1, {"tools": [{"type": "web_search"}]}, "tools"),
        (1, {"messages": [Message.user([{"type": "document", "document": {}}])]}, "document"),
        (2, {"tool_choice": "f"}, "tool_choice"),
        (2, {"messages": [Message.user([{"type": "file", "file": {"file_id": "f"}}])]}, "file"),
    ],
)
def test_what_a_version_cannot_do_is_refused(version: int, params: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameterError) as caught:
        sent(version, **params)
    assert (caught.value.param, caught.value.provider) == (param, {1: "cohere_v1", 2: "cohere"}[version])


@pytest.mark.parametrize(
    ("version", "params", "param"),
    [
        *((version, {"tools": [function(name=None)]}, "tools") for version in DIALECTS),
        *((version, {"response_format": {"type": "json_schema"}}, "response_format") for version in DIALECTS),
        (1, {"messages": [Message.system("Be brief.")]}, "messages"),
        (1, {"messages": [*HI, Message.assistant("Hello")]}, "messages"),
        (1, {"messages": [*HI, Message.system("Be brief.")]}, "messages"),
        (1, {"messages": [Message.tool("22", "c1")]}, "messages"),
        (1, {"messages": [Message.assistant(tool_calls=[CALL]), Message.tool("22", "other")]}, "messages"),
        (1, {"messages": [Message.assistant(tool_calls=[ToolCall("c", FunctionCall("f", "[1]"))]), *HI]}, "messages"),
        (1, {"messages": [Message.assistant(tool_calls=[ToolCall("c", FunctionCall(None))]), *HI]}, "messages"),
        (2, {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ],
)
def test_what_cannot_be_sent_is_an_error_before(version: int, params: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        sent(version, **params)
    assert type(caught.value) is InvalidRequestError
    assert caught.value.param == param


# -- the same calls through the official client ------------------------------------------------------------------------

#: The paths and bodies that the official client sent.
SENT: list[tuple[str, Any]] = []


def answer_to(path: str, raw: bytes) -> tuple[bytes, str]:
    body = json.loads(raw)
    SENT.append((path, body))
    if "embed" in path:
        return json.dumps({"id": "e", "embeddings": {"float": []}}).encode(), "application/json"
    answer = whole(1 if "v1" in path else 2, "COMPLETE", "Hello")
    if not body["stream"]:
        return json.dumps(answer).encode(), "application/json"
    if "v2" in path:
        return b"data: [DONE]\n\n", "text/event-stream"
    end = {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": answer}
    return json.dumps(end).encode() + b"\n", "application/stream+json"


@pytest.fixture(scope="module")
def official() -> Iterator[dict[int, Any]]:
    """The official clients of both versions, before a loopback server that records what it is sent."""
    cohere = pytest.importorskip("cohere")
    import httpx

    with answering(answer_to) as url, httpx.Client() as transport:
        classes = {1: cohere.Client, 2: cohere.ClientV2}
        yield {version: made("none", base_url=url, httpx_client=transport) for version, made in classes.items()}


CALLED = [
    Message.user("Weather?"),
    Message.assistant("I will look.", tool_calls=[CALL]),
    Message.tool('{"t": 22}', "c1"),
]
F = {"name": "f", "parameters": {"x": 1}}
CALLED_SENT = [
    {"role": "USER", "message": "Weather?"},
    {"role": "CHATBOT", "message": "I will look.", "tool_calls": [F]},
]
RESULT = {"call": F, "outputs": [{"t": 22}]}
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [a_call("f", '{"x": 1}', "c1")]},
    {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "22"}]},
]
PLAN = Reasoning("I will look.", field="tool_plan")
OUR_TURNS = [
    Message.system("Be brief."),
    Message.user("Weather?"),
    Message.assistant(None, tool_calls=[CALL], reasoning=PLAN),
    Message.tool(["22"], "c1"),
]
HI_SENT = {"role": "user", "content": "Hi"}
THOUGHT = {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "4"}]}
SHOWN = {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}
LOOK = {"role": "user", "content": [{"type": "text", "text": "What?"}, SHOWN]}

#: Conversations, as parameters are above.
CONVERSATIONS: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
    (
        1,
        {"messages": CALLED, "tools": [OWN]},
        {"message": "", "chat_history": CALLED_SENT, "tool_results": [RESULT], "tools": [OWN]},
    ),
    (
        1,
        {"messages": [*CALLED, *HI]},
        {"chat_history": [*CALLED_SENT, {"role": "TOOL", "tool_results": [RESULT]}]},
    ),
    (2, {"messages": [LOOK]}, {"messages": [LOOK]}),
    (2, {"messages": OUR_TURNS}, {"messages": TURNS}),
    (
        2,
        {"messages": [*HI, Message.assistant("4", reasoning=Reasoning("Hm.", field="thinking")), *HI]},
        {"messages": [HI_SENT, THOUGHT, HI_SENT]},
    ),
]


@pytest.mark.parametrize(("version", "params", "expected"), CONVERSATIONS)
def test_conversation_is_in_coheres_shape(version: int, params: Any, expected: Any) -> None:
    assert sent(version, **params) == {**sent(version), **expected}


def official_body(client: Any, version: int, stream: bool, arguments: dict[str, Any]) -> Any:
    """The path and the body that the official client sends."""
    least = {"message": "Hi"} if version == 1 else {"messages": [HI_SENT]}
    SENT.clear()
    if stream:
        list(client.chat_stream(model="command", **{**least, **arguments}))
    else:
        client.chat(model="command", **{**least, **arguments})
    (found,) = SENT
    return found


@pytest.mark.long
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("version", "params", "theirs"),
    [(1, *row) for row in [*BOTH, *V1]] + [(2, *row) for row in [*BOTH, *V2]] + CONVERSATIONS,
)
def test_body_is_what_the_official_client_sends(
    version: int, params: Any, theirs: Any, stream: bool, official: dict[int, Any]
) -> None:
    request = request_of(version, stream=stream, **params)
    assert (request.path, json.loads(request.body)) == official_body(official[version], version, stream, theirs)


@pytest.mark.long
def test_embedding_body_is_what_the_official_client_sends(official: dict[int, Any]) -> None:
    SENT.clear()
    official[2].embed(
        model="e", texts=["a"], input_type="search_query", embedding_types=["float"], output_dimension=256
    )
    params = EmbeddingParams("e", "a", dimensions=256, extra_body={"input_type": "search_query"})
    request = DIALECTS[2]().embedding_request(params, model="e")
    assert [(request.path, json.loads(request.body))] == SENT
