"""
The Bedrock InvokeModel dialect: what is its own of each family's streams, of requests and of errors.

A transcript has a line for each event of a model's maker, without the frame and the base64 around it.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from choice_streams import Captured, Result, answering, collected
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from official_clients import make_bedrock
from profiles import invoke_events

import anyllm
from anyllm import errors
from anyllm._framing.body_events import Event, JSONEvent
from anyllm.errors import (
    AnyLLMError,
    APIError,
    IncompleteStreamError,
    MalformedStreamError,
    UnsupportedParameterError,
)
from anyllm.providers import bedrock_invoke_families
from anyllm.types import CompletionParams, ContentPart, Message
from anyllm.types._chunks import text_alone
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


def framed(lines: Iterable[str]) -> list[Event]:
    """The events that the frames of these lines are."""
    return invoke_events("\n".join(lines).encode())


# -- transcripts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_transcript_without_frames_gives_the_same_chunks(case: str) -> None:
    """Proxies unwrap what they pass on."""
    whole, _, error = decode(framed(lines_of(case)))
    found, _, bare_error = decode(JSONEvent(line) for line in lines_of(case))
    assert found == whole
    assert str(bare_error) == str(error)


def test_dialect_is_one() -> None:
    dialect: Dialect = INVOKE
    assert dialect.support.formats == ("json_schema", "json_object")
    assert dialect.support.media == ("image", "file", "audio")
    assert dialect.support.refused == ()


def test_chunks_keep_all_that_the_host_said() -> None:
    for case in ("messages", "chat", "mistral_chat", "nova", "cohere_chat", "llama"):
        chunks, _, _ = decode(framed(lines_of(case)))
        bodies = [json.loads(line) for line in lines_of(case)]
        assert all(chunk.raw in bodies for chunk in chunks)
        assert case == "chat" or "lo" in map(text_alone, chunks), "a running text makes objects when somebody looks"
    assert "amazon-bedrock-invocationMetrics" in chunks[-1].raw


def test_what_the_host_counts_has_a_chunk_of_its_own_where_its_event_has_none() -> None:
    chunks, _, _ = decode(framed(lines_of("messages_counted_by_the_host_alone")))
    assert chunks[-1].choices == ()
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.raw == chunks[-1].raw["amazon-bedrock-invocationMetrics"]


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
    for event in framed(lines_of(case)):
        decoder.feed(event)
        found.append((decoder.complete, decoder.done))
    assert found == states


def test_what_could_become_a_tag_is_given_with_the_end_and_not_after_it() -> None:
    chunks, _, _ = decode(framed(lines_of("chat_with_what_could_become_a_tag")))
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
    ],
)
def test_whole_error_is_an_error(body: bytes, kind: type[AnyLLMError], words: str) -> None:
    with pytest.raises(AnyLLMError, match=words) as caught:
        INVOKE.response(body)
    assert type(caught.value) is kind
    assert caught.value.provider == "bedrock_invoke"


# -- the request -------------------------------------------------------------------------------------------------------

HI = [Message.user("Hi")]
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


def request_for(model: str, *, stream: bool = True, **params: Any) -> Request:
    fields = CompletionParams("m", **{"messages": HI, **params})
    return INVOKE.request(fields, model=model, stream=stream)


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
    turns = [Message.system("Be brief."), *HI]
    assert in_one_form(sent(CLAUDE, messages=turns, max_tokens=5)) == {
        "anthropic_version": "bedrock-2023-05-31",
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "max_tokens": 5,
    }
    assert sent(GPT, messages=turns, max_tokens=5) == {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_completion_tokens": 5,
    }
    assert sent(NOVA, messages=turns, max_tokens=5) == {
        "schemaVersion": "messages-v1",
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 5},
    }
    assert sent(COMMAND, messages=turns, max_tokens=5) == {
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
        answer = decode(framed(lines_of(case)))[1]
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


@pytest.fixture(scope="module")
def host() -> Iterator[tuple[str, Captured]]:
    """A loopback server that answers as Claude does, its URL, and what it is sent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        with answering(json.dumps(whole_of("messages")).encode(), "application/json") as found:
            yield found


def sent_by(call: Any, host: tuple[str, Captured], **arguments: Any) -> Captured:
    """The one request of an official client, which may not understand the answer."""
    _, captured = host
    before = captured.count
    with contextlib.suppress(Exception):
        list(call(**arguments))
    assert captured.count == before + 1
    return captured


@pytest.fixture(scope="module")
def anthropic_client(host: tuple[str, Captured]) -> Iterator[Any]:
    """Anthropic's own client for this host; with a key pair instead of a key it would need boto3."""
    anthropic = pytest.importorskip("anthropic")
    with anthropic.AnthropicBedrock(api_key="none", aws_region="us-east-1", base_url=host[0], max_retries=0) as client:
        yield client


ASK = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
F = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
CALLED = [
    Message.user("Hi"),
    Message.assistant("Wait.", tool_calls=[anyllm.ToolCall("t1", anyllm.FunctionCall("f", '{"x": 1}'))]),
    Message.tool("22", "t1"),
]

#: Our parameters, and the arguments of Anthropic's client for the same call.
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "temperature": ({"temperature": 0.3}, {"extra_body": {"temperature": 0.3}}),
    "top_p": ({"top_p": 0.9}, {"extra_body": {"top_p": 0.9}}),
    "stop": ({"stop": "END"}, {"stop_sequences": ["END"]}),
    "user": ({"user": "me"}, {"metadata": {"user_id": "me"}}),
    "tools": ({"tools": [TOOL]}, {"tools": [F]}),
    "required": (
        {"tools": [TOOL], "tool_choice": "required"},
        {"tools": [F], "tool_choice": {"type": "any"}},
    ),
    "named": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [F], "tool_choice": {"type": "tool", "name": "f"}},
    ),
    "thinking": (
        {"max_tokens": 3000, "thinking_budget": 2000},
        {"max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 2000}},
    ),
    "schema": (
        {
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        },
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "system": ({"messages": [Message.system("Be brief."), *HI]}, {"system": "Be brief."}),
    "conversation": (
        {"messages": CALLED, "tools": [TOOL]},
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
    "extra": ({"extra_body": {"top_k": 3}}, {"extra_body": {"top_k": 3}}),
}


@pytest.mark.long
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", CALLS)
def test_anthropics_body_is_what_its_client_sends(
    case: str, stream: bool, anthropic_client: Any, host: tuple[str, Captured]
) -> None:
    ours, theirs = CALLS[case]
    request = request_for(CLAUDE, stream=stream, **{"max_tokens": 9, **ours})
    arguments = {"model": CLAUDE, "max_tokens": 9, "messages": [ASK], "stream": stream, **theirs}
    captured = sent_by(anthropic_client.messages.create, host, **arguments)
    body, found = captured.body, json.loads(request.body)
    assert unquote(captured.path) == unquote(request.path)
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
def test_openais_body_is_what_its_client_sends_but_for_what_the_path_says(
    case: str, stream: bool, host: tuple[str, Captured]
) -> None:
    openai = pytest.importorskip("openai")
    params = OPENAI_CALLS[case]
    arguments = {"model": GPT, "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 9}
    with openai.OpenAI(api_key="none", base_url=host[0], max_retries=0) as client:
        captured = sent_by(client.chat.completions.create, host, stream=stream, **arguments, **params)
    own = {"model": GPT, "stream": stream}
    assert {**sent(GPT, stream=stream, max_tokens=9, **params), **own} == captured.body


@pytest.mark.long
@pytest.mark.parametrize("stream", [True, False])
def test_coheres_body_is_what_its_client_sends_but_for_what_the_path_says(
    stream: bool, host: tuple[str, Captured]
) -> None:
    """Its client for this host takes out the same two keys."""
    cohere = pytest.importorskip("cohere")
    import httpx

    arguments = {"model": COMMAND, "message": "Hi", "p": 0.9, "stop_sequences": ["END"], "preamble": "Be brief."}
    with httpx.Client() as transport:
        client = cohere.Client("none", base_url=host[0], httpx_client=transport)
        captured = sent_by(client.chat_stream if stream else client.chat, host, **arguments)
    own = {"model": COMMAND, "stream": stream}
    turns = [Message.system("Be brief."), *HI]
    assert {**sent(COMMAND, stream=stream, messages=turns, top_p=0.9, stop="END"), **own} == captured.body


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", [CLAUDE, GPT, NOVA, COMMAND])
def test_the_path_is_where_the_official_client_sends_a_body(
    model: str, stream: bool, host: tuple[str, Captured]
) -> None:
    pytest.importorskip("botocore")
    url, captured = host
    client = make_bedrock(url)
    request = request_for(model, stream=stream)
    call = client.invoke_model_with_response_stream if stream else client.invoke_model
    call(modelId=model, body=request.body, contentType="application/json")["body"].close()
    client.close()
    assert (captured.path, captured.raw) == (request.path, request.body)
    assert captured.headers["Content-Type"] == request.headers["Content-Type"]


# -- through the library -----------------------------------------------------------------------------------------------


def test_provider_asks_and_reads_its_answer(host: tuple[str, Captured]) -> None:
    """Signed with the pair that is given, unwrapped, and put together."""
    pytest.importorskip("botocore")
    url, captured = host
    provider = anyllm.provider("bedrock-invoke", base_url=url, api_key="ID:SECRET")
    answer = provider.completion(anyllm.Context(timeout=30), {"model": CLAUDE, "messages": HI})
    assert (answer.content, answer.provider) == ("Hello", "bedrock_invoke")
    assert unquote(captured.path) == f"/model/{CLAUDE}/invoke"
    assert captured.body["anthropic_version"] == "bedrock-2023-05-31"
    assert captured.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=ID/")


def test_unknown_model_is_an_error_before_anything_is_sent(host: tuple[str, Captured]) -> None:
    url, captured = host
    before = captured.count
    provider = anyllm.provider("bedrock_invoke", base_url=url, api_key="ID:SECRET")
    chunks, found = provider.completion_stream(
        anyllm.Context(timeout=30), {"model": "meta.llama3-8b-instruct-v1:0", "messages": HI}
    )
    assert list(chunks) == []
    error = found.get()
    assert type(error) is UnsupportedParameterError
    assert "bedrock/meta.llama3-8b-instruct-v1:0" in str(error)
    assert captured.count == before


# -- hostile input -----------------------------------------------------------------------------------------------------


@settings(max_examples=200)
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
