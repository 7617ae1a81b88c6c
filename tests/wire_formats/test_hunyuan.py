"""Hunyuan's native dialect: what is its own of requests, streams and errors, and the official client beside it."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from choice_streams import answering, cases_of, check_forms, decode, sse, transcript

from anyllm import errors
from anyllm.errors import AnyLLMError, IncompleteStreamError, MalformedStreamError
from anyllm.types import CompletionParams, ContentPart, Message
from anyllm.wire.hunyuan.dialect import HunyuanDialect

#: The official client's own, which its tests would take for an error of the host.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")

CASES = cases_of("hunyuan")
USER = {"role": "user", "content": "Hi"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
OURS_OF_WEATHER = {
    "Type": "function",
    "Function": {
        "Name": "weather",
        "Description": "The weather.",
        "Parameters": '{"type":"object","properties":{"city":{"type":"string"}}}',
    },
}


def body_of(stream: bool = False, **fields: Any) -> dict[str, Any]:
    params = CompletionParams(**{"model": "x", "messages": [USER], **fields})
    body: dict[str, Any] = json.loads(HunyuanDialect().request(params, model="hunyuan-turbos", stream=stream).body)
    return body


def messages_of(*messages: Any) -> Any:
    return body_of(messages=list(messages))["Messages"]


def event(delta: Any, finish: Any = "", **more: Any) -> dict[str, Any]:
    return {"Id": "7fa2", "Created": 5, "Choices": [{"Index": 0, "Delta": delta, "FinishReason": finish}], **more}


END = event({"Role": "assistant", "Content": ""}, "stop")


# -- requests ----------------------------------------------------------------------------------------------------------


#: Parameters, and what a request has beside the smallest one.
PARAMETERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"temperature": 0.5}, {"Temperature": 0.5}),
    ({"top_p": 1}, {"TopP": 1}),
    ({"seed": 7}, {"Seed": 7}),
    ({"stop": "END"}, {"Stop": ["END"]}),
    ({"stop": ("a", "b")}, {"Stop": ["a", "b"]}),
    ({"n": 1}, {}),
    ({"response_format": {"type": "text"}}, {}),
    ({"stream_options": {"include_usage": False}}, {}),
    ({"reasoning_effort": "none"}, {"EnableThinking": False}),
    ({"reasoning_effort": "auto"}, {}),
    ({"thinking_budget": 0}, {"EnableThinking": False}),
    ({"tools": [WEATHER]}, {"Tools": [OURS_OF_WEATHER]}),
    ({"functions": [WEATHER["function"]]}, {"Tools": [OURS_OF_WEATHER]}),
    ({"tools": [OURS_OF_WEATHER]}, {"Tools": [OURS_OF_WEATHER]}),
    ({"tools": [WEATHER], "tool_choice": "auto"}, {"Tools": [OURS_OF_WEATHER], "ToolChoice": "auto"}),
    ({"tools": [WEATHER], "tool_choice": "none"}, {"Tools": [OURS_OF_WEATHER], "ToolChoice": "none"}),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"Tools": [OURS_OF_WEATHER], "ToolChoice": "custom", "CustomTool": OURS_OF_WEATHER},
    ),
    ({"extra_body": {"EnableEnhancement": True, "Model": "other"}}, {"EnableEnhancement": True, "Model": "other"}),
]


@pytest.mark.parametrize(("params", "expected"), PARAMETERS)
def test_parameter_is_sent(params: dict[str, Any], expected: dict[str, Any]) -> None:
    assert body_of(**params) == {**body_of(), **expected}


def test_tool_without_parameters_has_the_empty_schema() -> None:
    tool = {"type": "function", "function": {"name": "now"}}
    function = {"Name": "now", "Parameters": '{"type":"object","properties":{}}'}
    assert body_of(tools=[tool])["Tools"] == [{"Type": "function", "Function": function}]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"thinking_budget": 100}, "thinking_budget"),
        ({"tools": [WEATHER], "tool_choice": "required"}, "tool_choice"),
        ({"functions": [WEATHER["function"]], "function_call": "required"}, "function_call"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]}, "tools"),
        ({"messages": [{**USER, "name": "Ann"}]}, "name"),
        ({"messages": [Message.user([ContentPart.from_image(PIXEL, detail="low")])]}, "detail"),
        ({"messages": [Message.system([ContentPart.from_image(PIXEL)])]}, "messages"),
        ({"messages": [Message.system([ContentPart("file", file={"file_id": "f"})])]}, "messages"),
    ],
)
def test_what_the_host_cannot_do_is_refused(params: dict[str, Any], param: str) -> None:
    with pytest.raises(errors.UnsupportedParameterError) as caught:
        body_of(**params)
    assert (caught.value.provider, caught.value.param) == ("hunyuan", param)


def test_tool_choice_must_name_a_tool() -> None:
    with pytest.raises(errors.InvalidRequestError, match="none of the tools"):
        body_of(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "other"}})


def test_text_cut_in_an_emoji_is_mended_in_schemas_too() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"description": "\ud83d"}}}
    assert body_of(tools=[tool])["Tools"][0]["Function"]["Parameters"] == '{"description":"\ufffd"}'


def test_system_messages_come_first_as_one() -> None:
    sent = messages_of(USER, {"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Be kind."})
    assert sent == [{"Role": "system", "Content": "Be brief.\n\nBe kind."}, {"Role": "user", "Content": "Hi"}]


def test_parts_of_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]
    assert messages_of({"role": "user", "content": parts}) == [{"Role": "user", "Content": "ab"}]


def test_images_videos_and_files() -> None:
    parts = [
        ContentPart(text="Look:"),
        ContentPart.from_image("https://example.com/1.png"),
        ContentPart.from_image(PIXEL, detail="auto"),
        {"type": "video_url", "VideoUrl": {"Url": "https://example.com/1.mp4"}},
        ContentPart("file", file={"file_id": "f1"}),
    ]
    assert messages_of(Message.user(parts)) == [
        {
            "Role": "user",
            "Contents": [
                {"Type": "text", "Text": "Look:"},
                {"Type": "image_url", "ImageUrl": {"Url": "https://example.com/1.png"}},
                {"Type": "image_url", "ImageUrl": {"Url": PIXEL}},
                {"Type": "video_url", "VideoUrl": {"Url": "https://example.com/1.mp4"}},
            ],
            "FileIDs": ["f1"],
        }
    ]


def test_an_answer_goes_back_without_its_reasoning() -> None:
    """The host refuses messages that hold any."""
    _, first, _ = decode(HunyuanDialect(), [transcript("hunyuan", "reasoning")])
    assert messages_of(USER, first.to_message(), USER)[1] == {"Role": "assistant", "Content": "Hello!"}


def test_calls_and_their_results_go_back() -> None:
    _, first, _ = decode(HunyuanDialect(), [transcript("hunyuan", "tools_repeated")])
    results = [Message.tool("rain", call.id or "", name=call.name) for call in first.tool_calls]
    assert messages_of(USER, first.to_message(), *results)[1:] == [
        {
            "Role": "assistant",
            "Content": "Using tools.\n",
            "ToolCalls": [
                {
                    "Id": "call_a",
                    "Type": "function",
                    "Index": 0,
                    "Function": {"Name": "get_weather", "Arguments": '{"city": "Oslo"}'},
                },
                {
                    "Id": "call_b",
                    "Type": "function",
                    "Index": 1,
                    "Function": {"Name": "get_time", "Arguments": "{}"},
                },
            ],
        },
        {"Role": "tool", "Content": "rain", "ToolCallId": "call_a"},
        {"Role": "tool", "Content": "rain", "ToolCallId": "call_b"},
    ]


def test_a_refusal_is_an_answer() -> None:
    assert messages_of(USER, Message.assistant(refusal="No."))[1] == {"Role": "assistant", "Content": "No."}


# -- the stream --------------------------------------------------------------------------------------------------------


def test_a_repeated_finish_reason_says_nothing_new() -> None:
    chunks, answer, _ = decode(HunyuanDialect(), sse(event({"Content": "a"}), END, END))
    assert [chunk.finish_reason for chunk in chunks] == [None, "stop", None]
    assert answer.finish_reason == "stop"


def choice_event(index: int, content: str, finish: str = "") -> dict[str, Any]:
    return {"Choices": [{"Index": index, "Delta": {"Content": content}, "FinishReason": finish}]}


def test_one_choice_that_ends_twice_does_not_end_another() -> None:
    begun = [choice_event(0, "a"), choice_event(1, "b"), choice_event(0, "", "stop"), choice_event(0, "", "sensitive")]
    _, _, error = decode(HunyuanDialect(), sse(*begun))
    assert isinstance(error, IncompleteStreamError)
    _, answer, error = decode(HunyuanDialect(), sse(*begun, choice_event(1, "!", "stop")))
    assert error is None
    assert [choice.message.content for choice in answer.choices] == ["a", "b!"]


def test_text_beside_something_else_is_not_cut_short() -> None:
    call = {"Index": 0, "Id": "c", "Function": {"Name": "f", "Arguments": "{}"}}
    deltas = [{"Content": "a"}, {"Content": "b", "ReasoningContent": "Hm."}, {"Content": "c", "ToolCalls": [call]}]
    _, answer, _ = decode(HunyuanDialect(), sse(*map(event, deltas), END))
    assert (answer.content, answer.reasoning, len(answer.tool_calls)) == ("abc", "Hm.", 1)


def calls_in(*pieces: dict[str, Any]) -> list[tuple[Any, ...]]:
    chunks, answer, error = decode(
        HunyuanDialect(), sse(*(event({"Content": "", "ToolCalls": [piece]}) for piece in pieces), END)
    )
    assert error is None
    check_forms(chunks, "hunyuan")
    return [(call.id, call.name, call.arguments) for call in answer.tool_calls]


def test_pieces_of_two_calls_may_alternate() -> None:
    """Told apart by their indexes, or by their ids where those are all the same."""
    by_index = [
        {"Index": 0, "Id": "a", "Function": {"Name": "f", "Arguments": "[1"}},
        {"Index": 1, "Id": "b", "Function": {"Name": "g", "Arguments": "[2"}},
        {"Index": 0, "Id": "", "Function": {"Arguments": "]"}},
        {"Index": 1, "Function": {"Arguments": "]"}},
    ]
    assert calls_in(*by_index) == [("a", "f", "[1]"), ("b", "g", "[2]")]
    by_id = [{**piece, "Index": 0, "Id": "ab"[at % 2]} for at, piece in enumerate(by_index)]
    assert calls_in(*by_id) == [("a", "f", "[1]"), ("b", "g", "[2]")]


def test_an_id_may_come_late() -> None:
    pieces = [
        {"Index": 0, "Function": {"Name": "f", "Arguments": "["}},
        {"Index": 0, "Id": "a", "Function": {"Name": "f", "Arguments": "]"}},
    ]
    assert calls_in(*pieces) == [("call_0", "f", "[]")]


def test_pieces_without_ids_and_indexes_begin_with_a_name() -> None:
    pieces = [
        {"Function": {"Name": "f", "Arguments": "["}},
        {"Function": {"Arguments": "]"}},
        {"Function": {"Name": "f"}},
    ]
    assert calls_in(*pieces) == [("call_0", "f", "[]"), ("call_1", "f", "")]


def test_a_piece_that_says_nothing_is_none() -> None:
    pieces = [
        {"Index": 0, "Id": "a", "Function": {"Name": "f", "Arguments": "{}"}},
        {"Index": 0, "Id": "a"},
        {},
        {"Index": 3},
    ]
    assert calls_in(*pieces) == [("a", "f", "{}")]


def test_a_later_finish_reason_has_the_last_word() -> None:
    _, answer, _ = decode(HunyuanDialect(), sse(event({"Content": "a"}), END, END, event({}, "sensitive")))
    assert (answer.finish_reason, answer.raw_finish_reason) == ("content_filter", "sensitive")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AuthFailure.SecretIdNotFound", errors.AuthenticationError),
        ("UnauthorizedOperation", errors.PermissionDeniedError),
        ("RequestLimitExceeded", errors.RateLimitError),
        ("FailedOperation.EngineServerLimitExceeded", errors.RateLimitError),
        ("ResourceInsufficient.ChargeResourceExhaust", errors.InsufficientFundsError),
        ("ResourceUnavailable.InArrears", errors.InsufficientFundsError),
        ("OperationDenied.TextIllegalDetected", errors.ContentFilterError),
        ("InvalidParameterValue.Model", errors.ModelNotFoundError),
        ("InvalidParameter", errors.InvalidRequestError),
        ("FailedOperation.EngineServerError", errors.ServerError),
        ("InternalError", errors.ServerError),
        ("Unheard.Of", errors.APIError),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_code_says_what_kind_of_error_it_is(code: str, kind: type[AnyLLMError], status: int) -> None:
    body = {"Response": {"Error": {"Code": code, "Message": "what happened"}, "RequestId": "r1"}}
    if status == 200:
        with pytest.raises(errors.APIError) as caught:
            HunyuanDialect().response(json.dumps(body).encode())
        error = caught.value
        assert error.body == body
    else:
        error = HunyuanDialect().error(status, {}, json.dumps(body).encode())
        kind = errors.InvalidRequestError if kind in (errors.APIError, errors.ServerError) else kind
    assert type(error) is kind
    assert (error.message, error.code, error.request_id) == ("what happened", code, "r1")
    assert error.provider == "hunyuan"


# -- whole answers -----------------------------------------------------------------------------------------------------


def whole(message: Any, finish: str, **more: Any) -> bytes:
    choice = {"Index": 0, "Message": message, "FinishReason": finish}
    return json.dumps({"Response": {"RequestId": "r", "Id": "7fa2", "Choices": [choice], **more}}).encode()


@pytest.mark.parametrize("body", [b'{"Response": []}', b'{"Response": {"Choices": 5}}'])
def test_whole_answer_that_is_none_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedStreamError):
        HunyuanDialect().response(body)


def test_whole_answer_without_an_end_is_incomplete() -> None:
    with pytest.raises(IncompleteStreamError):
        HunyuanDialect().response(whole({"Content": "a"}, ""))


# -- the official client -----------------------------------------------------------------------------------------------

CALL = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
CONVERSATIONS: list[list[Any]] = [
    [{"role": "system", "content": "Be brief."}, USER],
    [Message.user([ContentPart(text="?"), ContentPart.from_image(PIXEL)])],
    [Message.user([ContentPart(text="?"), ContentPart("file", file={"file_id": "f"})])],
    [Message.user("?"), Message.assistant(None, tool_calls=[CALL]), Message.tool("rain", "c")],
]
CALLS: list[dict[str, Any]] = [*(params for params, _ in PARAMETERS), *({"messages": turns} for turns in CONVERSATIONS)]


@pytest.fixture
def client() -> Any:
    """Makes the official client for a URL."""
    pytest.importorskip("tencentcloud.hunyuan")
    from tencentcloud.common import credential
    from tencentcloud.common.profile.client_profile import ClientProfile
    from tencentcloud.common.profile.http_profile import HttpProfile
    from tencentcloud.hunyuan.v20230901.hunyuan_client import HunyuanClient

    def make(url: str) -> Any:
        http = HttpProfile(protocol="http", endpoint=url.partition("//")[2], keepAlive=False)
        return HunyuanClient(credential.Credential("id", "secret"), "", ClientProfile(httpProfile=http))

    return make


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("params", CALLS)
def test_official_client_sends_the_same(params: dict[str, Any], stream: bool, client: Any) -> None:
    """It is given our body, warns of every key that it does not know, and writes its own."""
    from tencentcloud.hunyuan.v20230901 import models

    ours = body_of(stream=stream, **params)
    request = models.ChatCompletionsRequest()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        request._deserialize(ours)
    with answering(whole({"Content": "Hi"}, "stop"), "application/json") as (url, captured):
        client(url).ChatCompletions(request)
    assert captured.body == ours
    assert captured.path == "/"
    assert captured.headers["x-tc-action"] == "ChatCompletions"
    assert captured.headers["x-tc-version"] == "2023-09-01"
    assert captured.headers["content-type"] == "application/json"


#: Where the official client gives less than stands in the transcript, and why.
DIFFERENCES = {
    "done": "it does not know [DONE], which the host does not send",
    "done_without_finish": "the same",
}


@pytest.mark.long
@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case not in DIFFERENCES and not case.startswith(("error_at", "error_l", "whole"))],
)
def test_official_client_reads_the_same(case: str, client: Any) -> None:
    from tencentcloud.hunyuan.v20230901 import models

    _, answer, error = decode(HunyuanDialect(), [transcript("hunyuan", case)])
    texts, thoughts, finish, usage, arguments = "", "", None, None, {}
    request = models.ChatCompletionsRequest()
    request._deserialize(body_of(stream=True))
    with answering(transcript("hunyuan", case), "text/event-stream") as (url, _):
        for item in client(url).ChatCompletions(request):
            response = models.ChatCompletionsResponse()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                response._deserialize(json.loads(item["data"]))
            if response.ErrorMsg is not None and response.ErrorMsg.Code:
                assert response.ErrorMsg.Msg in str(error)
                break
            for choice in response.Choices or ():
                texts += choice.Delta.Content or ""
                thoughts += choice.Delta.ReasoningContent or ""
                finish = choice.FinishReason or finish
                for piece in choice.Delta.ToolCalls or ():
                    key = piece.Id or piece.Index
                    arguments[key] = arguments.get(key, "") + piece.Function.Arguments
            usage = response.Usage or usage
    assert (answer.content, answer.reasoning) == (texts, thoughts)
    assert [call.arguments for call in answer.tool_calls] == list(arguments.values())
    if error is None:
        assert answer.raw_finish_reason == finish
        assert answer.usage is not None
        assert usage is not None
        figures = (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens)
        assert figures == (usage.PromptTokens, usage.CompletionTokens, usage.TotalTokens)


@pytest.mark.long
def test_official_client_reads_the_same_errors(client: Any) -> None:
    from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
    from tencentcloud.hunyuan.v20230901 import models

    body = transcript("hunyuan", "error_at_once")
    with answering(body, "application/json") as (url, _), pytest.raises(TencentCloudSDKException) as theirs:
        client(url).ChatCompletions(models.ChatCompletionsRequest())
    with pytest.raises(errors.AuthenticationError) as ours:
        HunyuanDialect().response(body)
    assert ours.value.message == theirs.value.get_message()
    assert ours.value.code == theirs.value.get_code()
    assert ours.value.request_id == theirs.value.get_request_id()
