"""The OpenAI chat dialect beside the conformance suite: chunks, switches, stream options, reasoning, errors."""

from __future__ import annotations

import datetime
import gc
import json
from typing import Any

import choice_streams
import pytest
from choice_streams import Result

from anyllm import errors
from anyllm.errors import APIError, IncompleteStreamError
from anyllm.types import CompletionParams, Message
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect


def decode(reads: list[bytes], dialect: OpenAIChatDialect | None = None) -> Result:
    return choice_streams.decode(dialect or OpenAIChatDialect(), reads)


def sse(*bodies: Any, done: bool = True) -> list[bytes]:
    lines = [b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies]
    return [*lines, b"data: [DONE]\n\n"] if done else lines


def one(delta: Any, finish: Any = None, **choice: Any) -> dict[str, Any]:
    return {"id": "c1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]}


# -- transcripts -------------------------------------------------------------------------------------------------------


def test_chunk_has_the_providers_fields() -> None:
    body = one({"role": "assistant", "content": ""}) | {"model": "m", "created": 5, "service_tier": "flex"}
    (chunk,), _, _ = decode(sse({**body, "system_fingerprint": "fp", "x": [1]}))
    assert chunk.raw["x"] == [1]
    assert (chunk.id, chunk.model, chunk.created) == ("c1", "m", 5)
    assert (chunk.system_fingerprint, chunk.service_tier) == ("fp", "flex")
    assert chunk.choices[0].delta.content == ""
    assert chunk.content == ""


def test_done_without_finish_reason_is_complete_only_where_the_switch_says_so() -> None:
    stream = sse(one({"content": "a"}))
    _, _, error = decode(stream, OpenAIChatDialect(provider="snowflake", done_is_complete=True))
    assert error is None
    _, _, error = decode(stream)
    assert isinstance(error, IncompleteStreamError)
    _, _, error = decode(stream[:-1], OpenAIChatDialect(done_is_complete=True))
    assert isinstance(error, IncompleteStreamError)
    _, _, error = decode(sse(), OpenAIChatDialect(done_is_complete=True))
    assert isinstance(error, IncompleteStreamError)


def test_stop_with_calls_is_tool_calls_in_the_chunk() -> None:
    call = {"index": 0, "id": "k", "function": {"name": "f", "arguments": "{}"}}
    chunks, _, _ = decode(sse(one({"tool_calls": [call]}), one({}, "stop")))
    assert (chunks[-1].finish_reason, chunks[-1].raw_finish_reason) == ("tool_calls", "stop")


def test_stop_before_the_calls_is_tool_calls_in_the_answer() -> None:
    call = {"index": 0, "id": "k", "function": {"name": "f", "arguments": "{}"}}
    _, answer, _ = decode(sse(one({}, "stop"), one({"tool_calls": [call]})))
    assert (answer.finish_reason, answer.raw_finish_reason) == ("tool_calls", "stop")


def test_late_id_and_name_are_given_once() -> None:
    fragments = [
        {"index": 0, "function": {"name": "f", "arguments": ""}},
        {"index": 0, "id": "k1", "function": {"arguments": "{}"}},
        {"index": 0, "id": "k1", "function": {"name": "f", "arguments": ""}},
    ]
    _, answer, _ = decode(sse(*[one({"tool_calls": [fragment]}) for fragment in fragments], one({}, "tool_calls")))
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == [("k1", "f", "{}")]


def test_ids_that_are_the_same_at_other_indexes_are_other_calls() -> None:
    calls = [{"index": at, "id": "0", "function": {"name": "f", "arguments": f"[{at}]"}} for at in (0, 1)]
    _, answer, _ = decode(sse(one({"tool_calls": calls}, "tool_calls")))
    assert [(call.index, call.arguments) for call in answer.tool_calls] == [(0, "[0]"), (1, "[1]")]


def test_custom_tool_is_read_and_sent_back() -> None:
    call = {"index": 0, "id": "k", "type": "custom", "custom": {"name": "sh", "input": "ls -l"}}
    _, answer, _ = decode(sse(one({"tool_calls": [call]}, "tool_calls")))
    sent = sent_message(answer.to_message())
    assert sent["tool_calls"] == [{"id": "k", "type": "custom", "custom": {"name": "sh", "input": "ls -l"}}]


# -- usage -------------------------------------------------------------------------------------------------------------


def test_zeros_after_figures_are_not_the_last_word() -> None:
    figures = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    zeros = dict.fromkeys(figures, 0)
    _, answer, _ = decode(sse({**one({}, "stop"), "usage": figures}, {"choices": [], "usage": zeros}))
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3


# -- halves of characters ----------------------------------------------------------------------------------------------


def test_halves_of_two_choices_are_not_joined() -> None:
    halves = [{"index": at, "delta": {"content": half}} for at, half in ((0, "\ud83d"), (1, "\ude00"))]
    pieces = ((1, "!"), (0, "\ude00"))
    rest = [{"index": at, "delta": {"content": piece}, "finish_reason": "stop"} for at, piece in pieces]
    _, answer, _ = decode(sse({"choices": halves}, {"choices": rest}))
    assert [choice.message.content for choice in answer.choices] == ["\U0001f600", "\ufffd!"]


def test_half_at_the_end_of_a_stream_without_done_is_not_lost() -> None:
    chunks, answer, error = decode(sse(one({"content": "a\ud83d"}, "stop"), done=False))
    assert error is None
    assert answer.content == "a\ufffd"
    assert chunks[-1].choices[0].delta.content == "\ufffd"


# -- requests ----------------------------------------------------------------------------------------------------------


def params(*messages: Any, **fields: Any) -> CompletionParams:
    return CompletionParams(model="openai/m", messages=messages or ({"role": "user", "content": "Hi"},), **fields)


def sent(dialect: OpenAIChatDialect | None = None, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    request = (dialect or OpenAIChatDialect()).request(params(**fields), model="m", stream=stream)
    body: dict[str, Any] = json.loads(request.body)
    return body


def sent_message(message: Message, dialect: OpenAIChatDialect | None = None) -> dict[str, Any]:
    request = (dialect or OpenAIChatDialect()).request(params(message), model="m", stream=False)
    body: dict[str, Any] = json.loads(request.body)["messages"][0]
    return body


def test_switches_rename_parameters() -> None:
    dialect = OpenAIChatDialect(max_tokens_key="max_completion_tokens", thinking_budget_key="reasoning.max_tokens")
    body = sent(dialect, max_tokens=10, thinking_budget=0)
    assert body["max_completion_tokens"] == 10
    assert "max_tokens" not in body
    assert body["reasoning"] == {"max_tokens": 0}
    assert sent(OpenAIChatDialect(thinking_budget_key="thinking_budget"), thinking_budget=5)["thinking_budget"] == 5


def test_unknown_effort_is_refused_with_those_that_exist() -> None:
    with pytest.raises(errors.UnsupportedParameterError, match=r"none, minimal, low.* not 'huge'"):
        sent(reasoning_effort="huge")


def test_usage_is_asked_for_and_can_be_left_out() -> None:
    request = OpenAIChatDialect().request(params(temperature=0.1), model="m", stream=True)
    body, without = json.loads(request.body), json.loads(request.fallbacks["stream_options"])
    assert body.pop("stream_options") == {"include_usage": True}
    assert body == without
    assert without["stream"] is True
    assert request.headers["Accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("dialect", "given", "expected", "unasked"),
    [
        (OpenAIChatDialect(), {"include_usage": True}, {"include_usage": True}, False),
        (OpenAIChatDialect(), {"include_usage": False}, None, False),
        (OpenAIChatDialect(), {"include_usage": False, "x": 1}, {"x": 1}, False),
        (
            OpenAIChatDialect(),
            {"include_obfuscation": False},
            {"include_usage": True, "include_obfuscation": False},
            True,
        ),
        (OpenAIChatDialect(include_usage=False), None, None, False),
        (OpenAIChatDialect(include_usage=False), {"include_usage": True}, {"include_usage": True}, False),
    ],
)
def test_stream_options_are_the_callers_first(
    dialect: OpenAIChatDialect, given: Any, expected: Any, unasked: bool
) -> None:
    request = dialect.request(params(stream_options=given), model="m", stream=True)
    assert json.loads(request.body).get("stream_options") == expected
    assert ("stream_options" in request.fallbacks) == unasked
    if unasked:
        assert json.loads(request.fallbacks["stream_options"])["stream_options"] == given


def test_stream_options_are_for_streams_only() -> None:
    assert "stream_options" not in sent(stream_options={"include_usage": True})
    assert "stream" not in sent(stream=False)


def test_stream_options_of_extra_body_are_not_left_out() -> None:
    request = OpenAIChatDialect().request(params(extra_body={"stream_options": {"a": 1}}), model="m", stream=True)
    assert json.loads(request.body)["stream_options"] == {"a": 1}
    assert request.fallbacks == {}


DETAIL = {"type": "reasoning.encrypted", "data": "x"}


@pytest.mark.parametrize(
    ("reasoning", "key", "expected"),
    [
        ({"content": "Hm", "field": "reasoning"}, "reasoning_content", {"reasoning": "Hm"}),
        ({"content": "Hm"}, "reasoning_content", {"reasoning_content": "Hm"}),
        ({"content": "Hm"}, "reasoning", {"reasoning": "Hm"}),
        ({"content": "Hm"}, None, {}),
        ({"content": "Hm", "field": "reasoning", "details": [DETAIL]}, None, {}),
        ({"content": "Hm", "field": "reasoning_details", "details": [DETAIL]}, "r", {"reasoning_details": [DETAIL]}),
        (
            {"content": "Hm", "field": "reasoning", "details": [DETAIL]},
            "r",
            {"reasoning": "Hm", "reasoning_details": [DETAIL]},
        ),
        # What another format's host signed means nothing to this one.
        (
            {"content": "Hm", "details": [{"type": "thinking", "signature": "s"}, {"type": "gemini.signed"}, {"a": 1}]},
            "reasoning",
            {"reasoning": "Hm"},
        ),
        ({"signature": "s"}, "reasoning", {}),
    ],
)
def test_reasoning_goes_back_under_its_own_key(reasoning: Any, key: str | None, expected: dict[str, Any]) -> None:
    message = Message.assistant("Yes", reasoning=reasoning)
    dialect = OpenAIChatDialect(reasoning_key=key)
    assert sent_message(message, dialect) == {"role": "assistant", "content": "Yes", **expected}
    assert sent_message(Message.user("Yes", reasoning=reasoning), dialect) == {"role": "user", "content": "Yes"}


def test_reasoning_that_came_in_the_content_goes_back_there() -> None:
    body = one({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]})
    _, answer, _ = decode(sse(body, one({"content": "Yes"}, "stop")))
    assert sent_message(answer.to_message())["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
        {"type": "text", "text": "Yes"},
    ]


# -- errors ------------------------------------------------------------------------------------------------------------


def error_of(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> APIError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OpenAIChatDialect(provider="host").error(status, headers or {}, data)


def openai_error(message: str = "m", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}}


def google(message: str, code: int, status: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, openai_error("Rate limit: model has maximum context", code="rate_limit_exceeded"), "RateLimitError"),
        (403, openai_error(code="model_not_found"), "ModelNotFoundError"),
        (400, openai_error("max_tokens must be positive", param="max_tokens"), "InvalidRequestError"),
        (429, openai_error(type="engine_overloaded_error"), "OverloadedError"),
        (403, {"message": "forbidden"}, "PermissionDeniedError"),
        (400, [google("API key not valid.", 400, "INVALID_ARGUMENT")], "AuthenticationError"),
        (429, [google("You exceeded your current quota", 429, "RESOURCE_EXHAUSTED")], "RateLimitError"),
    ],
)
def test_code_comes_before_words_and_words_before_the_status(status: int, body: Any, kind: str) -> None:
    error = error_of(status, body)
    assert type(error) is getattr(errors, kind), error
    assert error.status_code == status
    assert error.body == body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "why"}}, "why"),
        ({"error": "why"}, "why"),
        ({"error": ["why"]}, "why"),
        ({"message": "why"}, "why"),
        ({"Message": "why"}, "why"),
        ({"msg": "why"}, "why"),
        ({"detail": "why"}, "why"),
        ({"detail": {"message": "why"}}, "why"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too large"}, {"msg": "more"}]}, "n: too large; more"),
        ({"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "no"}]}}, "n: no"),
        ({"errors": [{"code": 7, "message": "why"}]}, "why"),
        ({"errors": ["why"]}, "why"),
        ([{"error": {"message": "why"}}], "why"),
        ({"error_msg": "why", "error_code": 17}, "why"),
        ({"error": {"message": "Returned", "metadata": {"raw": '{"error":{"message":"why"}}'}}}, "Returned: why"),
        ({"error": {"message": "Returned", "metadata": {"raw": "why"}}}, "Returned: why"),
        ({"error": {"message": "m why", "metadata": {"raw": "why"}}}, "m why"),
        ("why", "why"),
        (b"why", "why"),
        (b"\xef\xbb\xbf<html><head><title>Said\n it</title></head><body>long</body></html>", "Said it"),
        (b"<html><body><h1>Said</h1><p>long</p></body></html>", "Said"),
        (b"<html><body>long</body></html>", "Bad Request"),
        (b'data: {"error": {"message": "why"}}\n\ndata: [DONE]\n\n', "why"),
        (b'event: error\ndata: {"error": {"message": "why"}}\n\n', "why"),
        (b"", "Bad Request"),
        ({}, "Bad Request"),
        ({"error": {}}, "Bad Request"),
        (None, "null"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_message_is_found_in_every_shape(body: Any, message: str) -> None:
    assert error_of(400, body).message == message


def test_body_that_is_nested_too_deeply_has_no_message() -> None:
    gc.collect()
    gc.disable()  # a finalizer of another test's objects would fail at the end of the stack
    try:
        assert error_of(400, b'{"message":' * 900 + b"1" + b"}" * 900).message == "Bad Request"
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("code", "expected"), [(None, None), ("", None), (7, "7"), ("x", "x"), (True, None), ({}, None)]
)
def test_code_is_text_or_none(code: Any, expected: str | None) -> None:
    assert error_of(400, openai_error(code=code)).code == expected


def test_parameter_is_found_in_the_message() -> None:
    message = "Unsupported parameter: 'max_tokens' is not supported with this model."
    assert error_of(400, openai_error(message)).param == "max_tokens"
    detail = [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]
    error = error_of(422, {"detail": detail})
    assert type(error) is errors.UnsupportedParameterError
    assert error.param == "stream_options"


def test_long_bodies_are_cut() -> None:
    error = error_of(500, b"x" * 100_000)
    assert len(error.body) == 4096
    assert len(str(error)) < 2100
    assert len(str(error_of(500, openai_error("y" * 100_000)))) < 2100


def test_redirect_is_named_but_only_by_its_host() -> None:
    error = error_of(307, b"moved", {"Location": "https://u:secret@other.example/path?key=secret"})
    assert type(error) is APIError
    assert "other.example" in str(error)
    assert "redirects are not followed" in str(error)
    assert "secret" not in str(error)
    assert not error.is_retryable


def http_date(seconds: float) -> str:
    then = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return then.strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "20"}, 20.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "20"}, 0.25),
        ({"Retry-After": http_date(30), "Date": http_date(0)}, 30.0),
        ({"Retry-After": http_date(0), "Date": http_date(30)}, 0.0),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"x-ratelimit-reset-requests": "1s"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert error_of(429, b"", headers).retry_after == seconds


def test_retry_after_in_the_body() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "19s"}]
    assert error_of(429, {"error": {"code": 429, "message": "m", "details": details}}).retry_after == 19.0


def test_request_id_is_the_most_telling_header() -> None:
    assert error_of(500, b"", {"CF-Ray": "r", "X-Request-ID": "x"}).request_id == "x"
    assert error_of(500, b"", {"CF-Ray": "r"}).request_id == "r"
    assert error_of(500, b"", {"apim-request-id": "a", "x-generation-id": "g"}).request_id == "a"
    assert error_of(500, {"message": "m", "request_id": "b"}).request_id == "b"


def test_header_says_whether_to_retry() -> None:
    assert error_of(400, b"", {"x-should-retry": "true"}).is_retryable
    assert not error_of(500, b"", {"X-Should-Retry": "false"}).is_retryable
