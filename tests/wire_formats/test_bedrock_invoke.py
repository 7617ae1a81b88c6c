"""
The Bedrock InvokeModel dialect: what is its own of each family's streams, of requests and of errors.

A transcript has a line for each event of a model's maker, without the frame and the base64 around it.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest
from choice_streams import Result, collected
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import invoke_events

import anyllm
from anyllm import errors
from anyllm._framing.detect import Event, JSONEvent
from anyllm.errors import (
    AnyLLMError,
    APIError,
    IncompleteStreamError,
    InvalidRequestError,
    MalformedStreamError,
    UnsupportedParameterError,
)
from anyllm.providers import bedrock_invoke_families
from anyllm.types import CompletionParams, ContentPart, Message
from anyllm.wire._base.protocols import Dialect, Request
from anyllm.wire.bedrock_invoke.dialect import BedrockInvokeDialect, Family, TextCompletionDialect, is_text_completion

TRANSCRIPTS = ROOT / "tests" / "transcripts" / "bedrock_invoke"
CASES = sorted(path.stem for path in TRANSCRIPTS.glob("*.ndjson"))
INVOKE = bedrock_invoke_families.dialect("bedrock_invoke")

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
GPT = "openai.gpt-oss-120b-1:0"
NOVA = "eu.amazon.nova-lite-v1:0"
COMMAND = "cohere.command-r-v1:0"


def decode(found: Iterable[Event]) -> Result:
    return collected(INVOKE, found)


def lines_of(case: str) -> list[str]:
    return (TRANSCRIPTS / f"{case}.ndjson").read_text("utf-8").splitlines()


def whole_of(case: str) -> dict[str, Any]:
    """The answer of a transcript, whole."""
    body: dict[str, Any] = json.loads((TRANSCRIPTS / f"{case}.whole.json").read_text("utf-8"))
    return body


def told(lines: Iterable[str]) -> list[Event]:
    """The events that the frames of these lines are."""
    return invoke_events("\n".join(lines).encode())


# -- transcripts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_transcript_without_frames_gives_the_same_chunks(case: str) -> None:
    """Proxies unwrap what they pass on."""
    whole, _, error = decode(told(lines_of(case)))
    found, _, bare_error = decode(JSONEvent(line) for line in lines_of(case))
    assert found == whole
    assert str(bare_error) == str(error)


def test_dialect_is_one() -> None:
    dialect: Dialect = INVOKE
    assert dialect.support.formats == ("json_schema", "json_object")
    assert dialect.support.media == ("image", "file", "audio")
    assert dialect.support.refused == ()


def test_chunks_keep_all_that_the_host_said() -> None:
    for case in ("messages", "chat", "nova", "cohere_chat", "llama"):
        chunks, _, _ = decode(told(lines_of(case)))
        events_of_case = [json.loads(line) for line in lines_of(case)]
        assert all(chunk.raw in events_of_case for chunk in chunks)
    assert "amazon-bedrock-invocationMetrics" in chunks[-1].raw


def test_what_the_host_counts_has_a_chunk_of_its_own_where_its_event_has_none() -> None:
    chunks, _, _ = decode(told(lines_of("messages_counted_by_the_host_alone")))
    assert chunks[-1].choices == ()
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.raw == chunks[-1].raw["amazon-bedrock-invocationMetrics"]


def test_running_text_is_the_cheap_kind_of_chunk() -> None:
    """The objects of one that only adds text are made when somebody looks."""
    for case in ("messages", "nova", "cohere_chat", "llama", "mistral_chat"):
        chunks, _, _ = decode(told(lines_of(case)))
        assert "lo" in [chunk._choices for chunk in chunks], case


@pytest.mark.parametrize(
    ("case", "states"),
    [
        ("messages", [(False, False)] * 6 + [(True, True)]),
        ("chat", [(False, False)] * 3 + [(True, True)]),
        ("nova", [(False, False)] * 5 + [(True, False), (True, True)]),
        ("cohere_chat", [(False, False)] * 2 + [(True, True)]),
        ("llama", [(False, False)] * 2 + [(True, True)]),
        ("mistral_host_counts_later", [(True, False), (True, True)]),
        ("llama_counted_but_cut", [(False, False)] * 2),
        ("titan_blocked_by_a_guardrail", [(True, False)]),
    ],
)
def test_done_and_complete_are_said_as_soon_as_they_are_so(case: str, states: list[tuple[bool, bool]]) -> None:
    decoder = INVOKE.decoder()
    assert (decoder.complete, decoder.done) == (False, False)
    found = []
    for event in told(lines_of(case)):
        decoder.feed(event)
        found.append((decoder.complete, decoder.done))
    assert found == states


def test_what_could_become_a_tag_is_given_with_the_end_and_not_after_it() -> None:
    chunks, _, _ = decode(told(lines_of("chat_with_what_could_become_a_tag")))
    assert (chunks[-1].content, chunks[-1].finish_reason) == ("<reason", "stop")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"bytes": 7}', "the bytes of a chunk are a number"),
        ('{"bytes": "?"}', "not base64"),
        ('{"bytes": "e30"}', "not base64"),
        (json.dumps({"bytes": base64.b64encode(b"{oops").decode()}), "no JSON"),
        (json.dumps({"bytes": base64.b64encode(b"[1]").decode()}), "a list"),
        ("[1]", "a list"),
        ("oops", "no JSON"),
    ],
)
def test_what_is_no_chunk_is_malformed(data: str, words: str) -> None:
    with pytest.raises(MalformedStreamError, match=words) as caught:
        INVOKE.decoder().feed(JSONEvent(data, "chunk"))
    assert caught.value.provider == "bedrock_invoke"


def test_chunks_without_bytes_are_alive_and_say_nothing() -> None:
    decoder = INVOKE.decoder()
    assert not decoder.feed(JSONEvent('{"bytes": ""}', "chunk"))
    assert not decoder.feed(JSONEvent(" ", "chunk"))
    with pytest.raises(IncompleteStreamError):
        decoder.finish()


def test_the_first_family_that_knows_the_beginning_reads_the_rest() -> None:
    """What is composed above decides; nothing here knows another dialect."""
    one, two = TextCompletionDialect(provider="one"), TextCompletionDialect(provider="two")
    families = (
        Family(dialect=one, matches=lambda first: "outputs" in first),
        Family(dialect=two, matches=is_text_completion),
    )
    decoder = BedrockInvokeDialect(families=families).decoder()
    line = '{"outputs": [{"text": "a", "stop_reason": "stop"}]}'
    assert decoder.feed(JSONEvent(line))[0].provider == "one"
    assert BedrockInvokeDialect(families=families[1:]).decoder().feed(JSONEvent(line))[0].provider == "two"


# -- whole answers -----------------------------------------------------------------------------------------------------


def test_figures_of_a_whole_answer_are_kept_as_they_came() -> None:
    usage = INVOKE.response(json.dumps(whole_of("nova_with_cache")).encode()).usage
    assert usage is not None
    assert usage.raw == whole_of("nova_with_cache")["usage"]
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1, "outputTokenCount": 2}}
    usage = INVOKE.response(json.dumps({**whole_of("mistral"), **metrics}).encode()).usage
    assert usage is not None
    assert usage.total_tokens == 3


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b'{"message": "Not today."}', APIError, "Not today."),
        (
            b'{"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}',
            errors.OverloadedError,
            "Busy",
        ),
        (b'{"error": {"message": "no", "code": "throttlingException"}}', errors.RateLimitError, "no"),
        (b'{"generations": [{"text": "", "finish_reason": "ERROR_TOXIC"}]}', errors.ContentFilterError, "ERROR_TOXIC"),
        (b'{"melody": [1]}', MalformedStreamError, "in no known format: it has the keys melody"),
        (b'{"outputs": [7]}', MalformedStreamError, "an element of outputs is a number"),
        (b'{"type": "message"}', MalformedStreamError, "has no content"),
        (b"{}", MalformedStreamError, "empty"),
        (b"[]", MalformedStreamError, "a list"),
        (b"", MalformedStreamError, "empty"),
        (b"<html><title>502 Bad Gateway</title>", MalformedStreamError, "502 Bad Gateway"),
    ],
)
def test_whole_error_is_an_error(body: bytes, kind: type[AnyLLMError], words: str) -> None:
    with pytest.raises(AnyLLMError, match=words) as caught:
        INVOKE.response(body)
    assert type(caught.value) is kind
    assert caught.value.provider == "bedrock_invoke"


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "name", "message", "kind"),
    [
        (400, "ValidationException", "Malformed input request: #: extraneous key [x] is not permitted", None),
        (400, "ValidationException", "The provided model identifier is invalid.", errors.ModelNotFoundError),
        (400, "ValidationException", "Input is too long for requested model.", errors.ContextLengthExceededError),
        (403, "AccessDeniedException", "You don't have access to the model.", errors.PermissionDeniedError),
        (403, "UnrecognizedClientException", "The security token is invalid.", errors.AuthenticationError),
        (404, "ResourceNotFoundException", "This model version has ended its life.", errors.ModelNotFoundError),
        (429, "ThrottlingException", "Too many requests", errors.RateLimitError),
        (429, "ModelNotReadyException", "Model is not ready for inference.", errors.OverloadedError),
        (424, "ModelErrorException", "The system encountered an unexpected error.", errors.ServerError),
        (503, "ServiceUnavailableException", "Bedrock is unable to process your request.", errors.OverloadedError),
    ],
)
def test_status_and_name_make_the_error(status: int, name: str, message: str, kind: type[APIError] | None) -> None:
    headers = {"x-amzn-ErrorType": f"{name}:http://internal/", "x-amzn-RequestId": "r1"}
    error = INVOKE.error(status, headers, json.dumps({"message": message}).encode())
    assert isinstance(error, kind or InvalidRequestError)
    assert (error.status_code, error.provider, error.request_id) == (status, "bedrock_invoke", "r1")
    assert message in str(error)


# -- the request -------------------------------------------------------------------------------------------------------

HI = [Message.user("Hi")]
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


def request_for(model: str, *, stream: bool = True, **params: Any) -> Request:
    asked = CompletionParams("m", **{"messages": HI, **params})
    return INVOKE.request(asked, model=model, stream=stream)


def sent(model: str, *, stream: bool = True, **params: Any) -> Any:
    return json.loads(request_for(model, stream=stream, **params).body)


@pytest.mark.parametrize("model", [CLAUDE, GPT, NOVA, COMMAND])
@pytest.mark.parametrize("stream", [True, False])
def test_the_path_says_the_model_and_the_way(model: str, stream: bool) -> None:
    """And the body says neither, which the host would refuse."""
    request = request_for(model, stream=stream, stream_options={"include_usage": True}, max_tokens=5)
    way = "invoke-with-response-stream" if stream else "invoke"
    assert (request.method, unquote(request.path)) == ("POST", f"/model/{model}/{way}")
    assert "%3A" in request.path
    accept = "application/vnd.amazon.eventstream" if stream else "application/json"
    assert request.headers == {"Content-Type": "application/json", "Accept": accept}
    assert not {"model", "stream", "stream_options"} & json.loads(request.body).keys()
    assert request.fallbacks == {}


def test_each_family_is_asked_in_its_own_format() -> None:
    told_first = [Message.system("Be brief."), *HI]
    assert in_one_form(sent(CLAUDE, messages=told_first, max_tokens=5)) == {
        "anthropic_version": "bedrock-2023-05-31",
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "max_tokens": 5,
    }
    assert sent(GPT, messages=told_first, max_tokens=5) == {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_completion_tokens": 5,
    }
    assert sent(NOVA, messages=told_first, max_tokens=5) == {
        "schemaVersion": "messages-v1",
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 5},
    }
    assert sent(COMMAND, messages=told_first, max_tokens=5) == {
        "message": "Hi",
        "preamble": "Be brief.",
        "max_tokens": 5,
    }


@pytest.mark.parametrize(
    "model",
    [
        "anthropic.claude-3-haiku-20240307-v1:0",
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us-gov.anthropic.claude-3-5-sonnet-20240620-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-haiku-20240307-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
    ],
)
def test_regions_and_arns_do_not_hide_whose_a_model_is(model: str) -> None:
    request = request_for(model)
    assert "anthropic_version" in json.loads(request.body)
    assert unquote(request.path) == f"/model/{model}/invoke-with-response-stream"
    assert request.path.count("/") == 3


@pytest.mark.parametrize(
    "model",
    [
        *("amazon.titan-text-express-v1", "meta.llama3-8b-instruct-v1:0", "us.meta.llama3-3-70b-instruct-v1:0"),
        *("mistral.mistral-large-2402-v1:0", "cohere.command-light-text-v14", "us.deepseek.r1-v1:0", "claude", "x."),
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3",
    ],
)
def test_other_models_are_sent_to_converse_before_anything_is_sent(model: str) -> None:
    with pytest.raises(UnsupportedParameterError, match="bedrock/") as caught:
        request_for(model)
    assert caught.value.param == "model"
    assert f"bedrock/{model}" in str(caught.value)


def test_what_the_caller_adds_stays() -> None:
    body = sent(CLAUDE, extra_body={"anthropic_beta": ["b"], "stream": False})
    assert body["anthropic_beta"] == ["b"]
    assert body["stream"] is False
    headers = request_for(GPT, extra_headers={"X-Amzn-Bedrock-GuardrailIdentifier": "g", "accept": "a/b"}).headers
    assert headers == {
        "Content-Type": "application/json",
        "X-Amzn-Bedrock-GuardrailIdentifier": "g",
        "accept": "a/b",
    }


def test_fallbacks_are_as_this_host_wants_them_too() -> None:
    request = request_for(CLAUDE, reasoning_effort="low")
    (fallback,) = map(json.loads, request.fallbacks.values())
    assert fallback["thinking"]["type"] == "adaptive"
    assert fallback["anthropic_version"] == "bedrock-2023-05-31"
    assert not {"model", "stream"} & fallback.keys()


def test_parameters_of_novas_own_stand_with_the_others() -> None:
    body = sent("us.amazon.nova-2-lite-v1:0", reasoning_effort="low", temperature=0.5)
    assert body["inferenceConfig"] == {
        "temperature": 0.5,
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"},
    }
    fields = {"inferenceConfig": {"topK": 20}, "other": 1}
    body = sent(NOVA, max_tokens=5, extra_body={"additionalModelRequestFields": fields})
    assert body["inferenceConfig"] == {"maxTokens": 5, "topK": 20}
    assert body["other"] == 1
    assert "additionalModelRequestFields" not in body
    assert "inferenceConfig" not in sent(NOVA, extra_body={"additionalModelRequestFields": {}})


def test_nova_is_shown_images_and_no_documents() -> None:
    image = Message.user([ContentPart.from_image(b"\x89PNG\r\n\x1a\n" + b"0" * 20)])
    (block,) = sent(NOVA, messages=[image])["messages"][0]["content"]
    assert block["image"]["format"] == "png"
    file = ContentPart.from_file(b"%PDF-1.4", filename="a.pdf")
    call = anyllm.ToolCall("c1", anyllm.FunctionCall("f", "{}"))
    for messages in (
        [Message.user([file])],
        [*HI, Message.assistant(tool_calls=[call]), Message.tool([file], "c1")],
    ):
        with pytest.raises(UnsupportedParameterError, match="bedrock/MODEL") as caught:
            sent(NOVA, messages=messages)
        assert caught.value.param == "file"


@pytest.mark.parametrize(
    ("model", "params", "param"),
    [
        (CLAUDE, {"seed": 1}, "seed"),
        (CLAUDE, {"response_format": {"type": "json_object"}}, "response_format"),
        (GPT, {"thinking_budget": 5}, "thinking_budget"),
        (GPT, {"stream_options": {"chunk": 1}}, "stream_options"),
        (NOVA, {"seed": 1}, "seed"),
        (NOVA, {"user": "me"}, "user"),
        (COMMAND, {"logprobs": True}, "logprobs"),
        (COMMAND, {"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        (COMMAND, {"stream_options": {"chunk": 1}}, "stream_options"),
    ],
)
def test_what_a_family_cannot_do_is_refused(model: str, params: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameterError) as caught:
        sent(model, **params)
    assert (caught.value.param, caught.value.provider) == (param, "bedrock_invoke")


def test_answers_go_back_to_their_families() -> None:
    for model, case in ((CLAUDE, "messages_with_call"), (GPT, "chat_with_calls"), (NOVA, "nova_with_calls")):
        case = case.replace("with_call", "with_a_call") if model == CLAUDE else case
        answer = decode(told(lines_of(case)))[1]
        call = answer.tool_calls[0]
        turns = [*HI, answer.to_message(), Message.tool("22", call.id or "")]
        text = json.dumps(sent(model, messages=turns, tools=[TOOL]))
        assert call.id in text
        assert "22" in text
        assert "Tools." not in text  # the reasoning of OpenAI's models is not sent back


def test_plain_text_is_read_and_not_asked() -> None:
    dialect: Dialect = TextCompletionDialect(provider="host")
    with pytest.raises(UnsupportedParameterError):
        dialect.request(CompletionParams("m", HI), model="m", stream=True)
    assert dialect.error(400, {}, b'{"message": "No."}').provider == "host"
    with pytest.raises(MalformedStreamError, match="has no text"):
        dialect.response(b'{"x": 1}')


# -- the same calls through the official clients -----------------------------------------------------------------------


class _Listener(http.server.BaseHTTPRequestHandler):
    wbufsize = -1
    seen: ClassVar[list[tuple[str, Any, Any]]] = []
    answer: ClassVar[bytes] = b"{}"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, body, self.headers))
        streamed = self.path.endswith("-stream")
        kind = "application/vnd.amazon.eventstream" if streamed else "application/json"
        data = b"" if streamed else self.answer
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A loopback server that keeps what it is sent."""
    server = http.server.HTTPServer(("127.0.0.1", 0), _Listener)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def anthropic_client(url: str) -> Iterator[Any]:
    """Anthropic's own client for this host; with a key pair instead of a key it would need boto3."""
    anthropic = pytest.importorskip("anthropic")
    with anthropic.AnthropicBedrock(api_key="none", aws_region="us-east-1", base_url=url, max_retries=0) as client:
        yield client


ASK = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
F = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
CALLED = [
    Message.user("Hi"),
    Message.assistant("Wait.", tool_calls=[anyllm.ToolCall("t1", anyllm.FunctionCall("f", '{"x": 1}'))]),
    Message.tool("22", "t1"),
]

#: What we are asked, and what Anthropic's client is.
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"max_tokens": 9}, {}),
    "temperature": ({"max_tokens": 9, "temperature": 0.3}, {"extra_body": {"temperature": 0.3}}),
    "top_p": ({"max_tokens": 9, "top_p": 0.9}, {"extra_body": {"top_p": 0.9}}),
    "stop": ({"max_tokens": 9, "stop": "END"}, {"stop_sequences": ["END"]}),
    "user": ({"max_tokens": 9, "user": "me"}, {"metadata": {"user_id": "me"}}),
    "tools": ({"max_tokens": 9, "tools": [TOOL]}, {"tools": [F]}),
    "required": (
        {"max_tokens": 9, "tools": [TOOL], "tool_choice": "required"},
        {"tools": [F], "tool_choice": {"type": "any"}},
    ),
    "named": (
        {"max_tokens": 9, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [F], "tool_choice": {"type": "tool", "name": "f"}},
    ),
    "thinking": (
        {"max_tokens": 3000, "thinking_budget": 2000},
        {"max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 2000}},
    ),
    "schema": (
        {
            "max_tokens": 9,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        },
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "system": ({"max_tokens": 9, "messages": [Message.system("Be brief."), *HI]}, {"system": "Be brief."}),
    "conversation": (
        {"max_tokens": 9, "messages": CALLED, "tools": [TOOL]},
        {
            "tools": [F],
            "messages": [
                ASK,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Wait."},
                        {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "22"}]},
            ],
        },
    ),
    "extra": ({"max_tokens": 9, "extra_body": {"top_k": 3}}, {"extra_body": {"top_k": 3}}),
}


@pytest.mark.long
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", CALLS)
def test_anthropics_body_is_what_its_client_sends(case: str, stream: bool, anthropic_client: Any) -> None:
    ours, theirs = CALLS[case]
    request = request_for(CLAUDE, stream=stream, **ours)
    _Listener.answer = json.dumps(whole_of("messages")).encode()
    _Listener.seen.clear()
    made = anthropic_client.messages.create(
        **{"model": CLAUDE, "max_tokens": 9, "messages": [ASK], "stream": stream, **theirs}
    )
    if stream:
        with contextlib.suppress(Exception):  # it is sent nothing
            list(made)
    ((path, body, _),) = _Listener.seen
    assert unquote(path) == unquote(request.path)
    found = json.loads(request.body)
    # Newer clients ask for a version that Anthropic says this host's models do not take.
    assert found.pop("anthropic_version") == "bedrock-2023-05-31"
    assert body.pop("anthropic_version") >= "2026"
    assert in_one_form(found) == in_one_form(body)


def in_one_form(value: Any) -> Any:
    """A text is a list of one text block, whichever of the two was written."""
    if isinstance(value, dict):
        found = {key: in_one_form(item) for key, item in value.items()}
        for key in ("content", "system"):
            if isinstance(found.get(key), str):
                found[key] = [{"type": "text", "text": found[key]}]
        return found
    return [in_one_form(item) for item in value] if isinstance(value, list) else value


OPENAI_CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "parameters": {"temperature": 0.3, "top_p": 0.9, "stop": "END", "seed": 1},
    "tools": {"tools": [TOOL], "tool_choice": "auto"},
    "effort": {"reasoning_effort": "low"},
    "json": {"response_format": {"type": "json_object"}},
}


@pytest.mark.long
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", OPENAI_CALLS)
def test_openais_body_is_what_its_client_sends_but_for_what_the_path_says(case: str, stream: bool, url: str) -> None:
    openai = pytest.importorskip("openai")
    params = OPENAI_CALLS[case]
    _Listener.answer = json.dumps(whole_of("chat_with_reasoning")).encode()
    _Listener.seen.clear()
    with openai.OpenAI(api_key="none", base_url=url, max_retries=0) as client:
        made = client.chat.completions.create(
            model=GPT, messages=[{"role": "user", "content": "Hi"}], max_completion_tokens=9, stream=stream, **params
        )
        if stream:
            with contextlib.suppress(Exception):  # it is sent no stream
                list(made)
    ((_, body, _),) = _Listener.seen
    assert body.pop("model") == GPT
    assert body.pop("stream") is stream
    assert sent(GPT, stream=stream, max_tokens=9, **params) == body


@pytest.mark.long
@pytest.mark.parametrize("stream", [True, False])
def test_coheres_body_is_what_its_client_sends_but_for_what_the_path_says(stream: bool, url: str) -> None:
    """Its client for this host takes out the same two keys."""
    cohere = pytest.importorskip("cohere")
    import httpx

    _Listener.answer = json.dumps(whole_of("cohere_chat")).encode()
    _Listener.seen.clear()
    asked = {"model": COMMAND, "message": "Hi", "p": 0.9, "stop_sequences": ["END"], "preamble": "Be brief."}
    with httpx.Client() as transport:
        client = cohere.Client("none", base_url=url, httpx_client=transport)
        if stream:
            with contextlib.suppress(Exception):
                list(client.chat_stream(**asked))
        else:
            client.chat(**asked)
    ((_, body, _),) = _Listener.seen
    assert body.pop("model") == COMMAND
    assert body.pop("stream") is stream
    told_first = [Message.system("Be brief."), *HI]
    assert sent(COMMAND, stream=stream, messages=told_first, top_p=0.9, stop="END") == body


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", [CLAUDE, GPT, NOVA, COMMAND])
def test_the_path_is_where_the_official_client_sends_a_body(model: str, stream: bool, url: str) -> None:
    pytest.importorskip("botocore")
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    session.set_credentials("id", "secret")
    client = session.create_client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=Config(retries={"max_attempts": 0})
    )
    request = request_for(model, stream=stream)
    _Listener.seen.clear()
    call = client.invoke_model_with_response_stream if stream else client.invoke_model
    made = call(modelId=model, body=request.body, contentType="application/json")
    made["body"].close()
    client.close()
    ((path, body, headers),) = _Listener.seen
    assert path == request.path
    assert body == json.loads(request.body)
    assert headers["Content-Type"] == request.headers["Content-Type"]


# -- through the library -----------------------------------------------------------------------------------------------


def test_provider_asks_and_reads_its_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed with the pair that is given, unwrapped, and put together."""
    pytest.importorskip("botocore")
    _Listener.seen.clear()
    _Listener.answer = json.dumps(whole_of("messages")).encode()
    host = anyllm.provider("bedrock-invoke", base_url=url, api_key="ID:SECRET")
    answer = host.completion(anyllm.Context(timeout=30), {"model": CLAUDE, "messages": HI})
    assert (answer.content, answer.provider) == ("Hello", "bedrock_invoke")
    ((path, body, headers),) = _Listener.seen
    assert unquote(path) == f"/model/{CLAUDE}/invoke"
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=ID/")


def test_unknown_model_is_an_error_before_anything_is_sent(url: str) -> None:
    _Listener.seen.clear()
    host = anyllm.provider("bedrock_invoke", base_url=url, api_key="ID:SECRET")
    chunks, found = host.completion_stream(
        anyllm.Context(timeout=30), {"model": "meta.llama3-8b-instruct-v1:0", "messages": HI}
    )
    assert list(chunks) == []
    error = found.get()
    assert type(error) is UnsupportedParameterError
    assert "bedrock/meta.llama3-8b-instruct-v1:0" in str(error)
    assert _Listener.seen == []


# -- hostile input -----------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(("<", "reasoning>", "</", "<reasoning>", "</reasoning>", "a", "b<", " ")), max_size=10),
    st.data(),
)
def test_tags_are_the_same_however_the_text_is_cut(words: list[str], data: st.DataObject) -> None:
    text = "".join(words)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    places = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in zip(places, places[1:])]
    assert in_chat(pieces) == in_chat([text])


def in_chat(pieces: list[str]) -> tuple[str, str]:
    events_of_chat = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in ["", *pieces]]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    _, answer, error = decode(JSONEvent(json.dumps(body)) for body in [*events_of_chat, end])
    assert error is None
    return answer.reasoning, answer.content
