"""The Bedrock Converse dialect: hand-written transcripts for each oddity, then request, errors and hostile input."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ROOT

from anyllm import errors
from anyllm._framing.detect import JSONEvent, events
from anyllm.errors import AnyLLMError, IncompleteStreamError, InvalidRequestError, MalformedStreamError
from anyllm.types import ChatCompletion, ChatCompletionChunk, CompletionParams, ContentPart, Message
from anyllm.types._accumulate import Assembler
from anyllm.wire.bedrock_converse.dialect import BedrockConverseDialect

TRANSCRIPTS = ROOT / "tests" / "transcripts" / "bedrock_converse"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


def decode(found: Any) -> tuple[list[ChatCompletionChunk], ChatCompletion, AnyLLMError | None]:
    """All chunks, what they make together, and the error that ended them."""
    decoder, assembler = BedrockConverseDialect().decoder(), Assembler()
    chunks: list[ChatCompletionChunk] = []
    error = None
    try:
        for event in found:
            chunks += decoder.feed(event)
        chunks += decoder.finish()
    except AnyLLMError as exc:
        error = exc
    for chunk in chunks:
        assembler.add(chunk)
    return chunks, assembler.snapshot(), error


def told(*pairs: tuple[str, Any]) -> list[JSONEvent]:
    return [JSONEvent(body if isinstance(body, str) else json.dumps(body), name) for name, body in pairs]


def in_reads(reads: list[bytes]) -> Any:
    return events(reads, max_event_bytes=1 << 20)


START = ("messageStart", {"role": "assistant"})
TEXT = ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a"}})
STOP = ("messageStop", {"stopReason": "end_turn"})
USAGE = ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}})


# -- transcripts -------------------------------------------------------------------------------------------------------


def test_answer_is_complete_at_its_stop_and_done_with_its_figures() -> None:
    decoder = BedrockConverseDialect().decoder()
    states = []
    for event in told(START, TEXT, STOP, USAGE, TEXT):
        chunks = decoder.feed(event)
        states.append((decoder.complete, decoder.done))
    assert states == [(False, False), (False, False), (True, False), (True, True), (True, True)]
    assert not chunks
    assert decoder.finish() == ()


def test_figures_alone_are_no_answer() -> None:
    _, _, error = decode(told(START, TEXT, USAGE))
    assert isinstance(error, IncompleteStreamError)


def test_whole_answer_in_a_stream_is_read() -> None:
    """Gateways that know no streams answer so."""
    _, answer, error = decode(told(("message", WHOLE)))
    assert error is None
    assert answer.content == "Hello."


@pytest.mark.parametrize(
    "pair",
    [
        ("messageStop", {}),
        ("messageStop", {"stopReason": None}),
        ("messageStop", {"stopReason": ""}),
        ("contentBlockDelta", {"contentBlockIndex": 0}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": "a"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": 1}}),
        ("contentBlockDelta", {"contentBlockIndex": [], "delta": {"toolUse": {"input": "a"}}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "a"}}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": "a"}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": 1}}}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": "f"}}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "a"}}}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": 1}),
        ("contentBlockDelta", "[]"),
        ("contentBlockDelta", "nothing"),
        ("messageStart", '{"a":' * 5000),
    ],
)
def test_what_cannot_be_read_is_malformed(pair: tuple[str, Any]) -> None:
    _, _, error = decode(told(START, pair, STOP))
    assert isinstance(error, MalformedStreamError), error
    assert error.provider == "bedrock"


def test_broken_hidden_thoughts_are_malformed_only_where_they_must_be_joined() -> None:
    piece = ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": "?"}}})
    assert decode(told(START, piece, STOP))[2] is None
    assert isinstance(decode(told(START, piece, piece, STOP))[2], MalformedStreamError)


def test_empty_events_bring_nothing() -> None:
    decoder = BedrockConverseDialect().decoder()
    assert decoder.feed(JSONEvent("")) == ()
    assert decoder.feed(JSONEvent(" \n", "contentBlockDelta")) == ()


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message", "kind", "retryable"),
    [
        ("throttlingException", "Too many requests", "RateLimitError", True),
        ("internalServerException", "Try again", "ServerError", True),
        ("serviceUnavailableException", "Down", "OverloadedError", True),
        ("modelStreamErrorException", "Broken", "ServerError", True),
        ("modelTimeoutException", "Slow", "ServerError", True),
        ("validationException", "Malformed input request", "InvalidRequestError", False),
        ("validationException", "Input is too long for requested model.", "ContextLengthExceededError", False),
        ("somethingNewException", "New", "APIError", True),
    ],
)
def test_exception_in_a_stream_is_a_typed_error(name: str, message: str, kind: str, retryable: bool) -> None:
    said = {"code": name, "message": message, "originalStatusCode": 424}
    for event in (("error", {"error": said}), (name, {"message": message})):
        chunks, _, error = decode(told(START, TEXT, event))
        assert type(error) is getattr(errors, kind), error
        assert error.is_retryable is retryable
        assert error.code == name
        assert message in str(error)
        assert len(chunks) == 2


def test_error_without_a_name_is_one() -> None:
    _, _, error = decode(told(("message", {"message": "no", "code": "throttlingException"})))
    assert isinstance(error, errors.RateLimitError)


@pytest.mark.parametrize(
    ("status", "name", "message", "kind"),
    [
        (400, "ValidationException", "The provided model identifier is invalid.", "ModelNotFoundError"),
        (400, "ValidationException", "Input is too long for requested model.", "ContextLengthExceededError"),
        (400, "ValidationException", "messages: roles must alternate", "InvalidRequestError"),
        (400, "ServiceQuotaExceededException", "quota", "InvalidRequestError"),
        (403, "AccessDeniedException", "You don't have access to the model", "PermissionDeniedError"),
        (403, "UnrecognizedClientException", "The security token is invalid.", "AuthenticationError"),
        (403, "ExpiredTokenException", "expired", "AuthenticationError"),
        (403, "InvalidSignatureException", "Signature expired", "AuthenticationError"),
        (404, "ResourceNotFoundException", "Could not resolve the foundation model", "ModelNotFoundError"),
        (408, "ModelTimeoutException", "slow", "ServerError"),
        (424, "ModelErrorException", "broken", "ServerError"),
        (429, "ThrottlingException", "Too many tokens", "RateLimitError"),
        (429, "ModelNotReadyException", "not ready", "OverloadedError"),
        (500, "InternalServerException", "", "ServerError"),
        (503, "ServiceUnavailableException", "down", "OverloadedError"),
        (403, "", "Missing Authentication Token", "PermissionDeniedError"),
    ],
)
def test_status_and_name_make_the_error(status: int, name: str, message: str, kind: str) -> None:
    headers = {"x-amzn-RequestId": "req-1", "Content-Type": "application/json"}
    if name:
        headers["x-amzn-ErrorType"] = f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"
    error = BedrockConverseDialect().error(status, headers, json.dumps({"message": message}).encode())
    assert type(error) is getattr(errors, kind)
    assert (error.status_code, error.code, error.request_id) == (status, name or None, "req-1")
    assert message in str(error)
    assert error.provider == "bedrock"


def test_name_in_the_body_counts_too() -> None:
    body = b'{"__type": "com.amazon.coral.service#ExpiredTokenException", "message": "x"}'
    assert type(BedrockConverseDialect().error(403, {}, body)) is errors.AuthenticationError


# -- whole answers -----------------------------------------------------------------------------------------------------

WHOLE: dict[str, Any] = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
    "metrics": {"latencyMs": 10},
}


def whole(*content: Any, reason: str = "end_turn") -> ChatCompletion:
    body = {**WHOLE, "output": {"message": {"role": "assistant", "content": list(content)}}, "stopReason": reason}
    answer = BedrockConverseDialect().response(json.dumps(body).encode())
    assert answer.raw == body
    return answer


def test_whole_answer_is_read() -> None:
    answer = whole({"text": "Hello."})
    assert (answer.content, answer.finish_reason, answer.raw_finish_reason) == ("Hello.", "stop", "end_turn")
    assert answer.provider == "bedrock"
    assert answer.usage is not None
    assert (answer.usage.total_tokens, answer.usage.raw) == (7, WHOLE["usage"])


def test_whole_answer_has_thoughts_calls_and_citations() -> None:
    answer = whole(
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "YQ=="}},
        {"citationsContent": {"content": [{"text": "Yes"}, {"text": "."}], "citations": [{}]}},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {"é": [1, None]}}},
        {"toolUse": {"toolUseId": "s", "name": "own", "input": {"a": 1}, "type": "server_tool_use"}},
        {"toolUse": {"toolUseId": "u", "name": "g", "input": {}}},
        {"somethingNew": 1},
        reason="tool_use",
    )
    message = answer.to_message()
    assert message.content == "Yes."
    assert message.reasoning is not None
    assert (message.reasoning.content, message.reasoning.signature) == ("Hm", "s")
    assert message.reasoning.details == [
        {"type": "reasoningContent", "reasoningText": {"text": "Hm", "signature": "s"}},
        {"type": "reasoningContent", "redactedContent": "YQ=="},
    ]
    calls = [(call.id, call.name, call.parse()) for call in answer.tool_calls]
    assert calls == [("t", "f", {"é": [1, None]}), ("u", "g", {})]
    assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize("content", [7, "x", {}])
def test_whole_answer_with_citations_that_are_no_list_is_malformed(content: Any) -> None:
    with pytest.raises(MalformedStreamError, match=r"citationsContent\.content is"):
        whole({"citationsContent": {"content": content}})


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", MalformedStreamError),
        (b"[]", MalformedStreamError),
        (b"{}", MalformedStreamError),
        (b'{"output": {}}', MalformedStreamError),
        (b'{"output": {"message": {"content": [1]}}}', MalformedStreamError),
        (b'{"output": {"message": {"content": []}}}', MalformedStreamError),
        (b'{"message": "no", "__type": "ThrottlingException", "code": "ThrottlingException"}', errors.RateLimitError),
        (b"<html><title>Bad</title></html>", MalformedStreamError),
        (b'{"output": {"message": {"content": [' + b"[" * 5000, MalformedStreamError),
    ],
)
def test_whole_answer_that_is_none_is_an_error(body: bytes, kind: type[AnyLLMError]) -> None:
    with pytest.raises(kind):
        BedrockConverseDialect().response(body)


# -- requests ----------------------------------------------------------------------------------------------------------

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "What the weather is.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SPEC = {
    "toolSpec": {
        "name": "weather",
        "description": "What the weather is.",
        "inputSchema": {"json": WEATHER["function"]["parameters"]},  # type: ignore[index]
    }
}
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUg==")
PNG_PART = ContentPart.from_image(PNG)
PDF_PART = ContentPart.from_file(b"%PDF-1.4", filename="My report_v2 (final).pdf")


def sent(messages: Any = None, *, model: str = "m", stream: bool = True, **params: Any) -> dict[str, Any]:
    """The body of the request."""
    given = CompletionParams(model=model, messages=messages or [Message.user("Hi")], **params)
    body: dict[str, Any] = json.loads(BedrockConverseDialect().request(given, model=model, stream=stream).body)
    return body


def content(*messages: Any) -> list[Any]:
    """The blocks of each turn."""
    return [turn["content"] for turn in sent(list(messages))["messages"]]


def test_request_has_its_address_and_headers() -> None:
    params = CompletionParams(model="m", messages=[Message.user("Hi")], extra_headers={"accept": "x", "X-A": "1"})
    request = BedrockConverseDialect().request(params, model=CLAUDE, stream=True)
    assert request.method == "POST"
    assert request.path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    assert request.headers == {"Content-Type": "application/json", "accept": "x", "X-A": "1"}
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.a"
    request = BedrockConverseDialect().request(params.evolve(extra_headers=None), model=arn, stream=False)
    assert request.path == "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.a/converse"
    assert request.headers["Accept"] == "application/json"
    assert json.loads(request.body) == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}


def test_parameters_have_their_names_here() -> None:
    body = sent(temperature=0.5, top_p=1, max_tokens=9, stop="x", n=1, logprobs=False, stream_options={})
    assert body["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.5, "topP": 1, "stopSequences": ["x"]}
    assert sent(stop=["a", "b"])["inferenceConfig"] == {"stopSequences": ["a", "b"]}
    assert "inferenceConfig" not in sent(response_format={"type": "text"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("seed", 1),
        ("user", "u"),
        ("logprobs", True),
        ("top_logprobs", 2),
        ("parallel_tool_calls", False),
        ("stream_options", {"chunk_size": 1}),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}),
        ("reasoning_effort", "low"),
        ("reasoning_effort", "none"),
        ("reasoning_effort", "vast"),
        ("thinking_budget", 1024),
        ("thinking_budget", 0),
    ],
)
def test_what_the_host_cannot_do_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(errors.UnsupportedParameterError) as caught:
        sent(**{name: value})
    assert caught.value.param == name
    assert caught.value.provider == "bedrock"


def test_extra_body_wins() -> None:
    extra = {"inferenceConfig": {"maxTokens": 1}, "guardrailConfig": {"guardrailIdentifier": "g"}}
    body = sent(max_tokens=5, extra_body=extra)
    assert body == {"messages": body["messages"], **extra}


def test_tools_are_specified() -> None:
    bare = {"type": "function", "function": {"name": "now", "strict": True}, "cache_control": {"type": "ephemeral"}}
    own = {"systemTool": {"name": "nova_grounding"}}
    assert sent(tools=[WEATHER, bare, own])["toolConfig"] == {
        "tools": [
            SPEC,
            {
                "toolSpec": {
                    "name": "now",
                    "inputSchema": {"json": {"type": "object", "properties": {}}},
                    "strict": True,
                }
            },
            {"cachePoint": {"type": "default"}},
            own,
        ]
    }
    assert sent(functions=[WEATHER["function"]])["toolConfig"] == {"tools": [SPEC]}


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("auto", {"auto": {}}),
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "weather"}}, {"tool": {"name": "weather"}}),
    ],
)
def test_tool_choice_has_its_own_form(choice: Any, wanted: Any) -> None:
    assert sent(tools=[WEATHER], tool_choice=choice)["toolConfig"]["toolChoice"] == wanted


def test_tool_choice_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(errors.UnsupportedParameterError, match="leave out the tools"):
        sent(tools=[WEATHER], tool_choice="none")
    with pytest.raises(InvalidRequestError, match="there are none"):
        sent(tool_choice="required")
    assert "toolConfig" not in sent(tool_choice="none")
    assert "toolConfig" not in sent(tool_choice="auto", tools=[])


# -- reasoning


def test_claude_is_given_a_budget_and_newer_ones_an_effort() -> None:
    params = CompletionParams(model="m", messages=[Message.user("Hi")], reasoning_effort="medium", max_tokens=100)
    request = BedrockConverseDialect().request(params, model=CLAUDE, stream=True)
    body = json.loads(request.body)
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 4096}}
    assert body["inferenceConfig"] == {"maxTokens": 4196}
    (name,) = request.fallbacks
    assert name == "thinking.type.enabled"
    assert json.loads(request.fallbacks[name])["additionalModelRequestFields"] == {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "medium"},
    }
    own = params.evolve(extra_body={"additionalModelRequestFields": {"top_k": 5}})
    request = BedrockConverseDialect().request(own, model=CLAUDE, stream=True)
    assert json.loads(request.body)["additionalModelRequestFields"] == {"top_k": 5}
    assert not request.fallbacks


@pytest.mark.parametrize(
    ("model", "params", "fields"),
    [
        (CLAUDE, {"thinking_budget": 2000}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        (CLAUDE, {"thinking_budget": 0}, {"thinking": {"type": "disabled"}}),
        (CLAUDE, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}),
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "xhigh"}, {"reasoning_effort": "high"}),
        (
            "us.amazon.nova-2-lite-v1:0",
            {"reasoning_effort": "high"},
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
        ),
        ("us.amazon.nova-2-lite-v1:0", {"thinking_budget": 0}, {"reasoningConfig": {"type": "disabled"}}),
        (CLAUDE, {"reasoning_effort": "auto"}, None),
        ("meta.llama3", {"reasoning_effort": "auto"}, None),
        (CLAUDE, {}, None),
    ],
)
def test_each_makers_models_are_asked_in_their_own_words(model: str, params: Any, fields: Any) -> None:
    assert sent(model=model, **params).get("additionalModelRequestFields") == fields


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "none"}),
        ("openai.gpt-oss-120b-1:0", {"thinking_budget": 2000}),
        ("us.amazon.nova-2-lite-v1:0", {"thinking_budget": 2000}),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc", {"reasoning_effort": "low"}),
    ],
)
def test_reasoning_that_a_model_is_not_known_to_take_is_refused(model: str, params: Any) -> None:
    with pytest.raises(errors.UnsupportedParameterError, match="additionalModelRequestFields"):
        sent(model=model, **params)


# -- messages


def test_system_stands_apart() -> None:
    body = sent(
        [Message.system("A"), Message.user("Hi"), Message("developer", "B", cache_control={"type": "ephemeral"})]
    )
    assert body["system"] == [{"text": "A"}, {"text": "B"}, {"cachePoint": {"type": "default"}}]
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    assert "system" not in sent([Message.system(""), Message.user("Hi")])
    with pytest.raises(errors.UnsupportedParameterError, match="only be text"):
        sent([Message.system([PNG_PART]), Message.user("Hi")])


def test_turns_alternate() -> None:
    body = sent([Message.user("A"), Message.user("B"), Message.assistant(" "), Message.assistant("C")])
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "A"}, {"text": "B"}]},
        {"role": "assistant", "content": [{"text": "C"}]},
    ]


def test_images_and_documents_are_sent() -> None:
    ((image, text, document, again),) = content(
        Message.user([PNG_PART, ContentPart(text="What?"), PDF_PART, PDF_PART]),
    )
    assert image == {"image": {"format": "png", "source": {"bytes": base64.b64encode(PNG).decode()}}}
    assert text == {"text": "What?"}
    data = base64.b64encode(b"%PDF-1.4").decode()
    assert document == {"document": {"format": "pdf", "source": {"bytes": data}, "name": "My report v2 (final)"}}
    assert again["document"]["name"] == "My report v2 (final) 2"


@pytest.mark.parametrize(
    ("file", "form", "name"),
    [
        ({"file_data": "data:text/csv;base64,YQ==", "filename": "a.csv"}, "csv", "a"),
        ({"file_data": "data:text/plain;base64,YQ==", "filename": "notes.md"}, "md", "notes"),
        ({"file_data": "data:text/plain;base64,YQ==", "filename": "code.py"}, "txt", "code"),
        ({"file_data": "data:text/x-rust;base64,YQ=="}, "txt", "document"),
        ({"file_data": "data:application/octet-stream;base64,YQ==", "filename": "x.docx"}, "docx", "x"),
        ({"file_data": "s3://bucket/dir/y.pdf"}, "pdf", "y"),
        ({"file_data": "data:application/pdf;base64,YQ==", "filename": "äöü.pdf"}, "pdf", "document"),
    ],
)
def test_documents_have_their_format(file: Any, form: str, name: str) -> None:
    (((block),),) = content(Message.user([ContentPart("file", file=file)]))
    assert (block["document"]["format"], block["document"]["name"]) == (form, name)


def test_what_lies_in_s3_is_named() -> None:
    url = {"url": "s3://bucket/cat.JPG"}
    (((block),),) = content(Message.user([ContentPart("image_url", image_url=url)]))
    assert block == {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/cat.JPG"}}}}


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (ContentPart("image_url", image_url={"url": "https://example.com/a.png"}), "image_url"),
        (ContentPart("image_url", image_url={"url": "data:image/tiff;base64,YQ=="}), "image_url"),
        (ContentPart("image_url", image_url={"url": "s3://bucket/thing"}), "image_url"),
        (ContentPart("file", file={"file_id": "f"}), "file"),
        (ContentPart("file", file={"file_data": "data:application/zip;base64,YQ=="}), "file"),
        (ContentPart("input_audio", input_audio={"data": "YQ==", "format": "wav"}), "input_audio"),
    ],
)
def test_what_cannot_be_shown_is_refused(part: ContentPart, param: str) -> None:
    with pytest.raises(errors.UnsupportedParameterError) as caught:
        sent([Message.user([part])])
    assert caught.value.param == param


def test_blocks_that_only_the_host_knows_are_sent_as_they_are() -> None:
    guard = {"guardContent": {"text": {"text": "x"}}}
    parts = [guard, {"type": "anything", **guard}, {"type": "text", "text": "y"}, {"cachePoint": {"type": "default"}}]
    assert content({"role": "user", "content": parts}) == [
        [guard, guard, {"text": "y"}, {"cachePoint": {"type": "default"}}]
    ]
    with pytest.raises(InvalidRequestError, match="video_url"):
        sent([Message.user([ContentPart("video_url")])])


def test_documents_of_the_callers_own_are_not_changed() -> None:
    own = {"document": {"name": "a", "format": "pdf", "source": {"bytes": "YQ=="}}}
    (blocks,) = content({"role": "user", "content": [own, own]})
    assert [block["document"]["name"] for block in blocks] == ["a", "a 2"]
    assert own["document"]["name"] == "a"


def test_cache_points_stand_after_what_is_to_be_cached() -> None:
    hour = {"type": "ephemeral", "ttl": "1h"}
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    part = ContentPart(text="A", cache_control=hour)
    assert content(Message.user([part, ContentPart(text="B")])) == [[{"text": "A"}, point, {"text": "B"}]]
    assert content(Message.user([part], cache_control=hour)) == [[{"text": "A"}, point]]
    assert content(Message.user("A", cache_control=hour)) == [[{"text": "A"}, point]]
    assert content(Message.assistant([part], cache_control=hour)) == [[{"text": "A"}, point]]
    called = Message.assistant("B", tool_calls=[{"id": "t", "function": {"name": "f"}}], cache_control=hour)
    turns = content(Message.user("A"), called, Message.tool("C", "t", cache_control=hour))
    assert [block for turn in turns[1:] for block in turn if "cachePoint" in block] == [point, point]
    assert turns[1][-1] == turns[2][-1] == point


def test_calls_and_results_are_one_turn_each() -> None:
    calls = [
        {"id": "tu.1", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}},
        {"id": "tu_2", "function": {"name": "now", "arguments": ""}},
    ]
    results = [Message.tool("Rain", "tu.1", name="weather"), Message.tool([PNG_PART], "tu_2"), Message.tool("", "tu_2")]
    turns = content(Message.user("Hi"), Message.assistant("Look:", tool_calls=calls), *results, Message.user("So?"))
    assert turns[1] == [
        {"text": "Look:"},
        {"toolUse": {"toolUseId": "tu_1", "name": "weather", "input": {"city": "Bern"}}},
        {"toolUse": {"toolUseId": "tu_2", "name": "now", "input": {}}},
    ]
    image = {"image": {"format": "png", "source": {"bytes": base64.b64encode(PNG).decode()}}}
    assert turns[2] == [
        {"toolResult": {"toolUseId": "tu_1", "content": [{"text": "Rain"}]}},
        {"toolResult": {"toolUseId": "tu_2", "content": [image]}},
        {"toolResult": {"toolUseId": "tu_2", "content": []}},
        {"text": "So?"},
    ]


@pytest.mark.parametrize(
    "message",
    [
        Message("owl", "Hu"),
        Message("tool", "x"),
        Message.assistant(tool_calls=[{"function": {"name": "f"}}]),
        Message.assistant(tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "[1]"}}]),
        Message.user("Hi", name="Ann"),
    ],
)
def test_messages_that_cannot_be_sent_are_refused(message: Message) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        sent([Message.user("Hi"), message])
    assert caught.value.provider == "bedrock"


def test_refusal_is_sent_back_as_text() -> None:
    assert content(Message.user("Hi"), Message.assistant(refusal="No."))[1] == [{"text": "No."}]


def test_thoughts_are_sent_back_unchanged_and_first() -> None:
    body = (TRANSCRIPTS / "thinking.sse").read_bytes()
    _, answer, _ = decode(in_reads([body]))
    assert content(Message.user("Hi"), answer.to_message())[1] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm, yes.", "signature": "c2lnbmVk"}}},
        {"reasoningContent": {"redactedContent": "YWJjZA=="}},
        {"reasoningContent": {"reasoningText": {"text": "And more.", "signature": "b25l"}}},
        {"text": "Yes."},
    ]


@pytest.mark.parametrize(
    ("reasoning", "wanted"),
    [
        ("Hm", []),
        ({"content": "Hm", "signature": "s"}, [{"reasoningText": {"text": "Hm", "signature": "s"}}]),
        ({"content": "Hm", "signature": "s", "field": "thinking"}, []),
        ({"content": "Hm", "field": "reasoningContent"}, []),
        ({"details": [{"type": "reasoning.text", "text": "Hm", "signature": "s"}]}, []),
        ({"details": [{"type": "reasoningContent", "reasoningText": {"text": "Hm"}}]}, []),
        ({"details": [{"type": "reasoningContent", "reasoningText": 1}]}, []),
    ],
)
def test_only_thoughts_that_the_host_takes_are_sent_back(reasoning: Any, wanted: Any) -> None:
    (_, blocks) = content(Message.user("Hi"), Message.assistant("A", reasoning=reasoning))
    assert blocks == [*({"reasoningContent": inner} for inner in wanted), {"text": "A"}]


# -- the official client -----------------------------------------------------------------------------------------------


class _Capture(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen = (self.path, json.loads(body))  # type: ignore[attr-defined]
        self.send_response(400)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def capture() -> Iterator[Any]:
    """What the official client sends for keyword arguments: path and body."""
    pytest.importorskip("botocore")
    from botocore.config import Config
    from botocore.exceptions import ClientError
    from botocore.session import Session

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Capture)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    session = Session()
    session.set_credentials("id", "secret")
    client = session.create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        config=Config(retries={"max_attempts": 0}),
    )

    def send(stream: bool, **arguments: Any) -> Any:
        with pytest.raises(ClientError):
            (client.converse_stream if stream else client.converse)(**arguments)
        return server.seen  # type: ignore[attr-defined]

    yield send
    client.close()
    server.shutdown()
    server.server_close()
    thread.join()


HI = [{"role": "user", "content": [{"text": "Hi"}]}]
CALL = {"id": "t_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
USED = {"toolUse": {"toolUseId": "t_1", "name": "weather", "input": {"city": "Bern"}}}

#: Our parameters, and the official client's arguments for the same call.
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": ({}, {}),
    "limits": (
        {"max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "stop": ["a", "b"]},
        {"inferenceConfig": {"maxTokens": 5, "temperature": 0.5, "topP": 0.9, "stopSequences": ["a", "b"]}},
    ),
    "system": (
        {"messages": [Message.system("Be brief."), Message.user("Hi")]},
        {"system": [{"text": "Be brief."}]},
    ),
    "cached system": (
        {"messages": [Message.system("Be brief.", cache_control={"type": "ephemeral"}), Message.user("Hi")]},
        {"system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}]},
    ),
    "tools": ({"tools": [WEATHER]}, {"toolConfig": {"tools": [SPEC]}}),
    "some tool": (
        {"tools": [WEATHER], "tool_choice": "required"},
        {"toolConfig": {"tools": [SPEC], "toolChoice": {"any": {}}}},
    ),
    "one tool": (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"toolConfig": {"tools": [SPEC], "toolChoice": {"tool": {"name": "weather"}}}},
    ),
    "image": (
        {"messages": [Message.user([ContentPart(text="What?"), PNG_PART])]},
        {
            "messages": [
                {"role": "user", "content": [{"text": "What?"}, {"image": {"format": "png", "source": {"bytes": PNG}}}]}
            ]
        },
    ),
    "document": (
        {"messages": [Message.user([ContentPart(text="What?"), ContentPart.from_file(b"%PDF-1", filename="a.pdf")])]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"text": "What?"},
                        {"document": {"format": "pdf", "name": "a", "source": {"bytes": b"%PDF-1"}}},
                    ],
                }
            ]
        },
    ),
    "results": (
        {
            "messages": [Message.user("Hi"), Message.assistant("Ok", tool_calls=[CALL]), Message.tool("Rain", "t_1")],
            "tools": [WEATHER],
        },
        {
            "messages": [
                *HI,
                {"role": "assistant", "content": [{"text": "Ok"}, USED]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "t_1", "content": [{"text": "Rain"}]}}]},
            ],
            "toolConfig": {"tools": [SPEC]},
        },
    ),
    "thoughts": (
        {
            "messages": [
                Message.user("Hi"),
                Message.assistant(
                    "Ok",
                    reasoning={
                        "field": "reasoningContent",
                        "details": [
                            {"type": "reasoningContent", "reasoningText": {"text": "Hm", "signature": "s"}},
                            {"type": "reasoningContent", "redactedContent": "YWI="},
                        ],
                    },
                ),
                Message.user("So?"),
            ]
        },
        {
            "messages": [
                *HI,
                {
                    "role": "assistant",
                    "content": [
                        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}},
                        {"reasoningContent": {"redactedContent": b"ab"}},
                        {"text": "Ok"},
                    ],
                },
                {"role": "user", "content": [{"text": "So?"}]},
            ]
        },
    ),
    "thinking": (
        {"thinking_budget": 2000, "max_tokens": 4000},
        {
            "inferenceConfig": {"maxTokens": 4000},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        },
    ),
    "s3": (
        {"messages": [Message.user([ContentPart("image_url", image_url={"url": "s3://b/a.webp"})])]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://b/a.webp"}}}}],
                }
            ]
        },
    ),
    "extra": (
        {"extra_body": {"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}}},
        {"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}},
    ),
    "letters": ({"messages": [Message.user("Grüße 👋 \u2028 </x>")]}, {}),
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("call", CALLS)
def test_request_is_what_the_official_client_sends(call: str, stream: bool, capture: Any) -> None:
    ours, arguments = CALLS[call]
    if call == "letters":
        arguments = {"messages": [{"role": "user", "content": [{"text": ours["messages"][0].content}]}]}
    path, body = capture(stream, **{"modelId": CLAUDE, "messages": HI, **arguments})
    params = CompletionParams(**{"model": CLAUDE, "messages": [Message.user("Hi")], **ours})
    request = BedrockConverseDialect().request(params, model=CLAUDE, stream=stream)
    assert request.path == path
    assert json.loads(request.body) == body
