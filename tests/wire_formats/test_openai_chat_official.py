"""Our provider "openai" and OpenAI's own client make the same calls; what arrives at a loopback server is the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

import anyllm
from anyllm.testing import Reply, Server, chat_events, serve

HI = {"role": "user", "content": "Hi"}
KEY = "key-of-the-tests"


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    openai = pytest.importorskip("openai")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"):
            patch.delenv(name, raising=False)
        with openai.OpenAI(api_key=KEY, max_retries=0) as official:
            yield official


def ours(server: Server) -> Any:
    options = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
    provider = anyllm.provider("openai", api_key=KEY, base_url=f"{server.url}/v1", options=options)
    return contextlib.closing(provider)


def context() -> anyllm.Context:
    return anyllm.Context(timeout=30)


def completions(client: Any, server: Server) -> Any:
    return client.with_options(base_url=f"{server.url}/v1").chat.completions


# -- one call ----------------------------------------------------------------------------------------------------------

HEADERS = {"X-Trace": "1", "OpenAI-Organization": "org", "Authorization": "Bearer other"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("fields", "theirs"),
    [
        ({"extra_headers": HEADERS}, {"include_usage": True}),
        ({"stream_options": {"include_usage": True}}, {"include_usage": True}),
        ({"stream_options": {"include_obfuscation": False}}, {"include_obfuscation": False, "include_usage": True}),
        ({"stream_options": {"include_usage": False, "include_obfuscation": False}}, {"include_obfuscation": False}),
        ({"stream_options": {"include_usage": False}}, None),
    ],
)
def test_headers_and_stream_options_are_what_the_official_client_sends(fields: Any, theirs: Any, client: Any) -> None:
    """We ask for the usage of a stream, unless told otherwise."""
    request = {"model": "m", "messages": [HI], **fields}
    with serve(Reply.sse(chat_events("Hello"))) as server, ours(server) as provider:
        provider.completion_stream(context(), request).collect()
        request.pop("stream_options", None)
        options = {"stream_options": theirs} if theirs else {}
        completions(client, server).create(**request, stream=True, **options).close()
        mine, other = server.requests
    assert mine.json() == other.json()
    assert (mine.method, mine.path) == (other.method, other.path) == ("POST", "/v1/chat/completions")
    for name in ("content-type", "authorization", *fields.get("extra_headers", ())):
        assert mine.headers[name] == other.headers[name]


# -- the next call -----------------------------------------------------------------------------------------------------

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
OTHER_CALL = {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
CUSTOM_CALL = {"id": "call_3", "type": "custom", "custom": {"name": "c", "input": "SELECT 1"}}
CITED = [{"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 2}}]
#: As OpenAI writes them, with nulls and empty lists.
ANSWERS: list[dict[str, Any]] = [
    {"content": 'Grüße 😀 "\\\n'},
    {"content": ""},
    {"content": "So it is.", "annotations": CITED},
    {"content": None, "refusal": "I cannot do that."},
    {"content": None, "tool_calls": [CALL]},
    {"content": None, "tool_calls": [CALL, OTHER_CALL, CUSTOM_CALL]},
    {"content": "I will look.", "tool_calls": [OTHER_CALL]},
    {"content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
    {"content": None, "audio": {"id": "audio_1", "data": "UklGRg==", "expires_at": 1, "transcript": "Hello."}},
]


def in_request(message: dict[str, Any]) -> dict[str, Any]:
    """
    A message without what answers have and requests do not.

    The official client sends back whatever came. We send what its own type for requests names, a sound by its id alone,
    and nulls never.
    """
    from openai.types.chat import ChatCompletionAssistantMessageParam as Type

    body = {key: value for key, value in message.items() if value is not None and key in Type.__annotations__}
    return {**body, "audio": {"id": body["audio"]["id"]}} if "audio" in body else body


@pytest.mark.long
@pytest.mark.parametrize("answer", ANSWERS)
def test_answer_goes_back_as_the_official_client_sends_it(answer: dict[str, Any], client: Any) -> None:
    message = {"role": "assistant", "refusal": None, "annotations": [], **answer}
    finish = next((key for key in ("tool_calls", "function_call") if key in message), "stop")
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    body = {"id": "chatcmpl-1", "created": 1, "model": "m", "object": "chat.completion", "choices": [choice]}
    with serve(Reply.json(body)) as server, ours(server) as provider:
        first = provider.completion(context(), {"model": "m", "messages": [HI]}).to_message()
        provider.completion(context(), anyllm.CompletionParams("m", [HI, first, HI]))
        theirs = completions(client, server).create(model="m", messages=[HI]).choices[0].message
        completions(client, server).create(model="m", messages=[HI, theirs, HI])
        sent, expected = server.requests[1].json()["messages"], server.requests[3].json()["messages"]
    assert sent[1] == in_request(expected[1]) == in_request(message)
    assert [sent[0], sent[2]] == [expected[0], expected[2]] == [HI, HI]
