"""DashScope's native dialect: what is its own of requests, streams and errors, and the official client beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from choice_streams import Captured, answering, cases_of, decode, transcript

import anyllm
from anyllm import errors
from anyllm.errors import AnyLLMError, IncompleteStreamError, MalformedStreamError
from anyllm.types import CompletionParams, ContentPart, Message
from anyllm.wire.dashscope.dialect import DashScopeDialect

CASES = cases_of("dashscope")
TEXT = "/services/aigc/text-generation/generation"
MULTIMODAL = "/services/aigc/multimodal-generation/generation"
USER = {"role": "user", "content": "Hi"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
EPHEMERAL = {"type": "ephemeral"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
NAMED = {"type": "function", "function": {"name": "weather"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


def body_of(stream: bool = False, model: str = "qwen-plus", **fields: Any) -> dict[str, Any]:
    params = CompletionParams(**{"model": "x", "messages": [USER], **fields})
    body: dict[str, Any] = json.loads(DashScopeDialect().request(params, model=model, stream=stream).body)
    return body


def parameters_of(**fields: Any) -> Any:
    return body_of(**fields)["parameters"]


def messages_of(*messages: Any, model: str = "qwen-plus") -> Any:
    return body_of(messages=list(messages), model=model)["input"]["messages"]


def path_of(*messages: Any, model: str = "qwen-plus") -> str:
    return DashScopeDialect().request(CompletionParams("x", list(messages)), model=model, stream=False).path


def sse(*bodies: Any, name: str = "result") -> list[bytes]:
    head = f"id:1\nevent:{name}\n:HTTP_STATUS/200\ndata:".encode()
    return [head + json.dumps(body).encode() + b"\n\n" for body in bodies]


def event(message: Any, finish: Any = "null", **more: Any) -> dict[str, Any]:
    return {"output": {"choices": [{"message": message, "finish_reason": finish}]}, "request_id": "9a1c", **more}


END = event({"role": "assistant", "content": ""}, "stop")


# -- requests ----------------------------------------------------------------------------------------------------------


#: Parameters, and what a request then has: the official client's arguments for the same call.
PARAMETERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"temperature": 0.5}, {"temperature": 0.5}),
    ({"top_p": 1}, {"top_p": 1}),
    ({"max_tokens": 10}, {"max_tokens": 10}),
    ({"n": 2}, {"n": 2}),
    ({"seed": 7}, {"seed": 7}),
    ({"stop": "END"}, {"stop": "END"}),
    ({"stop": ("a", "b")}, {"stop": ["a", "b"]}),
    ({"parallel_tool_calls": True}, {"parallel_tool_calls": True}),
    ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
    ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    ({"response_format": SCHEMA}, {"response_format": SCHEMA}),
    ({"stream_options": {"include_usage": False}}, {}),
    ({"reasoning_effort": "none"}, {"enable_thinking": False}),
    ({"reasoning_effort": "auto"}, {}),
    ({"thinking_budget": 0}, {"enable_thinking": False}),
    ({"thinking_budget": 50}, {"enable_thinking": True, "thinking_budget": 50}),
    ({"tools": [WEATHER]}, {"tools": [WEATHER]}),
    ({"functions": [WEATHER["function"]]}, {"tools": [WEATHER]}),
    ({"tools": [{"type": "web_search"}]}, {"tools": [{"type": "web_search"}]}),
    ({"tools": [WEATHER], "tool_choice": "none"}, {"tools": [WEATHER], "tool_choice": "none"}),
    ({"tools": [WEATHER], "tool_choice": NAMED}, {"tools": [WEATHER], "tool_choice": NAMED}),
    (
        {"functions": [WEATHER["function"]], "function_call": {"name": "weather"}},
        {"tools": [WEATHER], "tool_choice": NAMED},
    ),
    ({"extra_body": {"parameters": {"enable_search": True}}}, {"enable_search": True}),
    ({"top_p": 1, "extra_body": {"parameters": {"top_p": 0.1}}}, {"top_p": 0.1}),
]


@pytest.mark.parametrize(("params", "expected"), PARAMETERS)
def test_parameter_is_sent(params: dict[str, Any], expected: dict[str, Any]) -> None:
    assert parameters_of(**params) == {"result_format": "message", **expected}


def test_extra_body_wins() -> None:
    extra = {"model": "other", "input": {"prompt": "p"}, "parameters": None, "x": 1}
    assert body_of(extra_body=extra) == {
        "model": "other",
        "input": {"messages": [USER], "prompt": "p"},
        "parameters": None,
        "x": 1,
    }


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"tools": [WEATHER], "tool_choice": "required"}, "tool_choice"),
        ({"functions": [WEATHER["function"]], "function_call": "required"}, "function_call"),
        ({"stream": True, "extra_body": {"parameters": {"incremental_output": False}}}, "incremental_output"),
        ({"messages": [Message.user([ContentPart.from_image(PIXEL, detail="high")])]}, "detail"),
    ],
)
def test_what_the_host_cannot_do_is_refused(params: dict[str, Any], param: str) -> None:
    with pytest.raises(errors.UnsupportedParameterError) as caught:
        body_of(**params)
    assert (caught.value.provider, caught.value.param) == ("dashscope", param)


def test_roles_and_texts() -> None:
    sent = messages_of(
        {"role": "developer", "content": "Be brief."},
        {**USER, "name": "Ann"},
        Message.assistant(refusal="No."),
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    )
    assert sent == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi", "name": "Ann"},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "ab"},
    ]


def test_what_is_shown_goes_to_the_other_endpoint_in_parts() -> None:
    parts = [
        ContentPart.from_image("https://example.com/1.png"),
        ContentPart.from_image(PIXEL, detail="auto"),
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        {"type": "video", "video": "https://example.com/1.mp4", "fps": 2},
        ContentPart(text="What is it?"),
    ]
    messages = [Message.system("Be brief."), Message.user(parts), Message.assistant(None)]
    assert path_of(*messages) == MULTIMODAL
    assert messages_of(*messages) == [
        {"role": "system", "content": [{"text": "Be brief."}]},
        {
            "role": "user",
            "content": [
                {"image": "https://example.com/1.png"},
                {"image": PIXEL},
                {"audio": "data:audio/wav;base64,QUJD"},
                {"video": "https://example.com/1.mp4", "fps": 2},
                {"text": "What is it?"},
            ],
        },
        {"role": "assistant", "content": ""},
    ]


@pytest.mark.parametrize(
    ("model", "path"),
    [
        *((name, TEXT) for name in ("qwen-plus", "qwen3-max", "qwen2.5-72b-instruct", "deepseek-v3.2", "evl-1")),
        *((name, MULTIMODAL) for name in ("qwen-vl-max", "qwen3-vl-plus", "qwen2.5-vl-72b-instruct", "qvq-max")),
        *((name, MULTIMODAL) for name in ("qwen-omni-turbo", "qwen2-audio-instruct", "qwen-vl-ocr", "qwen3-asr-flash")),
    ],
)
def test_models_that_see_are_asked_where_they_are(model: str, path: str) -> None:
    assert path_of(USER, model=model) == path
    content = "Hi" if path == TEXT else [{"text": "Hi"}]
    assert messages_of(USER, model=model) == [{"role": "user", "content": content}]


def test_what_is_to_be_cached_is_a_part() -> None:
    part = {"type": "text", "text": "long", "cache_control": EPHEMERAL}
    assert messages_of({"role": "system", "content": [part]}, USER) == [{"role": "system", "content": [part]}, USER]
    assert messages_of({**USER, "cache_control": EPHEMERAL}) == [
        {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": EPHEMERAL}]}
    ]
    assert messages_of({"role": "user", "content": [part]}, model="qwen-vl-max") == [
        {"role": "user", "content": [{"text": "long", "cache_control": EPHEMERAL}]}
    ]
    tool = {**WEATHER, "cache_control": EPHEMERAL}
    assert parameters_of(tools=[tool])["tools"] == [tool]


def test_reasoning_goes_back() -> None:
    _, first, _ = decode(DashScopeDialect(), [transcript("dashscope", "reasoning")])
    sent = messages_of(USER, first.to_message(), USER)[1]
    assert sent == {"role": "assistant", "content": "Hello!", "reasoning_content": "Hmm, hello?"}


def test_calls_and_their_results_go_back() -> None:
    _, first, _ = decode(DashScopeDialect(), [transcript("dashscope", "tools")])
    results = [Message.tool("rain", call.id or "") for call in first.tool_calls]
    sent = messages_of(USER, first.to_message(), *results)[1:]
    assert sent[0] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "index": index,
                "function": {"name": "get_weather", "arguments": call.arguments},
            }
            for index, call in enumerate(first.tool_calls)
        ],
    }
    assert sent[1:] == [
        {"role": "tool", "content": "rain", "tool_call_id": "call_30817b", "name": "get_weather"},
        {"role": "tool", "content": "rain", "tool_call_id": "call_566994", "name": "get_weather"},
    ]


# -- the stream --------------------------------------------------------------------------------------------------------


def test_usage_counts_what_is_a_count() -> None:
    def usage_of(usage: Any) -> Any:
        return decode(DashScopeDialect(), sse({**END, "usage": usage}))[1].usage

    usage = usage_of({"input_tokens": 4.0, "output_tokens": "2", "input_tokens_details": {"cached_tokens": 3}})
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (4, 2, 6)
    assert usage.cache_read_tokens == 3
    written = {"input_tokens": 1, "prompt_tokens_details": {"cache_creation_input_tokens": 1}}
    assert usage_of(written).cache_write_tokens == 1
    assert usage_of({}) is None
    assert usage_of([]) is None
    assert usage_of({"input_tokens": -1, "output_tokens": True, "total_tokens": None}) is None


@pytest.mark.parametrize("finish", ["null", "", None])
def test_only_a_reason_is_the_end(finish: Any) -> None:
    _, answer, error = decode(DashScopeDialect(), sse(event({"content": "a"}, finish)))
    assert isinstance(error, IncompleteStreamError)
    assert answer.finish_reason is None


def test_the_last_text_may_come_with_the_end() -> None:
    _, answer, error = decode(DashScopeDialect(), sse(event({"content": "a"}), event({"content": "b"}, "stop")))
    assert error is None
    assert (answer.content, answer.finish_reason) == ("ab", "stop")


@pytest.mark.parametrize("body", [{"request_id": "r"}, {"message": "no"}, event({"content": "a"}), "text", [1]])
def test_event_named_error_is_one_whatever_it_holds(body: Any) -> None:
    _, _, error = decode(DashScopeDialect(), sse(body, name="error"))
    assert isinstance(error, errors.APIError)


def test_calls_without_ids_or_indexes_get_both() -> None:
    calls = [{"function": {"name": "f", "arguments": {"a": 1}}}, {"function": {"name": "f", "arguments": "{}"}}]
    _, answer, _ = decode(DashScopeDialect(), sse(event({"content": "", "tool_calls": calls}), END))
    assert [(call.id, call.index, call.arguments) for call in answer.tool_calls] == [
        ("call_0", 0, '{"a":1}'),
        ("call_1", 1, "{}"),
    ]
    assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InvalidApiKey", 401, errors.AuthenticationError),
        ("Arrearage", 400, errors.InsufficientFundsError),
        ("AllocationQuota.FreeTierOnly", 403, errors.InsufficientFundsError),
        ("AccessDenied.Unpurchased", 403, errors.PermissionDeniedError),
        ("Model.AccessDenied", 403, errors.PermissionDeniedError),
        ("ModelNotFound", 404, errors.ModelNotFoundError),
        ("DataInspectionFailed", 400, errors.ContentFilterError),
        ("Throttling.RateQuota", 429, errors.RateLimitError),
        ("Throttling.AllocationQuota", 429, errors.RateLimitError),
        ("InvalidParameter", 400, errors.InvalidRequestError),
        ("InternalError.Algo", 500, errors.ServerError),
        ("ModelUnavailable", 503, errors.OverloadedError),
    ],
)
def test_code_says_what_kind_of_error_it_is(code: str, status: int, kind: type[AnyLLMError]) -> None:
    body = {"code": code, "message": "what happened", "request_id": "r1"}
    _, _, streamed = decode(DashScopeDialect(), sse(event({"content": "a"}), body, name="error")[1:])
    with pytest.raises(errors.APIError) as whole:
        DashScopeDialect().response(json.dumps(body).encode())
    answered = DashScopeDialect().error(status, {}, json.dumps(body).encode())
    for error in (streamed, whole.value, answered):
        assert isinstance(error, errors.APIError)
        assert type(error) is kind
        assert (error.message, error.code, error.request_id) == ("what happened", code, "r1")
        assert (error.provider, error.body) == ("dashscope", body)
    assert answered.status_code == status


def test_error_before_a_stream_may_be_framed_as_one() -> None:
    body = b'id:1\nevent:error\n:HTTP_STATUS/400\ndata:{"code":"InvalidParameter","message":"bad top_p"}\n\n'
    error = DashScopeDialect().error(400, {}, body)
    assert (error.message, error.code) == ("bad top_p", "InvalidParameter")
    assert DashScopeDialect().error(400, {}, b"id:1").message == "id:1"


# -- whole answers -----------------------------------------------------------------------------------------------------


def test_whole_answer_of_two_choices_is_counted_as_the_host_says() -> None:
    choices = [{"index": at, "message": {"content": "ab"[at]}, "finish_reason": "stop"} for at in (0, 1)]
    count = {"input_tokens": 1, "output_tokens": 4, "total_tokens": 5}
    answer = DashScopeDialect().response(json.dumps({"output": {"choices": choices}, "usage": count}).encode())
    assert [choice.message.content for choice in answer.choices] == ["a", "b"]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5


@pytest.mark.parametrize("body", [b'{"output": []}', b'{"output": {"choices": 5}}'])
def test_whole_answer_that_is_none_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedStreamError):
        DashScopeDialect().response(body)


def test_whole_answer_without_an_end_is_incomplete() -> None:
    with pytest.raises(IncompleteStreamError):
        DashScopeDialect().response(json.dumps(event({"content": "a"})).encode())


# -- through the provider ----------------------------------------------------------------------------------------------


def test_a_stream_from_beginning_to_end() -> None:
    from anyllm._transport.http import Transport
    from anyllm.providers.provider import Provider
    from anyllm.providers.table.row import Row

    with answering(transcript("dashscope", "text"), "text/event-stream;charset=UTF-8") as (url, captured):
        host = Provider(
            Row(name="dashscope", dialect=DashScopeDialect(), base_url=f"{url}/api/v1", key_vars=("K",)),
            transport=Transport(),
        )
        params = {"model": "qwen-plus", "messages": [USER]}
        answer = host.completion_stream(anyllm.Context(timeout=30), params, api_key="sk-1").collect()
        host.close()
    assert answer.content == "我是通义千问。"
    assert captured.path == f"/api/v1{TEXT}"
    assert captured.headers["authorization"] == "Bearer sk-1"
    assert captured.headers["x-dashscope-sse"] == "enable"


# -- the official client -----------------------------------------------------------------------------------------------


def official_call(function: Any, model: str, stream: bool, **arguments: Any) -> Captured:
    """The request that the official client sends; of a stream, all of which is read."""
    result = json.dumps(END).encode()
    body = b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:" + result + b"\n\n" if stream else result
    streaming = {"stream": True, "incremental_output": True} if stream else {}
    with answering(body, "text/event-stream" if stream else "application/json") as (url, captured):
        answer = function(
            model, api_key="k", base_address=f"{url}/api/v1", result_format="message", **streaming, **arguments
        )
        for _ in answer if stream else ():
            pass
    return captured


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "messages", "params", "theirs"),
    [
        *(("qwen-plus", [USER], *row) for row in PARAMETERS),
        (
            "qwen-plus",
            [Message.system("Be brief."), USER],
            {},
            {"messages": [{"role": "system", "content": "Be brief."}, USER]},
        ),
        (
            "qwen-vl-max",
            [
                Message.system("Be brief."),
                Message.user([ContentPart.from_image("https://example.com/1.png"), ContentPart(text="?")]),
            ],
            {},
            {
                "messages": [
                    {"role": "system", "content": [{"text": "Be brief."}]},
                    {"role": "user", "content": [{"image": "https://example.com/1.png"}, {"text": "?"}]},
                ]
            },
        ),
    ],
)
def test_official_client_sends_the_same(model: str, messages: Any, params: Any, theirs: Any, stream: bool) -> None:
    dashscope = pytest.importorskip("dashscope")
    function = dashscope.Generation if model == "qwen-plus" else dashscope.MultiModalConversation
    captured = official_call(function.call, model, stream, **{"messages": [USER], **theirs})
    request = DashScopeDialect().request(CompletionParams("x", messages, **params), model=model, stream=stream)
    assert captured.path == f"/api/v1{request.path}"
    assert captured.body == json.loads(request.body)
    assert captured.headers.get("x-dashscope-sse") == request.headers.get("X-DashScope-SSE")


#: Where the official client gives less than stands in the transcript, and why.
DIFFERENCES = {
    "other_events": "it cannot read events without an output",
    "two_choices": "it gives the events of both as they come, and leaves their sums to the caller",
}


@pytest.mark.long
@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case not in DIFFERENCES and not case.startswith(("error_too", "whole", "error_without"))
    ],
)
def test_official_client_reads_the_same(case: str) -> None:
    dashscope = pytest.importorskip("dashscope")
    _, answer, error = decode(DashScopeDialect(), [transcript("dashscope", case)])
    texts, thoughts, finish, usage = "", "", None, None
    pieces: dict[Any, str] = {}
    arguments = {"messages": [USER], "stream": True, "incremental_output": True, "result_format": "message"}
    with answering(transcript("dashscope", case), "text/event-stream") as (url, _):
        for response in dashscope.Generation.call("qwen-plus", api_key="k", base_address=f"{url}/api/v1", **arguments):
            if response.status_code != 200:
                assert response.message in str(error)
                break
            usage = response.usage
            for choice in response.output.choices or [{"message": {"content": response.output.text}}]:
                if choice.get("index", 0):
                    continue
                message, content = choice["message"], choice["message"].get("content")
                texts += content if isinstance(content, str) else "".join(part["text"] for part in content)
                thoughts += message.get("reasoning_content") or ""
                finish = choice.get("finish_reason") or response.output.finish_reason
                for piece in message.get("tool_calls") or ():
                    pieces[piece["index"]] = pieces.get(piece["index"], "") + piece["function"]["arguments"]
    assert (answer.content, answer.reasoning) == (texts, thoughts)
    assert [call.arguments for call in answer.tool_calls] == list(pieces.values())
    if error is None:
        assert answer.raw_finish_reason == finish
        assert answer.usage is not None
        assert usage is not None
        assert answer.usage.raw == dict(usage)
