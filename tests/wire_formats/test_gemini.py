"""The Gemini dialect: what is its own of streams, requests, errors and conversations."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import Ours, answering

from anyllm import errors
from anyllm._framing.detect import JSONEvent
from anyllm.errors import APIError, InvalidRequestError, MalformedStreamError, UnsupportedParameterError
from anyllm.types import (
    CompletionParams,
    ContentPart,
    EmbeddingParams,
    Message,
    Reasoning,
    ToolCall,
)
from anyllm.types._accumulate import Assembler
from anyllm.wire.gemini.dialect import GeminiDialect
from anyllm.wire.gemini.partial_arguments import PartialArguments


def one(*parts: Any, **candidate: Any) -> dict[str, Any]:
    """An event with one candidate."""
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **candidate}]}


def decode(*bodies: Any, dialect: GeminiDialect | None = None) -> Ours:
    return Ours(dialect or GeminiDialect(), [b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies])


# -- the decoder -------------------------------------------------------------------------------------------------------


def test_usage_of_every_event_is_kept() -> None:
    """A stream that is cancelled has counted what came."""
    counted = [{"promptTokenCount": 3, "candidatesTokenCount": at, "totalTokenCount": 3 + at} for at in range(3)]
    ours = decode(*[{**one({"text": "a"}), "usageMetadata": usage} for usage in counted])
    assert [chunk.usage.completion_tokens for chunk in ours.chunks if chunk.usage] == [0, 1, 2]
    assert ours.answer.usage is not None
    assert ours.answer.usage.raw == counted[-1]


@pytest.mark.parametrize(
    ("raw", "figures"),
    [
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}, (10, 5, 15, None, None)),
        ({"promptTokenCount": 10, "thoughtsTokenCount": 7, "totalTokenCount": 17}, (10, 7, 17, 7, None)),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 5, "toolUsePromptTokenCount": 4, "totalTokenCount": 19},
            (14, 5, 19, None, None),
        ),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 5, "toolUsePromptTokenCount": 4, "totalTokenCount": 15},
            (10, 5, 15, None, None),
        ),
        ({"promptTokenCount": 10, "cachedContentTokenCount": 8, "totalTokenCount": 10}, (10, 0, 10, None, 8)),
        ({"promptTokenCount": "10", "candidatesTokenCount": 5.0}, (10, 5, 15, None, None)),
        ({"promptTokenCount": -1, "totalTokenCount": 4}, (0, 0, 4, None, None)),
    ],
)
def test_usage_counts_alike_for_all_providers(raw: dict[str, Any], figures: tuple[Any, ...]) -> None:
    usage = decode({**one({"text": "a"}), "usageMetadata": raw}).answer.usage
    assert usage is not None
    assert figures == (
        *(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens),
        *(usage.reasoning_tokens, usage.cache_read_tokens),
    )


@pytest.mark.parametrize("raw", [None, [], "x", {}, {"trafficType": "ON_DEMAND"}, {"promptTokenCount": "many"}])
def test_what_counts_nothing_is_no_usage(raw: Any) -> None:
    assert decode({**one({"text": "a"}), "usageMetadata": raw}).answer.usage is None


@pytest.mark.parametrize(
    ("raw", "normalised"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        *[(word, "content_filter") for word in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII")],
        *[(word, "content_filter") for word in ("IMAGE_SAFETY", "IMAGE_RECITATION", "MODEL_ARMOR")],
        *[(word, "unknown") for word in ("OTHER", "LANGUAGE", "NO_IMAGE", "CONTINUATION")],
    ],
)
def test_finish_reason_is_normalised_and_kept(raw: str, normalised: str) -> None:
    ours = decode(one({"text": "a"}, finishReason=raw))
    assert ours.error is None
    assert (ours.answer.finish_reason, ours.answer.raw_finish_reason) == (normalised, raw)


@pytest.mark.parametrize("finish", ["", None, 0, "FINISH_REASON_UNSPECIFIED"])
def test_what_is_no_finish_reason_is_none(finish: Any) -> None:
    ours = decode(one({"text": "a"}, finishReason=finish))
    assert isinstance(ours.error, errors.IncompleteStreamError)
    assert ours.answer.finish_reason is None


@pytest.mark.parametrize(
    ("number", "gemini", "vertex"), [(6, "LANGUAGE", "BLOCKLIST"), (8, "PROHIBITED_CONTENT", "SPII")]
)
def test_numbers_mean_what_the_host_means(number: int, gemini: str, vertex: str) -> None:
    event = one({"text": "a"}, finishReason=number)
    assert decode(event).answer.raw_finish_reason == gemini
    assert decode(event, dialect=GeminiDialect(vertex_numbers=True)).answer.raw_finish_reason == vertex


@pytest.mark.parametrize(
    ("reason", "code"), [("JAILBREAK", "JAILBREAK"), (4, "PROHIBITED_CONTENT"), (40, "40"), ([1], "[1]")]
)
def test_reason_of_a_blocked_prompt_is_named(reason: Any, code: str) -> None:
    error = decode({"promptFeedback": {"blockReason": reason}}).error
    assert isinstance(error, errors.ContentFilterError)
    assert error.code == code
    assert error.body == {"promptFeedback": {"blockReason": reason}}


def test_a_finish_reason_is_given_once() -> None:
    ours = decode(*[one({"text": text}, finishReason="STOP") for text in "ab"], one(finishReason="SAFETY"))
    ends = [(chunk.finish_reason, chunk.raw_finish_reason) for chunk in ours.chunks]
    assert ends == [("stop", "STOP"), (None, None), ("content_filter", "SAFETY")]


def test_index_that_is_left_out_is_0_where_another_is_said() -> None:
    """As Google's JSON leaves out every 0."""
    first = {"content": {"parts": [{"text": "b"}]}, "index": 1}, {"content": {"parts": [{"text": "a"}]}}
    ours = decode({"candidates": first})
    assert [(choice.index, choice.message.content) for choice in ours.answer.choices] == [(0, "a"), (1, "b")]
    ours = decode({"candidates": [{"content": {"parts": [{"text": text}]}} for text in "ab"]})
    assert [(choice.index, choice.message.content) for choice in ours.answer.choices] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize("second", ["f", "g"])
def test_a_call_that_was_never_ended_is_not_complete(second: str) -> None:
    """A whole call after it, of the same function or another, is a call of its own."""
    ours = decode(
        one({"functionCall": {"name": "f", "willContinue": True}}),
        one({"functionCall": {"name": second, "args": {"a": 1}}}),
        one({"functionCall": {"name": second, "args": {"a": 2}}}),
        one({"functionCall": {}}),
    )
    calls = [(call.id, call.name, call.arguments, call.is_complete) for call in ours.answer.tool_calls]
    assert calls == [
        ("call_0", "f", "{", False),
        ("call_1", second, '{"a":1}', True),
        ("call_2", second, '{"a":2}', True),
    ]


def test_an_empty_call_says_nothing() -> None:
    ours = decode(one({"functionCall": {}}), one({"functionCall": {"name": "f", "args": None}}, finishReason="STOP"))
    assert [(call.id, call.arguments) for call in ours.answer.tool_calls] == [("call_0", "{}")]


def test_a_call_after_the_end_is_still_a_call() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    ours = decode(one({"text": "a"}, finishReason="STOP"), one(call, finishReason="STOP"))
    assert ours.error is None
    assert ours.answer.finish_reason == "tool_calls"


def test_pieces_of_arguments_count_as_progress() -> None:
    """So a long argument does not run into the idle clock."""
    decoder, assembler = GeminiDialect().decoder(), Assembler()
    piece = {"jsonPath": "$.a", "stringValue": "x", "willContinue": True}
    began = one({"functionCall": {"name": "f", "willContinue": True}})
    goes_on = one({"functionCall": {"partialArgs": [piece], "willContinue": True}})
    progress = [
        assembler.add(chunk) for body in (began, goes_on) for chunk in decoder.feed(JSONEvent(json.dumps(body)))
    ]
    assert progress == [True, True]
    assert assembler.snapshot().tool_calls[0].arguments == '{"a":"x'


@pytest.mark.parametrize(
    "body",
    [
        {"candidates": "x"},
        {"candidates": [1]},
        one("text"),
        one({"text": 1}),
        one({"text": False}),
        one({"text": ["a"]}),
        one({"functionCall": "f"}),
        one({"functionCall": {"args": {"a": 1}}}),
        one({"functionCall": {"name": 5, "args": {}}}),
        one({"functionCall": {"name": "f", "args": [1]}}),
        one({"functionCall": {"name": "f", "partialArgs": 3, "willContinue": True}}),
        one({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "a"}]}}),
        one({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a", "stringValue": 3}]}}),
        one({"text": "a"}, index="x"),
        one({"text": "a"}, finishReason=["STOP"]),
        {"candidates": [{"content": "x"}]},
        {"candidates": [{"content": {"parts": {"text": "x"}}}]},
        {"candidates": [{"content": [1]}]},
    ],
)
def test_what_cannot_be_read_is_malformed(body: Any) -> None:
    assert isinstance(decode(body).error, MalformedStreamError)


def test_error_of_a_gateway_is_read_in_its_own_form() -> None:
    for body in ({"error": "overloaded"}, {"error": None}, {"code": 500, "message": "went wrong"}):
        assert isinstance(decode(body).error, APIError)
    event = JSONEvent('{"message": "went wrong"}', "error")
    with pytest.raises(APIError, match="went wrong"):
        GeminiDialect().decoder().feed(event)


# -- whole answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "ContentFilterError", "blocked: SAFETY"),
        ({"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}, "RateLimitError", "slow"),
        ([{"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}], "RateLimitError", "slow"),
        (one(finishReason="MALFORMED_FUNCTION_CALL"), "ServerError", "MALFORMED_FUNCTION_CALL"),
    ],
)
def test_whole_answer_that_is_none_says_why(body: Any, kind: str, words: str) -> None:
    with pytest.raises(getattr(errors, kind), match=words):
        GeminiDialect().response(json.dumps(body).encode())


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said", "message", "kind"),
    [
        (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "AuthenticationError"),
        (
            *(400, "INVALID_ARGUMENT"),
            "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
            "ContextLengthExceededError",
        ),
        (400, "INVALID_ARGUMENT", "Function call is missing a thought_signature", "InvalidRequestError"),
        (401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", "AuthenticationError"),
        (403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers", "PermissionDeniedError"),
        (404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta", "ModelNotFoundError"),
        (404, "NOT_FOUND", "Publisher Model `publishers/google/models/x` was not found", "ModelNotFoundError"),
        (404, "NOT_FOUND", "CachedContent not found", "InvalidRequestError"),
        (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan", "RateLimitError"),
        (500, "INTERNAL", "An internal error has occurred.", "ServerError"),
        (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", "OverloadedError"),
        (504, "DEADLINE_EXCEEDED", "The request timed out.", "ServerError"),
    ],
)
def test_status_and_words_give_the_class(status: int, said: str, message: str, kind: str) -> None:
    body = {"error": {"code": status, "message": message, "status": said}}
    for form in (body, [body]):
        error = GeminiDialect().error(status, {"x-request-id": "q1"}, json.dumps(form).encode())
        assert type(error) is getattr(errors, kind)
        assert (error.status_code, error.provider, error.request_id) == (status, "gemini", "q1")
        assert message in str(error)


def test_retry_delay_is_honoured() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]
    said = {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED", "details": details}
    assert GeminiDialect().error(429, {}, json.dumps({"error": said}).encode()).retry_after == 34.5


# -- the request -------------------------------------------------------------------------------------------------------


def request_of(*messages: Message, model: str = "gemini-2.5-flash", **fields: Any) -> Any:
    params = CompletionParams(model, messages or (Message.user("Hi"),), **fields)
    return GeminiDialect().request(params, model=model, stream=True)


def sent(*messages: Message, model: str = "gemini-2.5-flash", **fields: Any) -> dict[str, Any]:
    body = json.loads(request_of(*messages, model=model, **fields).body)
    assert isinstance(body, dict)
    return body


def config(**fields: Any) -> Any:
    return sent(**fields).get("generationConfig")


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/models/gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "/models/gemini-2.5-flash"),
        ("tunedModels/mine-1", "/tunedModels/mine-1"),
        ("a b/c?d", "/models/a%20b%2Fc%3Fd"),
        ("../x", "/models/..%2Fx"),
    ],
)
def test_path_names_the_model(model: str, path: str) -> None:
    params = CompletionParams(model, [Message.user("Hi")])
    stream = GeminiDialect().request(params, model=model, stream=True)
    whole = GeminiDialect().request(params, model=model, stream=False)
    assert (stream.method, stream.path) == ("POST", f"{path}:streamGenerateContent?alt=sse")
    assert (whole.method, whole.path) == ("POST", f"{path}:generateContent")
    assert stream.body == whole.body
    assert stream.headers == {"Content-Type": "application/json", "Accept": "text/event-stream"}
    assert whole.headers["Accept"] == "application/json"


def test_path_of_vertex_is_a_switch() -> None:
    vertex = GeminiDialect(provider="vertex", models_path="/publishers/google/models")
    request = vertex.request(CompletionParams("m", [Message.user("Hi")]), model="gemini-2.5-pro", stream=True)
    assert request.path == "/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 0.9}, {"topP": 0.9}),
        ({"max_tokens": 5}, {"maxOutputTokens": 5}),
        ({"stop": "a"}, {"stopSequences": ["a"]}),
        ({"stop": ["a", "b"]}, {"stopSequences": ["a", "b"]}),
        ({"n": 2}, {"candidateCount": 2}),
        ({"seed": 4}, {"seed": 4}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
        ),
        ({"stream": True, "stream_options": {"include_usage": True}}, None),
    ],
)
def test_parameter_goes_under_its_name(fields: dict[str, Any], expected: Any) -> None:
    assert config(**fields) == expected


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        ("gemini-2.5-flash", {"reasoning_effort": "auto"}, None),
        ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", {"thinking_budget": 0}, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", {"thinking_budget": -1}, {"thinkingBudget": -1, "includeThoughts": True}),
        ("gemini-2.5-flash", {"thinking_budget": 99}, {"thinkingBudget": 99, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "minimal"}, {"thinkingBudget": 512, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "low"}, {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-pro", {"reasoning_effort": "medium"}, {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-pro", {"reasoning_effort": "high"}, {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-2.5-pro", {"reasoning_effort": "max"}, {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-1.5-flash-latest", {"reasoning_effort": "low"}, {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-live-2.5-flash", {"reasoning_effort": "low"}, {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemma-3", {"reasoning_effort": "low"}, {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-3-pro", {"reasoning_effort": "low"}, {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("models/gemini-3.1-pro", {"reasoning_effort": "high"}, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-12-x", {"reasoning_effort": "xhigh"}, {"thinkingLevel": "XHIGH", "includeThoughts": True}),
        ("gemini-flash-latest", {"reasoning_effort": "minimal"}, {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("gemini-3-pro", {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        ("gemini-3-pro", {"thinking_budget": 9}, {"thinkingBudget": 9, "includeThoughts": True}),
        (
            "gemini-3-pro",
            {"reasoning_effort": "low", "thinking_budget": 9},
            {"thinkingBudget": 9, "includeThoughts": True},
        ),
    ],
)
def test_thinking_is_asked_for_in_the_words_of_the_model(model: str, fields: dict[str, Any], expected: Any) -> None:
    assert (config(model=model, **fields) or {}).get("thinkingConfig") == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"user": "u"}, "user"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    ],
)
def test_what_the_host_cannot_do_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameterError) as raised:
        sent(**fields)
    assert (raised.value.param, raised.value.provider) == (param, "gemini")


def test_tools_are_declared_together_and_native_ones_as_they_are() -> None:
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": False}
    tools = [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": True}},
        {"google_search": {}},
        {"type": "function", "function": {"name": "g"}},
    ]
    assert sent(tools=tools)["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": schema},
                {"name": "g"},
            ]
        },
        {"google_search": {}},
    ]
    assert sent(functions=[{"name": "f"}])["tools"] == [{"functionDeclarations": [{"name": "f"}]}]
    assert "tools" not in sent(tools=[])


@pytest.mark.parametrize(
    ("choice", "calling"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice_is_a_mode(choice: Any, calling: dict[str, Any]) -> None:
    assert sent(tool_choice=choice)["toolConfig"] == {"functionCallingConfig": calling}
    assert sent(function_call=choice)["toolConfig"] == {"functionCallingConfig": calling}


def test_extra_body_wins_and_costs_no_other_setting() -> None:
    extra = {"generationConfig": {"topK": 3, "temperature": 1}, "safetySettings": [{"category": "C"}], "contents": []}
    params = CompletionParams("m", [Message.user("Hi")], temperature=0, seed=1, extra_body=extra)
    body = json.loads(GeminiDialect().request(params, model="m", stream=True).body)
    assert body == {
        "contents": [],
        "generationConfig": {"temperature": 1, "seed": 1, "topK": 3},
        "safetySettings": [{"category": "C"}],
    }
    assert extra["generationConfig"] == {"topK": 3, "temperature": 1}


# -- the conversation --------------------------------------------------------------------------------------------------


def turns(*messages: Message) -> Any:
    return sent(*messages)["contents"]


def test_system_messages_are_lifted_out_wherever_they_stand() -> None:
    body = sent(Message.system("A"), Message.user("Hi"), Message("developer", [{"type": "text", "text": "B"}]))
    assert body["systemInstruction"] == {"parts": [{"text": "A"}, {"text": "B"}]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]


def test_turns_of_one_role_are_one_turn() -> None:
    said = turns(
        Message.user("a"), Message.user("b"), Message.assistant("c"), Message.assistant("d"), Message.user("e")
    )
    assert said == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}, {"text": "d"}]},
        {"role": "user", "parts": [{"text": "e"}]},
    ]


def test_an_answer_without_anything_is_no_turn() -> None:
    assert turns(Message.user("a"), Message.assistant(), Message.user("b")) == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}
    ]


def test_a_refusal_is_said_again_as_text() -> None:
    said = turns(Message.user("a"), Message("assistant", refusal="No."))
    assert said[1] == {"role": "model", "parts": [{"text": "No."}]}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            ContentPart.from_image(b"\x89PNG\r\n\x1a\n"),
            {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        ),
        (
            ContentPart.from_image("https://h.example/a/b.WEBP?x=1.png", detail="high"),
            {"fileData": {"mimeType": "image/webp", "fileUri": "https://h.example/a/b.WEBP?x=1.png"}},
        ),
        (ContentPart.from_image("https://h.example/a"), {"fileData": {"fileUri": "https://h.example/a"}}),
        (
            ContentPart.from_file("gs://bucket/x.pdf"),
            {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/x.pdf"}},
        ),
        (
            ContentPart.from_file(b"%PDF-1", filename="x.pdf"),
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0x"}},
        ),
        (ContentPart("file", file={"file_id": "files/abc"}), {"fileData": {"fileUri": "files/abc"}}),
        (
            ContentPart.from_audio(b"ID3", format="mp3"),
            {"inlineData": {"mimeType": "audio/mpeg", "data": "SUQz"}},
        ),
        (
            ContentPart("text", text="a", extra={"videoMetadata": {"fps": 1}}),
            {"text": "a", "videoMetadata": {"fps": 1}},
        ),
        (ContentPart("x", extra={"executableCode": {"code": "1"}}), {"executableCode": {"code": "1"}}),
    ],
)
def test_part_is_sent_as_google_wants_it(part: ContentPart, expected: dict[str, Any]) -> None:
    assert turns(Message.user([part])) == [{"role": "user", "parts": [expected]}]


@pytest.mark.parametrize(
    "message",
    [
        Message.tool("x", "unknown"),
        Message.user([{"type": "image_url", "image_url": {"url": ""}}]),
        Message("assistant", tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "[1]"}}]),
    ],
)
def test_what_cannot_be_sent_is_refused(message: Message) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        sent(message)
    assert raised.value.param == "messages"


def call(name: str, call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("content", "response"),
    [
        ('{"a": 1}', {"a": 1}),
        ("sunny", {"result": "sunny"}),
        ("[1]", {"result": "[1]"}),
        ("3", {"result": "3"}),
        ("", {"result": ""}),
    ],
)
def test_result_is_an_object_under_the_functions_name(content: str, response: dict[str, Any]) -> None:
    said = turns(Message.user("a"), Message("assistant", tool_calls=[call("f", "x1")]), Message.tool(content, "x1"))
    assert said[1:] == [
        {"role": "model", "parts": [{"functionCall": {"id": "x1", "name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "x1", "name": "f", "response": response}}]},
    ]


def test_result_may_show_an_image() -> None:
    shown = [{"type": "text", "text": "see"}, ContentPart.from_image(b"GIF8")]
    result = turns(Message("assistant", tool_calls=[call("f", "x1")]), Message.tool(shown, "x1"))[-1]["parts"][0]
    assert result["functionResponse"] == {
        "id": "x1",
        "name": "f",
        "response": {"result": "see"},
        "parts": [{"inlineData": {"mimeType": "image/gif", "data": "R0lGOA=="}}],
    }


def test_results_without_ids_of_the_host_follow_the_order_of_their_calls() -> None:
    """Made-up ids come again in the next turn, and are not told to the host, which never gave one."""
    said = turns(
        Message.user("a"),
        Message("assistant", tool_calls=[call("f", "call_0"), call("f", "call_1")]),
        Message.tool("second", "call_1"),
        Message.tool("first", "call_0"),
        Message("assistant", tool_calls=[call("g", "call_0")]),
        Message.tool("third", "call_0"),
        Message.user("b"),
    )
    results = [part["functionResponse"] for turn in said for part in turn["parts"] if "functionResponse" in part]
    assert results == [
        {"name": "f", "response": {"result": "first"}},
        {"name": "f", "response": {"result": "second"}},
        {"name": "g", "response": {"result": "third"}},
    ]
    assert [turn["role"] for turn in said] == ["user", "model", "user", "model", "user"]
    assert said[-1]["parts"][-1] == {"text": "b"}
    assert "call_" not in json.dumps(said)


def test_result_may_name_its_function_itself() -> None:
    said = turns(Message("tool", "x", name="f", tool_call_id="q"), Message("function", "y", name="g"))
    assert said[0]["parts"] == [
        {"functionResponse": {"id": "q", "name": "f", "response": {"result": "x"}}},
        {"functionResponse": {"name": "g", "response": {"result": "y"}}},
    ]


@pytest.mark.parametrize(
    "parts",
    [
        [{"text": "a"}, {"text": "", "thoughtSignature": "QQ=="}],
        [{"text": "ab", "thoughtSignature": "QQ=="}],
        [{"text": "a"}, {"text": "b", "thoughtSignature": "QQ=="}, {"text": "c"}],
        [{"text": "t", "thought": True, "thoughtSignature": "QQ=="}, {"text": "a"}],
        [{"text": "t", "thought": True}, {"text": "a", "thoughtSignature": "Qg=="}],
        [{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "QQ=="}],
        [{"text": "a"}, {"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": "QQ=="}],
        [{"executableCode": {"code": "1"}, "thoughtSignature": "QQ=="}, {"codeExecutionResult": {}}, {"text": "a"}],
        [{"text": "a"}, {"toolCall": {"id": "1"}}, {"toolResponse": {"id": "1"}}, {"text": "b"}],
    ],
)
def test_what_was_signed_goes_back_as_it_came(parts: list[dict[str, Any]]) -> None:
    """And so it does when the conversation was kept as JSON."""
    events = [one(part) for part in parts]
    ours = decode(*events, one(finishReason="STOP"))
    assert ours.error is None
    message = ours.answer.to_message()
    for turn in (message, Message.from_dict(json.loads(json.dumps(message.to_dict())))):
        assert turns(Message.user("Hi"), turn)[1] == {"role": "model", "parts": parts}
    whole = GeminiDialect().response(json.dumps(one(*parts, finishReason="STOP")).encode())
    assert whole.to_message() == message


def test_a_signature_alone_goes_back_on_an_empty_text() -> None:
    ours = decode(one({"text": "a"}), one({"thoughtSignature": "QQ=="}, finishReason="STOP"))
    said = turns(Message.user("Hi"), ours.answer.to_message())
    assert said[1]["parts"] == [{"text": "a"}, {"text": "", "thoughtSignature": "QQ=="}]


def test_signature_of_a_part_that_is_not_kept_is_not_moved_to_another() -> None:
    """Images are in raw only."""
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "QQ=="}
    ours = decode(one({"text": "a"}, image, finishReason="STOP"))
    assert ours.answer.to_message() == Message.assistant("a")
    assert ours.chunks[0].raw["candidates"][0]["content"]["parts"][1] == image


def test_reasoning_made_by_hand_keeps_its_signature() -> None:
    said = turns(Message.user("a"), Message("assistant", "b", reasoning=Reasoning("t", "QQ==")))
    assert said[1]["parts"] == [{"text": "t", "thoughtSignature": "QQ==", "thought": True}, {"text": "b"}]
    said = turns(Message.user("a"), Message("assistant", "b", reasoning=Reasoning(None, "QQ==")))
    assert said[1]["parts"] == [{"text": "b"}, {"text": "", "thoughtSignature": "QQ=="}]


def test_reasoning_of_another_host_stays_there() -> None:
    """Its signature is not Google's, and would be refused."""
    foreign = Reasoning("t", "sig", "thinking", [{"type": "thinking", "thinking": "t", "signature": "sig"}])
    said = turns(Message.user("a"), Message("assistant", "b", reasoning=foreign))
    assert said[1]["parts"] == [{"text": "b"}]
    said = turns(Message.user("a"), Message("assistant", "b", reasoning=Reasoning(None, "sig", "thinking")))
    assert said[1]["parts"] == [{"text": "b"}]
    details = Reasoning("t", None, None, [{"type": "reasoning.text", "text": "t"}])
    said = turns(Message.user("a"), Message("assistant", "b", reasoning=details))
    assert said[1]["parts"] == [{"text": "t", "thought": True}, {"text": "b"}]


@pytest.mark.parametrize(
    "detail",
    [
        {"type": "gemini.signed", "of": "text", "start": 50, "end": 90, "thoughtSignature": "QQ=="},
        {"type": "gemini.signed", "of": "text", "start": "x", "end": None},
        {"type": "gemini.signed", "of": "text", "start": -5, "end": -9, "thoughtSignature": 3},
        {"type": "gemini.part", "of": "text", "start": 0, "part": 7},
        {"type": "gemini.part", "of": "text"},
        {"type": ["gemini.part"], "of": []},
    ],
)
def test_details_that_do_not_fit_the_text_cost_none_of_it(detail: dict[str, Any]) -> None:
    """A text that was shortened by hand, or details that were."""
    message = Message("assistant", "abc", reasoning=Reasoning(None, None, "thought", [detail]))
    parts = turns(Message.user("a"), message)[1]["parts"]
    assert "".join(part.get("text", "") for part in parts) == "abc"


# -- arguments in pieces -----------------------------------------------------------------------------------------------

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=4))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3), st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


def pieces_of(value: Any, path: str = "$") -> Iterator[dict[str, Any]]:
    """*value* as Vertex streams it, strings in two pieces."""
    if isinstance(value, dict):
        for key, item in value.items():
            quoted = key.replace("\\", "\\\\").replace("'", "\\'")
            yield from pieces_of(item, f"{path}['{quoted}']")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from pieces_of(item, f"{path}[{at}]")
    elif isinstance(value, str):
        half = len(value) // 2
        yield {"jsonPath": path, "stringValue": value[:half], "willContinue": True}
        yield {"jsonPath": path, "stringValue": value[half:]}
    elif value is None:
        yield {"jsonPath": path, "nullValue": "NULL_VALUE"}
    else:
        yield {"jsonPath": path, "boolValue" if isinstance(value, bool) else "numberValue": value}


@given(st.dictionaries(st.text(max_size=3), TREES, max_size=4))
@settings(max_examples=200)
def test_arguments_in_pieces_make_the_same_json(value: dict[str, Any]) -> None:
    arguments = PartialArguments()
    text = arguments.begin() + "".join(arguments.add(piece) for piece in pieces_of(value)) + arguments.end()
    assert json.loads(text) == value
    call = ToolCall("x", {"name": "f", "arguments": text[:-1]})  # type: ignore[arg-type]
    assert not call.is_complete


@pytest.mark.parametrize(
    "paths",
    [
        ["$.a", "$.a"],
        ["$.a.b", "$.a"],
        ["$.a", "$.a.b"],
        ["$.a.b", "$.c", "$.a.d"],
        ["$.a[1]"],
        ["$.a[0]", "$.a[2]"],
        ["$.a[0]", "$.a.b"],
        ["$"],
        ["$[0]"],
        ["a"],
        ["$.a[x]"],
        [""],
        [None],
        [7],
        ["$.a[" + "9" * 5000 + "]"],
    ],
)
def test_arguments_that_would_have_to_go_back_are_refused(paths: list[Any]) -> None:
    arguments = PartialArguments()
    *good, bad = [{"jsonPath": path, "numberValue": 1} for path in paths]
    for piece in good:
        arguments.add(piece)
    with pytest.raises(ValueError, match=r"."):
        arguments.add(bad)


# -- hostile input -----------------------------------------------------------------------------------------------------


# -- the official client's requests ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """The official client, and the paths and bodies that it has sent."""
    genai = pytest.importorskip("google.genai")
    requests: list[tuple[str, Any]] = []

    def answer(path: str, body: bytes) -> bytes:
        requests.append((path, json.loads(body)))
        return b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}\r\n\r\n'

    with answering(answer, content_type="text/event-stream") as url:
        options = genai.types.HttpOptions(base_url=url, api_version="v1beta")
        official = genai.Client(api_key="key", http_options=options)
        yield official, requests
        official.close()


def plain(body: Any) -> Any:
    """
    A body without what means the same.

    Google's JSON takes names in both spellings and bytes in both alphabets, and the client mixes them; it gives the
    system's instructions a role, which is not read, and sends an empty configuration.
    """
    if isinstance(body, list):
        return [plain(item) for item in body]
    if not isinstance(body, dict):
        return body
    items = {_camel(key): value for key, value in body.items()}
    if isinstance(items.get("systemInstruction"), dict):
        items["systemInstruction"] = {"parts": items["systemInstruction"]["parts"]}
    if items.get("generationConfig") == {}:
        del items["generationConfig"]
    for key in ("data", "thoughtSignature"):
        if isinstance(items.get(key), str):
            items[key] = base64.urlsafe_b64decode(items[key].replace("+", "-").replace("/", "_"))
    return {key: value if key in ("args", "response") else plain(value) for key, value in items.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
FUNCTIONS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}]
IMAGE = b"\x89PNG\r\n\x1a\n\xff\xfe\xfb"
SIGNATURE = base64.b64encode(IMAGE).decode()
SIGNED_CALL = {**call("f", "call_0", '{"a": "b"}'), "extra_content": {"google": {"thought_signature": SIGNATURE}}}
HI = Message.user("Hi")

#: Parameters of requests that the official client is made to send too; messages are "Hi" if there are no others.
CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sampling": {"temperature": 0.5, "top_p": 0.9, "max_tokens": 9, "stop": ["a"], "n": 2, "seed": 4},
    "logprobs": {"logprobs": True, "top_logprobs": 3},
    "system": {"messages": [Message.system("S"), HI]},
    "turns": {"messages": [HI, Message.assistant("Ho"), HI]},
    "budget": {"thinking_budget": 1024},
    "no thinking": {"reasoning_effort": "none"},
    "level": {"model": "gemini-3-pro", "reasoning_effort": "low"},
    "tools": {"tools": FUNCTIONS},
    "tool choice": {"tools": FUNCTIONS, "tool_choice": "required"},
    "named tool": {"tools": FUNCTIONS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
    "native tool": {"tools": [{"google_search": {}}]},
    "json": {"response_format": {"type": "json_object"}},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
    "image": {"messages": [Message.user([{"type": "text", "text": "Hi"}, ContentPart.from_image(IMAGE)])]},
    "file elsewhere": {"messages": [Message.user([ContentPart.from_file("gs://b/x.pdf")])]},
    "call and result": {
        "messages": [
            HI,
            Message("assistant", tool_calls=[call("f", "x1", '{"a": "b"}')]),
            Message.tool("sun", "x1"),
        ]
    },
    "signatures": {
        "messages": [
            HI,
            Message("assistant", "Ho", reasoning=Reasoning("t", SIGNATURE), tool_calls=[SIGNED_CALL]),
            Message.tool('{"ok": true}', "call_0"),
        ]
    },
    "extra body": {"temperature": 1, "extra_body": {"generationConfig": {"topK": 3}}},
}


@pytest.mark.long
@pytest.mark.parametrize("case", CALLS)
def test_request_is_what_the_official_client_sends(case: str, client: Any) -> None:
    """The client reads our contents and settings into its own classes, and sends the same body to the same path."""
    from google.genai import types

    official, requests = client
    params = CompletionParams(**{"model": "gemini-2.5-flash", "messages": [HI], **CALLS[case]})
    ours = GeminiDialect().request(params, model=params.model, stream=True)
    body = json.loads(ours.body)
    contents = [types.Content.model_validate_json(json.dumps(content)) for content in body["contents"]]
    options = {**body.get("generationConfig", {}), **{name: body[name] for name in OUTSIDE if name in body}}
    config = types.GenerateContentConfig.model_validate_json(json.dumps(options))
    list(official.models.generate_content_stream(model=params.model, contents=contents, config=config))
    path, sent_by_client = requests.pop()
    assert requests == []
    assert path == f"/v1beta{ours.path}"
    assert plain(body) == plain(sent_by_client)


#: Settings that the client takes beside those of generationConfig.
OUTSIDE = ("systemInstruction", "tools", "toolConfig")


# -- beside chat -------------------------------------------------------------------------------------------------------


def test_vectors_are_asked_for_and_read():
    params = EmbeddingParams("m", ["one", "two"], dimensions=2, extra_body={"taskType": "RETRIEVAL_QUERY"})
    request = GeminiDialect().embedding_request(params, model="m")
    assert request.path == "/models/m:batchEmbedContents"
    asked = {"model": "models/m", "outputDimensionality": 2, "taskType": "RETRIEVAL_QUERY"}
    assert json.loads(request.body)["requests"] == [
        {**asked, "content": {"parts": [{"text": text}]}} for text in ("one", "two")
    ]
    made = GeminiDialect().embeddings(b'{"embeddings": [{"values": [1, 0.5]}, {"values": [2, 3]}]}')
    assert made.vectors == [[1.0, 0.5], [2.0, 3.0]]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"embeddings": [5]}', b'{"embeddings": [{"values": ["x"]}]}'])
def test_what_is_no_vectors_is_malformed(body: bytes):
    with pytest.raises(MalformedStreamError):
        GeminiDialect().embeddings(body)


def test_models_are_listed_by_their_names():
    assert GeminiDialect().models_request().path == "/models?pageSize=1000"
    models = GeminiDialect().models(b'{"models": [{"name": "models/a"}, {"name": "tunedModels/b"}]}')
    assert [model.id for model in models] == ["a", "tunedModels/b"]
    for body in (b"{}", b'{"models": [{}]}', b'{"models": [5]}'):
        with pytest.raises(MalformedStreamError):
            GeminiDialect().models(body)


def test_a_speakers_name_is_refused():
    params = CompletionParams("m", [Message.user("Hi", name="Ann")])
    with pytest.raises(UnsupportedParameterError, match="name"):
        GeminiDialect().request(params, model="m", stream=True)
