"""The Bedrock Converse dialect: broken events, whole answers, requests, and the official client beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from choice_streams import Result, answering, collected, transcript
from official_clients import make_bedrock

from anyllm import errors
from anyllm._framing.body_events import JSONEvent, events
from anyllm.errors import AnyLLMError, IncompleteStreamError, InvalidRequestError, MalformedStreamError
from anyllm.types import ChatCompletion, CompletionParams, ContentPart, Message
from anyllm.wire._base.protocols import Request
from anyllm.wire.bedrock_converse.dialect import BedrockConverseDialect

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


def decode(*pairs: tuple[str, Any]) -> Result:
    """Chunks, answer and error of events: their names and bodies."""
    found = [JSONEvent(body if isinstance(body, str) else json.dumps(body), name) for name, body in pairs]
    return collected(BedrockConverseDialect(), found)


START = ("messageStart", {"role": "assistant"})
TEXT = ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a"}})
STOP = ("messageStop", {"stopReason": "end_turn"})
USAGE = ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}})


# -- transcripts -------------------------------------------------------------------------------------------------------


def test_figures_alone_are_no_answer() -> None:
    _, _, error = decode(START, TEXT, USAGE)
    assert isinstance(error, IncompleteStreamError)


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
    ],
)
def test_what_cannot_be_read_is_malformed(pair: tuple[str, Any]) -> None:
    _, _, error = decode(START, pair, STOP)
    assert isinstance(error, MalformedStreamError), error
    assert error.provider == "bedrock"


def test_broken_hidden_thoughts_are_malformed_only_where_they_must_be_joined() -> None:
    piece = ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": "?"}}})
    assert decode(START, piece, STOP)[2] is None
    assert isinstance(decode(START, piece, piece, STOP)[2], MalformedStreamError)


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
    body = {"code": name, "message": message, "originalStatusCode": 424}
    for event in (("error", {"error": body}), (name, {"message": message})):
        chunks, _, error = decode(START, TEXT, event)
        assert type(error) is getattr(errors, kind), error
        assert error.is_retryable is retryable
        assert error.code == name
        assert message in str(error)
        assert len(chunks) == 2


def test_error_without_a_name_is_one() -> None:
    _, _, error = decode(("message", {"message": "no", "code": "throttlingException"}))
    assert isinstance(error, errors.RateLimitError)


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
        (b'{"output": {}}', MalformedStreamError),
        (b'{"output": {"message": {"content": [1]}}}', MalformedStreamError),
        (b'{"output": {"message": {"content": []}}}', MalformedStreamError),
        (b'{"message": "no", "__type": "ThrottlingException", "code": "ThrottlingException"}', errors.RateLimitError),
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


def request_of(messages: Any = None, *, model: str = "m", stream: bool = True, **fields: Any) -> Request:
    params = CompletionParams(model=model, messages=messages or [Message.user("Hi")], **fields)
    return BedrockConverseDialect().request(params, model=model, stream=stream)


def sent(messages: Any = None, *, model: str = "m", stream: bool = True, **params: Any) -> dict[str, Any]:
    """The body of the request."""
    body: dict[str, Any] = json.loads(request_of(messages, model=model, stream=stream, **params).body)
    return body


def content(*messages: Any) -> list[Any]:
    """The blocks of each turn."""
    return [turn["content"] for turn in sent(list(messages))["messages"]]


def test_model_is_quoted_in_the_path() -> None:
    assert request_of(model=CLAUDE).path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.a"
    quoted = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.a"
    assert request_of(model=arn, stream=False).path == f"/model/{quoted}/converse"


def test_parameters_have_their_names_here() -> None:
    body = sent(temperature=0.5, top_p=1, max_tokens=9, stop="x", n=1, logprobs=False, stream_options={})
    assert body["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.5, "topP": 1, "stopSequences": ["x"]}
    assert sent(stop=["a", "b"])["inferenceConfig"] == {"stopSequences": ["a", "b"]}
    assert "inferenceConfig" not in sent(response_format={"type": "text"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reasoning_effort", "low"),
        ("reasoning_effort", "none"),
        ("thinking_budget", 1024),
        ("thinking_budget", 0),
    ],
)
def test_reasoning_of_an_unknown_model_is_refused_by_name(name: str, value: Any) -> None:
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


def test_tool_choice_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(errors.UnsupportedParameterError, match="leave out the tools"):
        sent(tools=[WEATHER], tool_choice="none")
    with pytest.raises(InvalidRequestError, match="there are none"):
        sent(tool_choice="required")
    assert "toolConfig" not in sent(tool_choice="none")
    assert "toolConfig" not in sent(tool_choice="auto", tools=[])


# -- reasoning


def test_claude_is_given_a_budget_and_newer_ones_an_effort() -> None:
    params = {"model": CLAUDE, "reasoning_effort": "medium", "max_tokens": 100}
    request = request_of(**params)
    body = json.loads(request.body)
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 4096}}
    assert body["inferenceConfig"] == {"maxTokens": 4196}
    (name,) = request.fallbacks
    assert name == "thinking.type.enabled"
    assert json.loads(request.fallbacks[name])["additionalModelRequestFields"] == {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "medium"},
    }
    request = request_of(**params, extra_body={"additionalModelRequestFields": {"top_k": 5}})
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
    found = events([transcript("bedrock_converse", "thinking")], max_event_bytes=1 << 20)
    _, answer, _ = collected(BedrockConverseDialect(), found)
    assert content(Message.user("Hi"), answer.to_message())[1] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm, yes.", "signature": "c2lnbmVk"}}},
        {"reasoningContent": {"redactedContent": "YWJjZA=="}},
        {"reasoningContent": {"reasoningText": {"text": "And more.", "signature": "b25l"}}},
        {"text": "Yes."},
    ]


@pytest.mark.parametrize(
    ("reasoning", "expected"),
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
def test_only_thoughts_that_the_host_takes_are_sent_back(reasoning: Any, expected: Any) -> None:
    (_, blocks) = content(Message.user("Hi"), Message.assistant("A", reasoning=reasoning))
    assert blocks == [*({"reasoningContent": inner} for inner in expected), {"text": "A"}]


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def capture() -> Iterator[Any]:
    """A function: the path and the body that the official client sends for keyword arguments."""
    pytest.importorskip("botocore")
    from botocore.exceptions import ClientError

    with answering(b"{}", "application/json", 400) as (url, captured):
        client = make_bedrock(url)

        def send(stream: bool, **arguments: Any) -> Any:
            with pytest.raises(ClientError):
                (client.converse_stream if stream else client.converse)(**arguments)
            return captured.path, captured.body

        yield send
        client.close()


CALL = {"id": "t_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
USED = {"toolUse": {"toolUseId": "t_1", "name": "weather", "input": {"city": "Bern"}}}

THOUGHTS = [
    {"reasoningText": {"text": "Hm", "signature": "s"}},
    {"redactedContent": "YWI="},
]
REASONING = {"field": "reasoningContent", "details": [{"type": "reasoningContent", **thought} for thought in THOUGHTS]}
LETTERS = "Grüße 👋 \u2028 </x>"
NAMED = {"type": "function", "function": {"name": "weather"}}
GUARD = {"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}}


def turns(*contents: Any) -> dict[str, Any]:
    """The official client's argument: turns of user and model by turns."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[at % 2], "content": content} for at, content in enumerate(contents)]}


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
    "any or no tool": (
        {"tools": [WEATHER], "tool_choice": "auto"},
        {"toolConfig": {"tools": [SPEC], "toolChoice": {"auto": {}}}},
    ),
    "some tool": (
        {"tools": [WEATHER], "tool_choice": "required"},
        {"toolConfig": {"tools": [SPEC], "toolChoice": {"any": {}}}},
    ),
    "one tool": (
        {"tools": [WEATHER], "tool_choice": NAMED},
        {"toolConfig": {"tools": [SPEC], "toolChoice": {"tool": {"name": "weather"}}}},
    ),
    "image": (
        {"messages": [Message.user([ContentPart(text="What?"), PNG_PART])]},
        turns([{"text": "What?"}, {"image": {"format": "png", "source": {"bytes": PNG}}}]),
    ),
    "document": (
        {"messages": [Message.user([ContentPart(text="What?"), ContentPart.from_file(b"%PDF-1", filename="a.pdf")])]},
        turns([{"text": "What?"}, {"document": {"format": "pdf", "name": "a", "source": {"bytes": b"%PDF-1"}}}]),
    ),
    "results": (
        {
            "messages": [Message.user("Hi"), Message.assistant("Ok", tool_calls=[CALL]), Message.tool("Rain", "t_1")],
            "tools": [WEATHER],
        },
        {
            **turns(
                [{"text": "Hi"}],
                [{"text": "Ok"}, USED],
                [{"toolResult": {"toolUseId": "t_1", "content": [{"text": "Rain"}]}}],
            ),
            "toolConfig": {"tools": [SPEC]},
        },
    ),
    "thoughts": (
        {"messages": [Message.user("Hi"), Message.assistant("Ok", reasoning=REASONING), Message.user("So?")]},
        turns(
            [{"text": "Hi"}],
            [{"reasoningContent": THOUGHTS[0]}, {"reasoningContent": {"redactedContent": b"ab"}}, {"text": "Ok"}],
            [{"text": "So?"}],
        ),
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
        turns([{"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://b/a.webp"}}}}]),
    ),
    "extra": ({"extra_body": GUARD}, GUARD),
    "letters": ({"messages": [Message.user(LETTERS)]}, turns([{"text": LETTERS}])),
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("call", CALLS)
def test_request_is_what_the_official_client_sends(call: str, stream: bool, capture: Any) -> None:
    ours, arguments = CALLS[call]
    path, body = capture(stream, **{"modelId": CLAUDE, **turns([{"text": "Hi"}]), **arguments})
    request = request_of(model=CLAUDE, stream=stream, **ours)
    assert (request.path, json.loads(request.body)) == (path, body)
