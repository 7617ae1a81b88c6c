"""The OpenAI chat dialect: hand-written transcripts for each oddity, then its request, errors and hostile input."""

from __future__ import annotations

import datetime
import json
from typing import Any

import choice_streams
import pytest
from choice_streams import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from anyllm import errors
from anyllm._framing.detect import JSONEvent
from anyllm.errors import APIError, IncompleteStreamError, InvalidRequestError, MalformedStreamError
from anyllm.types import CompletionParams, ContentPart, Message
from anyllm.wire._base.surrogate_joiner import mend
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect


def decode(reads: list[bytes], dialect: OpenAIChatDialect | None = None) -> Result:
    return choice_streams.decode(dialect or OpenAIChatDialect(), reads)


def sse(*bodies: Any, done: bool = True) -> list[bytes]:
    lines = [b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies]
    return [*lines, b"data: [DONE]\n\n"] if done else lines


def one(delta: Any, finish: Any = None, **choice: Any) -> dict[str, Any]:
    return {"id": "c1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]}


# -- transcripts -------------------------------------------------------------------------------------------------------


def test_chunk_keeps_what_the_host_said() -> None:
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


@pytest.mark.parametrize(
    ("raw", "normalised"),
    [
        *[(word, "stop") for word in ("stop", "eos", "end_turn", "stop_sequence", "COMPLETE", "STOP")],
        *[(word, "length") for word in ("length", "max_tokens", "model_context_window_exceeded", "model_length")],
        *[(word, "tool_calls") for word in ("tool_calls", "function_call", "tool_use")],
        *[(word, "content_filter") for word in ("content_filter", "sensitive", "refusal", "guardrail_intervened")],
        *[(word, "unknown") for word in ("pause_turn", "abort", "stopped", "unknown", "tool_calls_2")],
    ],
)
def test_finish_reason_is_normalised_and_kept(raw: str, normalised: str) -> None:
    (chunk,), answer, error = decode(sse(one({"content": "a"}, raw)))
    assert error is None
    assert (chunk.finish_reason, chunk.raw_finish_reason) == (normalised, raw)
    assert (answer.finish_reason, answer.raw_finish_reason) == (normalised, raw)


@pytest.mark.parametrize("finish", ["", "null", None, False])
def test_what_is_no_finish_reason_is_none(finish: Any) -> None:
    (chunk,), _, error = decode(sse(one({"content": "a"}, finish)))
    assert (chunk.finish_reason, chunk.raw_finish_reason) == (None, None)
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


def usage_of(raw: Any) -> Any:
    chunks, _, _ = decode(sse({**one({}, "stop"), "usage": raw}))
    return chunks[0].usage


@pytest.mark.parametrize(
    ("raw", "cached", "written"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 3}}, 7, 3),
        ({"prompt_cache_hit_tokens": 7, "prompt_cache_miss_tokens": 3}, 7, None),
        ({"cached_tokens": 7}, 7, None),
        ({"num_cached_tokens": 7}, 7, None),
        ({"prompt_tokens_details": {"cached_tokens": 0}, "cache_creation_input_tokens": 3}, 0, 3),
        ({"prompt_tokens_details": None}, None, None),
    ],
)
def test_cache_tokens_are_found_under_every_name(raw: dict[str, Any], cached: Any, written: Any) -> None:
    usage = usage_of({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, **raw})
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (cached, written)
    assert usage.prompt_tokens == 10
    assert usage.raw["prompt_tokens"] == 10


@pytest.mark.parametrize(
    ("reasoning", "completion", "total", "expected"),
    [
        (100, 102, 112, (102, 112)),  # included, as OpenAI counts
        (100, 2, 112, (102, 112)),  # in the total only: xAI
        (100, 2, 12, (102, 112)),  # nowhere: Vercel's Gemini
        (369, 365, 375, (365, 375)),  # included, but counted with another tokenizer
        (0, 2, 12, (2, 12)),
    ],
)
def test_completion_includes_reasoning(reasoning: int, completion: int, total: int, expected: Any) -> None:
    details = {"reasoning_tokens": reasoning}
    usage = usage_of(
        {
            "prompt_tokens": 10,
            "completion_tokens": completion,
            "total_tokens": total,
            "completion_tokens_details": details,
        }
    )
    assert (usage.completion_tokens, usage.total_tokens) == expected
    assert usage.reasoning_tokens == reasoning


def test_prompt_includes_what_was_cached() -> None:
    anthropic = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 112, "cache_read_input_tokens": 100}
    usage = usage_of(anthropic)
    assert (usage.prompt_tokens, usage.cache_read_tokens, usage.total_tokens) == (110, 100, 112)
    usage = usage_of({**anthropic, "total_tokens": 12})  # a cache that is no part of this prompt
    assert (usage.prompt_tokens, usage.cache_read_tokens, usage.total_tokens) == (10, None, 12)


def test_usage_may_be_floats_strings_and_nulls() -> None:
    usage = usage_of({"prompt_tokens": 10.0, "completion_tokens": "2", "total_tokens": None})
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (10, 2, 12)
    assert usage_of({"prompt_tokens": None}) is None
    assert usage_of({"cost": 1}) is None
    assert usage_of([1]) is None


def test_zeros_after_figures_are_not_the_last_word() -> None:
    figures = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    zeros = dict.fromkeys(figures, 0)
    _, answer, _ = decode(sse({**one({}, "stop"), "usage": figures}, {"choices": [], "usage": zeros}))
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3


# -- what cannot be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        '{"choices": {"0": {}}}',
        '{"choices": "x"}',
        '{"choices": [7]}',
        '{"choices": [{"index": [], "delta": {}}]}',
        '{"choices": [{"index": true, "delta": {}}]}',
        '{"choices": [{"delta": "text"}]}',
        '{"choices": [{"delta": {"content": true}}]}',
        '{"choices": [{"delta": {"content": [[1]]}}]}',
        '{"choices": [{"delta": {"tool_calls": "x"}}]}',
        '{"choices": [{"delta": {"tool_calls": [1]}}]}',
        '{"choices": [{"delta": {"tool_calls": [{"function": "f"}]}}]}',
        '{"choices": [{"delta": {"tool_calls": [{"index": "a", "function": {"name": "f"}}]}}]}',
        '{"choices": [{"delta": {}, "finish_reason": {"x": 1}}]}',
        '{"id": {}, "choices": []}',
        '{"model": [1], "choices": []}',
    ],
)
def test_nonsense_is_a_malformed_stream(data: str) -> None:
    with pytest.raises(MalformedStreamError) as caught:
        OpenAIChatDialect(provider="host").decoder().feed(JSONEvent(data))
    assert caught.value.provider == "host"
    assert len(str(caught.value)) < 250


# -- halves of characters ----------------------------------------------------------------------------------------------


@given(st.text(alphabet="a\ud83d\ude00é", max_size=12), st.integers(1, 3))
@settings(max_examples=200)
def test_text_cut_anywhere_is_the_mended_text(text: str, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    for key in ("content", "reasoning_content", "refusal"):
        chunks, answer, _ = decode(sse(*[one({key: piece}) for piece in pieces], one({}, "stop")))
        message = answer.to_message()
        found = {"content": answer.content, "reasoning_content": answer.reasoning, "refusal": message.refusal or ""}
        assert found[key] == mend(text)
        json.dumps([chunk.to_dict(raw=True) for chunk in chunks], ensure_ascii=False).encode()


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


# -- whole answers -----------------------------------------------------------------------------------------------------


def test_whole_answer_with_an_error_inside_is_that_error() -> None:
    with pytest.raises(errors.RateLimitError, match="slow down"):
        OpenAIChatDialect().response(b'{"error": {"message": "slow down", "code": 429}}')
    with pytest.raises(errors.AuthenticationError):
        OpenAIChatDialect().response(
            b'{"base_resp": {"status_code": 1004, "status_msg": "login fail"}, "choices": null}'
        )
    with pytest.raises(errors.OverloadedError):
        OpenAIChatDialect().response(b'[{"error": {"code": 503, "message": "no room"}}]')


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


def test_parameters_the_host_cannot_do_are_named() -> None:
    with pytest.raises(errors.UnsupportedParameterError, match="thinking_budget") as caught:
        sent(thinking_budget=5)
    assert caught.value.param == "thinking_budget"
    with pytest.raises(errors.UnsupportedParameterError, match=r"none, minimal, low.* not 'huge'") as caught:
        sent(reasoning_effort="huge")
    assert caught.value.param == "reasoning_effort"
    assert caught.value.status_code is None
    assert "reasoning_effort" not in sent(reasoning_effort="auto")
    assert sent(reasoning_effort="none")["reasoning_effort"] == "none"


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


def test_extra_body_and_headers_win() -> None:
    request = OpenAIChatDialect().request(
        params(
            temperature=1,
            extra_body={"temperature": 2, "top_k": 5, "model": "other", "stream_options": {"a": 1}},
            extra_headers={"accept": "x/y", "X-Title": "t"},
        ),
        model="m",
        stream=True,
    )
    body = json.loads(request.body)
    assert (body["temperature"], body["top_k"], body["model"]) == (2, 5, "other")
    assert body["stream_options"] == {"a": 1}
    assert request.fallbacks == {}
    assert request.headers == {"Content-Type": "application/json", "accept": "x/y", "X-Title": "t"}


def test_messages_have_keys_that_openai_lacks() -> None:
    marked = sent_message(Message.user("x", cache_control={"type": "ephemeral"}))
    assert marked["cache_control"] == {"type": "ephemeral"}
    parts = [
        ContentPart(type="image_url", image_url={"url": "data:,", "detail": "low"}, extra={"a": 1}),
        {"type": "video_url", "video_url": {"url": "u"}},
    ]
    assert sent_message(Message.user(parts))["content"] == [
        {"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}, "a": 1},
        {"type": "video_url", "video_url": {"url": "u"}},
    ]


def test_tool_calls_are_sent_back_without_index() -> None:
    call = {"id": "k1", "function": {"name": "f", "arguments": "{}"}, "index": 3, "extra_content": {"g": {"s": "x"}}}
    message = sent_message(Message.assistant(tool_calls=[call]))
    function = {"name": "f", "arguments": "{}"}
    assert message == {
        "role": "assistant",
        "tool_calls": [{"id": "k1", "type": "function", "function": function, "extra_content": {"g": {"s": "x"}}}],
    }
    without_id = sent_message(Message.assistant(tool_calls=[{"function": function}]))
    assert without_id == {"role": "assistant", "function_call": function}


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


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (404, InvalidRequestError, False),
        (405, InvalidRequestError, False),
        (408, errors.ServerError, True),
        (409, InvalidRequestError, True),
        (599, errors.ServerError, True),
    ],
)
def test_status_alone_gives_the_class(status: int, kind: type[APIError], retryable: bool) -> None:
    error = error_of(status)
    assert type(error) is kind
    assert error.is_retryable is retryable
    assert error.status_code == status
    assert error.message
    assert error.body == ""
    assert str(error).startswith(f"host: {status}: ")


def openai_error(message: str = "m", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, openai_error(code="context_length_exceeded"), "ContextLengthExceededError"),
        (400, openai_error("Input is too long for requested model."), "ContextLengthExceededError"),
        (400, openai_error("the request exceeds the available context size"), "ContextLengthExceededError"),
        (500, openai_error("prompt exceeds context size"), "ContextLengthExceededError"),
        (429, openai_error(code="insufficient_quota", type="insufficient_quota"), "InsufficientFundsError"),
        (402, openai_error("Insufficient Balance", type="unknown_error"), "InsufficientFundsError"),
        (429, openai_error("Your account balance: insufficient balance, please recharge"), "InsufficientFundsError"),
        (429, openai_error("Too many", type="tokens", code="rate_limit_exceeded"), "RateLimitError"),
        (400, openai_error("Rate limit: model has maximum context", code="rate_limit_exceeded"), "RateLimitError"),
        (400, openai_error(code="content_filter", param="prompt"), "ContentFilterError"),
        (400, openai_error("violates our content policy"), "ContentFilterError"),
        (403, openai_error("Your chosen model requires moderation: flagged for moderation"), "ContentFilterError"),
        (404, openai_error(code="model_not_found"), "ModelNotFoundError"),
        (404, openai_error("The model `x` does not exist"), "ModelNotFoundError"),
        (404, openai_error("Unknown deployment"), "ModelNotFoundError"),
        (404, openai_error("Not Found"), "InvalidRequestError"),
        (400, openai_error("Model x not found"), "ModelNotFoundError"),
        (400, openai_error("The model does not support tools"), "InvalidRequestError"),
        (403, openai_error(code="model_not_found"), "ModelNotFoundError"),
        (400, openai_error(code="unsupported_parameter", param="top_p"), "UnsupportedParameterError"),
        (400, openai_error("Unrecognized request argument supplied: top_k"), "UnsupportedParameterError"),
        (400, openai_error("max_tokens must be positive", param="max_tokens"), "InvalidRequestError"),
        (400, openai_error("Incorrect API key provided: sk-x"), "AuthenticationError"),
        (400, [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}],
         "AuthenticationError"),
        (429, [{"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}}],
         "RateLimitError"),
        (500, openai_error("The engine is currently overloaded"), "OverloadedError"),
        (429, openai_error(type="engine_overloaded_error"), "OverloadedError"),
        (403, {"message": "forbidden"}, "PermissionDeniedError"),
        (418, {"message": "teapot"}, "InvalidRequestError"),
    ],
)  # fmt: skip
def test_words_of_the_provider_come_before_the_status(status: int, body: Any, kind: str) -> None:
    error = error_of(status, body)
    assert type(error) is getattr(errors, kind), error
    assert error.status_code == status
    assert error.body == body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "said"}}, "said"),
        ({"error": "said"}, "said"),
        ({"error": ["said"]}, "said"),
        ({"message": "said"}, "said"),
        ({"Message": "said"}, "said"),
        ({"msg": "said"}, "said"),
        ({"detail": "said"}, "said"),
        ({"detail": {"message": "said"}}, "said"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too large"}, {"msg": "more"}]}, "n: too large; more"),
        ({"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "no"}]}}, "n: no"),
        ({"errors": [{"code": 7, "message": "said"}]}, "said"),
        ({"errors": ["said"]}, "said"),
        ([{"error": {"message": "said"}}], "said"),
        ({"error_msg": "said", "error_code": 17}, "said"),
        ({"error": {"message": "Returned", "metadata": {"raw": '{"error":{"message":"said"}}'}}}, "Returned: said"),
        ({"error": {"message": "Returned", "metadata": {"raw": "said"}}}, "Returned: said"),
        ({"error": {"message": "m said", "metadata": {"raw": "said"}}}, "m said"),
        ("said", "said"),
        (b"said", "said"),
        (b"\xef\xbb\xbf<html><head><title>Said\n it</title></head><body>long</body></html>", "Said it"),
        (b"<html><body><h1>Said</h1><p>long</p></body></html>", "Said"),
        (b"<html><body>long</body></html>", "Bad Request"),
        (b'data: {"error": {"message": "said"}}\n\ndata: [DONE]\n\n', "said"),
        (b'event: error\ndata: {"error": {"message": "said"}}\n\n', "said"),
        (b"", "Bad Request"),
        ({}, "Bad Request"),
        ({"error": {}}, "Bad Request"),
        (None, "null"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"message":' * 900 + b"1" + b"}" * 900, "Bad Request"),
    ],
)
def test_message_is_found_in_every_shape(body: Any, message: str) -> None:
    assert error_of(400, body).message == message


@pytest.mark.parametrize(
    ("code", "expected"), [(None, None), ("", None), (7, "7"), ("x", "x"), (True, None), ({}, None)]
)
def test_code_is_text_or_none(code: Any, expected: str | None) -> None:
    assert error_of(400, openai_error(code=code)).code == expected


def test_parameter_is_found_in_the_message() -> None:
    said = "Unsupported parameter: 'max_tokens' is not supported with this model."
    assert error_of(400, openai_error(said)).param == "max_tokens"
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
